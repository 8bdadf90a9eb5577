//! TCP mode.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::full::Full;
use super::rig::{Origin, PATIENCE, Setup, nobody, until};
use crate::proxy::Mode;
use crate::telemetry::cells::ErrorCause;

/// Sends back what comes, then says how it ended.
pub(super) async fn parrot() -> Origin {
    Origin::start(|_, mut conn| async move {
        let mut all = Vec::new();
        conn.0.read_to_end(&mut all).await.unwrap();
        conn.0.write_all(&all).await.unwrap();
        conn.0.write_all(b" and out").await.unwrap();
    })
    .await
}

#[tokio::test]
async fn half_close_passes_both_ways() {
    let origin = parrot().await;
    let rig = Setup::new(Mode::Tcp, &[origin.addr]).start().await;
    let mut client = rig.client().await;
    client.send("over").await;
    client.0.shutdown().await.unwrap();
    assert_eq!(client.rest().await, ("over and out".to_owned(), None));
    until("lease back", || rig.in_flight() == 0).await;
    let cells = &rig.service.cells;
    assert_eq!(cells.sum(|c| c.bytes_in.get()), 4);
    assert_eq!(cells.sum(|c| c.bytes_out.get()), 12);
    assert_eq!(cells.sum(|c| c.connections.get()), 1);
}

#[tokio::test]
async fn megabytes_pass_a_slow_reader_unharmed() {
    let origin = parrot().await;
    let rig = Setup::new(Mode::Tcp, &[origin.addr]).start().await;
    let (mut read, mut write) = rig.client().await.0.into_split();
    let sent: Vec<u8> = (0..8_000_000_u32).map(|i| (i % 251) as u8).collect();
    let copy = sent.clone();
    let writer = tokio::spawn(async move {
        write.write_all(&copy).await.unwrap();
        write.shutdown().await.unwrap();
    });
    let mut got = Vec::new();
    let mut chunk = [0; 5000];
    loop {
        let n = tokio::time::timeout(PATIENCE, read.read(&mut chunk)).await.unwrap().unwrap();
        if n == 0 {
            break;
        }
        got.extend_from_slice(&chunk[..n]);
        tokio::task::yield_now().await;
    }
    writer.await.unwrap();
    assert_eq!(got.len(), sent.len() + 8);
    assert!(got.starts_with(&sent));
}

#[tokio::test]
async fn a_reset_passes_through() {
    let origin = Origin::start(|_, mut conn| async move {
        conn.0.read_u8().await.unwrap();
        conn.0.set_zero_linger().unwrap();
    })
    .await;
    let rig = Setup::new(Mode::Tcp, &[origin.addr]).start().await;
    let mut client = rig.client().await;
    client.send("x").await;
    let (_, error) = client.rest().await;
    assert_eq!(error, Some(std::io::ErrorKind::ConnectionReset));
}

#[tokio::test]
async fn a_refused_backend_is_left_for_another() {
    let origin = parrot().await;
    let mut rig = Setup::new(Mode::Tcp, &[nobody(), origin.addr]).start().await;
    for _ in 0..4 {
        let mut client = rig.client().await;
        client.0.shutdown().await.unwrap();
        assert_eq!(client.rest().await.0, " and out");
    }
    let refused = rig.pool.outcomes.recv().await.unwrap();
    assert_eq!(refused.kind, crate::lb::OutcomeKind::Refused);
    assert_eq!(rig.service.cells.sum(|c| c.redispatches.get()), 4);
}

#[tokio::test]
async fn without_backends_connections_are_closed() {
    let rig = Setup::new(Mode::Tcp, &[]).start().await;
    let mut client = rig.client().await;
    assert_eq!(client.rest().await.0, "");
    until("counted", || rig.errors(ErrorCause::NoBackend) == 1).await;
}

#[tokio::test]
async fn a_drain_cuts_tunnels_at_the_deadline() {
    let origin = parrot().await;
    let mut rig = Setup::new(Mode::Tcp, &[origin.addr]).start().await;
    let mut client = rig.client().await;
    client.send("x").await;
    until("served", || origin.connections() == 1).await;
    let workers = rig.workers.take().unwrap();
    let report = workers.drain(Duration::from_millis(50)).await;
    assert_eq!((report.open, report.cut), (1, 1));
    assert!(client.rest().await.0.is_empty());
    assert!(tokio::net::TcpStream::connect(rig.addr).await.is_err());
}

/// It closes with something unread, which the kernel makes a reset: what it had said before is not lost.
#[tokio::test]
async fn what_a_server_said_before_it_broke_off_arrives() {
    const SAID: usize = 100_000;
    let origin = Origin::start(|_, mut conn| async move {
        conn.0.read_u8().await.unwrap();
        conn.0.write_all(&vec![7; SAID]).await.unwrap();
    })
    .await;
    let rig = Setup::new(Mode::Tcp, &[origin.addr]).start().await;
    let mut client = rig.client().await;
    client.0.write_all(&vec![1; 50_000]).await.unwrap();
    until("counted", || rig.errors(ErrorCause::Backend) == 1).await;
    let mut said = Vec::new();
    client.0.read_to_end(&mut said).await.unwrap();
    assert_eq!(said.len(), SAID);
}

#[tokio::test]
async fn a_client_hears_an_end_whatever_it_has_said() {
    let rig = Setup::new(Mode::Tcp, &[nobody()]).start().await;
    let mut client = rig.client().await;
    client.send("hello").await;
    assert_eq!(client.rest().await, (String::new(), None));
}

/// Its backend does not answer the connect: nobody waits for that any more.
#[tokio::test]
async fn a_client_that_leaves_while_its_backend_is_connected_to_has_left() {
    let full = Full::new().await;
    for on_close in [false, true] {
        for word in ["", "hello"] {
            let mut setup = Setup::new(Mode::Tcp, &[full.addr]);
            setup.settings.timeouts.connect = Some(PATIENCE * 6);
            setup.settings.http.abort_on_close = on_close;
            let rig = setup.start().await;
            let mut client = rig.client().await;
            client.send(word).await;
            until("connecting", || rig.in_flight() == 1).await;
            if on_close {
                client.0.shutdown().await.unwrap();
            } else {
                client.0.set_zero_linger().unwrap();
                drop(client);
            }
            until("left", || rig.errors(ErrorCause::ClientAbort) == 1).await;
            until("released", || rig.in_flight() == 0).await;
        }
    }
}

/// What it said while it was watched is not forgotten.
#[tokio::test]
async fn a_client_that_is_watched_while_its_backend_is_connected_to_loses_nothing() {
    let full = Full::new().await;
    let mut setup = Setup::new(Mode::Tcp, &[full.addr]);
    setup.settings.timeouts.connect = Some(PATIENCE);
    setup.settings.http.abort_on_close = true;
    let rig = setup.start().await;
    let mut client = rig.client().await;
    client.send("hello").await;
    until("connecting", || rig.in_flight() == 1).await;
    let mut server = full.room().await;
    let mut said = [0; 5];
    server.read_exact(&mut said).await.unwrap();
    assert_eq!(&said, b"hello");
}
