//! Bodies of any size pass unharmed, both ways and in both framings, and cost no memory.

use std::net::SocketAddr;

use serde_json::json;
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::support::lab::Lab;
use crate::support::memory;
use crate::support::synapse::{config, fixed};

/// Bytes written at a time: not a multiple of anything that a proxy reads at a time.
const PIECE: usize = 100_003;
/// The content repeats after so many bytes, a prime: a piece that is lost, doubled or moved shows.
const PERIOD: usize = 251;
/// What a body may cost: the sockets' way into the process (a buffer per worker, a few that wait for a slow side).
const GROWTH: u64 = 4 * 1024 * 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    Length,
    Chunks,
}

impl Framing {
    fn header(self, bytes: u64) -> String {
        match self {
            Self::Length => format!("Content-Length: {bytes}\r\n\r\n"),
            Self::Chunks => "Transfer-Encoding: chunked\r\n\r\n".to_owned(),
        }
    }

    fn of(head: &str) -> Self {
        let head = head.to_ascii_lowercase();
        if head.contains("\r\ntransfer-encoding: chunked\r\n") {
            Self::Chunks
        } else {
            Self::Length
        }
    }
}

/// The content, as often as a piece needs it.
struct Content(Vec<u8>);

impl Content {
    fn new() -> Self {
        Self((0..PERIOD + PIECE).map(|i| u8::try_from(i % PERIOD).expect("below 251")).collect())
    }

    /// The `len` bytes that stand at `offset` of a body.
    fn at(&self, offset: u64, len: usize) -> &[u8] {
        let start = usize::try_from(offset % PERIOD as u64).expect("below 251");
        &self.0[start..start + len]
    }
}

/// Writes a body.
async fn pour(to: &mut TcpStream, framing: Framing, bytes: u64) {
    let content = Content::new();
    let mut done = 0;
    while done < bytes {
        let len = usize::try_from((bytes - done).min(PIECE as u64)).expect("small");
        if framing == Framing::Chunks {
            to.write_all(format!("{len:x}\r\n").as_bytes()).await.expect("size");
        }
        to.write_all(content.at(done, len)).await.expect("body");
        if framing == Framing::Chunks {
            to.write_all(b"\r\n").await.expect("end of chunk");
        }
        done += len as u64;
    }
    if framing == Framing::Chunks {
        to.write_all(b"0\r\n\r\n").await.expect("last chunk");
    }
}

/// Reads a body to its end and compares it.
async fn drain(from: &mut (impl AsyncBufRead + Unpin), framing: Framing, bytes: u64) {
    let content = Content::new();
    let mut done = 0;
    while done < bytes {
        let mut left = if framing == Framing::Chunks { size(from).await } else { bytes };
        assert!(left > 0, "the last chunk after {done} of {bytes} bytes");
        while left > 0 {
            let came = from.fill_buf().await.expect("body");
            assert!(!came.is_empty(), "ended after {done} of {bytes} bytes");
            let len = usize::try_from(left).unwrap_or(PIECE).min(came.len()).min(PIECE);
            assert!(
                came[..len] == *content.at(done, len),
                "not what was sent, from byte {done} on"
            );
            from.consume(len);
            (done, left) = (done + len as u64, left - len as u64);
        }
        if framing == Framing::Chunks {
            assert_eq!(line(from).await, "", "behind a chunk");
        }
    }
    if framing == Framing::Chunks {
        assert_eq!(size(from).await, 0, "more than {bytes} bytes");
        assert_eq!(line(from).await, "", "behind the last chunk");
    }
}

async fn size(from: &mut (impl AsyncBufRead + Unpin)) -> u64 {
    u64::from_str_radix(&line(from).await, 16).expect("a chunk's size and nothing else")
}

async fn line(from: &mut (impl AsyncBufRead + Unpin)) -> String {
    let mut line = String::new();
    from.read_line(&mut line).await.expect("a line");
    line.trim_end().to_owned()
}

async fn head(from: &mut (impl AsyncBufRead + Unpin)) -> String {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert_ne!(
            from.read_line(&mut head).await.expect("a head"),
            0,
            "ended in its head: {head:?}"
        );
    }
    head
}

