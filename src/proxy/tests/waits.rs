//! Who is waited for during an exchange, and who is noticed meanwhile.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::Notify;

use super::rig::{Client, Origin, Rig, Setup, nobody, until};
use crate::proxy::Mode;
use crate::telemetry::cells::ErrorCause;

#[tokio::test]
async fn a_client_whose_body_came_during_the_connect_is_still_watched() {
    let addr = nobody();
    let mut setup = Setup::new(Mode::Http, &[addr]);
    setup.settings.timeouts.connect = Some(Duration::from_millis(200));
    let rig = setup.start().await;
    let mut client = rig.client().await;
    client.send("POST / HTTP/1.1\r\nhost: t\r\ncontent-length: 4\r\n\r\nbo").await;
    let refusals = || rig.pool.backends[0].cells.sum(|c| c.connect_errors.get());
    until("refused", || refusals() > 0).await;
    // In the pause before the next attempt, which finds somebody.
    client.send("dy").await;
    let origin = TcpListener::bind(addr).await.unwrap();
    let (stream, _) = origin.accept().await.unwrap();
    let mut origin = Client(stream, Vec::new());
    assert!(origin.request().await.unwrap().ends_with("\r\n\r\nbody"));
    client.0.set_zero_linger().unwrap();
    drop(client);
    until("cancelled", || rig.in_flight() == 0).await;
    // The worker gives the lease back before it counts.
    until("counted", || rig.errors(ErrorCause::ClientAbort) == 1).await;
}

#[tokio::test]
async fn a_backend_is_not_blamed_for_a_client_that_does_not_read() {
    const PART: usize = 30_000;
    const PATIENCE: Duration = Duration::from_secs(1);
    let go = Arc::new(Notify::new());
    let origin = Origin::start({
        let go = Arc::clone(&go);
        move |_, mut conn| {
            let go = Arc::clone(&go);
            async move {
                conn.request().await;
                let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", PART + 4);
                conn.send(&(head + &"x".repeat(PART))).await;
                go.notified().await;
                conn.send("last").await;
                conn.request().await;
            }
        }
    })
    .await;
    let mut setup = Setup::new(Mode::Http, &[origin.addr]);
    setup.send_buffer = Some(4096);
    setup.settings.timeouts.server = Some(PATIENCE);
    let rig = setup.start().await;
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut client = Client(socket.connect(rig.addr).await.unwrap(), Vec::new());
    client.send("GET / HTTP/1.1\r\nhost: t\r\n\r\n").await;
    until("all is read", || rig.service.cells.sum(|c| c.bytes_out.get()) > PART as u64).await;
    // The client reads only when the backend's time would be over.
    tokio::time::sleep(PATIENCE * 3 / 2).await;
    client.until("\r\n\r\n").await;
    while client.1.len() < PART {
        assert!(client.more().await > 0, "cut after {} bytes", client.1.len());
    }
    go.notify_one();
    client.until("last").await;
    until("lease back", || rig.in_flight() == 0).await;
    assert_eq!(rig.errors(ErrorCause::BackendTimeout), 0);
}

#[tokio::test]
async fn nothing_is_switched_within_a_request() {
    let origin = Origin::start(|_, mut conn| async move {
        conn.until("\r\n\r\n").await;
        conn.send("HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n")
            .await;
        conn.request().await;
    })
    .await;
    let rig = Rig::http(&[origin.addr]).await;
    let mut client = rig.client().await;
    client
        .send("POST / HTTP/1.1\r\nhost: t\r\nconnection: upgrade\r\nupgrade: x\r\ncontent-length: 4\r\n\r\nbo")
        .await;
    assert_eq!(client.answer().await.status, 502);
    assert_eq!(rig.in_flight(), 0);
}

