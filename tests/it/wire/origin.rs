//! A scripted origin that remembers the requests it got whole.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::cases::SCRIPTS;
use crate::support::lab::Lab;

/// The origin. Ends when dropped.
pub(super) struct Origin {
    pub(super) addr: SocketAddr,
    heard: Arc<Mutex<Vec<String>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Origin {
    pub(super) async fn start(lab: &Lab) -> Self {
        let addr = lab.free_addr();
        let socket = TcpListener::bind(addr).await.expect("bind");
        let heard = Arc::<Mutex<Vec<String>>>::default();
        let memory = Arc::clone(&heard);
        let task = tokio::spawn(async move {
            let mut serving = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = socket.accept().await {
                serving.spawn(serve(stream, Arc::clone(&memory)));
            }
        });
        Self { addr, heard, task }
    }

    /// Requests that came whole since [`Origin::forget`], head and body.
    pub(super) fn requests(&self) -> Vec<String> {
        self.heard.lock().expect("no panic").clone()
    }

    pub(super) fn forget(&self) {
        self.heard.lock().expect("no panic").clear();
    }
}

async fn serve(mut stream: TcpStream, heard: Arc<Mutex<Vec<String>>>) {
    let mut bytes = Vec::new();
    loop {
        let Some(end) = find(&bytes, b"\r\n\r\n") else {
            if !more(&mut stream, &mut bytes).await {
                return;
            }
            continue;
        };
        let head = String::from_utf8_lossy(&bytes[..end + 4]).into_owned();
        let lower = head.to_ascii_lowercase();
        let whole = if lower.contains("\r\ntransfer-encoding:") {
            // Every chunked body here ends so, perhaps with trailers, and has no such bytes in its data.
            let last = find(&bytes[end + 4..], b"0\r\n");
            last.and_then(|at| {
                let from = end + 4 + at + 1;
                find(&bytes[from..], b"\r\n\r\n").map(|blank| from + blank + 4)
            })
        } else {
            let length = lower.lines().find_map(|l| l.strip_prefix("content-length: "));
            let length: usize = length.map_or(0, |l| l.trim().parse().expect("a length"));
            (bytes.len() >= end + 4 + length).then_some(end + 4 + length)
        };
        let Some(whole) = whole else {
            if !more(&mut stream, &mut bytes).await {
                return;
            }
            continue;
        };
        let request: Vec<u8> = bytes.drain(..whole).collect();
        heard.lock().expect("no panic").push(String::from_utf8_lossy(&request).into_owned());
        let target = head.split(' ').nth(1).unwrap_or_default();
        let script = SCRIPTS.iter().find(|(path, _)| *path == target);
        let answer = script.map_or("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", |s| s.1);
        let text = answer.strip_suffix('\0');
        // To HEAD only the head.
        let said = text.unwrap_or(answer);
        let said = if head.starts_with("HEAD") {
            said.split_inclusive("\r\n\r\n").next().unwrap_or_default()
        } else {
            said
        };
        if stream.write_all(said.as_bytes()).await.is_err() || text.is_some() {
            return;
        }
    }
}

async fn more(stream: &mut TcpStream, bytes: &mut Vec<u8>) -> bool {
    let mut chunk = [0; 4096];
    match stream.read(&mut chunk).await {
        Ok(n @ 1..) => {
            bytes.extend_from_slice(&chunk[..n]);
            true
        }
        _ => false,
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|w| w == needle)
}
