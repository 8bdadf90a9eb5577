//! How servers are connected to: PROXY headers, unix sockets, sources; beside haproxy where it does the same.

mod header;
mod source;
mod unix;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, UnixListener};

use crate::support::wait::eventually;

const PATIENCE: Duration = Duration::from_secs(5);

/// What one connection has said, and from where.
#[derive(Clone, Debug, Default)]
struct Said {
    /// Unset on a unix socket.
    from: Option<SocketAddr>,
    bytes: Vec<u8>,
}

impl Said {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }
}

/// A server that keeps what it hears and answers whatever ends in an empty line.
#[derive(Clone, Default)]
struct Recorder {
    heard: Arc<Mutex<Vec<Said>>>,
}

impl Recorder {
    async fn tcp(addr: SocketAddr) -> Self {
        let listener = TcpListener::bind(addr).await.expect("bind");
        let recorder = Self::default();
        let it = recorder.clone();
        tokio::spawn(async move {
            while let Ok((stream, from)) = listener.accept().await {
                it.serve(stream, Some(from));
            }
        });
        recorder
    }

    fn unix(path: &Path) -> Self {
        let listener = UnixListener::bind(path).expect("bind");
        let recorder = Self::default();
        let it = recorder.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                it.serve(stream, None);
            }
        });
        recorder
    }

    fn serve<S>(&self, mut stream: S, from: Option<SocketAddr>)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let mut all = self.heard.lock().expect("no panic");
        let index = all.len();
        all.push(Said { from, bytes: Vec::new() });
        drop(all);
        let heard = Arc::clone(&self.heard);
        tokio::spawn(async move {
            let mut chunk = [0; 4096];
            while let Ok(n @ 1..) = stream.read(&mut chunk).await {
                let is_whole = {
                    let mut all = heard.lock().expect("no panic");
                    let said = &mut all[index].bytes;
                    said.extend_from_slice(&chunk[..n]);
                    said.ends_with(b"\r\n\r\n")
                };
                let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
                if is_whole && stream.write_all(answer).await.is_err() {
                    return;
                }
            }
        });
    }

    /// What its connections have said so far, in the order in which they came.
    fn heard(&self) -> Vec<Said> {
        self.heard.lock().expect("no panic").clone()
    }

    /// Waits for a connection that says what `claim` wants.
    async fn until(&self, what: &str, claim: impl Fn(&Said) -> bool) -> Said {
        eventually(what, PATIENCE, || async {
            let heard = self.heard();
            heard.iter().find(|said| claim(said)).cloned().ok_or(heard)
        })
        .await
    }
}