/// An origin that swallows the body of a POST, and answers `/FRAMING/BYTES` with so large a body.
fn origin(socket: TcpListener) -> JoinHandle<()> {
    tokio::spawn(async move {
        let mut serving = tokio::task::JoinSet::new();
        while let Ok((stream, _)) = socket.accept().await {
            serving.spawn(serve(stream));
        }
    })
}

async fn serve(stream: TcpStream) {
    let mut stream = BufReader::with_capacity(PIECE, stream);
    while !stream.fill_buf().await.unwrap_or_default().is_empty() {
        let request = head(&mut stream).await;
        let path = request.split(' ').nth(1).expect("a path");
        let (framing, bytes) = path[1..].split_once('/').expect("framing and bytes");
        let bytes: u64 = bytes.parse().expect("a number");
        if request.starts_with("POST") {
            drain(&mut stream, Framing::of(&request), bytes).await;
            stream
                .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
                .await
                .expect("answer");
            continue;
        }
        let framing = if framing == "Chunks" { Framing::Chunks } else { Framing::Length };
        let head = format!("HTTP/1.1 200 OK\r\n{}", framing.header(bytes));
        stream.write_all(head.as_bytes()).await.expect("answer");
        pour(stream.get_mut(), framing, bytes).await;
    }
}

/// Asks for a body of so many bytes.
async fn download(front: SocketAddr, framing: Framing, bytes: u64) {
    let mut stream =
        BufReader::with_capacity(PIECE, TcpStream::connect(front).await.expect("connect"));
    let request = format!("GET /{framing:?}/{bytes} HTTP/1.1\r\nHost: h\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("request");
    let head = head(&mut stream).await;
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    assert_eq!(Framing::of(&head), framing, "{head}");
    drain(&mut stream, framing, bytes).await;
}

/// Sends one.
async fn upload(front: SocketAddr, framing: Framing, bytes: u64) {
    let mut stream = TcpStream::connect(front).await.expect("connect");
    let head =
        format!("POST /{framing:?}/{bytes} HTTP/1.1\r\nHost: h\r\n{}", framing.header(bytes));
    stream.write_all(head.as_bytes()).await.expect("request");
    pour(&mut stream, framing, bytes).await;
    let mut status = [0; 12];
    stream.read_exact(&mut status).await.expect("an answer");
    assert_eq!(&status, b"HTTP/1.1 200");
}

async fn pass(bytes: u64) {
    let lab = Lab::new().await;
    let addr = lab.free_addr();
    let origin = origin(TcpListener::bind(addr).await.expect("bind"));
    let front = lab.free_addr();
    let service = fixed(front, "http", &[], &[("a", addr, "")]);
    let mut config = config(json!({"web": service}));
    config["workers"] = json!(1);
    let synapse = lab.synapse(config).await;
    for framing in [Framing::Length, Framing::Chunks] {
        // What the first body brings about stays: buffers of the worker, pages of the allocator.
        download(front, framing, 1 << 20).await;
        upload(front, framing, 1 << 20).await;
    }
    let before = memory::resident(synapse.pid());
    memory::forget_peak(synapse.pid());
    for framing in [Framing::Length, Framing::Chunks] {
        for upwards in [false, true] {
            let begun = tokio::time::Instant::now();
            if upwards {
                upload(front, framing, bytes).await;
            } else {
                download(front, framing, bytes).await;
            }
            let grown = memory::peak(synapse.pid()).saturating_sub(before);
            println!(
                "{} MB, {framing:?}, {}: {:?}, RSS {} kB + {} kB at most",
                bytes >> 20,
                if upwards { "up" } else { "down" },
                begun.elapsed(),
                before >> 10,
                grown >> 10
            );
            assert!(grown <= GROWTH, "{grown} bytes more than the {before} before");
        }
    }
    origin.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_bodies_cost_no_memory() {
    pass(100 << 20).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_bodies_of_4_gb_cost_no_memory() {
    pass(4 << 30).await;
}
