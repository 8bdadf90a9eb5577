//! Signals to a process that is draining because another one has taken over.

use rustix::process::Signal;

use super::TAKEN_OVER;
use super::scene::raw;
use crate::support::lab::Lab;

/// A supervisor that stops the old one says what is known already; who says it again is in a hurry.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_first_signal_to_a_draining_process_cuts_nothing() {
    let lab = Lab::new().await;
    let (mut old, _front, mut conn, _a) = raw(&lab).await;
    let _new = old.successor(None);
    old.until_logged(TAKEN_OVER).await;
    old.until_logged("draining connections").await;
    old.signal(Signal::TERM);
    old.until_logged("draining already").await;
    conn.send(b"after").await.expect("send");
    assert_eq!(conn.exactly(5).await.expect("the session goes on"), b"after");
    old.signal(Signal::TERM);
    old.until_logged("stopping at once").await;
    assert_eq!(old.ended().await.code(), Some(0));
}
