//! What happens while all servers are full.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::sync::Semaphore;

use super::logged::Logged;
use super::rig::{Client, Origin, PATIENCE, Rig, Setup, header, nobody, until};
use crate::proxy::Mode;
use crate::proxy::worker::ListenerId;
use crate::telemetry::cells::ErrorCause;

/// `maxconn` of the server.
const MAX: u32 = 5;

/// An origin whose answers are let go one by one, in the order in which requests came.
struct Gated {
    origin: Origin,
    gate: Arc<Semaphore>,
    /// The numbers in the requests' paths, as they came.
    order: Arc<Mutex<Vec<usize>>>,
    now: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
}

impl Gated {
    async fn start(closes: bool) -> Self {
        let gate = Arc::new(Semaphore::new(0));
        let order = Arc::<Mutex<Vec<usize>>>::default();
        let (now, most) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let (tickets, seen, count, top) = (gate.clone(), order.clone(), now.clone(), most.clone());
        let origin = Origin::start(move |_, mut conn| {
            let (gate, order, now, most) =
                (tickets.clone(), seen.clone(), count.clone(), top.clone());
            async move {
                while let Some(request) = conn.request().await {
                    let number = request.split(['/', ' ']).nth(2).unwrap().parse().unwrap();
                    order.lock().unwrap().push(number);
                    most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    gate.acquire().await.unwrap().forget();
                    now.fetch_sub(1, Ordering::SeqCst);
                    conn.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
                    if closes {
                        return;
                    }
                }
            }
        })
        .await;
        Self { origin, gate, order, now, most }
    }

    fn seen(&self) -> usize {
        self.order.lock().unwrap().len()
    }
}

/// Sends one request after the other, each once the one before stands in line; returns the clients.
async fn arrive(rig: &Rig, gated: &Gated, count: usize, head: &str) -> Vec<Client> {
    let mut clients = Vec::new();
    for number in 0..count {
        let mut client = rig.client().await;
        client.send(&format!("GET /{number} HTTP/1.1\r\nhost: t\r\n{head}\r\n")).await;
        let waiting = || rig.pool.handle.queue().length as usize;
        until("in line", || gated.seen() + waiting() == number + 1).await;
        clients.push(client);
    }
    clients
}

async fn hundred_are_served_in_order(mode: Mode, workers: usize, head: &str) {
    let gated = Gated::start(mode == Mode::Tcp).await;
    let mut setup = Setup::new(mode, &[gated.origin.addr]);
    setup.server_max = Some(MAX);
    setup.workers = workers;
    let rig = setup.start().await;
    let mut clients = arrive(&rig, &gated, 100, head).await;
    assert_eq!(rig.pool.handle.queue().length, 95);
    for client in &mut clients {
        let before = gated.seen();
        gated.gate.add_permits(1);
        assert_eq!(client.answer().await.status, 200);
        if mode == Mode::Tcp {
            client.0.shutdown().await.unwrap();
        }
        until("the next one", || gated.seen() == 100.min(before + 1)).await;
    }
    assert_eq!(*gated.order.lock().unwrap(), (0..100).collect::<Vec<_>>());
    assert_eq!(gated.most.load(Ordering::SeqCst), MAX as usize);
    assert_eq!(gated.now.load(Ordering::SeqCst), 0);
    drop(clients);
    until("nothing left", || rig.in_flight() == 0).await;
    let view = rig.pool.handle.queue();
    assert_eq!((view.length, view.most, view.entered, view.served), (0, 95, 95, 95));
}

#[tokio::test]
async fn http_clients_that_stay_are_served_in_order() {
    for workers in [1, 2] {
        hundred_are_served_in_order(Mode::Http, workers, "").await;
    }
}

#[tokio::test]
async fn http_clients_that_close_are_served_in_order() {
    for workers in [1, 2] {
        hundred_are_served_in_order(Mode::Http, workers, "connection: close\r\n").await;
    }
}

