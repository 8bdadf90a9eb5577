//! Who waits for whom, and for how long.

use std::future::poll_fn;
use std::time::Duration;

use bytes::Bytes;
use h2::Reason;
use serde_json::json;
use tokio::time::{Instant, timeout};

use super::grpc::three;
use super::origin::{ask, connect, post};
use super::raw::{self, ACK, END_STREAM, GOAWAY, HEADERS, PREFACE, RST_STREAM, Raw, SETTINGS};
use super::web::web_with;
use crate::support::client::Conn;
use crate::support::lab::Lab;
use crate::support::synapse::{config, fixed};

const PATIENCE: Duration = Duration::from_secs(10);

#[tokio::test]
async fn a_backend_that_does_not_read_stops_its_client() {
    let lab = Lab::new().await;
    let three = three(&lab, &[]).await;
    let mut sender = connect(three.front).await.ready().await.expect("ready");
    let (_response, mut send) = sender.send_request(post("/hold"), false).expect("request");
    let mut sent = 0;
    loop {
        send.reserve_capacity(16_384);
        // Two windows and two buffers on the way; then nothing is taken for longer than anything here takes.
        let room = timeout(Duration::from_secs(1), poll_fn(|cx| send.poll_capacity(cx))).await;
        let Ok(room) = room else { break };
        let room = room.expect("open").expect("room");
        send.send_data(Bytes::from(vec![b'x'; room]), false).expect("open");
        sent += room;
        assert!(sent < 2_000_000, "{sent} bytes are taken for nobody");
    }
    assert!(sent >= 65_535, "{sent}");
    let other = ask(&sender, "/unary", b"x").await.expect("others are served");
    assert_eq!(other.status, 200);
}

#[tokio::test]
async fn a_client_that_does_not_read_loses_its_stream_and_nothing_else() {
    let lab = Lab::new().await;
    let three = three(&lab, &["timeout client 700ms", "timeout http-keep-alive 20s"]).await;
    let sender = connect(three.front).await;
    let mut ready = sender.clone().ready().await.expect("ready");
    let (response, _send) = ready.send_request(post("/flood/100"), true).expect("request");
    let mut body = response.await.expect("head").into_body();
    let end = async {
        let mut held = Vec::new();
        // Taken, but not given back: the window stays closed.
        while let Some(data) = body.data().await {
            match data {
                Ok(data) => held.push(data),
                Err(error) => return error.reason(),
            }
        }
        None
    };
    let reason = timeout(PATIENCE, end).await.expect("it ends");
    assert_eq!(reason, Some(Reason::CANCEL));
    assert_eq!(ask(&sender, "/unary", b"x").await.expect("others go on").status, 200);
}

#[tokio::test]
async fn a_connection_without_streams_is_told_and_closed() {
    let lab = Lab::new().await;
    let lines = ["timeout http-keep-alive 300ms", "timeout http-request 5s"];
    let web = web_with(&lab, &lines, |_| {}).await;
    let mut raw = Raw::open(web.front).await;
    raw.send(&raw::ask("GET", END_STREAM, 1)).await;
    let mut kinds = Vec::new();
    while let Some(frame) = raw.next().await {
        if frame.kind == GOAWAY {
            assert_eq!(frame.number(4), 0, "nothing is wrong with it");
        }
        kinds.push(frame.kind);
    }
    assert!(kinds.contains(&HEADERS) && kinds.last() == Some(&GOAWAY), "{kinds:?}");
    assert!(!kinds.contains(&RST_STREAM), "{kinds:?}");
}

#[tokio::test]
async fn the_preface_may_come_in_pieces() {
    let lab = Lab::new().await;
    let origin = lab.origin("A").await;
    let (plain, mixed) = (lab.free_addr(), lab.free_addr());
    let one = fixed(plain, "http", &[], &[("A", origin.addr(), "")]);
    // Where a server speaks HTTP/2 others read the first bytes.
    let h2 = super::origin::start("B", lab.free_addr()).await;
    let two = fixed(mixed, "http", &[], &[("B", h2.addr, "proto h2")]);
    let _synapse = lab.synapse(config(json!({"one": one, "two": two}))).await;
    for front in [plain, mixed] {
        let mut raw = Raw::bare(front).await;
        for byte in PREFACE {
            assert!(raw.send(&[*byte]).await);
            tokio::task::yield_now().await;
        }
        raw.send(&raw::frame(SETTINGS, 0, 0, &[])).await;
        raw.send(&raw::frame(SETTINGS, ACK, 0, &[])).await;
        raw.send(&raw::ask("GET", END_STREAM, 1)).await;
        loop {
            let frame = raw.next().await.expect("an answer");
            if frame.kind == HEADERS {
                assert_eq!(frame.payload.first(), Some(&0x88), "200");
                break;
            }
        }
    }
}

