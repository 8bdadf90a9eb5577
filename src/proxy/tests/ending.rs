//! Sessions that end because their backend does, or because of their age.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Notify;

use super::rig::{Origin, PATIENCE, Rig, Setup, header, until};
use crate::lb::ending::Reason;
use crate::proxy::Mode;
use crate::proxy::worker::ListenerId;
use crate::telemetry::cells::ErrorCause;

/// Says `hi` and whatever comes, until the end.
async fn talker() -> Origin {
    Origin::start(|_, mut conn| async move {
        conn.send("hi").await;
        while conn.0.readable().await.is_ok() && conn.more().await > 0 {
            let got = std::mem::take(&mut conn.1);
            conn.0.write_all(&got).await.unwrap();
        }
    })
    .await
}

#[tokio::test]
async fn sessions_end_with_their_backend_and_others_do_not() {
    let (one, two) = (talker().await, talker().await);
    let rig = Setup::new(Mode::Tcp, &[one.addr, two.addr]).start().await;
    let (mut first, mut second) = (rig.client().await, rig.client().await);
    first.until("hi").await;
    second.until("hi").await;
    rig.pool.end_sessions(0, Reason::Down);
    assert_eq!(first.rest().await, (String::new(), None));
    until("the lease is back", || rig.in_flight() == 1).await;
    until("it is counted", || rig.errors(ErrorCause::Backend) == 1).await;
    // The other one lives, and so does who comes later to the same backend.
    second.send("still").await;
    second.until("still").await;
    let mut third = rig.client().await;
    third.until("hi").await;
    third.send("new").await;
    third.until("new").await;
    assert_eq!(one.connections(), 2);
}

#[tokio::test]
async fn a_session_cut_in_the_middle_of_bulk_is_reset() {
    let origin = Origin::start(|_, mut conn| async move {
        let chunk = vec![1; 1 << 20];
        while conn.0.write_all(&chunk).await.is_ok() {}
    })
    .await;
    let rig = Setup::new(Mode::Tcp, &[origin.addr]).start().await;
    let mut client = rig.client().await;
    client.more().await;
    // Nobody reads: in time something is held.
    let moved = || rig.service.cells.sum(|c| c.bytes_out.get());
    let mut last = 0;
    until("it stands still", || std::mem::replace(&mut last, moved()) == moved() && last > 1 << 21)
        .await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    rig.pool.end_sessions(0, Reason::Removed);
    until("the lease is back", || rig.in_flight() == 0).await;
    assert_eq!(client.rest().await.1, Some(std::io::ErrorKind::ConnectionReset));
}

/// Answers `/half` half, `/` whole, anything else never.
async fn half() -> Origin {
    Origin::start(|_, mut conn| async move {
        while let Some(request) = conn.request().await {
            if request.starts_with("GET / ") {
                conn.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
            } else if request.contains("/half") {
                conn.send("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf").await;
            }
        }
    })
    .await
}

#[tokio::test]
async fn requests_end_with_their_backend() {
    let (origin, other) = (half().await, Origin::echo("other").await);
    let rig = Rig::http(&[origin.addr, other.addr]).await;
    let mut clients = Vec::new();
    for request in [
        "GET /half HTTP/1.1\r\nhost: t\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: t\r\n\r\n",
        "POST /never HTTP/1.1\r\nhost: t\r\ncontent-length: 2\r\n\r\nab",
        "GET / HTTP/1.1\r\nhost: t\r\n\r\n",
        "POST /part HTTP/1.1\r\nhost: t\r\ncontent-length: 9\r\n\r\nab",
        "GET / HTTP/1.1\r\nhost: t\r\n\r\n",
        "GET /never HTTP/1.1\r\nhost: t\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: t\r\n\r\n",
    ] {
        let mut client = rig.client().await;
        client.send(request).await;
        if request.starts_with("GET / ") {
            client.answer().await;
        } else {
            let at = clients.len();
            let known = |cells: &crate::telemetry::cells::ServiceCells| cells.requests.get();
            until("sent", || rig.service.cells.sum(known) == 2 * at as u64 + 1).await;
            clients.push(client);
        }
    }
    clients[0].until("half").await;
    until("all are with the first", || rig.in_flight() == 4 && origin.connections() == 4).await;
    rig.pool.end_sessions(0, Reason::Down);
    // Cut; refused, since it may have been done; closed; asked of the other.
    assert_eq!(clients[0].rest().await.0, "");
    assert_eq!(clients[1].answer().await.status, 502);
    assert_eq!(clients[2].rest().await, (String::new(), None));
    let answer = clients[3].answer().await;
    assert_eq!(answer.status, 200);
    assert!(answer.body.starts_with("other\nGET /never"), "{}", answer.body);
    until("leases are back", || rig.in_flight() == 0).await;
}

