//! Who leaves the line: after too long a wait, or because the client has gone.

use std::time::Duration;

use tokio::io::AsyncWriteExt;

use super::{held, queued};
use crate::proxy::Mode;
use crate::telemetry::cells::ErrorCause;

#[tokio::test]
async fn who_waits_too_long_is_told_503_on_time() {
    let wait = Duration::from_millis(310);
    let (logged, _gated, _first) =
        held(Mode::Http, |setup| setup.settings.timeouts.queue = Some(wait)).await;
    let begun = tokio::time::Instant::now();
    let (mut one, mut two) = (logged.rig.client().await, logged.rig.client().await);
    one.send("GET /1 HTTP/1.1\r\nhost: t\r\n\r\n").await;
    queued(&logged, 1).await;
    two.send("GET /1 HTTP/1.1\r\nhost: t\r\n\r\n").await;
    for client in [&mut one, &mut two] {
        assert_eq!(client.answer().await.status, 503);
    }
    assert!(begun.elapsed() >= wait);
    assert_eq!(logged.rig.errors(ErrorCause::QueueTimeout), 2);
    logged
        .says(&[
            "none 0/3/-/-/3 sQ +0 q0/1 503 GET /1 HTTP/1.1",
            "none 0/3/-/-/3 sQ +0 q0/1 503 GET /1 HTTP/1.1",
        ])
        .await;
    assert_eq!(logged.rig.pool.handle.queue().length, 0);
}

#[tokio::test]
async fn without_a_queue_timeout_that_of_the_connect_counts() {
    let (logged, _gated, _first) = held(Mode::Http, |setup| {
        setup.settings.timeouts.connect = Some(Duration::from_millis(210));
    })
    .await;
    assert_eq!(logged.rig.client().await.get("/1").await.status, 503);
    logged.says(&["none 0/2/-/-/2 sQ +0 q0/1 503 GET /1 HTTP/1.1"]).await;
}

#[tokio::test]
async fn a_session_that_waits_too_long_is_closed() {
    let wait = Some(Duration::from_millis(210));
    let (logged, _gated, _first) =
        held(Mode::Tcp, |setup| setup.settings.timeouts.queue = wait).await;
    let mut late = logged.rig.client().await;
    late.send("hello").await;
    late.rest().await;
    logged.says(&["none -/2/-/-/2 sQ +0 q0/1 5>0"]).await;
}

#[tokio::test]
async fn who_leaves_the_queue_makes_room_for_the_next() {
    let (logged, gated, mut first) = held(Mode::Http, |_| {}).await;
    let (mut gone, mut next) = (logged.rig.client().await, logged.rig.client().await);
    gone.send("GET /1 HTTP/1.1\r\nhost: t\r\n\r\n").await;
    queued(&logged, 1).await;
    next.send("GET /2 HTTP/1.1\r\nhost: t\r\n\r\n").await;
    queued(&logged, 2).await;
    gone.0.set_zero_linger().unwrap();
    drop(gone);
    queued(&logged, 1).await;
    gated.gate.add_permits(2);
    assert_eq!(first.answer().await.status, 200);
    assert_eq!(next.answer().await.status, 200);
    assert_eq!(*gated.order.lock().unwrap(), [0, 2]);
    logged
        .says(&[
            "none 0/0/-/-/0 CQ +0 q0/1 - GET /1 HTTP/1.1",
            "test 0/0/0/0/0 -- +0 200 GET /0 HTTP/1.1",
            "test 0/0/0/0/0 -- +0 q0/1 200 GET /2 HTTP/1.1",
        ])
        .await;
}

#[tokio::test]
async fn a_client_that_closes_while_it_waits_has_given_up_only_with_abortonclose() {
    for gives_up in [false, true] {
        let (logged, gated, mut first) =
            held(Mode::Http, |setup| setup.settings.http.abort_on_close = gives_up).await;
        let mut client = logged.rig.client().await;
        client.send("GET /1 HTTP/1.1\r\nhost: t\r\n\r\n").await;
        queued(&logged, 1).await;
        client.0.shutdown().await.unwrap();
        if gives_up {
            queued(&logged, 0).await;
            assert_eq!(client.rest().await.0, "");
        }
        gated.gate.add_permits(2);
        assert_eq!(first.answer().await.status, 200);
        if !gives_up {
            assert_eq!(client.answer().await.status, 200);
        }
    }
}

#[tokio::test]
async fn a_session_whose_client_leaves_without_a_word_leaves_the_queue() {
    let (logged, _gated, _first) = held(Mode::Tcp, |_| {}).await;
    let mut silent = logged.rig.client().await;
    queued(&logged, 1).await;
    silent.0.shutdown().await.unwrap();
    silent.rest().await;
    logged.says(&["none -/0/-/-/0 CQ +0 q0/1 0>0"]).await;
    let mut said = logged.rig.client().await;
    said.send("GET /1 HTTP/1.1\r\nhost: t\r\n\r\n").await;
    said.0.shutdown().await.unwrap();
    queued(&logged, 1).await;
    assert_eq!(logged.rig.pool.handle.queue().entered, 2);
}