#[tokio::test]
async fn tcp_clients_are_served_in_order() {
    for workers in [1, 2] {
        hundred_are_served_in_order(Mode::Tcp, workers, "").await;
    }
}

/// A rig that logs, with one server of `maxconn 1` that a first request holds.
async fn held(mode: Mode, change: impl FnOnce(&mut Setup)) -> (Logged, Gated, Client) {
    let gated = Gated::start(false).await;
    let mut setup = Setup::new(mode, &[gated.origin.addr]);
    setup.server_max = Some(1);
    setup.settings.timeouts.connect = Some(PATIENCE);
    change(&mut setup);
    let logged = Logged::new(setup).await;
    let mut first = logged.rig.client().await;
    first.send("GET /0 HTTP/1.1\r\nhost: t\r\n\r\n").await;
    until("held", || gated.seen() == 1).await;
    (logged, gated, first)
}

async fn queued(logged: &Logged, length: u32) {
    until("in line", || logged.rig.pool.handle.queue().length == length).await;
}

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

/// How often [`overload`] may be disturbed by what else the machine does.
const TRIES: usize = 5;

/// More is asked for than can be served: what can be is, and all is well at once when the load is gone. Compares with what
/// is served before and after; a machine that slows down in between is given another try, a queue that costs goodput fails
/// in each.
async fn overload(time: Duration) {
    const SERVICE_TIME: Duration = Duration::from_millis(20);
    /// Too many by this factor: enough for time-outs, little enough that it is not the processor that is overloaded.
    const TOO_MANY: usize = 10;
    let origin = Origin::start(move |_, mut conn| async move {
        while conn.request().await.is_some() {
            tokio::time::sleep(SERVICE_TIME).await;
            conn.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
        }
    })
    .await;
    let mut setup = Setup::new(Mode::Http, &[origin.addr]);
    setup.server_max = Some(MAX);
    setup.workers = 2;
    setup.settings.timeouts.queue = Some(SERVICE_TIME * 5);
    let rig = setup.start().await;
    let goodput = async |clients: usize, time: Duration| {
        let deadline = tokio::time::Instant::now() + time;
        let mut load = tokio::task::JoinSet::new();
        for _ in 0..clients {
            let mut client = rig.client().await;
            load.spawn(async move {
                let mut good = 0;
                while tokio::time::Instant::now() < deadline {
                    good += u32::from(client.get("/").await.status == 200);
                }
                good
            });
        }
        f64::from(load.join_all().await.iter().sum::<u32>()) / time.as_secs_f64()
    };
    let is_kept = |last: Option<&(f64, f64, f64)>| {
        last.is_some_and(|(peak, over, after)| *over >= 0.9 * peak && *after >= 0.9 * peak)
    };
    let mut seen = Vec::new();
    for _ in 0..TRIES {
        let peak = goodput(MAX as usize, time / 2).await;
        let over = goodput(MAX as usize * TOO_MANY, time).await;
        let recovered = tokio::time::Instant::now();
        assert_eq!(rig.client().await.get("/").await.status, 200);
        assert!(recovered.elapsed() < Duration::from_secs(2), "{:?}", recovered.elapsed());
        let after = goodput(MAX as usize, time / 2).await;
        seen.push((peak, over, after));
        println!("peak {peak:.0}/s, overloaded {over:.0}/s, after {after:.0}/s");
        if is_kept(seen.last()) {
            break;
        }
    }
    assert!(is_kept(seen.last()), "{seen:?}");
    assert!(rig.errors(ErrorCause::QueueTimeout) > 0, "it was no overload");
}

#[tokio::test]
async fn overload_costs_those_that_are_too_many_and_nobody_else() {
    overload(Duration::from_millis(800)).await;
}

#[tokio::test]
async fn slow_overload_for_half_a_minute_keeps_the_goodput() {
    overload(Duration::from_secs(30)).await;
}
