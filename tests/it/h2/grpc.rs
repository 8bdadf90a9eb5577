//! gRPC as its clients and servers speak it: all four kinds of calls, balanced per call.

use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use hyper::HeaderMap;
use serde_json::json;
use tokio::task::JoinSet;

use super::origin::{self, Backend, ask, collect, connect, post, push};
use crate::support::client;
use crate::support::lab::Lab;
use crate::support::synapse::{Synapse, config, fixed};
use crate::support::wait::eventually;

const PATIENCE: Duration = Duration::from_secs(10);

/// A service over three HTTP/2 backends.
pub(super) struct Three {
    pub(super) front: std::net::SocketAddr,
    pub(super) backends: Vec<Backend>,
    pub(super) synapse: Synapse,
}

pub(super) async fn three(lab: &Lab, lines: &[&str]) -> Three {
    let mut backends = Vec::new();
    for name in ["A", "B", "C"] {
        backends.push(origin::start(name, lab.free_addr()).await);
    }
    let front = lab.free_addr();
    let at = |index: usize| backends[index].addr;
    let servers = [("A", at(0), "proto h2"), ("B", at(1), "proto h2"), ("C", at(2), "proto h2")];
    let service = fixed(front, "http", lines, &servers);
    let synapse = lab.synapse(config(json!({"grpc": service}))).await;
    Three { front, backends, synapse }
}

impl Three {
    /// Within 5 % of an equal share each.
    fn assert_balanced(&self, all: usize) {
        let requests: Vec<usize> = self.backends.iter().map(Backend::requests).collect();
        assert_eq!(requests.iter().sum::<usize>(), all, "{requests:?}");
        for share in &requests {
            assert!(share.abs_diff(all / 3) * 20 <= all / 3, "{requests:?}");
        }
    }
}

#[tokio::test]
async fn calls_of_all_kinds_are_balanced_one_by_one() {
    let lab = Lab::new().await;
    let three = three(&lab, &[]).await;
    let sender = connect(three.front).await;
    let mut calls = JoinSet::new();
    for index in 0..300 {
        let sender = sender.clone();
        calls.spawn(async move {
            match index % 3 {
                0 => {
                    let got = ask(&sender, "/unary", b"hello").await.expect("unary");
                    assert_eq!(got.body.split(' ').nth(1), Some("5"));
                    assert_eq!(got.trailers["grpc-status"], "0");
                }
                1 => {
                    let got = ask(&sender, "/stream/50", b"").await.expect("server streaming");
                    assert_eq!((got.status, got.body.len()), (200, 50));
                    assert_eq!(got.trailers["grpc-status"], "0");
                }
                _ => collected(sender).await,
            }
        });
    }
    calls.join_all().await;
    three.assert_balanced(300);
    let opened: usize =
        three.backends.iter().map(|b| b.seen.connections.load(Ordering::SeqCst)).sum();
    assert!(opened <= 6, "one connection per backend and worker, not {opened}");
}

/// Client streaming.
async fn collected(sender: h2::client::SendRequest<Bytes>) {
    let mut sender = sender.ready().await.expect("ready");
    let (response, mut send) = sender.send_request(post("/collect"), false).expect("request");
    for _ in 0..20 {
        push(&mut send, Bytes::from_static(&[b'm'; 1000])).await.expect("room");
    }
    send.send_data(Bytes::new(), true).expect("end");
    let mut body = response.await.expect("answer").into_body();
    let (body, trailers) = collect(&mut body).await.expect("body");
    assert!(body.ends_with(b" 20000"), "{}", String::from_utf8_lossy(&body));
    assert_eq!(trailers["grpc-status"], "0");
}

