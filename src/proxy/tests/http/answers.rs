//! Answers that are none, come too late or never end.

use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::time::Instant;

use super::super::rig::{Origin, Rig, Setup, until};
use crate::proxy::Mode;
use crate::telemetry::cells::ErrorCause;

#[tokio::test]
async fn a_switch_nobody_asked_for_is_502() {
    let origin = Origin::start(|_, mut conn| async move {
        conn.request().await;
        conn.send("HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n")
            .await;
        conn.request().await;
    })
    .await;
    let rig = Rig::http(&[origin.addr]).await;
    assert_eq!(rig.client().await.get("/").await.status, 502);
}

#[tokio::test]
async fn garbage_is_502() {
    for junk in ["SSH-2.0-OpenSSH\r\n\r\n", "HTTP/1.1 abc\r\n\r\n", "HTTP/1.1 200 OK\r\ncontent-le"]
    {
        let origin = Origin::start(move |_, mut conn| async move {
            conn.request().await;
            conn.send(junk).await;
        })
        .await;
        let rig = Rig::http(&[origin.addr]).await;
        let mut client = rig.client().await;
        let answer = client.get("/").await;
        assert_eq!(answer.status, 502, "{junk:?}");
        assert!(answer.body.contains("502 Bad Gateway"));
        assert_eq!(origin.connections(), 1, "an answer had begun");
    }
}

#[tokio::test]
async fn bytes_beyond_an_answer_never_reach_anybody() {
    let origin = Origin::start(|_, mut conn| async move {
        while conn.request().await.is_some() {
            conn.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokHTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil")
                .await;
        }
    })
    .await;
    let rig = Rig::http(&[origin.addr]).await;
    let mut client = rig.client().await;
    for _ in 0..5 {
        assert_eq!(client.get("/").await.body, "ok");
    }
}

#[tokio::test]
async fn a_late_answer_is_504() {
    let origin =
        Origin::start(|_, mut conn| async move { while conn.request().await.is_some() {} }).await;
    let mut setup = Setup::new(Mode::Http, &[origin.addr]);
    setup.settings.timeouts.server = Some(Duration::from_millis(60));
    let rig = setup.start().await;
    let mut client = rig.client().await;
    let start = Instant::now();
    let answer = client.get("/").await;
    assert!(start.elapsed() >= Duration::from_millis(60));
    assert_eq!(answer.status, 504);
    assert!(answer.body.contains("The server didn't respond in time."));
    assert_eq!(rig.errors(ErrorCause::BackendTimeout), 1);
    assert_eq!(rig.in_flight(), 0);
    assert_eq!(client.get("/").await.status, 504, "the client's connection lives");
}

#[tokio::test]
async fn a_head_that_drips_is_504_as_well() {
    let origin = Origin::start(|_, mut conn| async move {
        conn.request().await;
        conn.send("HTTP/1.1 200 OK\r\nx: ").await;
        while conn.0.write_all(b"y").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    let mut setup = Setup::new(Mode::Http, &[origin.addr]);
    setup.settings.timeouts.server = Some(Duration::from_millis(100));
    let rig = setup.start().await;
    let answer = rig.client().await.get("/").await;
    assert_eq!(answer.status, 504);
    assert_eq!(rig.errors(ErrorCause::BackendTimeout), 1);
}

#[tokio::test]
async fn an_answer_that_stalls_or_breaks_is_never_ended_cleanly() {
    for stall in [true, false] {
        for head in ["content-length: 100", "transfer-encoding: chunked"] {
            let origin = Origin::start(move |_, mut conn| async move {
                conn.request().await;
                conn.send(&format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n5\r\nabcde\r\n")).await;
                if stall {
                    conn.request().await;
                }
            })
            .await;
            let mut setup = Setup::new(Mode::Http, &[origin.addr]);
            setup.settings.timeouts.server = Some(Duration::from_millis(60));
            let rig = setup.start().await;
            let mut client = rig.client().await;
            client.send("GET / HTTP/1.1\r\nhost: t\r\n\r\n").await;
            let (got, _) = client.rest().await;
            assert!(got.contains("abcde") && !got.ends_with("0\r\n\r\n"), "{got}");
            until("lease back", || rig.in_flight() == 0).await;
            let cause = if stall { ErrorCause::BackendTimeout } else { ErrorCause::Backend };
            until("counted", || rig.errors(cause) == 1).await;
            assert_eq!(rig.errors(ErrorCause::ClientAbort), 0);
        }
    }
}

#[tokio::test]
async fn chunks_that_are_none_are_502_as_long_as_nothing_was_sent() {
    for extra in ["", "Connection: close\r\n"] {
        let answer = format!("HTTP/1.1 200 OK\r\n{extra}Transfer-Encoding: chunked\r\n\r\nzz\r\n");
        let origin = Origin::start(move |_, mut conn| {
            let answer = answer.clone();
            async move {
                conn.request().await;
                conn.send(&answer).await;
                // Open as long as the proxy wants it.
                conn.more().await;
            }
        })
        .await;
        let rig = Rig::http(&[origin.addr]).await;
        let mut client = rig.client().await;
        assert_eq!(client.get("/").await.status, 502, "{extra:?}");
        assert_eq!(rig.service.cells.sum(|c| c.responses.iter().map(|cell| cell.get()).sum()), 1);
        assert_eq!(client.get("/").await.status, 502, "{extra:?}");
        assert_eq!(origin.connections(), 2, "that connection is not used again");
    }
}
