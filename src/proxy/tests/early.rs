//! Answers that are whole before their request is.

use super::rig::{Origin, Rig, Setup, until};
use crate::proxy::Mode;
use crate::telemetry::cells::ErrorCause;

/// More than all buffers on the way hold.
const LONG: usize = 8 << 20;

/// Accepts a request at its head, takes the rest of it, and answers the next one with the length of that.
async fn accepts_at_once() -> Origin {
    Origin::start(|_, mut conn| async move {
        let head = conn.until("\r\n\r\n").await;
        conn.send("HTTP/1.1 202 Accepted\r\ncontent-length: 2\r\n\r\nok").await;
        // As if the head had not been read yet.
        conn.1.splice(0..0, head.into_bytes());
        let Some(request) = conn.request().await else { return };
        let taken = request.len() - (request.find("\r\n\r\n").unwrap() + 4);
        conn.request().await;
        let taken = taken.to_string();
        let len = taken.len();
        conn.send(&format!("HTTP/1.1 200 OK\r\ncontent-length: {len}\r\n\r\n{taken}")).await;
    })
    .await
}

#[tokio::test]
async fn a_request_that_is_answered_early_goes_on_to_its_end() {
    let chunked = format!("{LONG:x}\r\n{}\r\n0\r\n\r\n", "x".repeat(LONG));
    for (framing, body) in [
        (format!("content-length: {LONG}"), "x".repeat(LONG)),
        ("transfer-encoding: chunked".to_owned(), chunked),
    ] {
        let origin = accepts_at_once().await;
        let rig = Rig::http(&[origin.addr]).await;
        let mut client = rig.client().await;
        client.send(&format!("POST / HTTP/1.1\r\nhost: t\r\n{framing}\r\n\r\n")).await;
        assert_eq!(client.answer().await.body, "ok", "{framing}");
        client.send(&body).await;
        assert_eq!(client.get("/").await.body, LONG.to_string(), "{framing}");
        assert_eq!(origin.connections(), 1);
        until("released", || rig.in_flight() == 0).await;
        assert_eq!(rig.errors(ErrorCause::ClientAbort), 0);
    }
}

#[tokio::test]
async fn a_client_that_leaves_behind_an_early_answer_has_aborted() {
    let origin = accepts_at_once().await;
    let rig = Rig::http(&[origin.addr]).await;
    let mut client = rig.client().await;
    client.send("POST / HTTP/1.1\r\nhost: t\r\ncontent-length: 9\r\n\r\nhalf").await;
    assert_eq!(client.answer().await.status, 202);
    assert_eq!(rig.in_flight(), 1, "its server still reads");
    drop(client);
    until("released", || rig.in_flight() == 0).await;
    assert_eq!(rig.errors(ErrorCause::ClientAbort), 1);
}

/// A reset would take it away: it is read after all that the client had to say.
#[tokio::test]
async fn an_early_answer_outlives_the_nonsense_behind_it() {
    let origin = accepts_at_once().await;
    let rig = Rig::http(&[origin.addr]).await;
    let mut client = rig.client().await;
    client.send("POST / HTTP/1.1\r\nhost: t\r\ntransfer-encoding: chunked\r\n\r\n").await;
    client.0.readable().await.unwrap();
    // More than is read at once, less than is waited for.
    client.send(&format!("no length\r\n{}", "x".repeat(900_000))).await;
    until("refused", || rig.errors(ErrorCause::ClientProtocol) == 1).await;
    let (all, end) = client.rest().await;
    assert!(all.starts_with("HTTP/1.1 202 ") && all.ends_with("ok"), "{all}");
    assert_eq!(end, None);
    until("released", || rig.in_flight() == 0).await;
}

/// It has said so, or it does so: what it does not want is not waited for.
#[tokio::test]
async fn a_server_that_closes_behind_an_early_answer_ends_the_request() {
    for (line, closes) in [("connection: close\r\n", false), ("", true)] {
        let origin = Origin::start(move |_, mut conn| async move {
            conn.until("\r\n\r\n").await;
            conn.send(&format!("HTTP/1.1 413 x\r\n{line}content-length: 2\r\n\r\nno")).await;
            if !closes {
                while conn.more().await > 0 {}
            }
        })
        .await;
        let rig = Rig::http(&[origin.addr]).await;
        let mut client = rig.client().await;
        client.send("POST / HTTP/1.1\r\nhost: t\r\ncontent-length: 9\r\n\r\n").await;
        assert_eq!(client.answer().await.status, 413);
        assert_eq!(client.rest().await.0, "", "{line:?}");
        assert_eq!(rig.in_flight(), 0);
    }
}

#[tokio::test]
async fn an_early_answer_does_not_end_the_patience_with_its_request() {
    let origin = accepts_at_once().await;
    let mut setup = Setup::new(Mode::Http, &[origin.addr]);
    setup.settings.timeouts.client = Some(std::time::Duration::from_millis(100));
    let rig = setup.start().await;
    let mut client = rig.client().await;
    client.send("POST / HTTP/1.1\r\nhost: t\r\ncontent-length: 9\r\n\r\nhalf").await;
    assert_eq!(client.answer().await.status, 202);
    assert_eq!(client.rest().await.0, "");
    assert_eq!(rig.errors(ErrorCause::ClientTimeout), 1);
    assert_eq!(rig.in_flight(), 0);
}

/// It closes when it has what it wants: that is all of a request that it has accepted.
#[tokio::test]
async fn a_server_that_will_close_gets_the_rest_of_what_it_has_accepted() {
    let origin = Origin::start(|number, mut conn| async move {
        let head = conn.until("\r\n\r\n").await;
        if number == 0 {
            conn.send("HTTP/1.1 200 x\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok").await;
        }
        conn.1.splice(0..0, head.into_bytes());
        let request = conn.request().await.unwrap_or_default();
        conn.send(&format!("HTTP/1.1 200 x\r\ncontent-length: 1\r\n\r\n{number}")).await;
        assert!(number > 0 || request.ends_with("first second"), "{request}");
        conn.request().await;
    })
    .await;
    let rig = Rig::http(&[origin.addr]).await;
    let mut client = rig.client().await;
    client.send("POST / HTTP/1.1\r\nhost: t\r\ncontent-length: 12\r\n\r\nfirst ").await;
    assert_eq!(client.answer().await.body, "ok");
    assert_eq!(rig.in_flight(), 1);
    client.send("second").await;
    assert_eq!(client.get("/").await.body, "1", "the client's connection stays");
    assert_eq!((rig.in_flight(), origin.connections()), (0, 2));
}
