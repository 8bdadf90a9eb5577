//! Requests that end otherwise: whose fault it is said to be.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::AsyncWriteExt;

use super::super::rig::{Origin, Setup, nobody, until};
use super::{Logged, http, once};
use crate::proxy::Mode;

#[tokio::test]
async fn what_is_no_request_is_logged_as_such() {
    let origin = Origin::echo("a").await;
    let mut setup = http(&origin);
    setup.settings.timeouts.http_request = Some(Duration::from_millis(200));
    let logged = Logged::new(setup).await;
    let mut client = logged.rig.client().await;
    client.send("no request\r\n\r\n").await;
    client.rest().await;
    let mut client = logged.rig.client().await;
    client.send("GET / HTT").await;
    client.rest().await;
    let mut client = logged.rig.client().await;
    client.send("GET / HTT").await;
    client.0.shutdown().await.unwrap();
    client.rest().await;
    drop(logged.rig.client().await);
    logged
        .says(&[
            "none -/-/-/-/0 PR +0 400 bad",
            "none -/-/-/-/2 cR +0 408 bad",
            "none -/-/-/-/0 CR +0 400 bad",
            "none -/-/-/-/0 CR +0 400 bad",
        ])
        .await;
}

#[tokio::test]
async fn silent_clients_need_not_be_logged() {
    let origin = Origin::echo("a").await;
    let mut setup = http(&origin);
    setup.settings.timeouts.http_request = Some(Duration::from_millis(200));
    let logged = Logged::with(setup, |log| log.skip_null = true).await;
    drop(logged.rig.client().await);
    logged.rig.client().await.rest().await;
    let mut client = logged.rig.client().await;
    client.send("GET / HTTP/1.1\r\nhost: t\r\nconnection: close\r\n\r\n").await;
    client.rest().await;
    let mut client = logged.rig.client().await;
    client.send("nonsense\r\n\r\n").await;
    client.rest().await;
    logged.says(&["test 0/0/0/0/0 -- +0 200 GET / HTTP/1.1", "none -/-/-/-/0 PR +0 400 bad"]).await;
}

#[tokio::test]
async fn without_an_answer_it_says_why() {
    for (answer, line) in [
        ("", "test 0/0/0/-/0 SH +0 502 POST / HTTP/1.1"),
        ("nonsense\r\n\r\n", "test 0/0/0/-/0 PH +0 502 POST / HTTP/1.1"),
        ("HTTP/1.1 200 OK\r\nConte", "test 0/0/0/-/0 SH +0 502 POST / HTTP/1.1"),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello",
            "test 0/0/0/0/0 SD +0 200 POST / HTTP/1.1",
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\nzz\r\n",
            "test 0/0/0/-/0 PH +0 502 POST / HTTP/1.1",
        ),
    ] {
        let origin = once(answer).await;
        let logged = Logged::with(http(&origin), |log| log.frontend = answer.into()).await;
        let logged = Logged { name: answer.to_owned(), ..logged };
        let mut client = logged.rig.client().await;
        client.send("POST / HTTP/1.1\r\nhost: t\r\nconnection: close\r\n\r\n").await;
        client.rest().await;
        logged.says(&[line]).await;
    }
}

#[tokio::test]
async fn late_backends_are_to_blame() {
    let origin = Origin::start(|_, mut conn| async move {
        let request = conn.request().await.unwrap_or_default();
        if request.contains("/body") {
            conn.send("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello").await;
        }
        conn.request().await;
    })
    .await;
    let mut setup = http(&origin);
    setup.settings.timeouts.server = Some(Duration::from_millis(310));
    let logged = Logged::new(setup).await;
    for path in ["/head", "/body"] {
        let mut client = logged.rig.client().await;
        client.send(&format!("GET {path} HTTP/1.1\r\nhost: t\r\nconnection: close\r\n\r\n")).await;
        client.rest().await;
    }
    logged
        .says(&[
            "test 0/0/0/-/3 sH +0 504 GET /head HTTP/1.1",
            "test 0/0/0/0/3 sD +0 200 GET /body HTTP/1.1",
        ])
        .await;
}

