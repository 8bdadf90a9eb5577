//! Between a client and scripted members, over real sockets.

use std::net::ToSocketAddrs;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

/// A handshake answer: version 0, 4 s, session 7, a password of 16 bytes, not read-only.
fn answer() -> Vec<u8> {
    let mut bytes = [0, 0, 0, 37, 0, 0, 0, 0, 0, 0, 15, 160, 0, 0, 0, 0, 0, 0, 0, 7].to_vec();
    bytes.extend([0, 0, 0, 16]);
    bytes.extend([1; 16]);
    bytes.push(0);
    bytes
}

fn timing() -> RelayTiming {
    RelayTiming {
        answer: Duration::from_millis(50),
        backoff_cap: Duration::from_millis(50),
        ..RelayTiming::for_session(Duration::from_secs(4))
    }
}

async fn start(ensemble: &str) -> (TcpStream, watch::Receiver<RelayStatus>) {
    let relay = Relay::bind(ensemble.parse().unwrap(), timing()).await.unwrap();
    let (addr, status) = (relay.addr(), relay.status());
    tokio::spawn(relay.run());
    let mut client = TcpStream::connect(addr).await.unwrap();
    client.write_all(b"\0\0\0\x05hello").await.unwrap();
    (client, status)
}

/// Takes one connection and its request, answers, and returns it.
async fn serve(listener: &TcpListener) -> TcpStream {
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut request = [0; 9];
    stream.read_exact(&mut request).await.unwrap();
    assert_eq!(&request, b"\0\0\0\x05hello");
    stream.write_all(&answer()).await.unwrap();
    stream
}

#[test]
fn the_address_given_to_the_crate_is_no_literal_but_resolves_without_dns() {
    let text = connect_string(4711, "/chroot");
    assert!(text.starts_with("127.1:4711,127.1:4711,"));
    assert!(text.ends_with(",127.1:4711/chroot"));
    // What the crate tries first; a success would be defect B.
    assert!("127.1".parse::<Ipv4Addr>().is_err());
    let addresses: Vec<_> = ("127.1", 4711).to_socket_addrs().unwrap().collect();
    assert_eq!(addresses, [SocketAddr::from(([127, 0, 0, 1], 4711))]);
}

/// As ZooKeeper does while it starts.
#[tokio::test]
async fn a_request_that_is_never_answered_is_asked_again_with_growing_patience() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let (mut client, status) = start(&addr.to_string()).await;
    let begun = Instant::now();
    let (mut lost, mut gaps) = (Vec::new(), Vec::new());
    for _ in 0..3 {
        lost.push(listener.accept().await.unwrap());
        gaps.push(begun.elapsed());
    }
    let mut server = serve(&listener).await;
    let mut seen = vec![0; answer().len()];
    client.read_exact(&mut seen).await.unwrap();
    assert_eq!(seen, answer());
    server.write_all(b"x").await.unwrap();
    assert_eq!(client.read_u8().await.unwrap(), b'x');
    let silent = format!("{addr}: accepts but does not answer");
    assert_eq!(status.borrow().trouble.as_deref(), Some(&*silent));
    assert!(gaps[2] - gaps[1] >= 2 * timing().answer, "{gaps:?}");
    assert!(begun.elapsed() >= 7 * timing().answer, "{gaps:?}");
}

#[tokio::test]
async fn a_client_is_held_until_a_member_answers_and_its_bytes_arrive_in_order() {
    let reserved = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let member = reserved.local_addr().unwrap();
    drop(reserved);
    let (mut client, mut status) = start(&member.to_string()).await;
    client.write_all(b"\0\0\0\x04more").await.unwrap();
    let refused = format!("{member}: connection refused");
    status.wait_for(|status| status.trouble.as_deref() == Some(&*refused)).await.unwrap();

    let listener = TcpListener::bind(member).await.unwrap();
    let mut server = serve(&listener).await;
    let mut more = [0; 8];
    server.read_exact(&mut more).await.unwrap();
    assert_eq!(&more, b"\0\0\0\x04more");
    let mut seen = vec![0; answer().len()];
    client.read_exact(&mut seen).await.unwrap();
    assert_eq!(seen, answer());
    status.wait_for(|status| status.member.is_some()).await.unwrap();

    drop(server);
    assert_eq!(client.read(&mut [0; 1]).await.unwrap(), 0);
    let status = status.wait_for(|status| status.member.is_none()).await.unwrap();
    let closed = format!("{member}: closed the connection");
    assert_eq!(status.trouble.as_deref(), Some(&*closed));
}

#[tokio::test]
async fn silent_and_closing_members_are_left_for_one_that_answers() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let closing = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let serving = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let names =
        [&silent, &closing, &serving].map(|listener| listener.local_addr().unwrap().to_string());
    tokio::spawn(async move {
        loop {
            drop(closing.accept().await.unwrap());
        }
    });
    let (mut client, _) = start(&names.join(",")).await;
    let server = serve(&serving).await;
    let mut seen = vec![0; answer().len()];
    client.read_exact(&mut seen).await.unwrap();
    drop((server, silent));
}

#[tokio::test]
async fn a_client_that_gave_up_makes_room_for_its_next_connection() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let member = silent.local_addr().unwrap();
    let relay = Relay::bind(member.to_string().parse().unwrap(), timing()).await.unwrap();
    let addr = relay.addr();
    tokio::spawn(relay.run());
    for _ in 0..2 {
        let mut client = TcpStream::connect(addr).await.unwrap();
        client.write_all(b"\0\0\0\x05hello").await.unwrap();
        let (mut server, _) = silent.accept().await.unwrap();
        drop(client);
        let mut rest = Vec::new();
        // The member's side ends too, in whatever way.
        server.read_to_end(&mut rest).await.ok();
    }
}

#[tokio::test]
async fn an_ensemble_with_older_data_is_asked_again_without_what_was_seen() {
    let wiped = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = wiped.local_addr().unwrap().to_string();
    let relay = Relay::bind(addr.parse().unwrap(), timing()).await.unwrap();
    let mut client = TcpStream::connect(relay.addr()).await.unwrap();
    tokio::spawn(relay.run());
    let mut request = vec![0, 0, 0, 16, 0, 0, 0, 0];
    request.extend([7; 8]);
    request.extend([9; 4]);
    client.write_all(&request).await.unwrap();
    for seen in [[7; 8], [0; 8]] {
        let (mut member, _) = wiped.accept().await.unwrap();
        let mut got = [0; 20];
        member.read_exact(&mut got).await.unwrap();
        assert_eq!((&got[8..16], &got[16..]), (&seen[..], &[9; 4][..]));
        if seen == [0; 8] {
            member.write_all(&answer()).await.unwrap();
        }
    }
    let mut got = vec![0; answer().len()];
    client.read_exact(&mut got).await.unwrap();
}

#[tokio::test]
async fn strangers_are_closed() {
    let relay = Relay::bind("127.0.0.1:1".parse().unwrap(), timing()).await.unwrap();
    let addr = relay.addr();
    tokio::spawn(relay.run());
    let mut stranger = TcpStream::connect(addr).await.unwrap();
    stranger.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let read = stranger.read(&mut [0; 1]).await;
    assert!(matches!(read, Ok(0) | Err(_)), "{read:?}");
}
