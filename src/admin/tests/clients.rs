//! Connections: their bound, their time and their end.

use std::time::Duration;

use super::*;

#[tokio::test]
async fn a_client_that_sends_no_head_is_let_go() {
    tokio::time::pause();
    let server = start(fixture::state()).await;
    let mut silent = TcpStream::connect(server.addr).await.unwrap();
    let mut bytes = Vec::new();
    // Ends only because the server closes; the paused clock jumps to its time-out.
    silent.read_to_end(&mut bytes).await.unwrap();
    assert!(bytes.is_empty() || bytes.starts_with(b"HTTP/1.1 408"));
}

/// Clients that have had an answer to `request` or its beginning, as many as there are places for.
async fn all_places(server: &Server, request: &[u8]) -> Vec<TcpStream> {
    let mut clients = Vec::new();
    for _ in 0..places::MAX_CONNECTIONS {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(2048).unwrap();
        let mut stream = socket.connect(server.addr).await.unwrap();
        stream.write_all(request).await.unwrap();
        stream.read_exact(&mut [0; 1]).await.unwrap();
        clients.push(stream);
    }
    clients
}

/// Long before a client that does not move is let go by itself.
const SOON: Duration = Duration::from_secs(2);

#[tokio::test]
async fn the_client_that_is_idle_for_longest_makes_room() {
    let server = start(fixture::state()).await;
    let mut idle = all_places(&server, b"GET /live HTTP/1.1\r\nhost: x\r\n\r\n").await;
    let answer = tokio::time::timeout(SOON, server.get("/live")).await.unwrap();
    assert_eq!(answer, (200, "ok\n".into()));
    let mut rest = Vec::new();
    idle[0].read_to_end(&mut rest).await.unwrap();
    for stream in &mut idle[1..] {
        rest.clear();
        stream.write_all(b"HEAD /live HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        while !rest.ends_with(b"ok\n") {
            rest.push(stream.read_u8().await.unwrap());
        }
        assert_eq!(stream.read_u8().await.unwrap(), b'H', "it is still there");
    }
}

#[tokio::test]
async fn clients_that_do_not_finish_a_request_make_room() {
    let server = start(fixture::state()).await;
    let partial = b"GET /live HTTP/1.1\r\nhost: x\r\n\r\nGET /live HTTP/1.1\r\nho";
    let _slow = all_places(&server, partial).await;
    for path in ["/live", "/ready", "/metrics"] {
        let answer = tokio::time::timeout(SOON, server.get(path)).await.unwrap();
        assert!([200, 503].contains(&answer.0), "{path}: {answer:?}");
    }
}

/// However well it behaves.
#[tokio::test]
async fn a_connection_ends_when_its_life_is_over() {
    let server = start(fixture::state()).await;
    let mut stream = TcpStream::connect(server.addr).await.unwrap();
    tokio::time::pause();
    let begun = tokio::time::Instant::now();
    let mut answer = [0; 1024];
    loop {
        let asked = stream.write_all(b"HEAD /live HTTP/1.1\r\nhost: x\r\n\r\n").await;
        if asked.is_err() || stream.read(&mut answer).await.unwrap_or(0) == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_secs(4)).await;
    }
    let life = begun.elapsed();
    let expected = connection::CONNECTION_LIFE;
    assert!(life >= expected && life < expected + Duration::from_secs(5), "{life:?}");
}

#[tokio::test]
async fn stop_ends_the_server_although_clients_stay() {
    let server = start(fixture::state()).await;
    let mut idle = TcpStream::connect(server.addr).await.unwrap();
    idle.write_all(b"GET /live HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let mut first = [0; 1];
    idle.read_exact(&mut first).await.unwrap();
    server.stop.cancel();
    tokio::time::timeout(Duration::from_secs(10), server.task).await.unwrap().unwrap();
}