#[tokio::test]
async fn both_sides_talk_at_once_and_trailers_go_both_ways() {
    let lab = Lab::new().await;
    let three = three(&lab, &[]).await;
    let mut sender = connect(three.front).await.ready().await.expect("ready");
    let (response, mut send) = sender.send_request(post("/echo"), false).expect("request");
    let mut body = response.await.expect("the head comes before the body").into_body();
    for round in 0..50 {
        let said = format!("message {round}");
        push(&mut send, Bytes::from(said.clone())).await.expect("room");
        let heard = body.data().await.expect("an echo").expect("an echo");
        body.flow_control().release_capacity(heard.len()).expect("capacity");
        assert_eq!(heard, said.as_bytes());
    }
    let name = "x-checksum".parse().expect("name");
    send.send_trailers(HeaderMap::from_iter([(name, "1".parse().expect("value"))])).expect("end");
    let (rest, trailers) = collect(&mut body).await.expect("end");
    assert_eq!((rest.len(), &trailers["x-checksum"]), (0, &"1".parse().expect("value")));
}

#[tokio::test]
async fn a_stream_that_no_backend_looked_at_is_asked_elsewhere() {
    let lab = Lab::new().await;
    let three = three(&lab, &[]).await;
    let sender = connect(three.front).await;
    for path in ["/refuse", "/leave", "/refuse", "/leave", "/refuse"] {
        let got = ask(&sender, path, b"once").await.expect(path);
        assert_eq!(got.status, 200, "{path}");
        assert!(got.body.ends_with(" 4"), "{path}: the body again, whole: {}", got.body);
        assert!(!got.body.starts_with('A'), "{path}: {}", got.body);
    }
}

#[tokio::test]
async fn a_call_that_is_given_up_is_given_up_at_the_backend() {
    let lab = Lab::new().await;
    let three = three(&lab, &[]).await;
    let mut sender = connect(three.front).await.ready().await.expect("ready");
    let (response, send) = sender.send_request(post("/hold"), false).expect("request");
    let all = |count: fn(&Backend) -> usize| three.backends.iter().map(count).sum::<usize>();
    eventually("it is asked", PATIENCE, || async {
        if all(Backend::requests) == 1 { Ok(()) } else { Err("not yet") }
    })
    .await;
    drop((response, send));
    eventually("it is given up", PATIENCE, || async {
        let cancelled = all(|b| b.seen.cancelled.load(Ordering::SeqCst));
        if cancelled == 1 { Ok(()) } else { Err("not yet") }
    })
    .await;
    assert_eq!(ask(&sender, "/unary", b"x").await.expect("others go on").status, 200);
}

#[tokio::test]
async fn a_reader_that_stands_still_stops_its_backend_and_nobody_else() {
    let lab = Lab::new().await;
    let three = three(&lab, &[]).await;
    let sender = connect(three.front).await;
    let mut ready = sender.clone().ready().await.expect("ready");
    let (response, _send) = ready.send_request(post("/flood/2000"), true).expect("request");
    let unread = response.await.expect("head").into_body();
    let given =
        || -> usize { three.backends.iter().map(|b| b.seen.given.load(Ordering::SeqCst)).sum() };
    // Windows of client, proxy and backend fill up; then nothing moves, while others are served.
    let mut before = usize::MAX;
    while given() != before {
        before = given();
        for _ in 0..30 {
            let got = ask(&sender, "/unary", b"x").await.expect("others are served");
            assert_eq!(got.status, 200);
        }
    }
    assert!(given() < 4_000_000, "{} bytes for nobody", given());
    drop(unread);
}

#[tokio::test]
async fn http1_clients_are_served_by_http2_backends() {
    let lab = Lab::new().await;
    let three = three(&lab, &["option forwardfor"]).await;
    for _ in 0..3 {
        let answer = client::get(three.front, "/head").await.expect("answer");
        assert_eq!(answer.status, 200);
        let text = answer.text();
        assert!(text.starts_with("GET http://"), "{text}");
        assert!(text.contains("x-forwarded-for: 127.0.0.1"), "{text}");
    }
    let metrics = three.synapse.metrics().await;
    assert!(metrics.contains("service=\"grpc\""), "{metrics}");
}

