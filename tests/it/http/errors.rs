//! Backends that refuse, close or say nothing, and clients that say nonsense: whose error it is, and which.

use serde_json::json;

use super::Front;
use crate::support::client::{Conn, get, sequence};
use crate::support::lab::Lab;
use crate::support::oracle::Oracle;
use crate::support::synapse::{config, fixed};

/// Status, body and content type of our own error must be haproxy's.
async fn same_error_as_haproxy(status: u16, path: &str, lines: &[&str], has_server: bool) {
    let lab = Lab::new().await;
    let origin = lab.origin("A").await;
    let server = [("A", origin.addr(), "")];
    let servers = if has_server { &server[..] } else { &[] };
    let addr = lab.free_addr();
    let _synapse = lab.synapse(config(json!({"web": fixed(addr, "http", lines, servers)}))).await;
    let oracle = Oracle::start(&lab, "http", lines, servers).await;
    let ours = get(addr, path).await.expect("an answer");
    let theirs = get(oracle.addr, path).await.expect("an answer");
    assert_eq!(theirs.status, status, "the oracle");
    assert_eq!(ours.status, theirs.status);
    assert_eq!(ours.text(), theirs.text());
    for name in ["content-type", "cache-control"] {
        assert_eq!(ours.header(name), theirs.header(name), "{name}");
    }
}

#[tokio::test]
async fn no_backend_is_haproxys_503() {
    same_error_as_haproxy(503, "/", &[], false).await;
}

#[tokio::test]
async fn a_backend_that_closes_is_haproxys_502() {
    same_error_as_haproxy(502, "/silent", &[], true).await;
}

#[tokio::test]
async fn garbage_from_a_backend_is_haproxys_502() {
    same_error_as_haproxy(502, "/garbage", &[], true).await;
}

#[tokio::test]
async fn a_silent_backend_is_haproxys_504() {
    same_error_as_haproxy(504, "/slow/4000", &["timeout server 300ms"], true).await;
}

#[tokio::test]
async fn a_refused_connection_goes_to_another_backend() {
    let lab = Lab::new().await;
    let origin = lab.origin("B").await;
    let addr = lab.free_addr();
    let servers = [("A", lab.free_addr(), ""), ("B", origin.addr(), "")];
    let synapse = lab.synapse(config(json!({"web": fixed(addr, "http", &[], &servers)}))).await;
    assert_eq!(sequence(addr, 10).await, "B".repeat(10));
    let mut conn = Conn::open(addr).await.expect("connect");
    let post = b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc";
    for _ in 0..4 {
        // Nothing was sent yet when the connect failed: a POST moves too.
        assert_eq!(conn.exchange("POST", post).await.expect("answer").text(), "abc");
    }
    let metrics = synapse.metrics().await;
    assert!(metrics.contains("redispatch"), "{metrics}");
}

#[tokio::test]
async fn all_refused_is_503() {
    let lab = Lab::new().await;
    let addr = lab.free_addr();
    let servers = [("A", lab.free_addr(), ""), ("B", lab.free_addr(), "")];
    let _synapse = lab.synapse(config(json!({"web": fixed(addr, "http", &[], &servers)}))).await;
    assert_eq!(get(addr, "/").await.expect("an answer").status, 503);
}

#[tokio::test]
async fn an_idempotent_request_whose_reused_connection_died_is_replayed() {
    let lab = Lab::new().await;
    let (a, b) = (lab.origin("A").await, lab.origin("B").await);
    let addr = lab.free_addr();
    let servers = [("A", a.addr(), ""), ("B", b.addr(), "")];
    let _synapse = lab.synapse(config(json!({"web": fixed(addr, "http", &[], &servers)}))).await;
    let mut conn = Conn::open(addr).await.expect("connect");
    for _ in 0..4 {
        conn.get("/").await.expect("both have idle connections now");
    }
    a.die().await;
    for _ in 0..6 {
        assert_eq!(conn.get("/").await.expect("answer").text(), "B");
    }
}

#[tokio::test]
async fn a_bad_request_is_400_and_the_next_client_is_served() {
    let lab = Lab::new().await;
    let front = Front::new(&lab, &[]).await;
    for bad in [
        "GET / HTTP/1.1\r\nHost : x\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 5a\r\n\r\n",
        "\u{1}\u{2}\u{3}\r\n\r\n",
        "GET /\u{1} HTTP/1.1\r\nHost: x\r\n\r\n",
    ] {
        let mut conn = Conn::open(front.addr).await.expect("connect");
        let answer = conn.exchange("GET", bad.as_bytes()).await.expect("an answer");
        assert_eq!(answer.status, 400, "{bad:?}");
        assert_eq!(sequence(front.addr, 1).await, "A");
    }
    assert_eq!(front.origin.requests(), 4, "no bad request reached the origin");
}