/// A backend is patient with an upload, and one that says that it is at work is at work.
#[tokio::test]
async fn whatever_a_backend_does_renews_its_time() {
    const PATIENCE: Duration = Duration::from_millis(600);
    const STEP: Duration = Duration::from_millis(250);
    const STEPS: usize = 4;
    let origin = Origin::start(|_, mut conn| async move {
        let head = conn.until("\r\n\r\n").await;
        if head.starts_with("GET") {
            for _ in 0..STEPS {
                tokio::time::sleep(STEP).await;
                conn.send("HTTP/1.1 102 Processing\r\n\r\n").await;
            }
            conn.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
        } else {
            conn.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await;
            conn.1.splice(0..0, head.into_bytes());
            conn.request().await.unwrap();
            tokio::time::sleep(STEP).await;
            conn.send("2\r\nok\r\n0\r\n\r\n").await;
        }
        conn.request().await;
    })
    .await;
    let mut setup = Setup::new(Mode::Http, &[origin.addr]);
    setup.settings.timeouts.server = Some(PATIENCE);
    let rig = setup.start().await;
    let mut client = rig.client().await;
    client.send("GET / HTTP/1.1\r\nhost: t\r\n\r\n").await;
    assert!(client.until("\r\n\r\nok").await.matches(" 102 ").count() == STEPS);
    let mut client = rig.client().await;
    client.send(&format!("POST / HTTP/1.1\r\nhost: t\r\ncontent-length: {STEPS}\r\n\r\n")).await;
    for _ in 0..STEPS {
        tokio::time::sleep(STEP).await;
        client.send("x").await;
    }
    assert!(client.until("0\r\n\r\n").await.contains("200 OK"));
    assert_eq!(rig.errors(ErrorCause::BackendTimeout), 0);
}

#[tokio::test]
async fn a_client_that_has_finished_has_given_up_whatever_it_said_before() {
    let origin = Origin::start(|_, mut conn| async move {
        conn.request().await;
        // Until it is cancelled.
        conn.more().await;
    })
    .await;
    let mut setup = Setup::new(Mode::Http, &[origin.addr]);
    setup.settings.http.abort_on_close = true;
    let rig = setup.start().await;
    for behind in ["\r\n", "\r\n\r\n", "GET /b HTTP/1.1\r\nhost: t\r\n\r\n", "GET /b HT"] {
        let mut client = rig.client().await;
        client.send("GET /a HTTP/1.1\r\nhost: t\r\n\r\n").await;
        until("asked", || rig.in_flight() == 1).await;
        client.send(behind).await;
        // The end may be seen with the bytes, or behind them.
        tokio::time::sleep(Duration::from_millis(u64::from(!behind.contains("/b")) * 50)).await;
        client.0.shutdown().await.unwrap();
        let (text, _) = client.rest().await;
        assert!(text.starts_with("HTTP/1.1 400 "), "{behind:?}: {text}");
        assert_eq!(rig.in_flight(), 0);
    }
}

/// What waited while nobody wanted it is read afterwards.
#[tokio::test]
async fn what_is_behind_a_request_is_served_after_it_has_been_watched() {
    let go = Arc::new(Notify::new());
    let origin = Origin::start({
        let go = Arc::clone(&go);
        move |_, mut conn| {
            let go = Arc::clone(&go);
            async move {
                while let Some(request) = conn.request().await {
                    go.notified().await;
                    let body = request.rsplit("\r\n\r\n").next().unwrap_or_default().len();
                    conn.send(&format!("HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n{body}")).await;
                }
            }
        }
    })
    .await;
    let mut setup = Setup::new(Mode::Http, &[origin.addr]);
    setup.settings.http.abort_on_close = true;
    let rig = setup.start().await;
    let mut client = rig.client().await;
    for _ in 0..3 {
        client.send("GET /a HTTP/1.1\r\nhost: t\r\n\r\n").await;
        until("asked", || rig.in_flight() == 1).await;
        client.send("POST /b HTTP/1.1\r\nhost: t\r\ncontent-length: 4\r\n\r\nbo").await;
        go.notify_one();
        assert_eq!(client.answer().await.body, "0");
        client.send("dy").await;
        go.notify_one();
        assert_eq!(client.answer().await.body, "4");
    }
}
