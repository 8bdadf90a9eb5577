//! What the tests of this binary share.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use smartstack::registry::credentials::Credentials;
use smartstack::registry::zookeeper::{SessionSettings, ZooKeeperRegistry};
use smartstack::registry::{Registry, Session, SessionState};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use zookeeper_client::Client;

use crate::zk::{PERSISTENT, Zk};

/// One server for all tests that do not disturb it. Never dropped by the test harness: the watchdog ends it.
pub(crate) fn shared() -> &'static Zk {
    static SHARED: OnceLock<Zk> = OnceLock::new();
    SHARED.get_or_init(Zk::standalone)
}

/// A registry with a session timeout of `seconds`.
pub(crate) fn registry(ensemble: &str, seconds: u64) -> Arc<ZooKeeperRegistry> {
    heir_of(ensemble, seconds, None)
}

/// A registry that goes on with the session of `heir`.
pub(crate) fn heir_of(
    ensemble: &str,
    seconds: u64,
    heir: Option<Credentials>,
) -> Arc<ZooKeeperRegistry> {
    let settings = SessionSettings { timeout: Duration::from_secs(seconds), heir, keeper: None };
    ZooKeeperRegistry::start(ensemble, settings, CancellationToken::new()).unwrap()
}

/// A registry that is connected.
pub(crate) async fn connected(ensemble: &str, seconds: u64) -> Arc<ZooKeeperRegistry> {
    let registry = registry(ensemble, seconds);
    wait_state(&registry, SessionState::Connected, 20).await;
    registry
}

/// Waits until the session is in `state`, at most `seconds`.
pub(crate) async fn wait_state(
    registry: &ZooKeeperRegistry,
    state: SessionState,
    seconds: u64,
) -> Session {
    wait_session(registry, seconds, |session| session.state == state).await
}

/// Waits until the session is as wanted, at most `seconds`.
pub(crate) async fn wait_session(
    registry: &ZooKeeperRegistry,
    seconds: u64,
    wanted: impl FnMut(&Session) -> bool,
) -> Session {
    let mut sessions = registry.session();
    match timeout(Duration::from_secs(seconds), sessions.wait_for(wanted)).await {
        Ok(session) => session.unwrap().clone(),
        Err(_) => panic!("not within {seconds} s: {:?}", registry.session().borrow()),
    }
}

/// A path that no other test uses; its parent exists.
pub(crate) async fn fresh_path(client: &Client) -> String {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    client.mkdir("/tests", &PERSISTENT).await.unwrap();
    format!("/tests/p{}", NUMBER.fetch_add(1, Ordering::Relaxed))
}

/// An empty node that no other test uses.
pub(crate) async fn fresh_node(client: &Client) -> String {
    let path = fresh_path(client).await;
    client.create(&path, b"", &PERSISTENT).await.unwrap();
    path
}

/// Waits until the session is usable, at most `seconds`; asserts that it is the registry's first.
pub(crate) async fn back_in_session(registry: &ZooKeeperRegistry, seconds: u64) {
    let back = wait_state(registry, SessionState::Connected, seconds).await;
    assert_eq!(back.generation, 1, "{back:?}");
}

/// Waits until the only server of `zk` has received something of the registry's session after this call.
pub(crate) async fn heard(zk: &Zk, registry: &ZooKeeperRegistry) {
    let session = format!("{:#x}", registry.session().borrow().id.unwrap());
    let packets = || {
        let clients = zk.member(0).clients();
        clients.into_iter().find(|it| it.session == session).map(|it| (it.since, it.packets))
    };
    let before = packets();
    eventually("the server hears of the session", Duration::from_secs(10), || {
        let now = packets();
        now.is_some() && now != before
    })
    .await;
}

/// Waits for a watch, at most `seconds`.
pub(crate) async fn fires(changed: impl Future<Output = ()>, seconds: u64) {
    let fired = timeout(Duration::from_secs(seconds), changed).await;
    assert!(fired.is_ok(), "the watch did not fire within {seconds} s");
}

/// Looks every few milliseconds until `holds`, at most `limit`.
pub(crate) async fn eventually(what: &str, limit: Duration, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + limit;
    while !holds() {
        assert!(Instant::now() < deadline, "not within {limit:?}: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
