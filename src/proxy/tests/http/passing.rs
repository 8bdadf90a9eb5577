//! What passes as it came: requests and answers on connections that are kept, and upgrades.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::super::rig::{Origin, Rig, Setup, header, settings, until};
use super::POST;
use crate::proxy::{CloseMode, Mode};

#[tokio::test]
async fn both_sides_are_kept_open() {
    let origin = Origin::echo("a").await;
    let rig = Rig::http(&[origin.addr]).await;
    let mut client = rig.client().await;
    for path in ["/1", "/2", "/3"] {
        let answer = client.get(path).await;
        assert_eq!(answer.status, 200);
        assert!(answer.body.starts_with(&format!("a\nGET {path} HTTP/1.1\r\n")));
        assert_eq!(header(&answer.body, "host"), Some("t"));
        assert_eq!(header(&answer.body, "x-forwarded-for"), Some("127.0.0.1"));
        assert_eq!(header(&answer.head, "connection"), None);
    }
    let mut other = rig.client().await;
    assert_eq!(other.get("/4").await.status, 200);
    assert_eq!(origin.connections(), 1);
    assert_eq!(rig.in_flight(), 0);
    let cells = &rig.service.cells;
    assert_eq!(cells.sum(|c| c.requests.get()), 4);
    assert_eq!(cells.sum(|c| c.responses[2].get()), 4);
    assert_eq!(cells.sum(|c| c.latency.buckets.iter().map(|b| b.get()).sum()), 4);
    assert_eq!(rig.pool.backends[0].cells.sum(|c| c.reuses.get()), 3);
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let origins = (Origin::echo("a").await, Origin::echo("b").await);
    let rig = Rig::http(&[origins.0.addr, origins.1.addr]).await;
    let mut client = rig.client().await;
    let one = |n| format!("GET /{n} HTTP/1.1\r\nhost: t\r\n\r\n");
    client.send(&(one(1) + POST + &one(3))).await;
    for expected in ["GET /1", "POST /", "GET /3"] {
        let body = client.answer().await.body;
        assert!(body.lines().nth(1).unwrap().starts_with(expected));
    }
}

#[tokio::test]
async fn an_answer_streams_while_it_is_made() {
    let origin = Origin::start(|_, mut conn| async move {
        conn.request().await.unwrap();
        conn.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n").await;
        // The second half only after the client has confirmed the first.
        assert_eq!(conn.request().await, None);
    })
    .await;
    let rig = Rig::http(&[origin.addr]).await;
    let mut client = rig.client().await;
    client.send("GET / HTTP/1.1\r\nhost: t\r\n\r\n").await;
    assert!(client.until("1\r\na\r\n").await.contains("200 OK"));
    drop(client);
}

#[tokio::test]
async fn trailers_pass() {
    let origin = Origin::start(|_, mut conn| async move {
        conn.request().await.unwrap();
        conn.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n2\r\nok\r\n0\r\nx-sum: 7\r\n\r\n")
            .await;
        conn.request().await;
    })
    .await;
    let rig = Rig::http(&[origin.addr]).await;
    let mut client = rig.client().await;
    client.send("GET / HTTP/1.1\r\nhost: t\r\nte: trailers\r\nconnection: te\r\n\r\n").await;
    assert_eq!(client.answer().await.body, "okx-sum: 7\r\n");
}

#[tokio::test]
async fn answers_without_body_leave_the_connection_clean() {
    let origin = Origin::start(|_, mut conn| async move {
        while let Some(request) = conn.request().await {
            let answer = match request.split(' ').next().unwrap() {
                "HEAD" => "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n",
                "PUT" => "HTTP/1.1 204 No Content\r\n\r\n",
                "OPTIONS" => "HTTP/1.1 304 Not Modified\r\ncontent-length: 9\r\n\r\n",
                _ => "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
            };
            conn.send(answer).await;
        }
    })
    .await;
    let rig = Rig::http(&[origin.addr]).await;
    let mut client = rig.client().await;
    for (method, status) in [("HEAD", 200), ("PUT", 204), ("OPTIONS", 304), ("GET", 200)] {
        client.send(&format!("{method} / HTTP/1.1\r\nhost: t\r\n\r\n")).await;
        let head = client.until("\r\n\r\n").await;
        assert!(head.starts_with(&format!("HTTP/1.1 {status}")), "{head}");
        if method == "HEAD" {
            assert_eq!(header(&head, "content-length"), Some("100"));
        }
    }
    assert_eq!(origin.connections(), 1);
    assert_eq!(rig.in_flight(), 0);
}

