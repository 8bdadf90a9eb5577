//! Clients that are slow, leave, or say what is no request.

use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, interval};

use super::super::rig::{Origin, PATIENCE, Rig, Setup, until};
use crate::proxy::Mode;
use crate::telemetry::cells::ErrorCause;

#[tokio::test]
async fn slow_heads_and_bodies_are_408_and_idle_connections_close_silently() {
    let origin = Origin::echo("a").await;
    let mut setup = Setup::new(Mode::Http, &[origin.addr]);
    setup.settings.timeouts.client = Some(Duration::from_millis(80));
    setup.settings.timeouts.http_request = Some(Duration::from_millis(60));
    setup.settings.timeouts.http_keep_alive = Some(Duration::from_millis(40));
    let rig = setup.start().await;
    for start in ["", "GET / HT", "POST / HTTP/1.1\r\nhost: t\r\ncontent-length: 9\r\n\r\nab"] {
        let mut client = rig.client().await;
        client.send(start).await;
        let (got, _) = client.rest().await;
        assert!(got.starts_with("HTTP/1.1 408 "), "{start:?}: {got}");
    }
    let mut idle = rig.client().await;
    assert_eq!(idle.get("/").await.status, 200);
    assert_eq!(idle.rest().await.0, "");
    let mut second = rig.client().await;
    assert_eq!(second.get("/").await.status, 200);
    second.send("GET /").await;
    assert!(second.rest().await.0.starts_with("HTTP/1.1 408 "));
}

