//! `accept-proxy`.

use std::time::Duration;

use super::rig::{Client, Origin, Rig, Setup, header, until};
use crate::proxy::{Mode, SocketOptions};
use crate::telemetry::cells::ErrorCause;

const LINE: &str = "PROXY TCP4 192.0.2.7 192.0.2.8 4711 80\r\n";

const REQUEST: &str = "GET /x HTTP/1.1\r\nhost: t\r\n\r\n";

/// Version 2 of [`LINE`].
const BINARY: &[u8] =
    b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x07\xc0\0\x02\x08\x12\x67\0\x50";

fn setup(mode: Mode, origin: &Origin) -> Setup {
    let mut setup = Setup::new(mode, &[origin.addr]);
    setup.socket = SocketOptions { accept_proxy: true, ..SocketOptions::default() };
    setup
}

async fn rig(mode: Mode, origin: &Origin) -> Rig {
    setup(mode, origin).start().await
}

/// Whom the backend was told about.
fn forwarded(body: &str) -> Option<&str> {
    header(body, "x-forwarded-for")
}

#[tokio::test]
async fn the_carried_client_is_forwarded_whatever_packets_the_header_comes_in() {
    let origin = Origin::echo("a").await;
    let rig = rig(Mode::Http, &origin).await;
    for (head, text) in [(LINE.as_bytes(), "192.0.2.7"), (BINARY, "192.0.2.7")] {
        let all = [head, REQUEST.as_bytes()].concat();
        for split in [all.len(), 1, 5, 13, head.len() - 1, head.len(), head.len() + 3] {
            let mut client = rig.client().await;
            client.0.set_nodelay(true).unwrap();
            send_in_two(&mut client, &all, split).await;
            let answer = client.answer().await;
            assert_eq!(forwarded(&answer.body), Some(text), "split at {split}: {}", answer.body);
            assert!(answer.body.contains("GET /x HTTP/1.1"), "{}", answer.body);
            // Only the connection begins with a header.
            assert_eq!(forwarded(&client.get("/y").await.body), Some(text));
        }
    }
    assert_eq!(rig.errors(ErrorCause::ClientProtocol), 0);
}

async fn send_in_two(client: &mut Client, all: &[u8], split: usize) {
    use tokio::io::AsyncWriteExt as _;
    let (first, second) = all.split_at(split);
    client.0.write_all(first).await.unwrap();
    // Usually read by then; if not, this is one packet more often than meant.
    tokio::time::sleep(Duration::from_millis(3)).await;
    client.0.write_all(second).await.unwrap();
}

#[tokio::test]
async fn byte_by_byte_is_the_same() {
    let origin = Origin::echo("a").await;
    let rig = rig(Mode::Http, &origin).await;
    let mut client = rig.client().await;
    client.0.set_nodelay(true).unwrap();
    for byte in [BINARY, REQUEST.as_bytes()].concat() {
        use tokio::io::AsyncWriteExt as _;
        client.0.write_all(&[byte]).await.unwrap();
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(forwarded(&client.answer().await.body), Some("192.0.2.7"));
}

#[tokio::test]
async fn tcp_bytes_behind_the_header_reach_the_backend() {
    let origin = Origin::start(|_, mut conn| async move {
        let line = conn.until("\n").await;
        conn.send(&format!("heard {line}")).await;
    })
    .await;
    let rig = rig(Mode::Tcp, &origin).await;
    let mut client = rig.client().await;
    client.send(&format!("{LINE}hello\n")).await;
    assert_eq!(client.until("\n").await, "heard hello\n");
    let mut silent = rig.client().await;
    silent.send("PROXY UNKNOWN\r\n").await;
    silent.send("later\n").await;
    assert_eq!(silent.until("\n").await, "heard later\n");
}

#[tokio::test]
async fn who_speaks_for_himself_keeps_his_address() {
    let origin = Origin::echo("a").await;
    let rig = rig(Mode::Http, &origin).await;
    for head in ["PROXY UNKNOWN\r\n", "\r\n\r\n\0\r\nQUIT\n\x20\0\0\0"] {
        let mut client = rig.client().await;
        client.send(&format!("{head}{REQUEST}")).await;
        let body = client.answer().await.body;
        assert_eq!(forwarded(&body), Some("127.0.0.1"), "{body}");
    }
}

#[tokio::test]
async fn without_a_header_nothing_is_answered_and_it_is_counted() {
    let origin = Origin::echo("a").await;
    let rig = rig(Mode::Http, &origin).await;
    for bad in [REQUEST, "PROXY TCP4 1.2.3.4 5.6.7.8 1\r\n", "PROXY SCTP 1 2 3 4\r\n"] {
        let mut client = rig.client().await;
        client.send(bad).await;
        assert_eq!(client.rest().await.0, "", "{bad}");
    }
    until("counted", || rig.errors(ErrorCause::ClientProtocol) == 3).await;
    let mut cut = rig.client().await;
    cut.send("PROXY TCP4 1.2").await;
    drop(cut);
    until("counted", || rig.errors(ErrorCause::ClientProtocol) == 4).await;
    drop(rig.client().await);
    until("counted", || rig.errors(ErrorCause::ClientAbort) == 1).await;
    until("closed", || rig.workers().open_connections() == 0).await;
    assert_eq!(rig.service.cells.sum(|c| c.connections.get()), 5);
    assert_eq!(rig.service.cells.sum(|c| c.requests.get()), 0);
    assert_eq!(origin.connections(), 0);
}

#[tokio::test]
async fn the_header_has_the_clients_timeout() {
    let origin = Origin::echo("a").await;
    let mut setup = setup(Mode::Http, &origin);
    setup.settings.timeouts.client = Some(Duration::from_millis(100));
    let rig = setup.start().await;
    for said in ["", "PROXY TCP4 1"] {
        let mut client = rig.client().await;
        client.send(said).await;
        assert_eq!(client.rest().await.0, "", "{said}");
    }
    until("counted", || rig.errors(ErrorCause::ClientTimeout) == 2).await;
}

#[tokio::test]
async fn http2_with_prior_knowledge_comes_behind_a_header() {
    let origin = Origin::echo("a").await;
    let mut setup = setup(Mode::Http, &origin);
    setup.settings.http.http2.front = crate::proxy::http2::FrontProtocol::Http2;
    let rig = setup.start().await;
    let mut client = rig.client().await;
    client.send(LINE).await;
    let (mut sender, connection) = h2::client::handshake(client.0).await.unwrap();
    let driving = tokio::spawn(connection);
    let request = hyper::Request::get("http://t/x").body(()).unwrap();
    let (answer, _) = sender.send_request(request, true).unwrap();
    let mut body = answer.await.unwrap().into_body();
    let mut text = Vec::new();
    while let Some(data) = body.data().await {
        text.extend_from_slice(&data.unwrap());
    }
    let text = String::from_utf8(text).unwrap();
    assert_eq!(forwarded(&text), Some("192.0.2.7"), "{text}");
    driving.abort();
}
