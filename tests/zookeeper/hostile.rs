//! Servers that lie. No answer may end the process or wedge the registry.

use std::net::SocketAddr;
use std::time::Duration;

use smartstack::registry::{Registry, RegistryError, SessionState};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;

use crate::common::{connected, registry, shared, wait_session, wait_state};

/// What a liar does with requests after a proper handshake.
#[derive(Clone, Copy, Debug)]
enum Lie {
    /// Answers OK with this body.
    Body(&'static [u8]),
    /// Closes the connection before the handshake's answer.
    Close,
    /// Answers the handshake with this.
    Handshake(&'static [u8]),
    /// Never says anything.
    Silence,
}

async fn liar(lie: Lie) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            // Ends when the client goes.
            tokio::spawn(async move { serve(stream, lie).await.ok() });
        }
    });
    addr
}

async fn frame(stream: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let mut body = vec![0; stream.read_u32().await?.try_into().unwrap()];
    stream.read_exact(&mut body).await?;
    Ok(body)
}

async fn serve(mut stream: TcpStream, lie: Lie) -> std::io::Result<()> {
    frame(&mut stream).await?;
    let answer = match lie {
        Lie::Close => return Ok(()),
        Lie::Silence => return std::future::pending().await,
        Lie::Handshake(bytes) => {
            stream.write_all(bytes).await?;
            return std::future::pending().await;
        }
        Lie::Body(body) => body,
    };
    // Version 0, 4 s, session 7, a password of 16 bytes, not read-only.
    let mut hello =
        [&37_u32.to_be_bytes()[..], &0_u32.to_be_bytes(), &4_000_u32.to_be_bytes()].concat();
    hello.extend([&7_u64.to_be_bytes()[..], &16_u32.to_be_bytes(), &[1; 16], &[0]].concat());
    stream.write_all(&hello).await?;
    loop {
        let request = frame(&mut stream).await?;
        let is_ping = request.starts_with(&(-2_i32).to_be_bytes());
        let body = if is_ping { &[][..] } else { answer };
        let length = u32::try_from(16 + body.len()).unwrap();
        // Length, the request's xid, zxid 1, no error.
        let mut reply = length.to_be_bytes().to_vec();
        reply.extend(request.iter().take(4));
        reply.extend(1_u64.to_be_bytes());
        reply.extend(0_u32.to_be_bytes());
        reply.extend(body);
        stream.write_all(&reply).await?;
    }
}

#[tokio::test]
async fn short_and_garbled_answers_are_errors_of_that_call() {
    const LIES: [&[u8]; 6] = [
        b"",
        b"\0\0\0",
        b"\0\0\0\x10abc",
        b"\x7f\xff\xff\xff",
        b"\xff\xff\xff\xff\0\0",
        b"\0\0\0\x01\0\0\0\x05a",
    ];
    for lie in LIES {
        let addr = liar(Lie::Body(lie)).await;
        let registry = connected(&addr.to_string(), 4).await;
        for _ in 0..2 {
            assert!(registry.watch_data("/a").await.is_err(), "{lie:?}");
            assert!(registry.watch_children("/a").await.is_err(), "{lie:?}");
            let many = registry.read_many(&["/a".to_owned(), "/b".to_owned()]).await;
            assert!(many.is_err(), "{lie:?}: {many:?}");
        }
    }
}

#[tokio::test]
async fn a_wrong_service_is_named_and_a_real_member_is_used_beside_it() {
    let http = liar(Lie::Handshake(b"HTTP/1.1 400 Bad Request\r\n\r\n")).await;
    let alone = registry(&http.to_string(), 4);
    let session = wait_session(&alone, 3, |session| session.last_error.is_some()).await;
    let expected = format!("{http}: not a ZooKeeper server");
    assert_eq!(session.last_error.as_deref(), Some(expected.as_str()));
    assert_eq!(session.state, SessionState::Connecting);

    let close = liar(Lie::Close).await;
    let silent = liar(Lie::Silence).await;
    let ensemble = format!("{http},{close},{silent},{}", shared().connect_string());
    let registry = registry(&ensemble, 10);
    let started = Instant::now();
    wait_state(&registry, SessionState::Connected, 8).await;
    assert!(started.elapsed() < Duration::from_secs(4), "{:?}", started.elapsed());
    assert!(registry.watch_children("/").await.is_ok());
}

#[tokio::test]
async fn a_member_that_closes_at_once_is_named() {
    let addr = liar(Lie::Close).await;
    let registry = registry(&addr.to_string(), 4);
    let session = wait_session(&registry, 3, |session| session.last_error.is_some()).await;
    let text = session.last_error.unwrap();
    assert!(text.starts_with(&format!("{addr}: accepts and closes at once")), "{text}");
    let error = registry.read_many(&["/a".to_owned()]).await.unwrap_err();
    assert!(matches!(error, RegistryError::Unavailable { .. }));
}