#[tokio::test]
async fn a_tcp_connection_ends_at_its_age_however_busy() {
    const AGE: Duration = Duration::from_millis(300);
    let origin = talker().await;
    let mut setup = Setup::new(Mode::Tcp, &[origin.addr]);
    setup.settings.max_connection_age = Some(AGE);
    let rig = setup.start().await;
    let begun = tokio::time::Instant::now();
    let mut client = rig.client().await;
    client.until("hi").await;
    let mut chunk = [0; 64];
    while client.0.write_all(b"busy").await.is_ok()
        && matches!(client.0.read(&mut chunk).await, Ok(1..))
    {
        assert!(begun.elapsed() < PATIENCE, "it never ends");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let took = begun.elapsed();
    assert!(took >= AGE.mul_f64(0.9), "{took:?}");
    until("the lease is back", || rig.in_flight() == 0).await;
    assert_eq!(rig.errors(ErrorCause::Backend), 0);
}

#[tokio::test]
async fn an_http_connection_is_closed_after_the_answer_that_follows_its_age() {
    let origin = half().await;
    let mut setup = Setup::new(Mode::Http, &[origin.addr]);
    setup.settings.max_connection_age = Some(Duration::from_millis(200));
    let rig = setup.start().await;
    let mut client = rig.client().await;
    assert!(!client.get("/").await.head.contains("connection: close"));
    tokio::time::sleep(Duration::from_millis(240)).await;
    // At rest it is not cut under the client's next request.
    let last = client.get("/").await;
    assert!(last.head.to_ascii_lowercase().contains("connection: close"), "{}", last.head);
    assert_eq!(client.rest().await, (String::new(), None));
}

#[tokio::test]
async fn sessions_of_a_draining_listener_still_end_with_their_backend() {
    for mode in [Mode::Tcp, Mode::Http] {
        let origin = half().await;
        let mut setup = Setup::new(mode, &[origin.addr]);
        setup.workers = 3;
        let mut rig = setup.start().await;
        let mut clients = Vec::new();
        for _ in 0..6 {
            let mut client = rig.client().await;
            client.send("GET /half HTTP/1.1\r\nhost: t\r\n\r\n").await;
            client.until("half").await;
            clients.push(client);
        }
        let workers = rig.workers.take().unwrap();
        let drain = tokio::spawn(workers.drain(PATIENCE * 2));
        until("it drains", || std::net::TcpStream::connect(rig.addr).is_err()).await;
        rig.pool.end_sessions(0, Reason::Down);
        for client in &mut clients {
            client.rest().await;
        }
        let report = drain.await.unwrap();
        assert!(report.is_complete() && report.took < PATIENCE, "{report:?}");
    }
}

/// Nobody has told them that no more is served here: both may be about to ask, and one has asked already.
#[tokio::test]
async fn who_was_not_told_of_the_end_may_ask_once_more() {
    let go = Arc::new(Notify::new());
    let origin = Origin::start({
        let go = Arc::clone(&go);
        move |_, mut conn| {
            let go = Arc::clone(&go);
            async move {
                while let Some(request) = conn.request().await {
                    conn.send("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nha").await;
                    if request.starts_with("GET /slow") {
                        go.notified().await;
                    }
                    conn.send("lf").await;
                }
            }
        }
    })
    .await;
    for is_removed in [true, false] {
        let mut rig = Rig::http(&[origin.addr]).await;
        let (mut idle, mut busy) = (rig.client().await, rig.client().await);
        assert_eq!(idle.get("/").await.body, "half");
        busy.send("GET /slow HTTP/1.1\r\nhost: t\r\n\r\n").await;
        busy.until("ha").await;
        let drained = if is_removed {
            assert!(rig.workers().remove_listener(ListenerId(1)).await);
            None
        } else {
            let workers = rig.workers.take().unwrap();
            Some(tokio::spawn(workers.drain(PATIENCE)))
        };
        if is_removed {
            let answer = idle.get("/").await;
            assert_eq!(header(&answer.head, "connection"), Some("close"), "{answer:?}");
        }
        // The idle one of a stop is closed at once: who sees that knows that the drain has begun.
        idle.rest().await;
        go.notify_one();
        busy.until("lf").await;
        let answer = busy.get("/").await;
        assert_eq!(header(&answer.head, "connection"), Some("close"), "{answer:?}");
        if let Some(drained) = drained {
            assert!(drained.await.unwrap().is_complete());
        }
    }
}
