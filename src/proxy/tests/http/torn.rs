//! Messages that break off or stand still, and who is told what.

use std::io::ErrorKind;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::time::Instant;

use super::super::full::Full;
use super::super::rig::{Origin, PATIENCE, Rig, Setup, until};
use crate::proxy::Mode;
use crate::telemetry::cells::ErrorCause;

const LIMIT: Duration = Duration::from_millis(200);

/// A client asks whether it should send its five bytes.
const ASKS: &str = "PUT / HTTP/1.1\r\nhost: t\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\n";

/// Reads a head and says `word`; then nothing.
async fn silent_after(word: &'static str) -> Origin {
    Origin::start(move |_, mut conn| async move {
        conn.until("\r\n\r\n").await;
        conn.send(word).await;
        while conn.more().await > 0 {}
    })
    .await
}

/// For `server` the backend may be silent, for `client` the client.
async fn patient(origin: &Origin, client: Option<Duration>, server: Option<Duration>) -> Rig {
    let mut setup = Setup::new(Mode::Http, &[origin.addr]);
    (setup.settings.timeouts.client, setup.settings.timeouts.server) = (client, server);
    setup.start().await
}

/// Its client waits for a word from it, or owes bytes for as long as it likes.
#[tokio::test]
async fn a_backend_that_leaves_an_expectation_unanswered_is_to_blame() {
    for (line, client) in [
        ("Expect: 100-continue\r\n", Some(PATIENCE * 6)),
        ("expect: 100-continue\r\n", Some(LIMIT)),
        ("Expect: 100-continue\r\n", Some(LIMIT / 2)),
        ("EXPECT:100-continue\r\n", None),
        ("", None),
    ] {
        let origin = silent_after("").await;
        let rig = patient(&origin, client, Some(LIMIT)).await;
        let mut client = rig.client().await;
        client
            .send(&format!("POST / HTTP/1.1\r\nhost: t\r\n{line}content-length: 5\r\n\r\n"))
            .await;
        assert_eq!(client.answer().await.status, 504, "{line:?}");
        assert_eq!(rig.errors(ErrorCause::BackendTimeout), 1);
    }
    // Told to go on, it is the client that owes the next word.
    let origin = silent_after("HTTP/1.1 100 Continue\r\n\r\n").await;
    let rig = patient(&origin, Some(LIMIT), Some(PATIENCE * 6)).await;
    let mut client = rig.client().await;
    client
        .send("POST / HTTP/1.1\r\nhost: t\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\n")
        .await;
    assert_eq!(client.until("\r\n\r\n").await, "HTTP/1.1 100 Continue\r\n\r\n");
    assert_eq!(client.answer().await.status, 408);
}

