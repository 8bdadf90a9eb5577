//! Listening sockets of other kinds than a port, and what is said about one of them; beside haproxy.

mod proxied;
pub(crate) mod unix;

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};
use tokio::time::timeout;

use crate::support::lab::Lab;

/// Longer than anything takes here.
const PATIENCE: Duration = Duration::from_secs(10);

/// A client that wants no second answer.
const REQUEST: &[u8] = b"GET /x HTTP/1.1\r\nhost: t\r\nconnection: close\r\n\r\n";

/// Answers each request with its head.
async fn echo(lab: &Lab) -> SocketAddr {
    let addr = lab.free_addr();
    let socket = TcpListener::bind(addr).await.expect("bind");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = socket.accept().await {
            tokio::spawn(async move {
                let mut head = Vec::new();
                while let Ok(1..) = stream.read_buf(&mut head).await {
                    if head.ends_with(b"\r\n\r\n") {
                        let len = head.len();
                        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {len}\r\n\r\n");
                        let answer = [answer.as_bytes(), &head].concat();
                        let is_last = head.windows(17).any(|part| part == b"connection: close");
                        if stream.write_all(&answer).await.is_err() || is_last {
                            return;
                        }
                        head.clear();
                    }
                }
            });
        }
    });
    addr
}

/// What comes after `bytes` have been sent, up to the end of the connection, be it a reset.
async fn heard<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, bytes: &[u8]) -> String {
    // It may be closed already.
    drop(stream.write_all(bytes).await);
    let mut all = Vec::new();
    let end = timeout(PATIENCE, stream.read_to_end(&mut all)).await;
    drop(end.expect("the connection ends"));
    String::from_utf8_lossy(&all).into_owned()
}

/// The lines of the echoed request that say who the client is.
fn forwarded(answer: &str) -> Vec<&str> {
    answer.lines().filter(|line| line.starts_with("x-forwarded-for")).collect()
}

/// Receives the lines of an access log.
struct Lines(UdpSocket);

impl Lines {
    async fn new() -> (Self, SocketAddr) {
        let socket = UdpSocket::bind("127.0.0.1:0").await.expect("bind");
        let addr = socket.local_addr().expect("bound");
        (Self(socket), addr)
    }

    /// The next line, without syslog's head and the time: `127.0.0.1:4711 web/1: …`.
    async fn next(&self) -> String {
        let mut datagram = vec![0; 1 << 16];
        let received = timeout(PATIENCE, self.0.recv(&mut datagram)).await.expect("a line");
        let text = String::from_utf8_lossy(&datagram[..received.expect("a datagram")]).into_owned();
        let line = text.split_once("]: ").map_or(&*text, |(_, line)| line).trim_end();
        let (client, rest) = line.split_once(" [").expect("a time");
        let (_, rest) = rest.split_once("] ").expect("the end of a time");
        format!("{client} {rest}")
    }
}
