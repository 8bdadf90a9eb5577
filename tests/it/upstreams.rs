//! Connections to backends: who shares them, and what ends them.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::support::client::{Conn, PATIENCE};
use crate::support::lab::Lab;
use crate::support::oracle::Oracle;
use crate::support::origin::Origin;
use crate::support::synapse::{config, fixed};
use crate::support::wait::{always, eventually};

/// Far below the time after which idle connections are closed anyway (4 s).
const AT_ONCE: Duration = Duration::from_secs(2);

/// Connections that the origin has seen after three requests of one client, after the first of another, and after that
/// one's second. POST: a request that may be sent twice goes over a shared connection earlier with us than with haproxy.
async fn connections(front: SocketAddr, origin: &Origin) -> [usize; 3] {
    let before = origin.connections();
    let mut seen = [0; 3];
    let post = b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\nx";
    let mut first = Conn::open(front).await.expect("connect");
    for _ in 0..3 {
        assert_eq!(first.exchange("POST", post).await.expect("answer").text(), "A");
    }
    seen[0] = origin.connections() - before;
    let mut second = Conn::open(front).await.expect("connect");
    for count in &mut seen[1..] {
        assert_eq!(second.exchange("POST", post).await.expect("answer").text(), "A");
        *count = origin.connections() - before;
    }
    seen
}

#[tokio::test]
async fn connections_are_shared_as_http_reuse_says() {
    for (mode, expected) in [
        ("never", [1, 2, 2]),
        ("safe", [1, 2, 2]),
        ("aggressive", [1, 1, 1]),
        ("always", [1, 1, 1]),
    ] {
        let lab = Lab::new().await;
        let origin = lab.origin("A").await;
        let front = lab.free_addr();
        let line = format!("http-reuse {mode}");
        let lines = [line.as_str()];
        let servers = [("A", origin.addr(), "")];
        let mut config = config(json!({"web": fixed(front, "http", &lines, &servers)}));
        config["workers"] = json!(1);
        let _synapse = lab.synapse(config).await;
        let oracle = Oracle::start(&lab, "http", &lines, &servers).await;
        assert_eq!(connections(oracle.addr, &origin).await, expected, "{mode}: the oracle");
        assert_eq!(connections(front, &origin).await, expected, "{mode}");
    }
}

#[tokio::test]
async fn a_clients_own_connections_end_with_it() {
    let lab = Lab::new().await;
    let origin = lab.origin("A").await;
    let front = lab.free_addr();
    let service = fixed(front, "http", &["http-reuse never"], &[("A", origin.addr(), "")]);
    let _synapse = lab.synapse(config(json!({"web": service}))).await;
    let mut conn = Conn::open(front).await.expect("connect");
    conn.get("/").await.expect("answer");
    always("it is kept", Duration::from_millis(200), || async { open(&origin, 1) }).await;
    drop(conn);
    eventually("it is closed", AT_ONCE, || async { open(&origin, 0) }).await;
}

fn open(origin: &Origin, count: usize) -> Result<(), usize> {
    let open = origin.open_connections();
    if open == count { Ok(()) } else { Err(open) }
}

/// Two backends with an idle connection each.
async fn used(front: SocketAddr, origins: [&Origin; 2]) -> Conn {
    let mut conn = Conn::open(front).await.expect("connect");
    for _ in 0..4 {
        conn.get("/").await.expect("answer");
    }
    for origin in origins {
        assert_eq!(open(origin, 1), Ok(()));
    }
    conn
}

#[tokio::test]
async fn idle_connections_to_a_backend_that_is_down_are_closed() {
    let lab = Lab::new().await;
    let (a, b) = (lab.origin("A").await, lab.origin("B").await);
    let front = lab.free_addr();
    let check = "check inter 100ms fall 1 rise 1";
    let servers = [("A", a.addr(), check), ("B", b.addr(), check)];
    let service = fixed(front, "http", &["option httpchk GET /ping"], &servers);
    let mut config = config(json!({"web": service}));
    config["workers"] = json!(1);
    let _synapse = lab.synapse(config).await;
    let _client = used(front, [&a, &b]).await;
    a.set_check_status(503);
    eventually("those to A are closed", AT_ONCE, || async { open(&a, 0) }).await;
    assert_eq!(open(&b, 1), Ok(()), "those to B are not");
}

#[tokio::test]
async fn idle_connections_to_a_backend_that_has_gone_are_closed() {
    let lab = Lab::new().await;
    let (a, b) = (lab.origin("A").await, lab.origin("B").await);
    let front = lab.free_addr();
    let with = |servers: &[(&str, SocketAddr, &str)]| {
        let mut config = config(json!({"web": fixed(front, "http", &[], servers)}));
        config["workers"] = json!(1);
        config
    };
    let both = [("A", a.addr(), ""), ("B", b.addr(), "")];
    let synapse = lab.synapse(with(&both)).await;
    let _client = used(front, [&a, &b]).await;
    synapse.rewrite(&lab, with(&both[1..]));
    assert!(synapse.reload().await);
    eventually("those to A are closed", AT_ONCE, || async { open(&a, 0) }).await;
    assert_eq!(open(&b, 1), Ok(()), "those to B are not");
}

/// What a client hears that finishes sending while it waits.
async fn half_closed(front: SocketAddr, origin: &Origin, is_abort: bool) -> String {
    let mut stream = TcpStream::connect(front).await.expect("connect");
    stream.write_all(b"GET /hold HTTP/1.1\r\nHost: h\r\n\r\n").await.expect("send");
    eventually("it is asked", PATIENCE, || async {
        if origin.held() == 1 { Ok(()) } else { Err(origin.held()) }
    })
    .await;
    stream.shutdown().await.expect("shutdown");
    let mut said = Vec::new();
    if is_abort {
        let end = timeout(PATIENCE, stream.read_to_end(&mut said)).await;
        end.expect("nobody waits for the backend").expect("a clean end");
        origin.release(1);
    } else {
        let early = timeout(Duration::from_millis(200), stream.read_to_end(&mut said)).await;
        assert!(early.is_err(), "ended before its answer");
        origin.release(1);
        timeout(PATIENCE, stream.read_to_end(&mut said)).await.expect("an end").expect("clean");
    }
    let said = String::from_utf8(said).expect("text");
    said.lines().next().expect("an answer").to_owned()
}

#[tokio::test]
async fn a_client_that_finishes_sending_has_given_up_only_with_abortonclose() {
    for (lines, expected) in
        [(&[][..], "HTTP/1.1 200 "), (&["option abortonclose"][..], "HTTP/1.1 400 Bad request")]
    {
        let lab = Lab::new().await;
        let (origin, other) = (lab.origin("A").await, lab.origin("B").await);
        let front = lab.free_addr();
        let service = fixed(front, "http", lines, &[("A", origin.addr(), "")]);
        let _synapse = lab.synapse(config(json!({"web": service}))).await;
        let oracle = Oracle::start(&lab, "http", lines, &[("B", other.addr(), "")]).await;
        let is_abort = !lines.is_empty();
        let theirs = half_closed(oracle.addr, &other, is_abort).await;
        assert!(theirs.starts_with(expected), "the oracle: {theirs}");
        let ours = half_closed(front, &origin, is_abort).await;
        assert!(ours.starts_with(expected), "{ours}");
    }
}
