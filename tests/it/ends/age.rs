//! Connections that end because of their age.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use super::{PATIENCE, bound, silent, until_logged};
use crate::support::client::Conn;
use crate::support::lab::Lab;
use crate::support::origin::Origin;
use crate::support::synapse::{Synapse, config, fixed};

/// The age that connections may have in these tests; each has its own within a tenth.
const AGE: Duration = Duration::from_millis(400);

/// A service of this mode whose connections may have that age.
async fn aged(lab: &Lab, mode: &str, origin: &Origin) -> (Synapse, SocketAddr) {
    let front = lab.free_addr();
    let mut service = fixed(front, mode, &[], &[("A", origin.addr(), "")]);
    let log = lab.dir().join("aged.log");
    let log = json!({"to": log.to_str(), "format": "json"});
    service["proxy"] = json!({"max_connection_age": "400ms", "access_log": log});
    (lab.synapse(config(json!({"aged": service}))).await, front)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_http_connection_of_age_is_closed_with_an_answer() {
    let lab = Lab::new().await;
    let origin = lab.origin("A").await;
    let (_synapse, front) = aged(&lab, "http", &origin).await;
    let begun = Instant::now();
    let mut busy = Conn::open(front).await.expect("connect");
    let mut slow = Conn::open(front).await.expect("connect");
    slow.send(b"GET /slow/600 HTTP/1.1\r\nHost: t\r\n\r\n").await.expect("request");
    let mut requests = 1;
    loop {
        let answer = busy.get("/").await.expect("every request is answered");
        assert_eq!(answer.status, 200);
        requests += 1;
        if answer.header("connection").is_some_and(|it| it.eq_ignore_ascii_case("close")) {
            break;
        }
        assert!(begun.elapsed() < PATIENCE, "it never ends");
    }
    assert!(begun.elapsed() >= AGE.mul_f64(0.9), "{:?}", begun.elapsed());
    // It came of age while it waited for its answer.
    let answer = slow.response("GET").await.expect("an answer");
    assert_eq!((answer.status, answer.text().as_str()), (200, "A"));
    assert_eq!(answer.header("connection").map(str::to_ascii_lowercase).as_deref(), Some("close"));
    for conn in [&mut busy, &mut slow] {
        let mut rest = Vec::new();
        assert_eq!(conn.read_rest(&mut rest).await, Ok(0));
    }
    // Nothing was cut.
    until_logged(&lab.dir().join("aged.log"), "A", &vec!["--"; requests]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tcp_session_ends_at_its_age() {
    let lab = Lab::new().await;
    let origin = lab.origin("A").await;
    let (_synapse, front) = aged(&lab, "tcp", &origin).await;
    let mut sessions = Vec::new();
    for _ in 0..10 {
        let before = Instant::now();
        let mut conn = silent(front).await;
        let after = Instant::now();
        sessions.push(tokio::spawn(async move {
            let mut rest = Vec::new();
            assert_eq!(conn.read_rest(&mut rest).await, Ok(0));
            (before.elapsed(), after.elapsed())
        }));
    }
    for session in sessions {
        let (longest, shortest) = session.await.expect("ended in order");
        assert!(longest >= AGE.mul_f64(0.9), "{longest:?}");
        assert!(shortest <= AGE.mul_f64(1.1) + bound(), "{shortest:?}");
    }
    until_logged(&lab.dir().join("aged.log"), "A", &["K-"; 10]).await;
}
