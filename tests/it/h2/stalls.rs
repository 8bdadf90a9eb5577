//! Who stands still, who gives up and what is cut: nobody else suffers, and nothing is kept.

use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use hyper::Request;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use super::origin::{self, ask, collect, connect, post};
use super::raw::{
    DATA, END_HEADERS, END_STREAM, HEADERS, RST_STREAM, Raw, WINDOW_UPDATE, fields, frame, request,
};
use super::web::{web, web_with, web2};
use crate::support::lab::Lab;
use crate::support::synapse::{config, fixed};
use crate::support::wait::eventually;

pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// All that an HTTP/1 client hears until its connection ends.
async fn heard(front: SocketAddr, said: &[u8]) -> String {
    let mut stream = TcpStream::connect(front).await.expect("connect");
    stream.write_all(said).await.expect("sent");
    let mut all = Vec::new();
    // How it ends is not asked.
    let end = timeout(PATIENCE, stream.read_to_end(&mut all)).await;
    drop(end.unwrap_or_else(|_| panic!("no end after {:?}", String::from_utf8_lossy(&all))));
    String::from_utf8_lossy(&all).into_owned()
}

#[tokio::test]
async fn an_answer_that_stalls_ends_for_http1_clients_too() {
    let lab = Lab::new().await;
    let web = web2(&lab, &["timeout server 400ms", "timeout client 60s"]).await;
    let answer = heard(web.front, b"GET /stall HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(!answer.ends_with("0\r\n\r\n"), "a part is no whole: {answer}");
}

#[tokio::test]
async fn a_body_nobody_waits_for_any_more_has_the_clients_time_out() {
    let lab = Lab::new().await;
    let web = web2(&lab, &["timeout server 60s", "timeout client 400ms"]).await;
    let half = b"POST /early HTTP/1.1\r\nhost: a\r\ncontent-length: 100\r\n\r\nhalf of it";
    let answer = heard(web.front, half).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

/// As with HTTP/1: then the server's counts.
#[tokio::test]
async fn an_upload_that_stalls_without_a_time_out_of_its_client_ends() {
    let lab = Lab::new().await;
    let web = web2(&lab, &["timeout server 400ms", "timeout client 0"]).await;
    let half = b"POST /unary HTTP/1.1\r\nhost: a\r\ncontent-length: 100\r\n\r\nhalf of it";
    let answer = heard(web.front, half).await;
    assert!(answer.starts_with("HTTP/1.1 504"), "{answer}");
    let mut raw = Raw::open(web.front).await;
    raw.send(&asks("POST", "/unary", 0, 1)).await;
    while raw.next().await.expect("the connection lasts").stream != 1 {}
}

/// An address that takes no connection and refuses none: its queue is full.
async fn nowhere(lab: &Lab) -> (SocketAddr, Vec<TcpStream>, TcpListener) {
    let socket = TcpSocket::new_v4().expect("socket");
    socket.bind(lab.free_addr()).expect("bind");
    let listener = socket.listen(1).expect("listen");
    let addr = listener.local_addr().expect("bound");
    let mut queued = Vec::new();
    while let Ok(stream) = timeout(Duration::from_millis(200), TcpStream::connect(addr)).await {
        queued.push(stream.expect("connect"));
    }
    (addr, queued, listener)
}

#[tokio::test]
async fn a_backend_that_takes_no_connection_delays_each_request_by_itself() {
    const CALLS: usize = 40;
    let lab = Lab::new().await;
    let backend = origin::start("B", lab.free_addr()).await;
    let (addr, _queued, _listener) = nowhere(&lab).await;
    let front = lab.free_addr();
    let lines = ["timeout connect 300ms", "retries 3", "option redispatch 1"];
    let servers = [("A", addr, "proto h2"), ("B", backend.addr, "proto h2")];
    let service = fixed(front, "http", &lines, &servers);
    let _synapse = lab.synapse(config(json!({"it": service}))).await;
    let sender = connect(front).await;
    let begun = Instant::now();
    let mut calls = JoinSet::new();
    for _ in 0..CALLS {
        let sender = sender.clone();
        calls.spawn(async move { ask(&sender, "/unary", b"x").await.expect("an answer").status });
    }
    let mut served = 0;
    while let Some(status) = calls.join_next().await {
        served += usize::from(status.expect("joined") == 200);
    }
    assert!(served > CALLS / 2, "{served}");
    // One after the other the half of them would take six.
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
}

/// HEADERS of a request for `path` on `stream`.
fn asks(method: &'static str, path: &'static str, flags: u8, stream: u32) -> Vec<u8> {
    let mut all = request(method);
    all.retain(|field| field.0 != ":path");
    all.push((":path", path.as_bytes()));
    frame(HEADERS, flags | END_HEADERS, stream, &fields(&all))
}

/// `INITIAL_WINDOW_SIZE`: 1 MB.
const WINDOW: (u16, u32) = (4, 1 << 20);

/// A client that takes all it can get: its window is 1 GB.
async fn wide(mut raw: Raw) -> Raw {
    raw.send(&frame(WINDOW_UPDATE, 0, 0, &(1_u32 << 30).to_be_bytes())).await;
    raw
}

#[tokio::test]
async fn calls_given_up_by_the_hundred_end_no_other() {
    const AT_ONCE: u32 = 90;
    let lab = Lab::new().await;
    let web = web2(&lab, &[]).await;
    let mut raw = wide(Raw::open_with(web.front, &[WINDOW]).await).await;
    raw.send(&asks("GET", "/hold", END_STREAM, 1)).await;
    let mut stream = 1;
    for _round in 0..30 {
        let streams: Vec<u32> = (1..=AT_ONCE).map(|n| stream + 2 * n).collect();
        stream += 2 * AT_ONCE;
        let asked: Vec<u8> =
            streams.iter().flat_map(|id| asks("GET", "/flood/20", END_STREAM, *id)).collect();
        raw.send(&asked).await;
        let mut begun = 0;
        while begun < AT_ONCE {
            let frame = raw.next().await.expect("the connection lasts");
            assert!(frame.stream != 1, "the call beside them ended: {frame:?}");
            begun += u32::from(frame.kind == HEADERS && frame.stream == streams[begun as usize]);
        }
        let given_up = |id: &u32| frame(RST_STREAM, 0, *id, &8_u32.to_be_bytes());
        raw.send(&streams.iter().flat_map(given_up).collect::<Vec<u8>>()).await;
    }
    raw.send(&asks("POST", "/unary", END_STREAM, stream + 2)).await;
    loop {
        let frame = raw.next().await.expect("the connection lasts");
        assert!(frame.stream != 1, "the call beside them ended: {frame:?}");
        if frame.stream == stream + 2 && frame.flags & END_STREAM != 0 {
            break;
        }
    }
    assert_eq!(web.server.seen.connections.load(Ordering::SeqCst), 1, "over one connection");
}

#[tokio::test]
async fn a_slow_reader_gets_all_that_was_answered() {
    const STREAMS: u32 = 100;
    const BYTES: usize = 60_000;
    let lab = Lab::new().await;
    let lines = ["timeout http-keep-alive 200ms", "timeout client 10s"];
    let web = web_with(&lab, &lines, |_| {}).await;
    let mut raw = wide(Raw::open_narrow(web.front, &[WINDOW]).await).await;
    let asked = (0..STREAMS).flat_map(|n| asks("GET", "/sized/60000", END_STREAM, 2 * n + 1));
    raw.send(&asked.collect::<Vec<u8>>()).await;
    eventually("all are asked for", PATIENCE, || async {
        let asked = web.server.requests();
        if asked == STREAMS as usize { Ok(()) } else { Err(asked) }
    })
    .await;
    // It does something else for much longer than a connection may be idle: others are closed meanwhile.
    for _ in 0..3 {
        let mut idle = Raw::open(web.front).await;
        idle.send(&asks("GET", "/x", END_STREAM, 1)).await;
        while idle.next().await.is_some() {}
    }
    let (mut bytes, mut ended) = (0, 0);
    while let Some(frame) = raw.next().await {
        if frame.kind == DATA {
            bytes += frame.payload.len();
            ended += u32::from(frame.flags & END_STREAM != 0);
        }
    }
    assert_eq!((bytes, ended), (BYTES * STREAMS as usize, STREAMS));
}

#[tokio::test]
async fn a_get_keeps_its_body() {
    let lab = Lab::new().await;
    let web = web(&lab).await;
    let mut sender = connect(web.front).await.ready().await.expect("ready");
    let get = Request::get("http://test.example/echo").body(()).expect("request");
    let (response, mut send) = sender.send_request(get, false).expect("sent");
    send.send_data(Bytes::from_static(b"{\"query\":1}"), true).expect("sent");
    let mut body = response.await.expect("an answer").into_body();
    assert_eq!(collect(&mut body).await.expect("whole").0, b"{\"query\":1}");
}

#[tokio::test]
async fn what_an_answer_says_of_its_connection_goes_no_further() {
    const ANSWER: &[u8] =
        b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\ntransfer-encoding: chunked\r\nte: gzip\r\n\r\n\
        5\r\nhello\r\n0\r\nconnection: x-hop\r\nte: gzip\r\nx-sum: 1\r\n\r\n";
    let lab = Lab::new().await;
    let listener = TcpListener::bind(lab.free_addr()).await.expect("bind");
    let addr = listener.local_addr().expect("bound");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut head = [0; 4096];
                while stream.read(&mut head).await.is_ok_and(|n| n > 0) {
                    stream.write_all(ANSWER).await.expect("sent");
                }
            });
        }
    });
    let front = lab.free_addr();
    let service = fixed(front, "http", &[], &[("A", addr, "")]);
    let _synapse = lab.synapse(config(json!({"it": service}))).await;
    let mut sender = connect(front).await.ready().await.expect("ready");
    let (response, _) = sender.send_request(post("/x"), true).expect("sent");
    let (head, mut body) = response.await.expect("an answer").into_parts();
    assert!(!head.headers.contains_key("content-length"), "{head:?}");
    assert!(!head.headers.contains_key("te"), "{head:?}");
    let (all, trailers) = collect(&mut body).await.expect("whole");
    assert_eq!(all, b"hello");
    assert_eq!(trailers.keys().collect::<Vec<_>>(), ["x-sum"]);
}

