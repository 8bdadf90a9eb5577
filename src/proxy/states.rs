//! Termination states of the access log: who ended a request or session, and how far it was. The one place that derives
//! them.
//!
//! As haproxy 2.6 says them for the same events (`tests/it/access_log` compares); where an event has no counterpart there
//! the letters mean what its manual says they mean.

use super::error::ProxyError;
use super::evidence::is_shortage;
use super::http::{Expiry, Outcome, Phase};
use super::relay::{Finish, Which};
use crate::lb::PickError;
use crate::lb::ending::Reason;
use crate::telemetry::access::{Cause, Stage};

/// Who and how far.
pub(crate) type State = (Cause, Stage);

/// It came to its end.
pub(crate) const DONE: State = (Cause::None, Stage::Done);

/// What came was not a request.
pub(crate) const REFUSED: State = (Cause::Proxy, Stage::Request);

/// No whole request came in time.
pub(crate) const LATE: State = (Cause::ClientTimeout, Stage::Request);

/// The client left before a whole request had come.
pub(crate) const LEFT: State = (Cause::Client, Stage::Request);

/// The client's socket could not be watched, and no whole request had come.
pub(crate) const LOST: State = (Cause::Resource, Stage::Request);

/// The same when it was to become a tunnel.
pub(crate) const LOST_DATA: State = (Cause::Resource, Stage::Data);

/// The client left while it waited in a queue.
pub(crate) const LEFT_QUEUE: State = (Cause::Client, Stage::Queue);

/// The client left before it had taken all of an answer.
pub(crate) const UNREAD: State = (Cause::Client, Stage::Data);

/// The client did not take an answer in time.
pub(crate) const UNTAKEN: State = (Cause::ClientTimeout, Stage::Data);

/// An attempt's end. `phase`: how far the answer was; `is_sent`: whether all of the request had come.
pub(crate) fn attempt(outcome: &Outcome, phase: Phase, is_sent: bool) -> State {
    let stage = match (phase, is_sent) {
        (Phase::Body, _) | (Phase::Head, false) => Stage::Data,
        (Phase::Head, true) => Stage::Headers,
    };
    match outcome {
        Outcome::Answered | Outcome::Switched(_) => DONE,
        Outcome::Unsent | Outcome::Unheard(_) | Outcome::HalfHeard => {
            (Cause::Server, Stage::Headers)
        }
        Outcome::Nonsense(_) => (Cause::Proxy, Stage::Headers),
        Outcome::Cut(_) => (Cause::Server, Stage::Data),
        // haproxy gives no stage while the request is still coming.
        Outcome::Ended(reason) if phase == Phase::Head && !is_sent => (ended(*reason), Stage::Done),
        Outcome::Ended(reason) => (ended(*reason), stage),
        Outcome::Malformed if phase == Phase::Head => (Cause::Proxy, Stage::Headers),
        Outcome::Malformed => (Cause::Proxy, Stage::Data),
        Outcome::Aborted => (Cause::Client, stage),
        Outcome::Expired(Expiry::Client) => (Cause::ClientTimeout, stage),
        // Until it has answered it is waited for, whether or not it takes the request's body.
        Outcome::Expired(Expiry::Server) if phase == Phase::Head => {
            (Cause::ServerTimeout, Stage::Headers)
        }
        Outcome::Expired(Expiry::Server) => (Cause::ServerTimeout, stage),
    }
}

/// True for what goes wrong before there is a connection to a backend.
pub(crate) fn is_before_attempt(error: &ProxyError) -> bool {
    use ProxyError as E;
    matches!(
        error,
        E::Pick(_)
            | E::QueueTimeout
            | E::Connect { .. }
            | E::ConnectTimeout { .. }
            | E::ClientAbort
    )
}

