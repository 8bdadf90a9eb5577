//! What hand-overs begin with: a process that serves, and whoever comes to its door.

use std::io::Write as _;
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::support::client::{Conn, get};
use crate::support::lab::Lab;
use crate::support::origin::Origin;
use crate::support::synapse::{Synapse, config, fixed};

const ASKED: &str = "hand-over asked for";

/// A process with a service of one backend, A; and where clients find it.
pub(super) async fn web(lab: &Lab) -> (Synapse, SocketAddr, Origin) {
    let a = lab.origin("A").await;
    let front = lab.free_addr();
    let services = json!({"web": fixed(front, "http", &[], &[("A", a.addr(), "")])});
    (lab.synapse(config(services)).await, front, a)
}

/// The same in TCP mode, with a session under way.
pub(super) async fn raw(lab: &Lab) -> (Synapse, SocketAddr, Conn, Origin) {
    let a = lab.tcp_origin("A").await;
    let front = lab.free_addr();
    let services = json!({"raw": fixed(front, "tcp", &[], &[("A", a.addr(), "")])});
    let old = lab.synapse(config(services)).await;
    let mut conn = Conn::open(front).await.expect("connect");
    conn.send(b"before").await.expect("send");
    assert_eq!(conn.exactly(8).await.expect("an echo"), b"A\nbefore");
    (old, front, conn, a)
}

/// A successor of `old` that is to serve other services.
pub(super) fn successor_with(old: &Synapse, lab: &Lab, services: Value) -> Synapse {
    let mut file = config(services);
    file["admin"] = json!({"listen": old.admin().to_string()});
    file["state_dir"] = json!(lab.dir().join("state"));
    old.successor(Some(&lab.write("successor.json", &file.to_string())))
}

/// Somebody at the door who greets, says `messages`, and no more.
pub(super) fn caller(lab: &Lab, messages: &[&str]) -> UnixStream {
    let socket = lab.dir().join("state/handover.sock");
    let mut stream = UnixStream::connect(&socket).expect("connect");
    let hello = json!({"Hello": {"protocol": 1, "program": "x", "pid": 1}}).to_string();
    for said in [hello.as_str()].iter().chain(messages) {
        let length = u32::try_from(said.len()).expect("short").to_be_bytes();
        stream.write_all(&[&length, said.as_bytes()].concat()).expect("write");
    }
    stream
}

/// A process, and a successor that stands still: it has asked, and is not ready.
pub(super) async fn caught(mut old: Synapse) -> (Synapse, Synapse) {
    loop {
        let new = old.successor(None);
        old.until_logged(ASKED).await;
        new.signal(Signal::STOP);
        // The admin server is what the old one lets go of first.
        let live = timeout(Duration::from_secs(1), get(old.admin(), "/live")).await;
        if live.is_ok_and(|live| live.is_ok()) {
            return (old, new);
        }
        new.signal(Signal::CONT);
        new.until_logged("serving").await;
        old.ended().await;
        old = new;
    }
}
