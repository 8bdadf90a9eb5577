//! Cases that are about size, silence and ends instead of single bytes.

use std::time::Duration;

use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::origin::Origin;
use super::{LINES, Reader, all, run};
use crate::support::lab::Lab;
use crate::support::synapse::{Synapse, config, fixed};
use crate::support::wait::eventually;

struct Rig {
    synapse: Synapse,
    origin: Origin,
    front: std::net::SocketAddr,
    _lab: Lab,
}

async fn rig() -> Rig {
    let lab = Lab::new().await;
    let origin = Origin::start(&lab).await;
    let front = lab.free_addr();
    let servers = [("a", origin.addr, "")];
    let synapse = lab.synapse(config(json!({"web": fixed(front, "http", LINES, &servers)}))).await;
    Rig { synapse, origin, front, _lab: lab }
}

async fn send(rig: &Rig, bytes: &str) -> Reader {
    let mut stream = TcpStream::connect(rig.front).await.expect("connect");
    stream.write_all(bytes.as_bytes()).await.expect("send");
    Reader { stream, bytes: Vec::new() }
}

/// B15 to B18: 101 headers and 15,360 bytes, as haproxy.
#[tokio::test]
async fn heads_are_bounded() {
    let rig = rig().await;
    let many =
        |count: usize| format!("GET / HTTP/1.1\r\nHost: h\r\n{}\r\n", "X: y\r\n".repeat(count));
    let big =
        |bytes: usize| format!("GET / HTTP/1.1\r\nHost: h\r\nX: {}\r\n\r\n", "y".repeat(bytes));
    let long = format!("GET /{} HTTP/1.1\r\nHost: h\r\n\r\n", "y".repeat(20_000));
    for (request, status) in [
        (many(100), "200"),
        (many(200), "431"),
        (big(12_000), "200"),
        (big(20_000), "431"),
        (long, "414"),
    ] {
        let answer = send(&rig, &request).await.answer(false).await;
        assert_eq!(answer.as_deref(), Some(status), "{} bytes", request.len());
    }
}

/// G01, G02, G04: who does not send a request is told so and closed; who does not send another is just closed.
#[tokio::test]
async fn silence_ends_connections() {
    let rig = rig().await;
    for start in ["", "GET / HTTP/1.1\r\nHo"] {
        let begun = Instant::now();
        let mut client = send(&rig, start).await;
        assert_eq!(client.answer(false).await.as_deref(), Some("408"));
        assert_eq!(client.answer(false).await, None);
        let took = begun.elapsed();
        assert!(took >= Duration::from_secs(2) && took < Duration::from_secs(4), "{took:?}");
    }
    let mut idle = send(&rig, "GET / HTTP/1.1\r\nHost: h\r\n\r\n").await;
    assert_eq!(idle.answer(false).await.as_deref(), Some("200"));
    assert_eq!(idle.answer(false).await, None, "nothing is said to an idle client");
}

/// C34, G05: a body that ends or stalls is no request; the origin's connection goes with it.
#[tokio::test]
async fn half_a_body_is_no_request() {
    let rig = rig().await;
    let half = "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nhello";
    let mut ended = send(&rig, half).await;
    ended.stream.shutdown().await.expect("shutdown");
    assert_eq!(ended.answer(false).await, None);
    let mut stalled = send(&rig, half).await;
    assert_eq!(stalled.answer(false).await.as_deref(), Some("408"));
    assert_eq!(stalled.answer(false).await, None);
    assert!(rig.origin.requests().is_empty());
}

/// E13: a client that has finished sending still gets its answer.
#[tokio::test]
async fn half_close_is_not_an_abort() {
    let rig = rig().await;
    let mut client = send(&rig, "GET / HTTP/1.1\r\nHost: h\r\n\r\n").await;
    client.stream.shutdown().await.expect("shutdown");
    assert_eq!(client.answer(false).await.as_deref(), Some("200"));
    assert_eq!(client.answer(false).await, None);
}

/// Slowloris: heads that never end cost little, and the limit on their time ends them.
#[tokio::test]
async fn unfinished_heads_cost_little() {
    const CLIENTS: usize = 200;
    let rig = rig().await;
    run(rig.front, all().next().expect("a case")).await;
    let before = resident(rig.synapse.pid());
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        let head = format!("GET / HTTP/1.1\r\nHost: h\r\nX: {}", "y".repeat(1000));
        clients.push(send(&rig, &head).await);
    }
    let each = resident(rig.synapse.pid()).saturating_sub(before) * 1024 / CLIENTS;
    assert!(each < 16 * 1024, "{each} bytes per unfinished head");
    for client in &mut clients {
        assert_eq!(client.answer(false).await.as_deref(), Some("408"));
    }
}

/// A client that never reads holds what its kernel and ours take, and no more.
#[tokio::test]
async fn requests_without_reading_are_not_hoarded() {
    let rig = rig().await;
    run(rig.front, all().next().expect("a case")).await;
    let before = resident(rig.synapse.pid());
    let stream = TcpStream::connect(rig.front).await.expect("connect");
    let request = "GET / HTTP/1.1\r\nHost: h\r\n\r\n".repeat(1000);
    // Until neither the proxy nor the kernels on the way take more.
    let mut sent = 0;
    while sent < 100_000_000 {
        let patience = Duration::from_millis(500);
        match tokio::time::timeout(patience, stream.writable()).await {
            Ok(Ok(())) => sent += stream.try_write(request.as_bytes()).unwrap_or(0),
            _ => break,
        }
    }
    let more = resident(rig.synapse.pid()).saturating_sub(before);
    assert!(more < 4096, "{more} kB for {sent} bytes of requests");
    drop(stream);
    eventually("it serves", Duration::from_secs(5), || async {
        let seen = run(rig.front, all().next().expect("a case")).await;
        if seen.statuses == "200" { Ok(()) } else { Err(seen.statuses) }
    })
    .await;
}

/// Resident memory in kB.
fn resident(pid: u32) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("running");
    let line = status.lines().find(|l| l.starts_with("VmRSS:")).expect("VmRSS");
    line.split_whitespace().nth(1).expect("a number").parse().expect("a number")
}