/// A request or session that failed with `error`, after an attempt that ended in `attempt`.
pub(crate) fn failed(error: &ProxyError, attempt: Option<State>) -> State {
    match error {
        ProxyError::Pick(PickError::NoneEligible { .. }) => (Cause::Server, Stage::Connect),
        ProxyError::Pick(PickError::AllFull { .. }) => (Cause::Server, Stage::Queue),
        ProxyError::QueueTimeout => (Cause::ServerTimeout, Stage::Queue),
        ProxyError::Connect { addr, source } if is_shortage(addr, source) => {
            (Cause::Resource, Stage::Connect)
        }
        ProxyError::Connect { .. } => (Cause::Server, Stage::Connect),
        ProxyError::ConnectTimeout { .. } => (Cause::ServerTimeout, Stage::Connect),
        ProxyError::ClientAbort => (Cause::Client, Stage::Connect),
        ProxyError::GivenUp => attempt.unwrap_or((Cause::Client, Stage::Connect)),
        // An attempt that had failed before was not the end.
        ProxyError::Resource(_) => attempt
            .filter(|(cause, _)| *cause == Cause::Resource)
            .unwrap_or((Cause::Resource, Stage::Connect)),
        ProxyError::Backend { .. }
        | ProxyError::BackendTimeout { .. }
        | ProxyError::ClientProtocol(_)
        | ProxyError::ClientTimeout
        | ProxyError::Unrepeatable { .. } => attempt.unwrap_or((Cause::Internal, Stage::Headers)),
    }
}

fn ended(reason: Reason) -> Cause {
    match reason {
        Reason::Down => Cause::Down,
        Reason::Removed => Cause::Killed,
    }
}

