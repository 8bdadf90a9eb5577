//! Streams that end with their backend, and connections that come of age.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use h2::client::ResponseFuture;
use h2::{Reason, RecvStream, SendStream};
use hyper::Request;
use serde_json::{Value, json};
use tokio::time::{Instant, timeout};

use super::origin::{self, Backend, connect, post};
use super::raw::{self, ACK, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PING, RST_STREAM, Raw};
use super::web::web_with;
use crate::ends::until_logged;
use crate::support::client::Conn;
use crate::support::lab::Lab;
use crate::support::synapse::{Synapse, config, listener};
use crate::support::wait::eventually;

const PATIENCE: Duration = Duration::from_secs(10);

/// A service of two HTTP/2 backends, whose sessions end when a file no longer names them.
struct Pair {
    lab: Lab,
    backends: [Backend; 2],
    front: SocketAddr,
    log: PathBuf,
    synapse: Synapse,
}

impl Pair {
    async fn start() -> Self {
        let lab = Lab::new().await;
        let backends =
            [origin::start("A", lab.free_addr()).await, origin::start("B", lab.free_addr()).await];
        let list = lab.write("backends.json", &records(&backends).to_string());
        let (front, log) = (lab.free_addr(), lab.dir().join("access.log"));
        let mut haproxy = listener(front, "http", &[]);
        haproxy["server_options"] = json!("proto h2");
        let service = json!({
            "discovery": {"method": "file", "path": list},
            "haproxy": haproxy,
            "proxy": {"on_remove": "kill", "access_log": {"to": log.to_str(), "format": "json"}}
        });
        let synapse = lab.synapse(config(json!({"grpc": service}))).await;
        Self { lab, backends, front, log, synapse }
    }

    fn requests(&self) -> [usize; 2] {
        [self.backends[0].requests(), self.backends[1].requests()]
    }

    async fn until_asked(&self, want: [usize; 2]) {
        eventually("the backends are asked", PATIENCE, || async {
            if self.requests() == want { Ok(()) } else { Err(self.requests()) }
        })
        .await;
    }

    async fn remove_a(&self) {
        self.lab.write("backends.json", &records(&self.backends[1..]).to_string());
        eventually("A is no longer known", PATIENCE, || async {
            let servers = self.synapse.service("grpc").await["servers"].clone();
            if servers.as_array().is_some_and(|all| all.len() == 1) { Ok(()) } else { Err(servers) }
        })
        .await;
    }

    /// Waits for the lines of sessions with `A`.
    async fn until_logged(&self, want: &[&str]) {
        let port = self.backends[0].addr.port().to_string();
        until_logged(&self.log, &port, want).await;
    }
}

fn records(backends: &[Backend]) -> Value {
    let name = |it: &Backend| it.addr.port().to_string();
    let record =
        |it: &Backend| json!({"name": name(it), "host": it.addr.ip(), "port": it.addr.port()});
    backends.iter().map(record).collect()
}

/// A stream of messages both ways that has begun.
async fn echo(front: SocketAddr) -> (SendStream<Bytes>, RecvStream) {
    let mut sender = connect(front).await.ready().await.expect("ready");
    let (response, mut send) = sender.send_request(post("/echo"), false).expect("request");
    origin::push(&mut send, Bytes::from_static(b"hello")).await.expect("sent");
    let mut body = within(response).await.expect("head").into_body();
    assert_eq!(within(five(&mut body)).await.expect("an echo"), "hello");
    (send, body)
}

/// Five bytes, in however many frames.
async fn five(body: &mut RecvStream) -> Result<String, h2::Error> {
    let mut text = String::new();
    while text.len() < 5 {
        let data = body.data().await.expect("no end as if it were complete")?;
        text.push_str(&String::from_utf8_lossy(&data));
    }
    Ok(text)
}

async fn within<F: Future>(work: F) -> F::Output {
    timeout(PATIENCE, work).await.expect("in time")
}

#[tokio::test]
async fn streams_end_with_their_backend_and_others_do_not() {
    let pair = Pair::start().await;
    let mut streams = Vec::new();
    for _ in 0..4 {
        streams.push(echo(pair.front).await);
    }
    assert_eq!(pair.requests(), [2, 2]);
    pair.remove_a().await;
    let mut reset = 0;
    for (send, body) in &mut streams {
        // An end, or an echo.
        origin::push(send, Bytes::from_static(b"still")).await.unwrap_or_default();
        match within(five(body)).await {
            Ok(text) => assert_eq!(text, "still"),
            Err(error) => {
                assert_eq!(error.reason(), Some(Reason::INTERNAL_ERROR));
                reset += 1;
            }
        }
    }
    assert_eq!(reset, 2);
    pair.until_logged(&["KD", "KD"]).await;
}

#[tokio::test]
async fn answers_that_nobody_takes_end_too() {
    let pair = Pair::start().await;
    let (sender, mut held) = (connect(pair.front).await, Vec::new());
    for _ in 0..2 {
        let mut ready = sender.clone().ready().await.expect("ready");
        let (response, _send) = ready.send_request(post("/flood/100"), true).expect("request");
        held.push(within(response).await.expect("head").into_body());
    }
    let mut old = Vec::new();
    for _ in 0..2 {
        let mut conn = Conn::open(pair.front).await.expect("connect");
        conn.send(b"GET /flood/1000 HTTP/1.1\r\nHost: t\r\n\r\n").await.expect("request");
        assert_eq!(conn.head().await.expect("head").status, 200);
        old.push(conn);
    }
    let mut last = 0;
    eventually("all stand still", PATIENCE, || {
        let now: usize = pair.backends.iter().map(|it| it.seen.given.load(Ordering::SeqCst)).sum();
        let moved = now - std::mem::replace(&mut last, now);
        async move { if moved == 0 && now > 0 { Ok(()) } else { Err((moved, now)) } }
    })
    .await;
    pair.remove_a().await;
    // Nobody has read anything meanwhile.
    pair.until_logged(&["KD", "KD"]).await;
    drop((held, old));
}

