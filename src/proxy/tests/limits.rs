//! Shares, limits, shortages, drains.

use std::sync::Arc;
use std::time::Duration;

use super::rig::{Client, Origin, Rig, Setup, until};
use crate::proxy::worker::ListenerId;
use crate::proxy::{BindAddr, ListenerSettings, Mode, listener};

/// Holds connections open until their client closes.
async fn holder() -> Origin {
    Origin::start(|_, mut conn| async move { while conn.request().await.is_some() {} }).await
}

async fn held(rig: &Rig, count: usize) -> Vec<Client> {
    let mut clients = Vec::new();
    for _ in 0..count {
        clients.push(rig.client().await);
    }
    clients
}

#[tokio::test]
async fn eight_long_connections_end_four_and_four() {
    let origin = holder().await;
    for _ in 0..20 {
        let mut setup = Setup::new(Mode::Tcp, &[origin.addr]);
        setup.workers = 2;
        let rig = setup.start().await;
        let _clients = held(&rig, 8).await;
        until("all open", || rig.workers().open_connections() == 8).await;
        assert_eq!(rig.workers().open_per_worker(), [4, 4]);
    }
}

#[tokio::test]
async fn eight_at_once_end_four_and_four() {
    let origin = holder().await;
    let mut setup = Setup::new(Mode::Tcp, &[origin.addr]);
    setup.workers = 2;
    let rig = setup.start().await;
    let mut opening = tokio::task::JoinSet::new();
    for _ in 0..8 {
        opening.spawn(tokio::net::TcpStream::connect(rig.addr));
    }
    let _clients = opening.join_all().await;
    until("all open", || rig.workers().open_connections() == 8).await;
    assert_eq!(rig.workers().open_per_worker(), [4, 4]);
}

#[tokio::test]
async fn at_the_service_limit_others_wait_in_the_kernel() {
    let origin = Origin::echo("a").await;
    let mut setup = Setup::new(Mode::Http, &[origin.addr]);
    setup.settings.max_connections = Some(1);
    setup.workers = 2;
    let rig = setup.start().await;
    let mut first = rig.client().await;
    assert_eq!(first.get("/").await.status, 200);
    let mut second = rig.client().await;
    second.send("GET / HTTP/1.1\r\nhost: t\r\n\r\n").await;
    until("at the limit", || rig.service.cells.sum(|c| c.connections_refused.get()) > 0).await;
    assert_eq!(rig.workers().open_connections(), 1);
    drop(first);
    assert_eq!(second.answer().await.status, 200);
}

#[tokio::test]
async fn at_the_global_limit_others_wait_in_the_kernel() {
    let origin = Origin::echo("a").await;
    let mut setup = Setup::new(Mode::Http, &[origin.addr]);
    setup.global_max = Some(2);
    setup.workers = 2;
    let rig = setup.start().await;
    let mut clients = held(&rig, 2).await;
    for client in &mut clients {
        assert_eq!(client.get("/").await.status, 200);
    }
    let mut third = rig.client().await;
    third.send("GET / HTTP/1.1\r\nhost: t\r\n\r\n").await;
    until("at the limit", || rig.service.cells.sum(|c| c.connections_refused.get()) > 0).await;
    clients.pop();
    assert_eq!(third.answer().await.status, 200);
}

#[tokio::test]
async fn a_removed_listener_finishes_what_is_under_way() {
    let (release, released) = tokio::sync::watch::channel(false);
    let origin = Origin::start(move |_, mut conn| {
        let mut released = released.clone();
        async move {
            while let Some(request) = conn.request().await {
                if request.starts_with("OPTIONS") {
                    conn.send("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
                    continue;
                }
                released.wait_for(|r| *r).await.unwrap();
                conn.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
            }
        }
    })
    .await;
    let rig = Rig::http(&[origin.addr]).await;
    let mut idle = rig.client().await;
    idle.send("OPTIONS / HTTP/1.1\r\nhost: t\r\n\r\n").await;
    assert_eq!(idle.answer().await.status, 200);
    let mut new = rig.client().await;
    let mut busy = rig.client().await;
    busy.send("GET / HTTP/1.1\r\nhost: t\r\n\r\n").await;
    until("asked", || rig.in_flight() == 1).await;
    until("all open", || rig.workers().open_connections() == 3).await;
    assert!(rig.workers().remove_listener(ListenerId(1)).await);
    assert!(!rig.workers().remove_listener(ListenerId(1)).await);
    assert!(tokio::net::TcpStream::connect(rig.addr).await.is_err());
    assert_eq!(idle.rest().await.0, "");
    release.send(true).unwrap();
    // One that has not spoken yet keeps its first request.
    new.send("GET / HTTP/1.1\r\nhost: t\r\n\r\n").await;
    for mut client in [busy, new] {
        let answer = client.answer().await;
        assert_eq!(answer.status, 200);
        assert!(answer.head.contains("connection: close"), "{answer:?}");
        assert_eq!(client.rest().await.0, "");
    }
    until("all closed", || rig.workers().open_connections() == 0).await;
}

#[tokio::test]
async fn an_idle_data_plane_drains_at_once() {
    let origin = Origin::echo("a").await;
    let mut rig = Rig::http(&[origin.addr]).await;
    let mut idle = rig.client().await;
    assert_eq!(idle.get("/").await.status, 200);
    let workers = rig.workers.take().unwrap();
    let report = workers.drain(Duration::from_secs(10)).await;
    assert!(report.is_complete() && report.took < Duration::from_secs(5));
    assert_eq!(idle.rest().await.0, "");
}

#[tokio::test]
async fn workers_show_that_they_live() {
    let rig = Rig::http(&[]).await;
    until("first beat", || rig.workers().silent_for().iter().all(|s| s.as_millis() < 2500)).await;
    assert_eq!(rig.workers().count(), 1);
    let _keep = Arc::clone(&rig.service);
}

#[tokio::test]
async fn a_listener_whose_start_was_broken_off_holds_up_no_stop() {
    use std::future::{Future, poll_fn};
    use std::task::Poll;
    let origin = Origin::echo("a").await;
    // Too many to answer all before the first look.
    let mut setup = Setup::new(Mode::Http, &[origin.addr]);
    setup.workers = 16;
    let mut rig = setup.start().await;
    let any = BindAddr::required(std::net::SocketAddr::from(([127, 0, 0, 1], 0)));
    let sockets = listener::bind(&ListenerSettings { addrs: vec![any], backlog: 16 }).unwrap();
    let workers = rig.workers.take().unwrap();
    {
        // Some workers have been told, and not all have answered.
        let service = Arc::clone(&rig.service);
        let mut adding = Box::pin(workers.add_listener(ListenerId(2), sockets, service));
        let begun = poll_fn(|cx| Poll::Ready(adding.as_mut().poll(cx))).await;
        assert!(begun.is_pending());
    }
    let report = workers.drain(Duration::from_secs(30)).await;
    assert!(report.took < Duration::from_secs(5), "{report:?}");
}