/// Answers `/big` without end, nothing else at all; counts the heads that it has.
async fn never_done(heads: Arc<AtomicUsize>) -> Origin {
    Origin::start(move |_, mut conn| {
        let heads = Arc::clone(&heads);
        async move {
            let head = conn.until("\r\n\r\n").await;
            heads.fetch_add(1, Ordering::SeqCst);
            if head.contains("/big") {
                let length = 32 << 20;
                conn.send(&format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n")).await;
                let block = vec![b'x'; 1 << 20];
                for _ in 0..32 {
                    if conn.0.write_all(&block).await.is_err() {
                        return;
                    }
                }
            }
            while conn.more().await > 0 {}
        }
    })
    .await
}

#[tokio::test]
async fn clients_that_leave_or_stall_are_to_blame() {
    let heads = Arc::new(AtomicUsize::new(0));
    let origin = never_done(Arc::clone(&heads)).await;
    let heard = |number| {
        let heads = Arc::clone(&heads);
        until("the backend has the head", move || heads.load(Ordering::SeqCst) == number)
    };
    let mut setup = http(&origin);
    setup.settings.timeouts.client = Some(Duration::from_millis(310));
    let logged = Logged::new(setup).await;

    let mut client = logged.rig.client().await;
    client.send("GET /big HTTP/1.1\r\nhost: t\r\n\r\n").await;
    logged.says(&["test 0/0/0/0/3 cD +0 200 GET /big HTTP/1.1"]).await;
    drop(client);

    let mut client = logged.rig.client().await;
    client.send("GET /big HTTP/1.1\r\nhost: t\r\n\r\n").await;
    client.more().await;
    client.0.set_zero_linger().unwrap();
    drop(client);
    until("a second line", || logged.seen().len() > 1).await;
    assert!(logged.seen()[1].contains(" CD +0 200 GET /big"), "{:?}", logged.seen());

    let mut client = logged.rig.client().await;
    client.send("POST / HTTP/1.1\r\nhost: t\r\ncontent-length: 9\r\n\r\nhello").await;
    client.rest().await;
    let mut client = logged.rig.client().await;
    client.send("POST / HTTP/1.1\r\nhost: t\r\ncontent-length: 9\r\n\r\nhello").await;
    heard(4).await;
    client.0.set_zero_linger().unwrap();
    drop(client);
    until("a fourth line", || logged.seen().len() > 3).await;
    let mut client = logged.rig.client().await;
    client.send("POST / HTTP/1.1\r\nhost: t\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n").await;
    heard(5).await;
    client.send("zz\r\n").await;
    client.rest().await;
    until("as many lines", || logged.seen().len() >= 5).await;
    assert_eq!(
        logged.seen()[2..],
        [
            "test 0/0/0/-/3 cD +0 408 POST / HTTP/1.1",
            "test 0/0/0/-/0 CD +0 - POST / HTTP/1.1",
            "test 0/0/0/-/0 PH +0 400 POST / HTTP/1.1",
        ]
    );
}

#[tokio::test]
async fn a_client_that_resets_while_it_waits_is_noticed() {
    let origin = Origin::start(|_, mut conn| async move {
        conn.request().await;
        conn.request().await;
    })
    .await;
    let logged = Logged::new(http(&origin)).await;
    let mut client = logged.rig.client().await;
    client.send("GET / HTTP/1.1\r\nhost: t\r\n\r\n").await;
    until("in flight", || origin.connections() > 0).await;
    let asked = tokio::time::Instant::now();
    tokio::time::sleep(Duration::from_millis(310)).await;
    client.0.set_zero_linger().unwrap();
    drop(client);
    until("a line", || !logged.seen().is_empty()).await;
    let seen = logged.seen();
    // In all it took as long as the client has waited.
    let totals = 3..=asked.elapsed().as_millis() / 100 + 1;
    let line = |total| format!("test 0/0/0/-/{total} CH +0 - GET / HTTP/1.1");
    assert!(totals.map(line).any(|line| seen == [line]), "{seen:?}");
}

#[tokio::test]
async fn retries_and_their_pauses_are_counted() {
    let mut setup = Setup::new(Mode::Http, &[nobody()]);
    setup.settings.timeouts.connect = Some(Duration::from_millis(110));
    let logged = Logged::new(setup).await;
    let mut client = logged.rig.client().await;
    assert_eq!(client.get("/").await.status, 503);
    until("a line", || logged.seen().len() == 1).await;
    let seen = logged.seen();
    // Three pauses of 110 ms, and what a busy machine adds.
    let is_it = |t: u32| seen == [format!("test 0/{t}/-/-/{t} SC +3 503 GET / HTTP/1.1")];
    assert!((3..30).any(is_it), "{seen:?}");

    let origin = Origin::echo("a").await;
    let setup = Setup::new(Mode::Http, &[nobody(), origin.addr]);
    let logged = Logged::with(setup, |log| log.frontend = "two".into()).await;
    let logged = Logged { name: "two".to_owned(), ..logged };
    let mut client = logged.rig.client().await;
    for _ in 0..2 {
        assert_eq!(client.get("/").await.status, 200);
    }
    // Whichever was picked first: the other one is asked in the end.
    until("two lines", || logged.seen().len() == 2).await;
    let seen = logged.seen();
    let moved = seen.iter().filter(|line| line.contains("-- +1r 200")).count();
    // The round begins anywhere: with the other one, and the second request meets nobody; with nobody, and both do.
    assert!([1, 2].contains(&moved), "{seen:?}");

    let logged =
        Logged::with(Setup::new(Mode::Http, &[]), |log| log.frontend = "none".into()).await;
    let logged = Logged { name: "none".to_owned(), ..logged };
    logged.rig.client().await.get("/").await;
    logged.says(&["none 0/-/-/-/0 SC +0 503 GET / HTTP/1.1"]).await;
}

#[tokio::test]
async fn a_request_that_nobody_may_repeat_is_logged_without_status() {
    let origin = Origin::start(|_, mut conn| async move {
        conn.request().await;
        conn.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
        conn.request().await;
    })
    .await;
    let logged = Logged::new(http(&origin)).await;
    let mut client = logged.rig.client().await;
    client.get("/").await;
    client.send("POST / HTTP/1.1\r\nhost: t\r\n\r\n").await;
    client.rest().await;
    logged
        .says(&[
            "test 0/0/0/0/0 -- +0 200 GET / HTTP/1.1",
            "test 0/0/0/-/0 SH +0 - POST / HTTP/1.1",
        ])
        .await;
}
