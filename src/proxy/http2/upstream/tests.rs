use std::net::SocketAddr;
use std::time::Duration;

use super::*;

#[test]
fn a_connection_that_was_opened_otherwise_does_not_do() {
    let key = |seconds: Option<u64>| Key {
        id: BackendId(1),
        addr: SocketAddr::from(([127, 0, 0, 1], 1)).into(),
        way: seconds.and_then(|it| {
            let user_timeout = Some(Duration::from_secs(it));
            Way { user_timeout, ..Way::default() }.settled()
        }),
        whose: None,
        service: ServiceName::new("web"),
    };
    assert!(key(None).fits(&key(None)));
    assert!(key(Some(1)).fits(&key(Some(1))));
    assert!(!key(Some(1)).fits(&key(Some(2))));
    assert!(!key(Some(1)).fits(&key(None)));
}
