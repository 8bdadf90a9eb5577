//! HTTP/1.1 through the proxy.

mod errors;

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::json;

use crate::support::client::{Conn, get, sequence};
use crate::support::lab::Lab;
use crate::support::origin::Origin;
use crate::support::synapse::{Synapse, config, fixed};
use crate::support::wait::eventually;

/// One origin behind one service.
struct Front {
    addr: SocketAddr,
    origin: Origin,
    _synapse: Synapse,
}

impl Front {
    async fn new(lab: &Lab, lines: &[&str]) -> Self {
        let origin = lab.origin("A").await;
        let addr = lab.free_addr();
        let service = fixed(addr, "http", lines, &[("A", origin.addr(), "")]);
        let synapse = lab.synapse(config(json!({"web": service}))).await;
        Self { addr, origin, _synapse: synapse }
    }
}

#[tokio::test]
async fn connections_are_kept_on_both_sides() {
    let lab = Lab::new().await;
    let front = Front::new(&lab, &[]).await;
    let mut conn = Conn::open(front.addr).await.expect("connect");
    for _ in 0..10 {
        assert_eq!(conn.get("/").await.expect("answer").text(), "A");
        assert!(conn.is_reusable());
    }
    assert_eq!((front.origin.requests(), front.origin.connections()), (10, 1));
}

#[tokio::test]
async fn upstream_connections_are_shared_by_clients_of_a_worker() {
    let lab = Lab::new().await;
    let origin = lab.origin("A").await;
    let addr = lab.free_addr();
    let mut config = config(json!({"web": fixed(addr, "http", &[], &[("A", origin.addr(), "")])}));
    config["workers"] = json!(1);
    let _synapse = lab.synapse(config).await;
    assert_eq!(sequence(addr, 20).await, "A".repeat(20));
    assert!(origin.connections() < 20, "{} for 20 clients", origin.connections());
}

#[tokio::test]
async fn server_close_opens_an_upstream_connection_per_request() {
    let lab = Lab::new().await;
    let front = Front::new(&lab, &["option http-server-close"]).await;
    let mut conn = Conn::open(front.addr).await.expect("connect");
    for _ in 0..3 {
        conn.get("/").await.expect("answer");
    }
    assert_eq!(front.origin.connections(), 3);
    assert!(conn.is_reusable());
}

#[tokio::test]
async fn httpclose_closes_the_client_too() {
    for line in ["option httpclose", "option forceclose"] {
        let lab = Lab::new().await;
        let front = Front::new(&lab, &[line]).await;
        let mut conn = Conn::open(front.addr).await.expect("connect");
        let answer = conn.get("/").await.expect("answer");
        assert_eq!(answer.header("connection"), Some("close"), "{line}");
        assert!(!conn.is_reusable());
    }
}

#[tokio::test]
async fn forwardfor_appends_a_line_and_trusts_nobody() {
    let lab = Lab::new().await;
    let front = Front::new(&lab, &["option forwardfor"]).await;
    let mut conn = Conn::open(front.addr).await.expect("connect");
    let request = b"GET /head HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 203.0.113.9\r\n\r\n";
    let seen = conn.exchange("GET", request).await.expect("answer").text().to_ascii_lowercase();
    let lines: Vec<&str> =
        seen.lines().filter(|line| line.starts_with("x-forwarded-for:")).collect();
    // The kernel's source address for all of 127/8.
    assert_eq!(lines, ["x-forwarded-for: 203.0.113.9", "x-forwarded-for: 127.0.0.1"], "{seen}");
}

#[tokio::test]
async fn without_forwardfor_nothing_is_added() {
    let lab = Lab::new().await;
    let front = Front::new(&lab, &[]).await;
    let seen = get(front.addr, "/head").await.expect("answer").text().to_ascii_lowercase();
    assert!(!seen.contains("x-forwarded-for"), "{seen}");
    assert!(seen.contains(&format!("host: {}", front.addr)), "{seen}");
}

#[tokio::test]
async fn hop_by_hop_headers_stay_here() {
    let lab = Lab::new().await;
    let front = Front::new(&lab, &[]).await;
    let mut conn = Conn::open(front.addr).await.expect("connect");
    let request = b"GET /head HTTP/1.1\r\nHost: x\r\nConnection: keep-alive, X-Private\r\n\
                    X-Private: 1\r\nKeep-Alive: timeout=5\r\nX-Public: 2\r\n\r\n";
    let seen = conn.exchange("GET", request).await.expect("answer").text().to_ascii_lowercase();
    assert!(seen.contains("x-public: 2"), "{seen}");
    for gone in ["x-private: 1", "keep-alive: timeout"] {
        assert!(!seen.contains(gone), "{gone} in {seen}");
    }
}

