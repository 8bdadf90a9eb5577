//! Who waits while something else happens: bodies, dead servers, drains, removed listeners.

use std::time::Duration;

use super::super::rig::{Origin, PATIENCE, Setup, header, nobody, until};
use super::{Gated, held, queued};
use crate::proxy::Mode;
use crate::proxy::worker::ListenerId;
use crate::telemetry::cells::ErrorCause;

#[tokio::test]
async fn a_body_that_came_with_its_head_waits_too() {
    let origin = Origin::echo("a").await;
    let mut setup = Setup::new(Mode::Http, &[origin.addr]);
    setup.server_max = Some(1);
    let rig = setup.start().await;
    let only = rig.pool.handle.acquire(crate::lb::PickContext::default()).unwrap();
    let body = "x".repeat(30_000);
    let mut client = rig.client().await;
    client
        .send(&format!("POST / HTTP/1.1\r\nhost: t\r\ncontent-length: 30000\r\n\r\n{body}"))
        .await;
    until("in line", || rig.pool.handle.queue().length == 1).await;
    // Others use the thread's buffer meanwhile.
    let mut other = rig.client().await;
    other.send(&"y".repeat(10_000)).await;
    drop(only);
    let answer = client.answer().await;
    assert!(answer.body.ends_with(&body) && header(&answer.head, "content-length").is_some());
}

#[tokio::test]
async fn a_request_that_is_moved_waits_for_the_full_one_only_if_nobody_else_may_be_tried() {
    // As haproxy: the dead one is tried again and again, because the other has no room.
    let gated = Gated::start(false).await;
    let mut setup = Setup::new(Mode::Http, &[nobody(), gated.origin.addr]);
    setup.server_max = Some(1);
    let pause = Duration::from_millis(20);
    setup.settings.timeouts.connect = Some(pause);
    let retries = setup.settings.retries;
    let rig = setup.start().await;
    let mut first = rig.client().await;
    first.send("GET /0 HTTP/1.1\r\nhost: t\r\n\r\n").await;
    until("held", || gated.seen() == 1).await;
    let begun = tokio::time::Instant::now();
    assert_eq!(rig.client().await.get("/1").await.status, 503);
    assert!(begun.elapsed() >= pause * retries, "no pauses: {:?}", begun.elapsed());
    gated.gate.add_permits(1);
    assert_eq!(first.answer().await.status, 200);
    until("nothing left", || rig.in_flight() == 0).await;
}

#[tokio::test]
async fn a_drain_serves_those_that_wait_or_cuts_them_at_its_deadline() {
    for released in [true, false] {
        let (mut logged, gated, mut first) = held(Mode::Http, |setup| setup.workers = 2).await;
        let mut late = logged.rig.client().await;
        late.send("GET /1 HTTP/1.1\r\nhost: t\r\n\r\n").await;
        queued(&logged, 1).await;
        let workers = logged.rig.workers.take().unwrap();
        let deadline = if released { PATIENCE } else { Duration::from_millis(100) };
        if released {
            gated.gate.add_permits(2);
        }
        let report = workers.drain(deadline).await;
        assert_eq!(report.is_complete(), released, "{report:?}");
        assert!(report.took < PATIENCE / 2, "{report:?}");
        if released {
            assert_eq!(first.answer().await.status, 200);
            assert_eq!(late.answer().await.status, 200);
        }
        let backend = &logged.rig.pool.backends[0];
        assert_eq!((backend.in_flight.get(), logged.rig.pool.handle.queue().length), (0, 0));
    }
}

#[tokio::test]
async fn those_that_wait_are_served_after_their_listener_was_removed() {
    for mode in [Mode::Http, Mode::Tcp] {
        let (logged, gated, mut first) = held(mode, |setup| setup.workers = 2).await;
        let mut late = logged.rig.client().await;
        late.send("GET /1 HTTP/1.1\r\nhost: t\r\n\r\n").await;
        queued(&logged, 1).await;
        assert!(logged.rig.workers().remove_listener(ListenerId(1)).await);
        gated.gate.add_permits(2);
        assert_eq!(first.answer().await.status, 200);
        drop(first);
        assert_eq!(late.answer().await.status, 200);
        drop(late);
        until("all closed", || logged.rig.workers().open_connections() == 0).await;
        assert_eq!(logged.rig.in_flight(), 0);
    }
}

#[tokio::test]
async fn a_connect_that_fails_gives_its_slot_to_who_waits_and_waits_in_turn() {
    // Nobody listens: the one slot goes round among all, each tries as often as it may, and none is left behind.
    let mut setup = Setup::new(Mode::Http, &[nobody()]);
    setup.server_max = Some(1);
    setup.workers = 2;
    setup.settings.timeouts.connect = Some(Duration::from_millis(10));
    setup.settings.timeouts.queue = Some(PATIENCE);
    let rig = setup.start().await;
    let mut clients = Vec::new();
    for number in 0..10 {
        let mut client = rig.client().await;
        client.send(&format!("GET /{number} HTTP/1.1\r\nhost: t\r\n\r\n")).await;
        clients.push(client);
    }
    for client in &mut clients {
        assert_eq!(client.answer().await.status, 503);
    }
    assert_eq!(rig.errors(ErrorCause::Connect), 10);
    until("nothing left", || rig.in_flight() == 0).await;
    let view = rig.pool.handle.queue();
    assert!(view.entered > 0 && view.length == 0, "{view:?}");
}

#[tokio::test]
async fn a_dead_server_does_not_empty_the_queue() {
    // It refuses everybody and is never full; the other one is, and comes free before anybody has run out of retries.
    let gated = Gated::start(false).await;
    let mut setup = Setup::new(Mode::Http, &[nobody(), gated.origin.addr]);
    setup.server_max = Some(1);
    setup.settings.timeouts.queue = Some(PATIENCE);
    let rig = setup.start().await;
    let mut first = rig.client().await;
    first.send("GET /0 HTTP/1.1\r\nhost: t\r\n\r\n").await;
    until("held", || gated.seen() == 1).await;
    let mut clients = Vec::new();
    for number in 1..=5 {
        let mut client = rig.client().await;
        client.send(&format!("GET /{number} HTTP/1.1\r\nhost: t\r\n\r\n")).await;
        clients.push(client);
    }
    // One pauses before it tries the dead one again, the rest wait for their turn.
    until("in line", || rig.pool.handle.queue().length == 4).await;
    gated.gate.add_permits(6);
    assert_eq!(first.answer().await.status, 200);
    until("the line is served", || gated.seen() >= 5).await;
}
