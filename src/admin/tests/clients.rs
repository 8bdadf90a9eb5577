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

#[tokio::test]
async fn connections_beyond_the_bound_wait_for_a_place() {
    let server = start(fixture::state()).await;
    let mut idle = Vec::new();
    for _ in 0..server::MAX_CONNECTIONS {
        let mut stream = TcpStream::connect(server.addr).await.unwrap();
        stream.write_all(b"GET /live HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        stream.read_exact(&mut [0; 1]).await.unwrap();
        idle.push(stream);
    }
    let waiting = server.get("/live");
    tokio::pin!(waiting);
    assert!(
        tokio::time::timeout(Duration::from_millis(50), waiting.as_mut()).await.is_err(),
        "all places are taken"
    );
    drop(idle.pop());
    assert_eq!(waiting.await, (200, "ok\n".into()));
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