#[tokio::test]
async fn a_websocket_becomes_a_tunnel() {
    let lab = Lab::new().await;
    let front = Front::new(&lab, &[]).await;
    let mut conn = Conn::open(front.addr).await.expect("connect");
    let request = b"GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    conn.send(request).await.expect("send");
    let head = conn.head().await.expect("an answer");
    assert_eq!(head.status, 101);
    assert_eq!(head.header("upgrade").map(str::to_ascii_lowercase).as_deref(), Some("websocket"));
    assert_eq!(head.header("sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    for message in ["one", "two, longer", "\u{0}binary\u{1}"] {
        conn.send(message.as_bytes()).await.expect("send");
        let back = conn.exactly(message.len()).await.expect("echo");
        assert_eq!(back, message.as_bytes());
    }
    drop(conn);
    eventually("the tunnel is closed upstream", Duration::from_secs(5), || async {
        match front.origin.open_connections() {
            0 => Ok(()),
            n => Err(n),
        }
    })
    .await;
}

#[tokio::test]
async fn bodies_stream_both_ways_at_the_same_time() {
    let lab = Lab::new().await;
    let front = Front::new(&lab, &[]).await;
    let mut conn = Conn::open(front.addr).await.expect("connect");
    conn.send(b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        .await
        .expect("send");
    conn.send(b"5\r\nfirst\r\n").await.expect("send");
    assert_eq!(conn.head().await.expect("head before the end of the body").status, 200);
    assert_eq!(conn.chunk().await.expect("chunk").as_deref(), Some(b"first".as_slice()));
    conn.send(b"6\r\nsecond\r\n").await.expect("send");
    assert_eq!(conn.chunk().await.expect("chunk").as_deref(), Some(b"second".as_slice()));
    conn.send(b"0\r\n\r\n").await.expect("send");
    assert_eq!(conn.chunk().await.expect("end"), None);
    assert_eq!(conn.get("/").await.expect("the connection goes on").text(), "A");
}

#[tokio::test]
async fn a_megabyte_goes_up_and_comes_back() {
    let lab = Lab::new().await;
    let front = Front::new(&lab, &[]).await;
    let body: Vec<u8> =
        (0..1_000_000_u32).map(|i| i.to_le_bytes()[0] ^ i.to_le_bytes()[1]).collect();
    let addr = front.addr;
    let request = body.clone();
    let mut conn = Conn::open(addr).await.expect("connect");
    let head = format!("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n", body.len());
    conn.send(head.as_bytes()).await.expect("send");
    let mut back = Vec::new();
    // Pieces small enough for the socket buffers, so that one task can do both sides.
    for piece in request.chunks(16_384) {
        conn.send(piece).await.expect("send");
        if back.is_empty() {
            assert_eq!(conn.head().await.expect("head").status, 200);
        }
        let due = back.len() + piece.len();
        while back.len() < due {
            back.extend(conn.chunk().await.expect("chunk").expect("not the end"));
        }
    }
    assert_eq!(conn.chunk().await.expect("end"), None);
    assert!(back == body, "the bytes changed on the way");
    let large = get(addr, "/sized/3000000").await.expect("answer");
    assert_eq!(large.body.len(), 3_000_000);
}

#[tokio::test]
async fn expect_100_continue_is_honoured() {
    let lab = Lab::new().await;
    let front = Front::new(&lab, &[]).await;
    let mut conn = Conn::open(front.addr).await.expect("connect");
    let head =
        b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n";
    conn.send(head).await.expect("send");
    let first = tokio::time::timeout(Duration::from_secs(5), conn.head()).await;
    assert_eq!(first.expect("100 before the body").expect("head").status, 100);
    conn.send(b"body").await.expect("send");
    let answer = conn.response("POST").await.expect("answer");
    assert_eq!((answer.status, answer.text().as_str()), (200, "body"));
}

#[tokio::test]
async fn head_has_a_length_and_no_body() {
    let lab = Lab::new().await;
    let front = Front::new(&lab, &[]).await;
    let mut conn = Conn::open(front.addr).await.expect("connect");
    let request = b"HEAD /sized/1234 HTTP/1.1\r\nHost: x\r\n\r\n";
    let answer = conn.exchange("HEAD", request).await.expect("answer");
    assert_eq!((answer.status, answer.header("content-length")), (200, Some("1234")));
    assert_eq!(conn.get("/").await.expect("in step").text(), "A");
}

#[tokio::test]
async fn statuses_pass_unchanged() {
    let lab = Lab::new().await;
    let front = Front::new(&lab, &[]).await;
    let mut conn = Conn::open(front.addr).await.expect("connect");
    for status in [201_u16, 302, 404, 418, 500, 503] {
        let answer = conn.get(&format!("/status/{status}")).await.expect("answer");
        assert_eq!((answer.status, answer.text().as_str()), (status, "A"));
    }
}

#[tokio::test]
async fn http10_answers_without_a_length_are_complete() {
    let lab = Lab::new().await;
    let front = Front::new(&lab, &[]).await;
    assert_eq!(get(front.addr, "/http10").await.expect("answer").text(), "A");
}

#[tokio::test]
async fn the_client_is_told_to_close_when_it_asks() {
    let lab = Lab::new().await;
    let front = Front::new(&lab, &[]).await;
    let mut conn = Conn::open(front.addr).await.expect("connect");
    let request = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    assert_eq!(conn.exchange("GET", request).await.expect("answer").text(), "A");
    let mut rest = Vec::new();
    assert_eq!(conn.read_rest(&mut rest).await.expect("FIN"), 0);
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let lab = Lab::new().await;
    let front = Front::new(&lab, &[]).await;
    let mut conn = Conn::open(front.addr).await.expect("connect");
    let requests: String = ["/status/201", "/status/202", "/status/203"]
        .map(|path| format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n"))
        .concat();
    conn.send(requests.as_bytes()).await.expect("send");
    for status in [201, 202, 203] {
        assert_eq!(conn.response("GET").await.expect("answer").status, status);
    }
}

#[tokio::test]
async fn an_idle_client_is_closed_after_its_timeout() {
    let lab = Lab::new().await;
    let front = Front::new(&lab, &["timeout client 400ms"]).await;
    let mut conn = Conn::open(front.addr).await.expect("connect");
    conn.get("/").await.expect("answer");
    eventually("the client is closed", Duration::from_secs(5), || async {
        if conn.is_reusable() { Err("open") } else { Ok(()) }
    })
    .await;
}