/// A request that is not answered, whether it may be repeated or not.
async fn hold(front: SocketAddr, is_repeatable: bool) -> ResponseFuture {
    let mut sender = connect(front).await.ready().await.expect("ready");
    let mut request = post("/hold");
    if is_repeatable {
        request = Request::get(request.uri()).body(()).expect("request");
    }
    sender.send_request(request, true).expect("request").0
}

#[tokio::test]
async fn streams_without_an_answer_go_to_another_backend_or_are_502() {
    let pair = Pair::start().await;
    let mut held = Vec::new();
    for (repeatable, want) in [(true, [1, 0]), (true, [1, 1]), (false, [2, 1]), (false, [2, 2])] {
        held.push(hold(pair.front, repeatable).await);
        let both = eventually("a backend is asked", PATIENCE, || async {
            let [a, b] = pair.requests();
            if a + b == held.len() { Ok([a, b]) } else { Err([a, b]) }
        })
        .await;
        assert!(both == want || [both[1], both[0]] == want, "in turn: {both:?}");
    }
    pair.remove_a().await;
    // The repeated one.
    pair.until_asked([2, 3]).await;
    let mut answered = 0;
    for response in &mut held {
        if let Ok(answer) = timeout(Duration::from_millis(500), response).await {
            assert_eq!(answer.expect("an answer").status(), 502);
            answered += 1;
        }
    }
    assert_eq!(answered, 1);
    pair.until_logged(&["KH"]).await;
    let cancelled = &pair.backends[0].seen.cancelled;
    eventually("A is told", PATIENCE, || async {
        let told = cancelled.load(Ordering::SeqCst);
        if told == 2 { Ok(()) } else { Err(told) }
    })
    .await;
}

/// Five bytes, in however many chunks; `None` when it is cut.
async fn heard(conn: &mut Conn) -> Option<String> {
    let mut text = String::new();
    while text.len() < 5 {
        let chunk = conn.chunk().await.ok()?.expect("no end as if it were complete");
        text.push_str(&String::from_utf8_lossy(&chunk));
    }
    Some(text)
}

#[tokio::test]
async fn http1_clients_of_http2_backends_are_cut_too() {
    let pair = Pair::start().await;
    let mut conns = Vec::new();
    for _ in 0..2 {
        let mut conn = Conn::open(pair.front).await.expect("connect");
        let request =
            "POST /echo HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n";
        conn.send(request.as_bytes()).await.expect("request");
        assert_eq!(conn.head().await.expect("head").status, 200);
        assert_eq!(heard(&mut conn).await.as_deref(), Some("hello"));
        conns.push(conn);
    }
    assert_eq!(pair.requests(), [1, 1]);
    pair.remove_a().await;
    let mut cut = 0;
    for conn in &mut conns {
        // Refused when it is closed already.
        drop(conn.send(b"5\r\nstill\r\n").await);
        match within(heard(conn)).await {
            Some(text) => assert_eq!(text, "still"),
            None => cut += 1,
        }
    }
    assert_eq!(cut, 1);
    pair.until_logged(&["KD"]).await;
}

#[tokio::test]
async fn a_connection_of_age_is_told_to_go_and_finishes_its_streams() {
    const AGE: Duration = Duration::from_millis(400);
    let lab = Lab::new().await;
    let web = web_with(&lab, &[], |all| {
        all["services"]["web"]["proxy"] = json!({"max_connection_age": "400ms"});
    })
    .await;
    let begun = Instant::now();
    let mut raw = Raw::open(web.front).await;
    let mut slow = raw::request("GET");
    for field in &mut slow {
        if field.0 == ":path" {
            field.1 = b"/slow/900";
        }
    }
    let block = raw::fields(&slow);
    assert!(raw.send(&raw::frame(HEADERS, END_STREAM | END_HEADERS, 1, &block)).await);
    let (mut farewells, mut answered) = (Vec::new(), false);
    while let Some(frame) = raw.next().await {
        match frame.kind {
            GOAWAY => {
                assert!(begun.elapsed() >= AGE.mul_f64(0.9), "{:?}", begun.elapsed());
                assert_eq!(frame.number(4), 0, "nothing is wrong with it");
                farewells.push((frame.number(0), answered));
            }
            PING if frame.flags == 0 => {
                // The last moment for a request that was on its way; it is served.
                assert!(raw.send(&raw::ask("GET", END_STREAM, 3)).await);
                assert!(raw.send(&raw::frame(PING, ACK, 0, &frame.payload)).await);
            }
            HEADERS if frame.stream == 1 => answered = true,
            RST_STREAM => panic!("stream {} was reset", frame.stream),
            _ => {}
        }
    }
    assert!(answered);
    assert_eq!(web.server.requests(), 2);
    // Announced, then with the last stream that counts.
    assert_eq!(farewells, [(0x7fff_ffff, false), (3, false)]);
}
