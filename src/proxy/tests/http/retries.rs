//! Backends that refuse, are full or die before they answer: who is asked again, and what the client is told.

use std::time::Duration;

use tokio::time::Instant;

use super::super::rig::{Origin, Rig, Setup, header, nobody, until};
use super::POST;
use crate::proxy::{Mode, Reuse};
use crate::telemetry::cells::ErrorCause;

#[tokio::test]
async fn a_refused_backend_is_left_for_another() {
    let origin = Origin::echo("a").await;
    let rig = Rig::http(&[nobody(), origin.addr]).await;
    let mut client = rig.client().await;
    for _ in 0..4 {
        client.send(POST).await;
        assert_eq!(client.answer().await.status, 200);
    }
    assert_eq!(rig.service.cells.sum(|c| c.redispatches.get()), 4);
}

#[tokio::test]
async fn when_all_refuse_it_is_503_with_the_known_page() {
    let mut setup = Setup::new(Mode::Http, &[nobody()]);
    setup.settings.timeouts.connect = Some(Duration::from_millis(20));
    setup.settings.retries = 2;
    let rig = setup.start().await;
    let mut client = rig.client().await;
    let start = Instant::now();
    let answer = client.get("/").await;
    assert!(start.elapsed() >= Duration::from_millis(40), "two turn-arounds");
    assert_eq!(answer.status, 503);
    assert_eq!(
        answer.body,
        "<html><body><h1>503 Service Unavailable</h1>\nNo server is available to handle this request.\n</body></html>\n"
    );
    assert_eq!(header(&answer.head, "cache-control"), Some("no-cache"));
    assert_eq!(header(&answer.head, "content-type"), Some("text/html"));
    assert_eq!(client.get("/").await.status, 503);
    assert_eq!(rig.errors(ErrorCause::Connect), 2);
    assert_eq!(rig.service.cells.sum(|c| c.retries.get()), 4);
}

#[tokio::test]
async fn no_backend_and_all_full_are_503() {
    let rig = Rig::http(&[]).await;
    assert_eq!(rig.client().await.get("/").await.status, 503);
    assert_eq!(rig.errors(ErrorCause::NoBackend), 1);

    let origin =
        Origin::start(|_, mut conn| async move { while conn.request().await.is_some() {} }).await;
    let mut setup = Setup::new(Mode::Http, &[origin.addr]);
    setup.server_max = Some(1);
    setup.settings.timeouts.queue = Some(Duration::from_millis(50));
    let rig = setup.start().await;
    let mut held = rig.client().await;
    held.send("GET / HTTP/1.1\r\nhost: t\r\n\r\n").await;
    until("held", || rig.in_flight() == 1).await;
    assert_eq!(rig.client().await.get("/").await.status, 503);
    assert_eq!(rig.errors(ErrorCause::QueueTimeout), 1);
}

/// Answers the first request of each connection, dies without a byte under the second.
async fn dies_under_the_second() -> Origin {
    Origin::start(|_, mut conn| async move {
        conn.request().await.unwrap();
        conn.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
        conn.request().await.unwrap();
    })
    .await
}

#[tokio::test]
async fn an_idempotent_request_is_replayed() {
    let origin = dies_under_the_second().await;
    let rig = Rig::http(&[origin.addr]).await;
    let mut client = rig.client().await;
    for _ in 0..3 {
        assert_eq!(client.get("/").await.status, 200);
    }
    assert_eq!(rig.service.cells.sum(|c| c.replays.get()), 2);
    assert_eq!(origin.connections(), 3);
}

#[tokio::test]
async fn a_request_that_must_not_repeat_closes_the_client_silently() {
    let origin = dies_under_the_second().await;
    let rig = Rig::http(&[origin.addr]).await;
    let mut client = rig.client().await;
    assert_eq!(client.get("/").await.status, 200);
    client.send(POST).await;
    assert_eq!(client.rest().await.0, "");
    assert_eq!(origin.connections(), 1);
    assert_eq!(rig.in_flight(), 0);
}

/// A client cannot know that its fresh connection led to one that had been used before.
#[tokio::test]
async fn a_clients_first_request_that_must_not_repeat_is_502_over_a_reused_connection() {
    let origin = dies_under_the_second().await;
    let mut setup = Setup::new(Mode::Http, &[origin.addr]);
    setup.settings.http.reuse = Reuse::Always;
    let rig = setup.start().await;
    assert_eq!(rig.client().await.get("/").await.status, 200);
    let mut other = rig.client().await;
    other.send(POST).await;
    assert_eq!(other.answer().await.status, 502);
    assert_eq!(origin.connections(), 1);
    assert_eq!(rig.in_flight(), 0);
}

/// Without retries nothing is sent again, so nobody's first request goes over a connection that may have ended.
#[tokio::test]
async fn without_retries_a_clients_first_request_has_a_connection_of_its_own() {
    let origin = dies_under_the_second().await;
    let mut setup = Setup::new(Mode::Http, &[origin.addr]);
    setup.settings.retries = 0;
    let rig = setup.start().await;
    for _ in 0..3 {
        assert_eq!(rig.client().await.get("/").await.status, 200);
    }
    assert_eq!(origin.connections(), 3);
}

#[tokio::test]
async fn a_fresh_connection_that_dies_is_502_for_a_post() {
    let origin = Origin::start(|_, mut conn| async move {
        conn.request().await;
    })
    .await;
    let rig = Rig::http(&[origin.addr]).await;
    let mut client = rig.client().await;
    client.send(POST).await;
    assert_eq!(client.answer().await.status, 502);
    assert_eq!(origin.connections(), 1);
    // A GET is sent once more, whatever `retries` says: it may be what kills them.
    assert_eq!(client.get("/").await.status, 502);
    assert_eq!(origin.connections(), 1 + 2);
}

#[tokio::test]
async fn a_request_that_is_sent_elsewhere_goes_over_an_idle_connection() {
    let origin = Origin::echo("a").await;
    let rig = Rig::http(&[nobody(), origin.addr]).await;
    let mut client = rig.client().await;
    for _ in 0..20 {
        assert_eq!(client.get("/").await.status, 200);
    }
    let dead = rig.pool.backends[0].cells.sum(|c| c.connect_errors.get());
    assert!(dead > 1, "it was asked {dead} times");
    assert_eq!(origin.connections(), 1);
}

/// It may be dead by now, which costs a retry.
#[tokio::test]
async fn a_request_without_a_retry_left_goes_over_a_new_connection() {
    let origin = Origin::start(|number, mut conn| async move {
        for asked in 0.. {
            // The first one ends when it is used again.
            if conn.request().await.is_none() || (number == 0 && asked == 1) {
                return;
            }
            conn.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
        }
    })
    .await;
    let mut setup = Setup::new(Mode::Http, &[nobody(), origin.addr]);
    setup.settings.retries = 1;
    let rig = setup.start().await;
    // Both first requests go to nobody first; the second finds the idle connection of the first.
    let dead = || rig.pool.backends[0].cells.sum(|c| c.connect_errors.get());
    for round in 1..=2 {
        let mut client = rig.client().await;
        while dead() < round {
            assert_eq!(client.get("/").await.status, 200);
        }
    }
}
