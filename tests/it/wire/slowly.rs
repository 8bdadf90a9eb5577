//! Cases that are about size, silence and ends instead of single bytes.

use std::time::Duration;

use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::origin::Origin;
use super::{LINES, PATIENCE, Reader, all, run};
use crate::support::lab::Lab;
use crate::support::memory;
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

/// The three forms of Slowloris: so many clients that send or read as slowly as they like.
const SLOW: u64 = 200;
/// So many that do not read: the kernels on their way hold megabytes for each.
const STOPPED: u64 = 40;

/// What they cost each, once all of them have gone as far as `opened` says.
async fn cost_each(
    rig: &Rig,
    count: u64,
    mut opened: impl AsyncFnMut(&Rig) -> Reader,
) -> (u64, Vec<Reader>) {
    run(rig.front, all().next().expect("a case")).await;
    let before = memory::resident(rig.synapse.pid());
    let mut clients = Vec::new();
    for _ in 0..count {
        clients.push(opened(rig).await);
    }
    eventually("all are open", PATIENCE, || async {
        let opened = rig.synapse.sample("synapse_connections_total").await;
        if opened > count as f64 { Ok(()) } else { Err(opened) }
    })
    .await;
    (memory::resident(rig.synapse.pid()).saturating_sub(before) / count, clients)
}

/// Heads that never end: bounded by their size, and by `timeout http-request`.
#[tokio::test]
async fn unfinished_heads_cost_little() {
    let rig = rig().await;
    let (each, mut clients) = cost_each(&rig, SLOW, async |rig| {
        let head = format!("GET / HTTP/1.1\r\nHost: h\r\nX: {}", "y".repeat(1000));
        send(rig, &head).await
    })
    .await;
    println!("{each} bytes per unfinished head");
    assert!(each < 16 * 1024, "{each} bytes per unfinished head");
    for client in &mut clients {
        assert_eq!(client.answer(false).await.as_deref(), Some("408"));
    }
}

/// Bodies that never end are passed on as they come: what has come is not kept.
#[tokio::test]
async fn dripping_bodies_cost_little() {
    let rig = rig().await;
    let (each, mut clients) = cost_each(&rig, SLOW, async |rig| {
        let head = "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10000000\r\n\r\n";
        send(rig, head).await
    })
    .await;
    for _ in 0..4 {
        for client in &mut clients {
            client.stream.write_all(&[b'y'; 5000]).await.expect("it is still wanted");
        }
    }
    eventually("all is passed on", PATIENCE, || async {
        let heard = u64::try_from(rig.origin.bytes()).expect("small");
        if heard >= SLOW * 20_000 { Ok(()) } else { Err(heard) }
    })
    .await;
    let before = memory::resident(rig.synapse.pid());
    println!("{each} bytes per unfinished body");
    assert!(each < 16 * 1024, "{each} bytes per unfinished body");
    for client in &mut clients {
        client.stream.write_all(b"y").await.expect("it is still wanted");
    }
    let more = memory::resident(rig.synapse.pid()).saturating_sub(before) / SLOW;
    assert!(more < 1024, "{more} bytes more with another byte");
    for client in &mut clients {
        assert_eq!(client.answer(false).await.as_deref(), Some("408"), "silent for too long");
    }
    assert!(rig.origin.requests().iter().all(|r| r.starts_with("GET /")), "no body was whole");
}

/// Answers that are not read: besides what the kernel holds no more than was read at once, until `timeout client`.
#[tokio::test]
async fn stopped_readers_cost_little() {
    let rig = rig().await;
    run(rig.front, all().next().expect("a case")).await;
    let before = memory::resident(rig.synapse.pid());
    memory::forget_peak(rig.synapse.pid());
    let (_, clients) = cost_each(&rig, STOPPED, async |rig| {
        send(rig, "GET /F-large HTTP/1.1\r\nHost: h\r\n\r\n").await
    })
    .await;
    eventually("their time is up", PATIENCE * 2, || async {
        let open = rig.synapse.sample("synapse_connections_open").await;
        if open < 1.0 { Ok(()) } else { Err(open) }
    })
    .await;
    let each = memory::peak(rig.synapse.pid()).saturating_sub(before) / STOPPED;
    println!("{each} bytes per stopped reader");
    assert!(each < 300 * 1024, "{each} bytes per stopped reader");
    drop(clients);
    let seen = run(rig.front, all().next().expect("a case")).await;
    assert_eq!(seen.statuses, "200");
}

/// A client that never reads holds what its kernel and ours take, and no more.
#[tokio::test]
async fn requests_without_reading_are_not_hoarded() {
    let rig = rig().await;
    run(rig.front, all().next().expect("a case")).await;
    let before = memory::resident(rig.synapse.pid());
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
    let more = memory::resident(rig.synapse.pid()).saturating_sub(before) >> 10;
    assert!(more < 4096, "{more} kB for {sent} bytes of requests");
    drop(stream);
    eventually("it serves", Duration::from_secs(5), || async {
        let seen = run(rig.front, all().next().expect("a case")).await;
        if seen.statuses == "200" { Ok(()) } else { Err(seen.statuses) }
    })
    .await;
}
