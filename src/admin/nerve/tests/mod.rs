//! The pages and commands from outside: real sockets, a scripted desk.

mod callers;
mod commands;
mod families;
mod pages;

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};

use super::fixture::{Running, Script, documented, down, on_tcp, on_unix, session, unheard, up};
use super::shape::{self, ServiceShape};
use super::{diagnosis, fixture, metrics, page};

/// Status, head and body of the answer on a fresh connection.
async fn talk(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    request: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> (u16, String, String) {
    let mut head = format!("{request} HTTP/1.1\r\nconnection: close\r\n");
    if !headers.iter().any(|(name, _)| *name == "host") {
        head.push_str("host: localhost\r\n");
    }
    for (name, value) in headers {
        write!(head, "{name}: {value}\r\n").unwrap();
    }
    if !headers.iter().any(|(name, _)| *name == "transfer-encoding") {
        write!(head, "content-length: {}\r\n", body.len()).unwrap();
    }
    stream.write_all(format!("{head}\r\n").as_bytes()).await.unwrap();
    // A server that has answered already may not read the rest, and resets the connection after its answer.
    stream.write_all(body).await.ok();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.ok();
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").expect("an answer");
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, head.to_owned(), body.to_owned())
}

struct Socket {
    path: PathBuf,
    script: Arc<Script>,
    running: Running,
}

impl Socket {
    fn new(name: &str, services: Vec<super::desk::ServiceStatus>) -> Self {
        let script = Script::new(services);
        let path = fixture::directory(name).join("nerve.sock");
        let running = on_unix(&script, &path);
        Self { path, script, running }
    }

    async fn ask(&self, request: &str, body: &[u8]) -> (u16, String) {
        let stream = UnixStream::connect(&self.path).await.unwrap();
        let (status, _, body) = talk(stream, request, &[], body).await;
        (status, body)
    }

    async fn json(&self, request: &str, body: &[u8]) -> Value {
        let (status, text) = self.ask(request, body).await;
        assert_eq!(status, 200, "{text}");
        serde_json::from_str(&text).unwrap()
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.running.stop.cancel();
        std::fs::remove_dir_all(self.path.parent().unwrap()).ok();
    }
}

async fn over_tcp(addr: SocketAddr, request: &str, headers: &[(&str, &str)]) -> (u16, String) {
    let stream = TcpStream::connect(addr).await.unwrap();
    let (status, _, body) = talk(stream, request, headers, b"").await;
    (status, body)
}
