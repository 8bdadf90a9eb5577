//! What answers of the client mean, and what is refused before it is sent.

use super::*;
use crate::registry::writer::MAX_DATA_BYTES;

fn end(error: zk::Error) -> WriteError {
    refusal(error, &"zk1:2181".into(), &Operation::new("create", "/a"))
}

#[test]
fn a_broken_connection_or_session_leaves_the_outcome_open() {
    for error in [
        zk::Error::ConnectionLoss,
        zk::Error::Timeout,
        zk::Error::SessionExpired,
        zk::Error::SessionMoved,
        zk::Error::ClientClosed,
        zk::Error::UnexpectedError("x".into()),
    ] {
        assert!(matches!(end(error.clone()), WriteError::Unknown(_)), "{error}");
    }
}

#[test]
fn a_servers_verdict_is_no_unknown_outcome() {
    let path = || "/a".to_owned();
    assert_eq!(end(zk::Error::NodeExists), WriteError::Exists { path: path() });
    assert_eq!(end(zk::Error::NoNode), WriteError::Missing { path: path() });
    assert_eq!(end(zk::Error::BadVersion), WriteError::Changed { path: path() });
    let no_right = RegistryError::NotAuthorised { path: path() };
    assert_eq!(end(zk::Error::NoAuth), WriteError::Refused(no_right));
    assert!(matches!(end(zk::Error::NotEmpty), WriteError::Refused(_)));
    assert!(matches!(end(zk::Error::QuotaExceeded), WriteError::Refused(_)));
}

#[test]
fn a_megabyte_and_more_is_refused_before_it_is_sent() {
    assert!(within_bounds(&vec![0; MAX_DATA_BYTES]).is_ok());
    let error = within_bounds(&vec![0; MAX_DATA_BYTES + 1]).unwrap_err();
    assert_eq!(error.to_string(), "1000001 bytes of data, at most 1000000 are sent");
}
