//! Sessions in which nothing moves: who is to blame, and when.

use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::rig::{Origin, PATIENCE, Rig, Setup, until};
use super::tcp::parrot;
use crate::proxy::Mode;
use crate::telemetry::cells::ErrorCause;

/// Between clients and `origin`, with these time-outs in ms.
async fn patient(origin: &Origin, client: u64, server: Option<u64>) -> Rig {
    let mut setup = Setup::new(Mode::Tcp, &[origin.addr]);
    setup.settings.timeouts.client = Some(Duration::from_millis(client));
    setup.settings.timeouts.server = server.map(Duration::from_millis);
    setup.start().await
}

/// The kernel's buffers hold megabytes, and say that there is room again when a third of them is free.
#[tokio::test]
async fn a_reader_that_is_slow_is_not_silent() {
    let origin = Origin::start(|_, mut conn| async move {
        // Until the relay has had enough.
        let chunk = vec![7; 1 << 20];
        while conn.0.write_all(&chunk).await.is_ok() {}
    })
    .await;
    let rig = patient(&origin, 200, Some(200)).await;
    let mut client = rig.client().await;
    let start = tokio::time::Instant::now();
    let mut chunk = vec![0; 20_000];
    // About 1 MB/s, for longer than everything that was under way at the beginning lasts.
    while start.elapsed() < Duration::from_secs(3) {
        client.0.read_exact(&mut chunk).await.unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(rig.in_flight(), 1);
    // And then it is silent.
    until("ended", || rig.errors(ErrorCause::ClientTimeout) == 1).await;
}

/// Sends `LONG` bytes, as fast as they are taken, then ends.
async fn gusher() -> Origin {
    Origin::start(|_, mut conn| async move {
        if conn.0.write_all(&vec![7; LONG]).await.is_ok() {
            conn.0.shutdown().await.unwrap();
            while conn.more().await > 0 {}
        }
    })
    .await
}

/// More than the kernel buffers.
const LONG: usize = 32 << 20;

/// It is not read from, so it cannot speak: what its client has not had is not cut off as if it had been all.
#[tokio::test]
async fn a_server_that_is_not_listened_to_is_not_silent() {
    let origin = gusher().await;
    let rig = patient(&origin, 60_000, Some(100)).await;
    let mut client = rig.client().await;
    let mut chunk = vec![0; 1 << 20];
    client.0.read_exact(&mut chunk).await.unwrap();
    // Several of its time-outs.
    tokio::time::sleep(Duration::from_millis(500)).await;
    let mut rest = Vec::new();
    client.0.read_to_end(&mut rest).await.unwrap();
    assert_eq!(chunk.len() + rest.len(), LONG);
}

/// It may have said all: it has to take what it asked for, all the same.
#[tokio::test]
async fn a_client_that_takes_nothing_is_ended_whatever_it_has_said() {
    let origin = gusher().await;
    for (client, server) in [(100, None), (300, Some(100)), (100, Some(300))] {
        let rig = patient(&origin, client, server).await;
        let mut client = rig.client().await;
        client.0.shutdown().await.unwrap();
        until("ended", || rig.errors(ErrorCause::ClientTimeout) == 1).await;
        until("released", || rig.in_flight() == 0).await;
        // All that was on its way, then no clean end.
        assert!(client.rest().await.1.is_some());
    }
}

/// As with haproxy: the server hears an end, and has its own time for an answer.
#[tokio::test]
async fn a_silent_client_is_taken_to_have_said_all() {
    let origin = parrot().await;
    let rig = patient(&origin, 80, Some(60_000)).await;
    let mut client = rig.client().await;
    client.send("over").await;
    assert_eq!(client.rest().await, ("over and out".to_owned(), None));
    until("counted", || rig.errors(ErrorCause::ClientTimeout) == 1).await;
}

/// Its server does not answer in its own time either, which began with the last byte.
#[tokio::test]
async fn a_silent_server_ends_what_a_silent_client_has_left() {
    let origin = Origin::start(|_, mut conn| async move {
        while conn.more().await > 0 {}
        std::future::pending::<()>().await;
    })
    .await;
    let causes = [ErrorCause::ClientTimeout, ErrorCause::BackendTimeout];
    for ((client, server), cause) in [(80, 240), (240, 80)].into_iter().zip(causes) {
        let rig = patient(&origin, client, Some(server)).await;
        let mut client = rig.client().await;
        client.send("x").await;
        let start = tokio::time::Instant::now();
        assert_eq!(client.rest().await.0, "");
        assert!(start.elapsed() >= Duration::from_millis(80));
        until("ended", || rig.errors(cause) == 1).await;
        assert!(start.elapsed() >= Duration::from_millis(240));
    }
}

#[tokio::test]
async fn silence_ends_a_connection() {
    let origin = parrot().await;
    let rig = patient(&origin, 80, Some(80)).await;
    let mut client = rig.client().await;
    let start = tokio::time::Instant::now();
    for _ in 0..4 {
        tokio::time::sleep(Duration::from_millis(40)).await;
        client.send("x").await;
    }
    let (got, error) = client.rest().await;
    assert_eq!((got.as_str(), error), ("", None));
    assert!(start.elapsed() >= Duration::from_millis(4 * 40 + 80));
    until("counted", || rig.errors(ErrorCause::ClientTimeout) == 1).await;
}

#[tokio::test]
async fn a_half_closed_connection_has_a_patience_of_its_own() {
    // Never ends, never speaks.
    let origin = Origin::start(|_, mut conn| async move {
        while conn.request().await.is_some() {}
        std::future::pending::<()>().await;
    })
    .await;
    let mut setup = Setup::new(Mode::Tcp, &[origin.addr]);
    setup.settings.timeouts.tunnel = Some(PATIENCE * 6);
    setup.settings.timeouts.server_fin = Some(Duration::from_millis(50));
    let rig = setup.start().await;
    let mut client = rig.client().await;
    until("open", || rig.in_flight() == 1).await;
    client.0.shutdown().await.unwrap();
    client.rest().await;
    until("closed", || rig.in_flight() == 0).await;
}

/// As haproxy 2.6: each side's holds once that side has been told that no more comes, and begins then.
#[tokio::test]
async fn each_side_has_a_patience_for_its_end() {
    const FIN: Duration = Duration::from_millis(200);
    // Says nothing; ends at once what it sends when told to.
    let silent = |ends: bool| {
        Origin::start(move |_, mut conn| async move {
            if ends {
                conn.0.shutdown().await.unwrap();
            }
            conn.rest().await;
            std::future::pending::<()>().await;
        })
    };
    for (backend_ends, client_fin, server_fin) in
        [(true, Some(FIN), Some(PATIENCE * 6)), (false, Some(PATIENCE * 6), Some(FIN))]
    {
        let origin = silent(backend_ends).await;
        let mut setup = Setup::new(Mode::Tcp, &[origin.addr]);
        setup.settings.timeouts.tunnel = Some(PATIENCE * 6);
        (setup.settings.timeouts.client_fin, setup.settings.timeouts.server_fin) =
            (client_fin, server_fin);
        let rig = setup.start().await;
        let mut client = rig.client().await;
        until("open", || origin.connections() == 1).await;
        if backend_ends {
            assert_eq!(client.more().await, 0);
        } else {
            // Longer than what is allowed after the end.
            tokio::time::sleep(FIN * 2).await;
        }
        let ended = tokio::time::Instant::now();
        if !backend_ends {
            client.0.shutdown().await.unwrap();
        }
        until("closed", || rig.in_flight() == 0).await;
        let took = ended.elapsed();
        assert!(took >= FIN / 2 && took < PATIENCE, "{took:?}, backend ends: {backend_ends}");
    }
}

/// Its kernel goes on to take what fits: that says nothing about the reader.
#[tokio::test]
async fn a_reader_that_has_stopped_is_silent_from_then_on() {
    const LIMIT: Duration = Duration::from_millis(800);
    let origin = gusher().await;
    let rig = patient(&origin, 800, Some(800)).await;
    let mut client = rig.client().await;
    let mut chunk = vec![0; 4 << 20];
    client.0.read_exact(&mut chunk).await.unwrap();
    let stopped = tokio::time::Instant::now();
    until("ended", || rig.errors(ErrorCause::ClientTimeout) == 1).await;
    let took = stopped.elapsed();
    assert!(took >= LIMIT.mul_f64(0.9) && took < LIMIT.mul_f64(1.75), "{took:?}");
}

/// It was told that no more comes, so a mere close would tell it nothing.
#[tokio::test]
async fn a_server_whose_silence_ends_a_half_closed_session_is_told() {
    let (told, mut hears) = tokio::sync::mpsc::unbounded_channel();
    let origin = Origin::start(move |_, mut conn| {
        let told = told.clone();
        async move {
            while conn.more().await > 0 {}
            let mut left = [PollFd::new(&conn.0, PollFlags::empty())];
            while left[0].revents().is_empty() {
                tokio::task::yield_now().await;
                poll(&mut left, Some(&Timespec::default())).unwrap();
            }
            told.send(left[0].revents()).unwrap();
        }
    })
    .await;
    let rig = patient(&origin, 10_000, Some(100)).await;
    let mut client = rig.client().await;
    client.send("x").await;
    client.0.shutdown().await.unwrap();
    let told = tokio::time::timeout(PATIENCE, hears.recv()).await.unwrap().unwrap();
    assert!(told.contains(PollFlags::ERR), "{told:?}");
}
