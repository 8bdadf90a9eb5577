//! Signals to a process that is draining because another one has taken over.

use rustix::process::Signal;
use serde_json::json;

use super::TAKEN_OVER;
use crate::support::client::Conn;
use crate::support::lab::Lab;
use crate::support::synapse::{config, fixed};

/// A supervisor that stops the old one says what is known already; who says it again is in a hurry.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_first_signal_to_a_draining_process_cuts_nothing() {
    let lab = Lab::new().await;
    let a = lab.tcp_origin("A").await;
    let front = lab.free_addr();
    let services = json!({"raw": fixed(front, "tcp", &[], &[("A", a.addr(), "")])});
    let mut old = lab.synapse(config(services)).await;
    let mut conn = Conn::open(front).await.expect("connect");
    conn.send(b"before").await.expect("send");
    let _new = old.successor(None);
    old.until_logged(TAKEN_OVER).await;
    old.until_logged("draining connections").await;
    old.signal(Signal::TERM);
    old.until_logged("draining already").await;
    conn.send(b"after").await.expect("the session goes on");
    old.signal(Signal::TERM);
    old.until_logged("stopping at once").await;
    assert_eq!(old.ended().await.code(), Some(0));
}
