//! Servers that serve few connections at a time, a thread for each, and more workers than they have threads.

use std::sync::Arc;
use std::time::Duration;

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
        for client in &mut clients {
            assert_eq!(client.get("/").await.body, "ok");
        }
        // A host that stands still looks like a server that does: one or the other may have been given up.
        assert!(
            origin.connections() <= opened + 4,
            "{max:?}: {opened}, then {}",
            origin.connections()
        );
    }
}
