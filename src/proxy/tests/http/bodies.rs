//! Bodies: how they are framed, those that come with their head, and answers before their end.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::super::rig::{Answer, Origin, Rig, header, nobody};
use super::POST;

#[tokio::test]
async fn bodies_pass_with_length_and_in_chunks() {
    let origin = Origin::echo("a").await;
    let rig = Rig::http(&[origin.addr]).await;
    let mut client = rig.client().await;
    client.send(POST).await;
    let answer = client.answer().await;
    assert!(answer.body.ends_with("\r\n\r\nhi"), "{answer:?}");
    let head = "POST / HTTP/1.1\r\nhost: t\r\ntransfer-encoding: chunked\r\n\r\n";
    client.send(&format!("{head}3;x=y\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")).await;
    let answer = client.answer().await;
    assert!(answer.body.ends_with("\r\n\r\nabcde"), "{answer:?}");
    assert_eq!(header(&answer.body, "content-length"), None);
    // Heads and data.
    assert_eq!(rig.service.cells.sum(|c| c.bytes_in.get()), (POST.len() + head.len() + 5) as u64);
}

#[tokio::test]
async fn two_framings_never_travel_together() {
    let origin = Origin::echo("a").await;
    let rig = Rig::http(&[origin.addr]).await;
    let mut client = rig.client().await;
    client
        .send("POST / HTTP/1.1\r\nhost: t\r\ncontent-length: 30\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: t\r\n\r\n")
        .await;
    let (got, _) = {
        client.0.shutdown().await.unwrap();
        client.rest().await
    };
    assert!(!got.contains("content-length: 30"), "{got}");
}

#[tokio::test]
async fn an_early_answer_reaches_a_client_that_still_sends() {
    let origin = Origin::start(|_, mut conn| async move {
        conn.until("\r\n\r\n").await;
        conn.send("HTTP/1.1 413 Payload Too Large\r\ncontent-length: 3\r\n\r\nbig").await;
        conn.request().await;
    })
    .await;
    let rig = Rig::http(&[origin.addr]).await;
    let mut client = rig.client().await;
    client.send("POST / HTTP/1.1\r\nhost: t\r\ncontent-length: 1000000\r\n\r\n").await;
    for _ in 0..10 {
        // The rest may meet a closed connection; the answer must be there all the same.
        if client.0.write_all(&[b'x'; 1000]).await.is_err() {
            break;
        }
    }
    let answer = client.answer().await;
    assert_eq!((answer.status, answer.body.as_str()), (413, "big"));
}

#[tokio::test]
async fn an_answer_before_a_reset_is_heard() {
    let origin = Origin::start(|_, mut conn| async move {
        conn.until("\r\n\r\n").await;
        // Closing with the body unread resets the connection, right behind the answer.
        conn.send("HTTP/1.1 413 Payload Too Large\r\ncontent-length: 3\r\n\r\nbig").await;
    })
    .await;
    let rig = Rig::http(&[origin.addr]).await;
    for _ in 0..20 {
        let mut client = rig.client().await;
        client.send("POST / HTTP/1.1\r\nhost: t\r\ncontent-length: 50000000\r\n\r\n").await;
        let body = vec![b'x'; 100_000];
        while client.0.write_all(&body).await.is_ok() {}
        let answer = client.answer().await;
        assert_eq!((answer.status, answer.body.as_str()), (413, "big"));
    }
    assert_eq!(rig.in_flight(), 0);
}

#[tokio::test]
async fn an_upload_passes_while_nobody_reads_the_answer() {
    const SIZE: usize = 6_000_000;
    // Answers at once with more than any buffer on the way holds, and reads all the same.
    let origin = Origin::start(|_, mut conn| async move {
        conn.until("\r\n\r\n").await;
        let already = conn.1.len();
        let (mut read, mut write) = conn.0.into_split();
        let answer = tokio::spawn(async move {
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", SIZE + 4);
            write.write_all(head.as_bytes()).await.unwrap();
            write.write_all(&vec![b'a'; SIZE]).await.unwrap();
            write
        });
        let mut body = vec![0; SIZE - already];
        read.read_exact(&mut body).await.unwrap();
        let mut write = answer.await.unwrap();
        write.write_all(b"done").await.unwrap();
        // Open until the other side has all.
        drop(read.read(&mut body).await);
    })
    .await;
    let rig = Rig::http(&[origin.addr]).await;
    let mut client = rig.client().await;
    client.send(&format!("POST / HTTP/1.1\r\nhost: t\r\ncontent-length: {SIZE}\r\n\r\n")).await;
    client.0.write_all(&vec![b'q'; SIZE]).await.unwrap();
    let answer = client.answer().await;
    assert_eq!(answer.body.len(), SIZE + 4);
    assert!(answer.body.ends_with("adone"));
}

/// A POST of `size` bytes, all different.
fn upload(size: usize) -> String {
    use std::fmt::Write as _;
    let mut body = String::new();
    for line in 0_u32.. {
        if body.len() >= size {
            break;
        }
        writeln!(body, "{line:07}").unwrap();
    }
    body.truncate(size);
    format!("POST / HTTP/1.1\r\nhost: t\r\ncontent-length: {size}\r\n\r\n{body}")
}

/// True when `answer` repeats the whole body of `upload`. Not compared with `assert_eq`: nobody reads 200 kB.
fn repeats(answer: &Answer, upload: &str) -> bool {
    let body = |text: &str| text.split_once("\r\n\r\n").map(|(_, body)| body.to_owned());
    answer.status == 200 && body(&answer.body) == body(upload)
}

#[tokio::test]
async fn a_body_that_comes_with_its_head_goes_on_whole() {
    let origin = Origin::echo("a").await;
    // The refused one is tried first, now and then: the body waits meanwhile.
    let rig = Rig::http(&[nobody(), origin.addr]).await;
    for size in [2, 4096, 4097, 16_384, 32_000, 32_768, 40_000, 200_000] {
        let upload = upload(size);
        // Over a fresh connection to the backend or a kept one, first of its client or not.
        let mut client = rig.client().await;
        for _ in 0..3 {
            client.send(&upload).await;
            assert!(repeats(&client.answer().await, &upload), "{size}");
        }
        // Two that come together, with the head of a third.
        client.send(&(upload.clone() + &upload + "GET /next HTTP/1.1\r\nhost: t\r\n\r\n")).await;
        for _ in 0..2 {
            assert!(repeats(&client.answer().await, &upload), "{size}");
        }
        assert!(client.answer().await.body.starts_with("a\nGET /next"), "{size}");
    }
}

#[tokio::test]
async fn a_body_survives_that_its_kept_connection_has_ended() {
    let origin = Origin::start(|_, mut conn| async move {
        // One answer a connection, and no word about it.
        let request = conn.request().await.unwrap_or_default();
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", request.len());
        conn.send(&(head + &request)).await;
    })
    .await;
    let rig = Rig::http(&[origin.addr]).await;
    let mut client = rig.client().await;
    for size in [16_384, 32_000] {
        for _ in 0..5 {
            let upload = upload(size);
            client.send(&upload).await;
            assert!(repeats(&client.answer().await, &upload), "{size}");
        }
    }
}
