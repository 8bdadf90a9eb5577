//! Servers that serve few connections at a time, a thread for each, and more workers than they have threads.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use h2::client::SendRequest;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::rig::{Origin, Rig, Setup};
use crate::proxy::{Mode, Reuse};

/// Less than idle connections are kept, more than a request may be held up.
const SOON: Duration = Duration::from_secs(2);

/// Takes up so many connections at a time, and each until its end; the others wait.
async fn threads(count: usize) -> Origin {
    let threads = Arc::new(Semaphore::new(count));
    Origin::start(move |_, mut conn| {
        let threads = Arc::clone(&threads);
        async move {
            let thread = threads.acquire().await.unwrap();
            while conn.request().await.is_some() {
                conn.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
            }
            drop(thread);
        }
    })
    .await
}

/// Four workers, of which each keeps what it has opened.
async fn rig(origin: &Origin, max: Option<u32>) -> Rig {
    let mut setup = Setup::new(Mode::Http, &[origin.addr]);
    setup.settings.http.reuse = Reuse::Always;
    setup.workers = 4;
    setup.server_max = max;
    setup.start().await
}

/// A client that speaks HTTP/2, and its one connection.
async fn http2_client(rig: &Rig) -> SendRequest<Bytes> {
    let (sender, connection) = h2::client::handshake(rig.client().await.0).await.unwrap();
    // Ends with the test.
    drop(tokio::spawn(connection));
    sender
}

async fn ask_http2(client: &mut SendRequest<Bytes>) {
    let request = hyper::Request::get("http://t/").body(()).unwrap();
    let (answer, _) = client.send_request(request, true).unwrap();
    let mut body = answer.await.unwrap().into_body();
    assert_eq!(body.data().await.unwrap().unwrap(), "ok");
    assert!(body.data().await.is_none());
}

#[tokio::test]
async fn idle_connections_of_other_workers_make_room() {
    for count in [1, 2] {
        let origin = threads(count).await;
        let rig = rig(&origin, u32::try_from(count).ok()).await;
        let mut clients = Vec::new();
        for n in 0..12 {
            let mut client = rig.client().await;
            let answer = timeout(SOON, client.get("/")).await;
            assert_eq!(answer.unwrap_or_else(|_| panic!("{n} of {count}")).body, "ok");
            clients.push(client);
        }
        // The first ones' workers have given theirs up.
        for client in &mut clients {
            assert_eq!(timeout(SOON, client.get("/")).await.unwrap().body, "ok");
        }
        assert!(origin.connections() > count, "several workers have had one");
    }
}

/// Those over which requests of HTTP/2 clients go are kept apart.
#[tokio::test]
async fn so_do_those_for_clients_that_speak_http2() {
    for count in [1, 2] {
        let origin = threads(count).await;
        let rig = rig(&origin, u32::try_from(count).ok()).await;
        let mut clients = Vec::new();
        for _ in 0..6 {
            let (mut one, mut two) = (rig.client().await, http2_client(&rig).await);
            assert_eq!(timeout(SOON, one.get("/")).await.unwrap().body, "ok");
            timeout(SOON, ask_http2(&mut two)).await.unwrap();
            clients.push((one, two));
        }
        for (one, two) in &mut clients {
            timeout(SOON, ask_http2(two)).await.unwrap();
            assert_eq!(timeout(SOON, one.get("/")).await.unwrap().body, "ok");
        }
        assert!(origin.connections() > count, "several workers have had one");
    }
}

#[tokio::test]
async fn a_server_that_answers_at_once_keeps_its_connections() {
    for max in [Some(1), None] {
        let origin = threads(100).await;
        let rig = rig(&origin, max).await;
        let mut clients = Vec::new();
        for _ in 0..8 {
            let mut client = rig.client().await;
            assert_eq!(client.get("/").await.body, "ok");
            clients.push(client);
        }
        let opened = origin.connections();
        assert!(opened > 1, "several workers have one");
        for _ in 0..10 {
            for client in &mut clients {
                assert_eq!(client.get("/").await.body, "ok");
            }
        }
        // A host that stands still looks like a server that does: one or the other may have been given up.
        let given_up = if max.is_some() { 4 } else { 0 };
        let more = origin.connections() - opened;
        assert!(more <= given_up, "{max:?}: {more} more than {opened}");
    }
}

#[tokio::test]
async fn a_long_answer_that_has_begun_closes_nothing() {
    let origin = Origin::start(|_, mut conn| async move {
        while conn.request().await.is_some() {
            conn.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\no").await;
            // Longer than a request waits for its first byte.
            tokio::time::sleep(Duration::from_millis(60)).await;
            conn.send("k").await;
        }
    })
    .await;
    let rig = rig(&origin, Some(1)).await;
    let mut clients = Vec::new();
    for _ in 0..8 {
        clients.push(rig.client().await);
    }
    for _ in 0..3 {
        for client in &mut clients {
            assert_eq!(client.get("/").await.body, "ok");
        }
    }
    // One for each worker, and a few more where the host stands still.
    assert!(origin.connections() <= 4 + 4, "{} for 24 requests", origin.connections());
}