/// Says a POST of which only a part comes; what is answered, and when.
async fn half_a_post(front: SocketAddr, path: &'static str) -> (u16, Duration) {
    let begun = Instant::now();
    let mut sender = connect(front).await.ready().await.expect("ready");
    let (response, mut send) = sender.send_request(post(path), false).expect("sent");
    send.send_data(Bytes::from_static(b"half of it"), false).expect("sent");
    let answer = timeout(PATIENCE, response).await.expect("in time").expect("an answer");
    (answer.status().as_u16(), begun.elapsed())
}

/// Whoever reads the body: hyper's task for a backend of HTTP/1, the stream's own for one of HTTP/2.
#[tokio::test]
async fn a_client_that_stalls_its_upload_has_the_clients_time_out() {
    let lab = Lab::new().await;
    let (first, second) = (lab.origin("A").await, origin::start("B", lab.free_addr()).await);
    let (one, two) = (lab.free_addr(), lab.free_addr());
    let lines = ["timeout client 400ms", "timeout server 60s"];
    let services = json!({
        "one": fixed(one, "http", &lines, &[("A", first.addr(), "")]),
        "two": fixed(two, "http", &lines, &[("B", second.addr, "proto h2")]),
    });
    let mut config = config(services);
    config["workers"] = json!(1);
    let _synapse = lab.synapse(config).await;
    for front in [one, two] {
        // It begins no answer before the body has come.
        let (status, took) = half_a_post(front, "/collect").await;
        assert_eq!(status, 408);
        assert!(took < PATIENCE / 2, "{took:?}");
    }
    // The client's fault: the connection to the backend serves others.
    let got = ask(&connect(two).await, "/unary", b"x").await.expect("an answer");
    assert_eq!(got.status, 200);
    assert_eq!(second.seen.connections.load(Ordering::SeqCst), 1);
}

/// Small messages that a stalled backend does not take fill the windows of their streams, and end nothing.
#[tokio::test]
async fn many_small_messages_for_a_stalled_backend_end_no_connection() {
    const CALLS: u32 = 15;
    const MESSAGES: usize = 3000;
    let lab = Lab::new().await;
    let web = web2(&lab, &[]).await;
    let mut raw = Raw::open(web.front).await;
    for call in 0..CALLS {
        let stream = 2 * call + 1;
        let messages = frame(DATA, 0, stream, &[b'm'; 20]).repeat(MESSAGES);
        raw.send(&[asks("POST", "/hold", 0, stream), messages].concat()).await;
    }
    let last = 2 * CALLS + 1;
    raw.send(&asks("GET", "/unary", END_STREAM, last)).await;
    loop {
        let frame = raw.next().await.expect("the connection lasts");
        assert!(frame.kind != RST_STREAM, "{frame:?}");
        if frame.stream == last && frame.flags & END_STREAM != 0 {
            break;
        }
    }
}
