//! A backend for the demonstration: a small HTTP/1.1 server that answers its name and can die and come back.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio_util::sync::CancellationToken;

/// Longest request head that is read; the demonstration's own clients send far less.
const HEAD_LIMIT: usize = 8 * 1024;

/// One demonstration backend. Its address stays the same over deaths.
#[derive(Debug)]
pub(super) struct Origin {
    /// Name in the registration and in its answers.
    pub(super) name: Arc<str>,
    /// Where it listens.
    pub(super) addr: SocketAddr,
    /// Cancelled to kill it; `None` while dead.
    alive: Option<CancellationToken>,
}

impl Origin {
    /// Binds a free loopback port and starts to answer.
    pub(super) fn start(name: &str) -> std::io::Result<Self> {
        let listener = listen("127.0.0.1:0".parse().map_err(std::io::Error::other)?)?;
        let addr = listener.local_addr()?;
        let mut origin = Self { name: name.into(), addr, alive: None };
        origin.serve(listener);
        Ok(origin)
    }

    /// True while it answers.
    pub(super) fn is_alive(&self) -> bool {
        self.alive.is_some()
    }

    /// Closes the listener and every connection at once, as a killed process does.
    pub(super) fn kill(&mut self) {
        if let Some(alive) = self.alive.take() {
            alive.cancel();
        }
    }

    /// Listens on the same address again.
    pub(super) fn revive(&mut self) -> std::io::Result<()> {
        let listener = listen(self.addr)?;
        self.serve(listener);
        Ok(())
    }

    fn serve(&mut self, listener: TcpListener) {
        let alive = CancellationToken::new();
        self.alive = Some(alive.clone());
        let name = Arc::clone(&self.name);
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    () = alive.cancelled() => return,
                    accepted = listener.accept() => {
                        let Ok((stream, _)) = accepted else { continue };
                        let connection = answer_all(stream, Arc::clone(&name));
                        tokio::spawn(alive.clone().run_until_cancelled_owned(connection));
                    }
                }
            }
        });
    }
}

fn listen(addr: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(addr)?;
    socket.listen(1024)
}

/// Answers requests on one connection until the client leaves. A broken connection ends only itself.
async fn answer_all(mut stream: TcpStream, name: Arc<str>) {
    let body = format!("hello from {name}\n");
    let answer = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut head = Vec::new();
    while read_head(&mut stream, &mut head).await {
        let close = contains(&head, b"connection: close") || contains(&head, b"HTTP/1.0");
        let only_head = head.starts_with(b"HEAD");
        let sent = if only_head { answer.len().saturating_sub(body.len()) } else { answer.len() };
        let Some(bytes) = answer.as_bytes().get(..sent) else {
            return;
        };
        if stream.write_all(bytes).await.is_err() || close {
            return;
        }
    }
}

/// True when a whole head was read; bodies are not expected.
async fn read_head(stream: &mut TcpStream, head: &mut Vec<u8>) -> bool {
    head.clear();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_buf(head).await {
            Ok(0) | Err(_) => return false,
            Ok(_) if head.len() > HEAD_LIMIT => return false,
            Ok(_) => {}
        }
    }
    true
}

fn contains(head: &[u8], needle: &[u8]) -> bool {
    head.windows(needle.len()).any(|window| window.eq_ignore_ascii_case(needle))
}