/// Between requests `http-keep-alive` counts, from the first byte on `http-request`: as for HTTP/1 servers.
#[tokio::test]
async fn http1_clients_of_http2_servers_have_the_time_outs_of_http1() {
    let lab = Lab::new().await;
    let h2 = super::origin::start("B", lab.free_addr()).await;
    let origin = lab.origin("A").await;
    let lines = [
        "timeout http-keep-alive 300ms",
        "timeout http-request 1s",
        "timeout client 60s",
        "timeout server 60s",
    ];
    let (old, new) = (lab.free_addr(), lab.free_addr());
    let services = json!({
        "old": fixed(old, "http", &lines, &[("A", origin.addr(), "")]),
        "new": fixed(new, "http", &lines, &[("B", h2.addr, "proto h2")]),
    });
    let _synapse = lab.synapse(config(services)).await;
    for front in [old, new] {
        // At rest it is closed, and nothing is said.
        let mut conn = Conn::open(front).await.expect("connect");
        conn.get("/x").await.expect("an answer");
        let mut rest = Vec::new();
        conn.read_rest(&mut rest).await.expect("closed");
        assert!(rest.is_empty(), "{front}: {}", String::from_utf8_lossy(&rest));
        // What has begun has longer, then 408: the first request, and the next one.
        for requests in [0, 1] {
            let mut conn = Conn::open(front).await.expect("connect");
            for _ in 0..requests {
                conn.get("/x").await.expect("an answer");
            }
            let begun = Instant::now();
            conn.send(b"GET /x HTTP/1.1\r\nHo").await.expect("sent");
            let answer = conn.response("GET").await.expect("an answer");
            assert_eq!(answer.status, 408, "{front}");
            assert!(
                begun.elapsed() >= Duration::from_millis(950),
                "{front}: {:?}",
                begun.elapsed()
            );
            assert!(answer.text().contains("Request Time-out"), "{}", answer.text());
        }
    }
}

/// Our own answer to a request whose body never comes to its end is the end of the connection, too.
#[tokio::test]
async fn a_page_of_ours_keeps_no_connection_of_an_http1_client() {
    let lab = Lab::new().await;
    let h2 = super::origin::start("B", lab.free_addr()).await;
    let nobody = lab.free_addr();
    let lines = ["timeout client 1s", "timeout http-request 1s", "timeout http-keep-alive 1s"];
    let (up, down) = (lab.free_addr(), lab.free_addr());
    let services = json!({
        "up": fixed(up, "http", &lines, &[("B", h2.addr, "proto h2")]),
        "down": fixed(down, "http", &lines, &[("N", nobody, "proto h2")]),
    });
    let synapse = lab.synapse(config(services)).await;
    let part = "content-length: 100\r\n\r\n0123456789";
    let whole = "content-length: 3\r\n\r\nabc";
    for (front, head, status) in [
        (up, format!("POST /hold HTTP/1.1\r\nhost: a\r\n{part}"), "408"),
        (up, format!("POST / HTTP/1.1\r\nhost: a\r\nhost: b\r\n{part}"), "400"),
        (down, format!("POST / HTTP/1.1\r\nhost: a\r\n{part}"), "503"),
        (down, format!("POST / HTTP/1.1\r\nhost: a\r\n{whole}"), "503"),
    ] {
        let mut conn = Conn::open(front).await.expect("connect");
        conn.send(head.as_bytes()).await.expect("sent");
        let mut rest = Vec::new();
        timeout(PATIENCE, conn.read_rest(&mut rest)).await.expect("it ends").expect("closed");
        let rest = String::from_utf8_lossy(&rest).into_owned();
        assert!(rest.starts_with(&format!("HTTP/1.1 {status}")), "{head}: {rest}");
    }
    let metrics = synapse.metrics().await;
    let open = metrics.lines().filter(|line| line.starts_with("synapse_worker_connections{"));
    let open: f64 = open.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum();
    assert!(open.abs() < 0.5, "{open} connections are kept");
}
