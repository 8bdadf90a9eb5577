//! A scripted origin that remembers the requests it got whole.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::cases::{BULK, SCRIPTS};
use crate::support::lab::Lab;

/// Size of the answer to `/F-large`: more than the kernels on its way hold.
const LARGE: usize = 10_000 * PIECE;
const PIECE: usize = 10_000;

/// The origin. Ends when dropped.
pub(super) struct Origin {
    pub(super) addr: SocketAddr,
    heard: Arc<Heard>,
    task: tokio::task::JoinHandle<()>,
}

/// What all its connections brought.
#[derive(Default)]
struct Heard {
    requests: Mutex<Vec<String>>,
    bytes: AtomicUsize,
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
        let heard = Arc::<Heard>::default();
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
        self.heard.requests.lock().expect("no panic").clone()
    }

    /// Bytes that came, of whole requests or not.
    pub(super) fn bytes(&self) -> usize {
        self.heard.bytes.load(Ordering::SeqCst)
    }

    pub(super) fn forget(&self) {
        self.heard.requests.lock().expect("no panic").clear();
    }
}

async fn serve(mut stream: TcpStream, heard: Arc<Heard>) {
    let mut bytes = Vec::new();
    loop {
        let Some(end) = find(&bytes, b"\r\n\r\n") else {
            if !more(&mut stream, &mut bytes, &heard).await {
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
            if !more(&mut stream, &mut bytes, &heard).await {
                return;
            }
            continue;
        };
        let request: Vec<u8> = bytes.drain(..whole).collect();
        let request = String::from_utf8_lossy(&request).into_owned();
        heard.requests.lock().expect("no panic").push(request);
        let target = head.split(' ').nth(1).unwrap_or_default();
        if target == "/F-large" {
            let large = format!("HTTP/1.1 200 OK\r\nContent-Length: {LARGE}\r\n\r\n");
            let mut sent = stream.write_all(large.as_bytes()).await;
            for piece in std::iter::repeat_n([b'y'; PIECE], LARGE / PIECE) {
                sent = sent.and(stream.write_all(&piece).await);
            }
            if sent.is_err() {
                return;
            }
            continue;
        }
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
        let said = said.replace(BULK.0, &"x".repeat(BULK.1));
        if stream.write_all(said.as_bytes()).await.is_err() || text.is_some() {
            return;
        }
    }
}

async fn more(stream: &mut TcpStream, bytes: &mut Vec<u8>, heard: &Heard) -> bool {
    let mut chunk = [0; 4096];
    match stream.read(&mut chunk).await {
        Ok(n @ 1..) => {
            bytes.extend_from_slice(&chunk[..n]);
            heard.bytes.fetch_add(n, Ordering::SeqCst);
            true
        }
        _ => false,
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|w| w == needle)
}
