//! Bodies long enough for a pipe: whole, framed, counted, and nothing left behind.

use tokio::io::AsyncWriteExt;

use super::rig::{Origin, Rig, Setup, until};
use crate::proxy::Mode;
use crate::telemetry::cells::ErrorCause;

const LONG: usize = 5 * 1024 * 1024 + 7;

/// The content repeats after a prime: what is lost, doubled or moved shows.
fn text(len: usize) -> String {
    (0..len).map(|i| char::from(b'a' + u8::try_from(i % 23).unwrap())).collect()
}

fn answer(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: t\r\n\r\n")
}

fn bytes(rig: &Rig) -> (u64, u64) {
    (rig.service.cells.sum(|c| c.bytes_in.get()), rig.service.cells.sum(|c| c.bytes_out.get()))
}

#[tokio::test]
async fn long_bodies_pass_both_ways_between_short_ones() {
    let origin = Origin::echo("a").await;
    let rig = Rig::http(&[origin.addr]).await;
    let mut client = rig.client().await;
    for round in 0..3 {
        let body = text(LONG);
        client.send(&format!("PUT /l HTTP/1.1\r\nhost: t\r\ncontent-length: {LONG}\r\n\r\n")).await;
        client.send(&body).await;
        let echoed = client.answer().await;
        assert_eq!(echoed.status, 200);
        assert!(echoed.body.ends_with(&format!("\r\n\r\n{body}")), "round {round}");
        assert!(client.get("/short").await.body.contains("GET /short"), "round {round}");
    }
    assert_eq!(origin.connections(), 1);
    let (up, down) = bytes(&rig);
    assert!(up > 3 * LONG as u64 && up < 3 * LONG as u64 + 1000, "{up}: heads are few");
    assert!(down > 3 * LONG as u64);
}

#[tokio::test]
async fn requests_sent_ahead_of_a_long_answer_are_answered_in_order() {
    let origin = Origin::start(|_, mut conn| async move {
        while let Some(request) = conn.request().await {
            let body = match request {
                long if long.contains("/long") => text(LONG),
                // More than is read with the head after a long answer.
                middle if middle.contains("/middle") => text(20_000),
                _ => "short".to_owned(),
            };
            conn.send(&answer(&body)).await;
        }
    })
    .await;
    let rig = Rig::http(&[origin.addr]).await;
    let mut client = rig.client().await;
    client.send(&["/long", "/middle", "/"].map(get).concat().repeat(3)).await;
    for _ in 0..3 {
        assert_eq!(client.answer().await.body.len(), LONG);
        assert_eq!(client.answer().await.body, text(20_000));
        assert_eq!(client.answer().await.body, "short");
    }
    until("released", || rig.in_flight() == 0).await;
}

/// What a backend says behind the end of its answer is not the answer's, and its connection is not used again.
#[tokio::test]
async fn what_follows_a_long_answer_does_not_go_on() {
    let origin = Origin::start(|_, mut conn| async move {
        while conn.request().await.is_some() {
            conn.send(&format!("{}HTTP/1.1 666 Extra\r\n\r\n", answer(&text(LONG)))).await;
        }
    })
    .await;
    let rig = Rig::http(&[origin.addr]).await;
    let mut client = rig.client().await;
    for _ in 0..2 {
        assert_eq!(client.get("/").await.body.len(), LONG);
        assert!(client.1.is_empty());
    }
    assert_eq!(origin.connections(), 2);
}

#[tokio::test]
async fn a_long_answer_that_is_cut_looks_cut() {
    let origin = Origin::start(|_, mut conn| async move {
        while conn.request().await.is_some() {
            let mut most = answer(&text(LONG));
            most.pop();
            conn.send(&most).await;
            conn.0.shutdown().await.unwrap();
        }
    })
    .await;
    let rig = Rig::http(&[origin.addr]).await;
    let mut client = rig.client().await;
    client.send("GET / HTTP/1.1\r\nhost: t\r\n\r\n").await;
    let (got, _end) = client.rest().await;
    let (head, body) = got.split_once("\r\n\r\n").unwrap();
    assert_eq!(super::rig::header(head, "content-length"), Some(LONG.to_string().as_str()));
    assert_eq!(body.len(), LONG - 1);
    assert_eq!(rig.errors(ErrorCause::Backend), 1);
    until("released", || rig.in_flight() == 0).await;
}

/// The pipe of a client that does not read holds bytes when it leaves.
#[tokio::test]
async fn a_client_that_leaves_a_long_answer_leaves_nothing_behind() {
    let origin = Origin::start(|_, mut conn| async move {
        while conn.request().await.is_some() {
            drop(conn.0.write_all(answer(&text(8 * LONG)).as_bytes()).await);
        }
    })
    .await;
    let mut setup = Setup::new(Mode::Http, &[origin.addr]);
    setup.send_buffer = Some(4096);
    let rig = setup.start().await;
    let is_pipe = |fd: std::io::Result<std::fs::DirEntry>| {
        let target = fd.and_then(|fd| std::fs::read_link(fd.path()));
        target.is_ok_and(|target| target.to_string_lossy().starts_with("pipe:"))
    };
    let open = || std::fs::read_dir("/proc/self/fd").unwrap().map(is_pipe).filter(|it| *it).count();
    let before = open();
    for _ in 0..20 {
        let mut client = rig.client().await;
        client.send("GET / HTTP/1.1\r\nhost: t\r\n\r\n").await;
        client.until("\r\n\r\n").await;
        drop(client);
        until("gone", || rig.in_flight() == 0 && rig.workers().open_connections() == 0).await;
    }
    // Other tests have some meanwhile; each of these would leave two.
    until("pipes are closed", || open() < before + 30).await;
    assert_eq!(rig.errors(ErrorCause::ClientAbort), 20);
}

#[tokio::test]
async fn a_slow_reader_gets_all_of_a_long_answer() {
    let origin = Origin::start(|_, mut conn| async move {
        while conn.request().await.is_some() {
            conn.send(&answer(&text(LONG))).await;
        }
    })
    .await;
    let mut setup = Setup::new(Mode::Http, &[origin.addr]);
    setup.send_buffer = Some(4096);
    let rig = setup.start().await;
    let mut client = rig.client().await;
    assert_eq!(client.get("/").await.body, text(LONG));
    assert_eq!(client.get("/").await.body, text(LONG));
}