/// `timeout client` alone would do for each of these; the others are longer, as is the time of one who keeps sending.
#[tokio::test]
async fn silence_of_a_client_ends_heads_and_rests_however_long_these_may_be() {
    let origin = Origin::echo("a").await;
    let mut setup = Setup::new(Mode::Http, &[origin.addr]);
    setup.settings.timeouts.client = Some(Duration::from_millis(400));
    setup.settings.timeouts.http_request = Some(PATIENCE);
    setup.settings.timeouts.http_keep_alive = Some(PATIENCE);
    let rig = setup.start().await;
    let begun = Instant::now();
    for start in ["", "GET / HT"] {
        let mut client = rig.client().await;
        client.send(start).await;
        assert!(client.rest().await.0.starts_with("HTTP/1.1 408 "), "{start:?}");
        let mut client = rig.client().await;
        assert_eq!(client.get("/").await.status, 200);
        client.send(start).await;
        let (end, _) = client.rest().await;
        assert!(if start.is_empty() { end.is_empty() } else { end.starts_with("HTTP/1.1 408 ") });
    }
    assert!(begun.elapsed() < PATIENCE, "{:?}", begun.elapsed());
    let mut slow = rig.client().await;
    let slow_since = Instant::now();
    let mut pace = interval(Duration::from_millis(50));
    for byte in "GET / HTTP/1.1\r\n".chars() {
        pace.tick().await;
        slow.send(&byte.to_string()).await;
    }
    assert!(slow_since.elapsed() > Duration::from_millis(400), "longer than a silence may last");
    slow.send("host: t\r\nconnection: close\r\n\r\n").await;
    assert!(slow.rest().await.0.starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn a_client_that_resets_cancels_its_request() {
    let origin =
        Origin::start(|_, mut conn| async move { while conn.request().await.is_some() {} }).await;
    let rig = Rig::http(&[origin.addr]).await;
    let mut client = rig.client().await;
    client.send("GET / HTTP/1.1\r\nhost: t\r\n\r\n").await;
    until("asked", || rig.in_flight() == 1).await;
    client.0.set_zero_linger().unwrap();
    drop(client);
    until("cancelled", || rig.in_flight() == 0).await;
    until("counted", || rig.errors(ErrorCause::ClientAbort) == 1).await;
}

#[tokio::test]
async fn a_half_closed_client_still_gets_its_answer() {
    let origin = Origin::echo("a").await;
    let rig = Rig::http(&[origin.addr]).await;
    let mut client = rig.client().await;
    client.send("GET / HTTP/1.1\r\nhost: t\r\n\r\n").await;
    client.0.shutdown().await.unwrap();
    assert!(client.rest().await.0.starts_with("HTTP/1.1 200 OK"));
}

#[tokio::test]
async fn what_is_not_http_is_400_and_closed() {
    let origin = Origin::echo("a").await;
    let rig = Rig::http(&[origin.addr]).await;
    for junk in [
        "\x16\x03\x01junk\r\n\r\n",
        "GET / HTTP/1.1\r\nbad header\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: t\r\ncontent-length: 5, 6\r\n\r\n",
        "GET /\x01 HTTP/1.1\r\n\r\n",
        "CONNECT a:80 HTTP/1.1\r\nhost: a:80\r\n\r\n",
    ] {
        let mut client = rig.client().await;
        client.send(junk).await;
        let (got, _) = client.rest().await;
        assert!(got.starts_with("HTTP/1.1 40"), "{junk:?}: {got}");
    }
    assert_eq!(origin.connections(), 0);
    assert_eq!(rig.errors(ErrorCause::ClientProtocol), 5);
}

/// Not at a time-out, and not only when it has come to an end.
#[tokio::test]
async fn what_is_not_http_is_400_as_soon_as_it_shows() {
    let origin = Origin::echo("a").await;
    let rig = Rig::http(&[origin.addr]).await;
    for junk in [
        "\x16\x03",
        "SSH-2.0-x\r\n",
        "GET /\r\n",
        "GET / HTTP/1.1\r\nhost: t\r\nbad header\r\n",
        "GET / HTTP/1.1\r\nhost : t\r\n",
        "GET / HTTP/1.1\r\nhost: t\r\nx: \0",
    ] {
        let mut client = rig.client().await;
        client.0.set_nodelay(true).unwrap();
        for byte in junk.split("").filter(|byte| !byte.is_empty()) {
            client.send(byte).await;
            tokio::task::yield_now().await;
        }
        let (got, _) = client.rest().await;
        assert!(got.starts_with("HTTP/1.1 400 "), "{junk:?}: {got}");
    }
    assert_eq!(rig.errors(ErrorCause::ClientProtocol), 6);
}

#[tokio::test]
async fn a_malformed_body_is_the_clients_fault() {
    let origin = Origin::echo("a").await;
    let rig = Rig::http(&[origin.addr]).await;
    let head = "POST / HTTP/1.1\r\nhost: t\r\ntransfer-encoding: chunked\r\n\r\n";
    let bad = ["5\nhello\r\n0\r\n\r\n", "+5\r\nhello\r\n0\r\n\r\n", "5\r\nhelloXX0\r\n\r\n"];
    for chunks in bad {
        // Before, a connection is made that the bad request then reuses.
        assert_eq!(rig.client().await.get("/").await.status, 200);
        let mut client = rig.client().await;
        client.send(&format!("{head}{chunks}")).await;
        let (got, _) = client.rest().await;
        assert!(got.starts_with("HTTP/1.1 400 "), "{chunks:?}: {got}");
        assert_eq!(got.matches("HTTP/1.1").count(), 1);
    }
    assert_eq!(rig.errors(ErrorCause::ClientProtocol), 3);
    let cells = &rig.pool.backends[0].cells;
    assert_eq!(cells.sum(|c| c.response_errors.get()), 0);
    assert_eq!(rig.in_flight(), 0);
}

#[tokio::test]
async fn an_upload_that_ends_early_is_the_clients_fault() {
    let origin = Origin::echo("a").await;
    let rig = Rig::http(&[origin.addr]).await;
    for framing in ["content-length: 10\r\n\r\nhi", "transfer-encoding: chunked\r\n\r\n5\r\nhi"] {
        let mut client = rig.client().await;
        client.send(&format!("POST / HTTP/1.1\r\nhost: t\r\n{framing}")).await;
        client.0.shutdown().await.unwrap();
        assert_eq!(client.rest().await.0, "", "{framing}");
    }
    assert_eq!(rig.errors(ErrorCause::ClientAbort), 2);
    assert_eq!(rig.errors(ErrorCause::Backend), 0);
}

#[tokio::test]
async fn heads_are_bounded_as_haproxys() {
    let origin = Origin::echo("a").await;
    let rig = Rig::http(&[origin.addr]).await;
    let head = |bytes: usize, count: usize| {
        let lines = "x: y\r\n".repeat(count);
        format!("GET / HTTP/1.1\r\nhost: t\r\nbig: {}\r\n{lines}\r\n", "x".repeat(bytes))
    };
    for (bytes, count, ok) in
        [(12_000, 0, true), (10, 95, true), (20_000, 0, false), (10, 200, false)]
    {
        let mut client = rig.client().await;
        client.send(&head(bytes, count)).await;
        let got = client.answer().await;
        assert_eq!(got.status == 200, ok, "{bytes} {count}: {got:?}");
        assert!(ok || matches!(got.status, 400 | 431));
    }
}

#[tokio::test]
async fn what_follows_a_last_request_is_not_served_and_does_not_harm_its_answer() {
    let origin = Origin::echo("a").await;
    let rig = Rig::http(&[origin.addr]).await;
    let mut client = rig.client().await;
    let last = "GET /last HTTP/1.1\r\nhost: t\r\nconnection: close\r\n\r\n";
    client.send(&format!("{last}{}", last.repeat(20))).await;
    let (got, error) = client.rest().await;
    assert_eq!(error, None);
    assert_eq!(got.matches("HTTP/1.1 200 OK").count(), 1, "{got}");
}