/// Whose client has less time than its server: it counts from the word that it waits for.
#[tokio::test]
async fn a_client_that_waits_for_a_go_ahead_is_not_late() {
    let origin = Origin::start(|_, mut conn| async move {
        conn.until("\r\n\r\n").await;
        // The case: longer than the client may be silent.
        tokio::time::sleep(LIMIT * 10).await;
        conn.send("HTTP/1.1 100 Continue\r\n\r\n").await;
        conn.until("hello").await;
        conn.send("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    })
    .await;
    let rig = patient(&origin, Some(LIMIT * 5), Some(PATIENCE * 6)).await;
    let mut client = rig.client().await;
    client.send(ASKS).await;
    assert_eq!(client.until("\r\n\r\n").await, "HTTP/1.1 100 Continue\r\n\r\n");
    client.send("hello").await;
    assert_eq!(client.answer().await.status, 200);
}

/// The answer itself is a word: from then on the client owes its body, and what goes on is a sign of life.
#[tokio::test]
async fn an_answer_ends_the_wait_for_a_go_ahead() {
    let origin = silent_after("HTTP/1.1 401 X\r\ncontent-length: 0\r\n\r\n").await;
    let rig = patient(&origin, Some(LIMIT), Some(PATIENCE * 6)).await;
    let mut client = rig.client().await;
    client.send(ASKS).await;
    assert_eq!(client.answer().await.status, 401);
    assert_eq!(client.rest().await.0, "");
    assert_eq!(rig.errors(ErrorCause::ClientTimeout), 1);

    let origin = Origin::start(|_, mut conn| async move {
        conn.until("\r\n\r\n").await;
        conn.send("HTTP/1.1 200 OK\r\ncontent-length: 40\r\n\r\n").await;
        for _ in 0..40 {
            conn.send("x").await;
            // The case: all of it takes longer than the server may be silent.
            tokio::time::sleep(LIMIT / 4).await;
        }
    })
    .await;
    let rig = patient(&origin, Some(PATIENCE * 6), Some(LIMIT * 5)).await;
    let mut client = rig.client().await;
    client.send(ASKS).await;
    assert_eq!(client.answer().await.body, "x".repeat(40));
}

/// Only what goes on is a sign of life.
#[tokio::test]
async fn dripping_framing_does_not_renew_a_time_out() {
    for drip in ["X", ";x"] {
        let start = if drip == "X" { "0\r\n" } else { "5" };
        let origin = Origin::start(move |_, mut conn| async move {
            conn.until("\r\n\r\n").await;
            let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n";
            conn.send(&format!("{head}{start}")).await;
            while conn.0.write_all(drip.as_bytes()).await.is_ok() {
                tokio::time::sleep(LIMIT / 8).await;
            }
        })
        .await;
        let rig = patient(&origin, Some(PATIENCE * 6), Some(LIMIT)).await;
        let mut client = rig.client().await;
        client.send("GET / HTTP/1.1\r\nhost: t\r\n\r\n").await;
        let began = Instant::now();
        let (said, _) = client.rest().await;
        assert!(
            said.ends_with("\r\n5\r\nhello\r\n") || said.ends_with("5\r\nhello\r\n5"),
            "{said}"
        );
        assert!(began.elapsed() < PATIENCE / 2, "{:?}", began.elapsed());
        assert_eq!(rig.errors(ErrorCause::BackendTimeout), 1);
    }
}

/// It knows no chunks, so only the end of its connection tells: that must not look like one.
#[tokio::test]
async fn half_an_answer_to_http10_ends_in_a_reset() {
    let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n";
    let endless = "HTTP/1.1 200 OK\r\n\r\nhello";
    for (answer, breaks) in [(chunked, false), (chunked, true), (endless, true)] {
        let origin = Origin::start(move |_, mut conn| async move {
            conn.until("\r\n\r\n").await;
            conn.send(answer).await;
            if breaks {
                // All of it has been read before.
                tokio::time::sleep(LIMIT).await;
                conn.0.set_zero_linger().unwrap();
            }
        })
        .await;
        let rig = Rig::http(&[origin.addr]).await;
        let mut client = rig.client().await;
        client.send("GET / HTTP/1.0\r\nhost: t\r\n\r\n").await;
        assert_eq!(client.rest().await.1, Some(ErrorKind::ConnectionReset), "{answer}");
    }
}

/// Where its connection ends with it, an answer that comes before its request is whole says so.
#[tokio::test]
async fn an_early_answer_says_what_becomes_of_the_connection() {
    for (answer, part, stays) in [
        ("413 X\r\nconnection: close", "", false),
        ("413 X\r\nconnection: close", "abc", false),
        ("413 X", "", true),
        ("200 OK\r\nconnection: close", "", false),
        ("200 OK\r\nconnection: close", "abc", true),
    ] {
        let origin = Origin::start(move |_, mut conn| async move {
            conn.until(&format!("\r\n\r\n{part}")).await;
            conn.send(&format!("HTTP/1.1 {answer}\r\ncontent-length: 5\r\n\r\nearly")).await;
            while conn.more().await > 0 {}
        })
        .await;
        let rig = Rig::http(&[origin.addr]).await;
        let mut client = rig.client().await;
        client
            .send(&format!("POST / HTTP/1.1\r\nhost: t\r\ncontent-length: 9\r\n\r\n{part}"))
            .await;
        let got = client.answer().await;
        assert_eq!(got.body, "early");
        let says = got.head.to_ascii_lowercase().contains("\r\nconnection: close\r\n");
        assert_eq!(says, !stays, "{answer} after {part:?}: {}", got.head);
        if !stays {
            assert_eq!(client.rest().await, (String::new(), None));
        }
    }
}

/// It may have finished sending alone, as `nc -N` does.
#[tokio::test]
async fn a_client_that_ends_within_a_head_is_told() {
    let origin = Origin::echo("a").await;
    let rig = Rig::http(&[origin.addr]).await;
    for (before, part) in [(0, "GET / HT"), (1, "GET / HTTP/1.1\r\nhost: t\r\n")] {
        let mut client = rig.client().await;
        for _ in 0..before {
            assert_eq!(client.get("/").await.status, 200);
        }
        client.send(part).await;
        client.0.shutdown().await.unwrap();
        let (said, error) = client.rest().await;
        assert!(said.starts_with("HTTP/1.1 400 Bad request\r\n"), "{said}");
        assert_eq!(error, None);
    }
    let mut silent = rig.client().await;
    silent.0.shutdown().await.unwrap();
    assert_eq!(silent.rest().await.0, "", "nothing was asked");
    assert_eq!(rig.service.cells.sum(|c| c.requests.get()), 3, "as many as were answered");
}

/// A request that can never become whole is not brought to a backend.
#[tokio::test]
async fn a_client_that_ends_within_its_body_is_not_waited_for() {
    let full = Full::new().await;
    let mut setup = Setup::new(Mode::Http, &[full.addr]);
    setup.settings.timeouts.connect = Some(PATIENCE * 6);
    let rig = setup.start().await;
    let mut client = rig.client().await;
    client.send("POST / HTTP/1.1\r\nhost: t\r\ncontent-length: 9\r\n\r\nabc").await;
    until("connecting", || rig.in_flight() == 1).await;
    client.0.shutdown().await.unwrap();
    until("left", || rig.in_flight() == 0).await;
    until("counted", || rig.errors(ErrorCause::ClientAbort) == 1).await;
    assert_eq!(client.rest().await.0, "");
}

#[tokio::test]
async fn connections_without_a_byte_are_ignored_where_that_is_wanted() {
    let origin = Origin::echo("a").await;
    for ignores in [false, true] {
        let mut setup = Setup::new(Mode::Http, &[origin.addr]);
        setup.settings.timeouts.http_request = Some(LIMIT);
        setup.settings.http.ignore_probes = ignores;
        let rig = setup.start().await;
        let mut client = rig.client().await;
        let (said, _) = client.rest().await;
        assert_eq!(said.starts_with("HTTP/1.1 408 "), !ignores, "{said}");
        let mut client = rig.client().await;
        client.send("G").await;
        assert!(client.rest().await.0.starts_with("HTTP/1.1 408 "));
    }
}
