//! Requests, tunnels and sessions that end as they should, and what is captured of them.

use std::time::Duration;

use tokio::io::AsyncWriteExt;

use super::super::rig::{Origin, Setup, nobody, until};
use super::{Logged, http, once};
use crate::proxy::Mode;
use crate::telemetry::access::Capture;

#[tokio::test]
async fn usual_requests_end_well() {
    let origin = Origin::echo("a").await;
    let logged = Logged::new(http(&origin)).await;
    let mut client = logged.rig.client().await;
    client.get("/1").await;
    client.get("/2").await;
    client.send("GET /3 HTTP/1.1\r\nhost: t\r\n\r\nGET http://t/4 HTTP/1.0\r\n\r\n").await;
    client.answer().await;
    client.rest().await;
    logged
        .says(&[
            "test 0/0/0/0/0 -- +0 200 GET /1 HTTP/1.1",
            "test 0/0/0/0/0 -- +0 200 GET /2 HTTP/1.1",
            "test 0/0/0/0/0 -- +0 200 GET /3 HTTP/1.1",
            "test 0/0/0/0/0 -- +0 200 GET http://t/4 HTTP/1.0",
        ])
        .await;
}

#[tokio::test]
async fn headers_are_captured_and_the_last_value_counts() {
    let origin = once("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nServer: x\r\n\r\n").await;
    let capture = |name: &str| Capture { name: name.into(), max_len: 9 };
    let logged = Logged::with(http(&origin), |log| {
        log.request_captures = ["HOST", "none", "a"].map(capture).into();
        log.response_captures = ["server"].map(capture).into();
    })
    .await;
    let mut client = logged.rig.client().await;
    client.send("GET / HTTP/1.1\r\nHost: t\r\nA: one\r\nAb: x\r\na:  two \r\n\r\n").await;
    client.answer().await;
    logged.says(&["test 0/0/0/0/0 -- +0 200 GET / HTTP/1.1|t||two|x"]).await;
}

#[tokio::test]
async fn an_answer_until_the_end_lasts_until_the_end() {
    let origin = Origin::start(|_, mut conn| async move {
        conn.request().await;
        conn.send("HTTP/1.1 200 OK\r\n\r\nhello").await;
        tokio::time::sleep(Duration::from_millis(310)).await;
    })
    .await;
    let logged = Logged::new(http(&origin)).await;
    let mut client = logged.rig.client().await;
    client.send("GET / HTTP/1.1\r\nhost: t\r\nconnection: close\r\n\r\n").await;
    client.rest().await;
    until("a line", || !logged.seen().is_empty()).await;
    let seen = logged.seen();
    let is_late =
        |line: &String| line.ends_with(" -- +0 200 GET / HTTP/1.1") && !line.contains("/0 --");
    assert!(seen.iter().all(is_late), "{seen:?}");
}

#[tokio::test]
async fn tunnels_are_logged_when_they_end() {
    let origin = Origin::start(|_, mut conn| async move {
        conn.request().await;
        conn.send("HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n")
            .await;
        conn.until("hello").await;
        conn.send("bye").await;
    })
    .await;
    let logged = Logged::new(http(&origin)).await;
    let mut client = logged.rig.client().await;
    client.send("GET / HTTP/1.1\r\nhost: t\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n").await;
    client.until("\r\n\r\n").await;
    assert_eq!(logged.seen(), [""; 0]);
    client.send("hello").await;
    client.0.shutdown().await.unwrap();
    client.rest().await;
    logged.says(&["test 0/0/0/0/0 -- +0 101 GET / HTTP/1.1"]).await;
}

#[tokio::test]
async fn sessions_are_logged() {
    let origin = Origin::start(|_, mut conn| async move {
        conn.until("hello").await;
        conn.send("bye").await;
        conn.more().await;
    })
    .await;
    let mut setup = Setup::new(Mode::Tcp, &[origin.addr]);
    setup.settings.timeouts.client = Some(Duration::from_millis(310));
    let logged = Logged::new(setup).await;
    let mut client = logged.rig.client().await;
    client.send("hello").await;
    client.until("bye").await;
    client.0.shutdown().await.unwrap();
    client.rest().await;
    let mut client = logged.rig.client().await;
    client.send("hello").await;
    client.rest().await;
    let mut client = logged.rig.client().await;
    client.send("hello").await;
    client.until("bye").await;
    client.0.set_zero_linger().unwrap();
    drop(client);
    logged
        .says(&["test -/0/0/-/0 -- +0 5>3", "test -/0/0/-/3 cD +0 5>3", "test -/0/0/-/0 CD +0 5>3"])
        .await;
    let setup = Setup::new(Mode::Tcp, &[]);
    let logged = Logged::with(setup, |log| log.frontend = "nobody".into()).await;
    let logged = Logged { name: "nobody".to_owned(), ..logged };
    logged.rig.client().await.rest().await;
    logged.says(&["none -/-/-/-/0 SC +0 0>0"]).await;
}

/// `option dontlognull` is about those that send nothing, not about those that nobody has listened to.
#[tokio::test]
async fn a_session_without_a_server_is_logged_when_its_client_spoke() {
    let mut setup = Setup::new(Mode::Tcp, &[nobody()]);
    setup.settings.timeouts.connect = Some(Duration::from_millis(110));
    let logged = Logged::with(setup, |log| log.skip_null = true).await;
    logged.rig.client().await.more().await;
    let mut client = logged.rig.client().await;
    client.send("hello").await;
    logged.says(&["test -/3/-/-/3 SC +3 5>0"]).await;
}