#[tokio::test]
async fn an_upgrade_becomes_a_tunnel() {
    let origin = Origin::start(|_, mut conn| async move {
        let request = conn.request().await.unwrap();
        assert_eq!(header(&request, "upgrade"), Some("echo"));
        assert_eq!(header(&request, "connection"), Some("upgrade"));
        conn.send("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\nearly ")
            .await;
        let mut got = vec![0; 4];
        conn.0.read_exact(&mut got).await.unwrap();
        conn.0.write_all(&got).await.unwrap();
        assert_eq!(conn.0.read(&mut got).await.unwrap(), 0);
        conn.send(" bye").await;
    })
    .await;
    let rig = Rig::http(&[origin.addr]).await;
    let mut client = rig.client().await;
    client.send("GET / HTTP/1.1\r\nhost: t\r\nconnection: Upgrade\r\nupgrade: echo\r\n\r\n").await;
    let head = client.until("\r\n\r\n").await;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    assert_eq!(header(&head, "upgrade"), Some("echo"));
    client.send("ping").await;
    client.until("early ping").await;
    assert_eq!(rig.in_flight(), 1);
    client.0.shutdown().await.unwrap();
    assert_eq!(client.rest().await, (" bye".to_owned(), None));
    until("lease back", || rig.in_flight() == 0).await;
}

#[tokio::test]
async fn expect_is_the_backends_to_answer() {
    let origin = Origin::start(|_, mut conn| async move {
        let head = conn.until("\r\n\r\n").await;
        conn.send("HTTP/1.1 100 Continue\r\n\r\n").await;
        let body = head + &conn.until("hi").await;
        conn.send(&format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len()))
            .await;
    })
    .await;
    let rig = Rig::http(&[origin.addr]).await;
    let mut client = rig.client().await;
    client
        .send("POST / HTTP/1.1\r\nhost: t\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n")
        .await;
    assert!(client.until("\r\n\r\n").await.starts_with("HTTP/1.1 100 "));
    client.send("hi").await;
    let answer = client.answer().await;
    assert_eq!(answer.status, 200);
    assert_eq!(header(&answer.body, "expect"), Some("100-continue"));
}

#[tokio::test]
async fn close_modes_close_what_they_say() {
    for (mode, origin_side, client_side) in [
        (CloseMode::ServerClose, Some("close"), None),
        (CloseMode::Close, Some("close"), Some("close")),
    ] {
        let origin = Origin::echo("a").await;
        let mut setup = Setup::new(Mode::Http, &[origin.addr]);
        setup.settings.http.close_mode = mode;
        let rig = setup.start().await;
        let mut client = rig.client().await;
        let answer = client.get("/").await;
        assert_eq!(header(&answer.body, "connection"), origin_side);
        assert_eq!(header(&answer.head, "connection"), client_side);
        if mode == CloseMode::Close {
            assert_eq!(client.rest().await.0, "");
        } else {
            assert_eq!(client.get("/").await.status, 200);
            assert_eq!(origin.connections(), 2);
        }
    }
}

#[tokio::test]
async fn new_settings_hold_from_the_next_request() {
    let origin = Origin::echo("a").await;
    let rig = Rig::http(&[origin.addr]).await;
    let mut client = rig.client().await;
    let first = client.get("/").await;
    assert_eq!(header(&first.body, "x-forwarded-for"), Some("127.0.0.1"));
    let mut settings = settings(Mode::Http);
    settings.http.forward_for = None;
    rig.service.settings.store(settings.into());
    let second = client.get("/").await;
    assert_eq!(header(&second.body, "x-forwarded-for"), None);
    assert_eq!(origin.connections(), 1);
}