#[tokio::test]
async fn a_stop_finishes_calls_under_way_and_sends_their_clients_away() {
    let lab = Lab::new().await;
    let mut three = three(&lab, &[]).await;
    let sender = connect(three.front).await;
    let mut ready = sender.clone().ready().await.expect("ready");
    let (response, mut send) = ready.send_request(post("/echo"), false).expect("request");
    let mut body = response.await.expect("head").into_body();
    three.synapse.signal(rustix::process::Signal::TERM);
    eventually("new calls are told to go", PATIENCE, || async {
        match ask(&sender, "/unary", b"x").await {
            Err(error) if error.is_go_away() => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    push(&mut send, Bytes::from_static(b"still here")).await.expect("room");
    send.send_data(Bytes::new(), true).expect("end");
    let (heard, trailers) = collect(&mut body).await.expect("it goes on to its end");
    assert_eq!(heard, b"still here");
    assert_eq!(trailers["grpc-status"], "0");
    assert_eq!(three.synapse.ended().await.code(), Some(0));
}

#[tokio::test]
async fn trailers_are_fields_and_nothing_else() {
    let lab = Lab::new().await;
    let three = three(&lab, &[]).await;
    let mut raw = super::raw::Raw::open(three.front).await;
    let mut request = super::raw::request("POST");
    request.retain(|field| field.0 != ":path");
    request.push((":path", b"/echo"));
    let head = super::raw::frame(1, 4, 1, &super::raw::fields(&request));
    let tail = super::raw::fields(&[("x-sum", b"1"), (":method", b"DELETE")]);
    let tail = super::raw::frame(1, 5, 1, &tail);
    raw.send(&[head, tail].concat()).await;
    // What has no place there is refused or left out; it never reaches the other side.
    let mut frames = Vec::new();
    while let Some(frame) = raw.next().await {
        let is_last = frame.stream == 1 && (frame.flags & 1 != 0 || frame.kind == 3);
        frames.push(frame);
        if is_last {
            break;
        }
    }
    let last = &frames.last().expect("an end").payload;
    assert!(!last.windows(6).any(|bytes| bytes == b"DELETE"), "{frames:?}");
}

#[tokio::test]
async fn a_connection_that_stands_still_is_left() {
    let lab = Lab::new().await;
    // Takes connections and says nothing on the first; on others it answers.
    let addr = lab.free_addr();
    let listener = tokio::net::TcpListener::bind(addr).await.expect("bind");
    let helper = origin::start("B", lab.free_addr()).await;
    let behind = helper.addr;
    tokio::spawn(async move {
        let mut mute = None;
        while let Ok((mut stream, _)) = listener.accept().await {
            if mute.is_none() {
                mute = Some(stream);
                continue;
            }
            tokio::spawn(async move {
                let mut to = tokio::net::TcpStream::connect(behind).await.expect("connect");
                tokio::io::copy_bidirectional(&mut stream, &mut to).await
            });
        }
    });
    let front = lab.free_addr();
    let service = fixed(front, "http", &["timeout server 500ms"], &[("A", addr, "proto h2")]);
    let mut config = config(json!({"grpc": service}));
    config["workers"] = json!(1);
    let _synapse = lab.synapse(config).await;
    let sender = connect(front).await;
    assert_eq!(ask(&sender, "/unary", b"x").await.expect("late").status, 504);
    assert_eq!(ask(&sender, "/unary", b"x").await.expect("another").status, 200);
}

#[tokio::test]
async fn h2load_counts_no_error() {
    crate::support::oracle::need("h2load", "nghttp2-client");
    let lab = Lab::new().await;
    let three = three(&lab, &[]).await;
    let url = format!("http://{}/unary", three.front);
    let output = tokio::process::Command::new("h2load")
        .args(["-n", "6000", "-c", "10", "-m", "20", &url])
        .output()
        .await
        .expect("h2load");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("6000 succeeded, 0 failed, 0 errored, 0 timeout"), "{text}");
    three.assert_balanced(6000);
}