/// A tunnel's end.
pub(crate) fn tunnel(finish: &Finish) -> State {
    match finish {
        Finish::Done => DONE,
        // Without a stage, as with haproxy.
        Finish::Ended(reason) => (ended(*reason), Stage::Done),
        Finish::Aged => (Cause::Killed, Stage::Done),
        Finish::Idle(Which::Client) => (Cause::ClientTimeout, Stage::Data),
        Finish::Idle(Which::Backend) => (Cause::ServerTimeout, Stage::Data),
        Finish::Broken(Which::Client, _) => (Cause::Client, Stage::Data),
        Finish::Broken(Which::Backend, _) => (Cause::Server, Stage::Data),
        Finish::Own(_) => (Cause::Resource, Stage::Data),
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    fn text((cause, stage): State) -> String {
        [cause.letter(), stage.letter()].map(char::from).iter().collect()
    }

    fn broken() -> io::Error {
        io::ErrorKind::ConnectionReset.into()
    }

    #[test]
    fn attempts_end_as_with_haproxy() {
        use Phase::{Body, Head};
        for (outcome, phase, is_sent, state) in [
            (Outcome::Answered, Body, true, "--"),
            (Outcome::Switched(Vec::new()), Head, true, "--"),
            (Outcome::Unsent, Head, true, "SH"),
            (Outcome::Unheard(broken()), Head, true, "SH"),
            (Outcome::HalfHeard, Head, true, "SH"),
            (Outcome::Nonsense("x"), Head, true, "PH"),
            (Outcome::Cut(broken()), Body, true, "SD"),
            (Outcome::Malformed, Head, false, "PH"),
            (Outcome::Malformed, Body, false, "PD"),
            (Outcome::Ended(Reason::Down), Head, true, "DH"),
            (Outcome::Ended(Reason::Down), Head, false, "D-"),
            (Outcome::Ended(Reason::Down), Body, true, "DD"),
            (Outcome::Ended(Reason::Removed), Head, true, "KH"),
            (Outcome::Aborted, Head, true, "CH"),
            (Outcome::Aborted, Head, false, "CD"),
            (Outcome::Aborted, Body, true, "CD"),
            (Outcome::Expired(Expiry::Client), Head, false, "cD"),
            (Outcome::Expired(Expiry::Client), Head, true, "cH"),
            (Outcome::Expired(Expiry::Client), Body, true, "cD"),
            (Outcome::Expired(Expiry::Server), Head, true, "sH"),
            (Outcome::Expired(Expiry::Server), Head, false, "sH"),
            (Outcome::Expired(Expiry::Server), Body, true, "sD"),
        ] {
            let got = text(attempt(&outcome, phase, is_sent));
            assert_eq!(got, state, "{outcome:?} {phase:?} {is_sent}");
        }
    }

    #[test]
    fn failures_before_an_attempt_outweigh_it() {
        let addr = || crate::dial::Address::Inet(([127, 0, 0, 1], 1).into());
        let socket = crate::dial::Address::Unix(std::path::Path::new("/s").into());
        let errno = |e: rustix::io::Errno| io::Error::from_raw_os_error(e.raw_os_error());
        let earlier = Some((Cause::Server, Stage::Headers));
        for (error, state) in [
            (ProxyError::Pick(PickError::NoneEligible { known: 1, up: 0 }), "SC"),
            (ProxyError::Pick(PickError::AllFull { eligible: 1 }), "SQ"),
            (ProxyError::QueueTimeout, "sQ"),
            (
                ProxyError::Connect { addr: addr(), source: errno(rustix::io::Errno::CONNREFUSED) },
                "SC",
            ),
            (ProxyError::Connect { addr: addr(), source: errno(rustix::io::Errno::MFILE) }, "RC"),
            (
                ProxyError::Connect {
                    addr: addr(),
                    source: errno(rustix::io::Errno::ADDRNOTAVAIL),
                },
                "RC",
            ),
            (ProxyError::Connect { addr: addr(), source: errno(rustix::io::Errno::NOSPC) }, "RC"),
            (ProxyError::Connect { addr: socket, source: errno(rustix::io::Errno::AGAIN) }, "SC"),
            (ProxyError::ConnectTimeout { addr: addr() }, "sC"),
            (ProxyError::ClientAbort, "CC"),
        ] {
            assert!(is_before_attempt(&error), "{error}");
            assert_eq!(text(failed(&error, earlier)), state, "{error}");
        }
        for error in [
            ProxyError::Backend { addr: addr(), source: "x".into() },
            ProxyError::BackendTimeout { addr: addr() },
            ProxyError::ClientProtocol("x"),
            ProxyError::ClientTimeout,
            ProxyError::Unrepeatable { addr: addr() },
        ] {
            assert!(!is_before_attempt(&error), "{error}");
            let state = (Cause::Proxy, Stage::Data);
            assert_eq!(failed(&error, Some(state)), state, "{error}");
        }
        let resource = ProxyError::Resource(errno(rustix::io::Errno::NOSPC));
        for (attempt, state) in [
            (None, "RC"),
            (Some((Cause::Server, Stage::Headers)), "RC"),
            (Some((Cause::Resource, Stage::Data)), "RD"),
        ] {
            assert_eq!(text(failed(&resource, attempt)), state, "{attempt:?}");
        }
        assert!(!is_before_attempt(&resource));
    }

    #[test]
    fn tunnels_end_as_with_haproxy() {
        for (finish, state) in [
            (Finish::Done, "--"),
            (Finish::Ended(Reason::Down), "D-"),
            (Finish::Ended(Reason::Removed), "K-"),
            (Finish::Aged, "K-"),
            (Finish::Idle(Which::Client), "cD"),
            (Finish::Idle(Which::Backend), "sD"),
            (Finish::Broken(Which::Client, broken()), "CD"),
            (Finish::Broken(Which::Backend, broken()), "SD"),
            (Finish::Own(broken()), "RD"),
        ] {
            assert_eq!(text(tunnel(&finish)), state, "{finish:?}");
        }
        let requests = [REFUSED, LATE, LEFT, LEFT_QUEUE, UNREAD, UNTAKEN, DONE].map(text);
        assert_eq!(requests, ["PR", "cR", "CR", "CQ", "CD", "cD", "--"]);
        assert_eq!([LOST, LOST_DATA].map(text), ["RR", "RD"]);
    }
}
