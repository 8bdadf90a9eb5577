//! An origin that does what the request's path says, and one that takes no connection.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use crate::support::lab::Lab;
use crate::support::queues::until_read;

/// Longer than any proxy here waits.
const LONG: Duration = Duration::from_secs(8);

/// Bytes that fill every buffer on the way.
const BIG: usize = 64 << 20;

/// Ends when dropped.
pub(super) struct Origin {
    pub(super) addr: SocketAddr,
    task: JoinHandle<()>,
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Origin {
    pub(super) async fn http(lab: &Lab) -> Self {
        let (addr, socket) = bound(lab).await;
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = socket.accept().await {
                tokio::spawn(http(stream));
            }
        });
        Self { addr, task }
    }

    /// Speaks no HTTP: does what its client's first word says.
    pub(super) async fn tcp(lab: &Lab) -> Self {
        let (addr, socket) = bound(lab).await;
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = socket.accept().await {
                tokio::spawn(tcp(stream));
            }
        });
        Self { addr, task }
    }
}

async fn bound(lab: &Lab) -> (SocketAddr, TcpListener) {
    let addr = lab.free_addr();
    (addr, TcpListener::bind(addr).await.expect("bind"))
}

/// An address that answers no SYN: its queue is full. With it what keeps it so.
pub(super) async fn mute(lab: &Lab) -> (SocketAddr, TcpListener, Vec<TcpStream>) {
    let addr = lab.free_addr();
    let socket = TcpSocket::new_v4().expect("socket");
    socket.bind(addr).expect("bind");
    let socket = socket.listen(0).expect("listen");
    let mut fillers = Vec::new();
    while let Ok(connected) = timeout(Duration::from_millis(300), TcpStream::connect(addr)).await {
        fillers.push(connected.expect("connect"));
    }
    (addr, socket, fillers)
}

async fn http(mut stream: TcpStream) -> Option<()> {
    let mut bytes = Vec::new();
    loop {
        let head = until(&mut stream, &mut bytes, b"\r\n\r\n").await?;
        let head = String::from_utf8_lossy(&head).to_lowercase();
        let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
        if path == "/early" {
            say(&mut stream, b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nearly").await?;
        }
        if head.contains("transfer-encoding: chunked") {
            until(&mut stream, &mut bytes, b"0\r\n\r\n").await?;
        }
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let length: usize = length.map_or(0, |length| length.parse().expect("a length"));
        while bytes.len() < length {
            more(&mut stream, &mut bytes).await?;
        }
        bytes.drain(..length);
        if head.starts_with("head ") {
            say(&mut stream, b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n").await?;
        } else {
            answer(&mut stream, &path).await?;
        }
    }
}

/// A step of an answer.
enum Do {
    Say(&'static str),
    /// Milliseconds.
    Pause(u64),
    /// Closes when what was said has been read.
    Close,
    /// Closes.
    Leave,
    Reset,
}

/// Answers by path.
const SCRIPTS: &[(&str, &[Do])] = &[
    ("/404", &[Do::Say("HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno")]),
    ("/304", &[Do::Say("HTTP/1.1 304 Not Modified\r\nETag: x\r\n\r\n")]),
    ("/chunked", &[Do::Say(CHUNKED), Do::Say("3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n")]),
    ("/continue", &[Do::Say("HTTP/1.1 100 Continue\r\n\r\n"), Do::Pause(50), Do::Say(HELLO)]),
    (
        "/slow",
        &[
            Do::Pause(400),
            Do::Say("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhe"),
            Do::Pause(300),
            Do::Say("llo"),
        ],
    ),
    ("/close", &[Do::Say("HTTP/1.1 200 OK\r\n\r\nuntil close"), Do::Close]),
    ("/empty", &[Do::Leave]),
    ("/reset", &[Do::Reset]),
    ("/garbage", &[Do::Say("this is no http at all\r\n\r\n"), Do::Close]),
    ("/halfhead", &[Do::Say("HTTP/1.1 200 OK\r\nContent-Le"), Do::Close]),
    ("/cut", &[Do::Say(LONGER), Do::Close]),
    ("/cutchunk", &[Do::Say(CHUNKED), Do::Say("5\r\nhello\r\n"), Do::Close]),
    (
        "/badchunk",
        &[
            Do::Say(CHUNKED),
            Do::Say("5\r\nhello\r\n"),
            Do::Pause(100),
            Do::Say("zz\r\n"),
            Do::Close,
        ],
    ),
    ("/never", &[Do::Pause(8000), Do::Close]),
    ("/stuck", &[Do::Say(LONGER), Do::Pause(8000), Do::Close]),
];

const HELLO: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
const LONGER: &str = "HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhello";
const CHUNKED: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
const SWITCHED: &str =
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n";

/// `None`: the connection is closed.
async fn answer(stream: &mut TcpStream, path: &str) -> Option<()> {
    match path {
        "/big" => big(stream).await,
        "/upgrade" => {
            say(stream, SWITCHED.as_bytes()).await?;
            tcp_words(stream).await
        }
        _ => {
            let script = SCRIPTS.iter().find(|(at, _)| *at == path);
            run(stream, script.map_or(&[Do::Say(HELLO)], |script| script.1)).await
        }
    }
}

async fn run(stream: &mut TcpStream, script: &[Do]) -> Option<()> {
    for step in script {
        match step {
            Do::Say(text) => say(stream, text.as_bytes()).await?,
            Do::Pause(ms) => sleep(Duration::from_millis(*ms)).await,
            Do::Close => {
                until_read(stream, LONG).await;
                return None;
            }
            Do::Leave => return None,
            Do::Reset => {
                stream.set_zero_linger().expect("linger");
                return None;
            }
        }
    }
    Some(())
}

async fn big(stream: &mut TcpStream) -> Option<()> {
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {BIG}\r\n\r\n");
    say(stream, head.as_bytes()).await?;
    let block = vec![b'x'; 1 << 20];
    for _ in 0..BIG >> 20 {
        say(stream, &block).await?;
    }
    Some(())
}

async fn tcp(mut stream: TcpStream) {
    tcp_words(&mut stream).await;
}

/// `echo`, `mute`, `close` and `reset` are said by the client.
async fn tcp_words(stream: &mut TcpStream) -> Option<()> {
    let mut word = Vec::new();
    more(stream, &mut word).await?;
    match word.as_slice() {
        b"mute" => sleep(LONG).await,
        b"close" => last(stream, b"bye").await?,
        b"reset" => {
            say(stream, b"bye").await?;
            until_read(stream, LONG).await;
            stream.set_zero_linger().expect("linger");
        }
        _ => loop {
            say(stream, &word).await?;
            word.clear();
            more(stream, &mut word).await?;
        },
    }
    None
}

async fn say(stream: &mut TcpStream, bytes: &[u8]) -> Option<()> {
    stream.write_all(bytes).await.ok()
}

/// Says it, and closes when it has been read, or the other end is no more: an end and what was said before it are then two
/// things to the proxy, whichever proxy it is.
async fn last(stream: &mut TcpStream, bytes: &[u8]) -> Option<()> {
    say(stream, bytes).await?;
    until_read(stream, LONG).await;
    None
}

async fn until(stream: &mut TcpStream, bytes: &mut Vec<u8>, end: &[u8]) -> Option<Vec<u8>> {
    loop {
        if let Some(at) = bytes.windows(end.len()).position(|w| w == end) {
            return Some(bytes.drain(..at + end.len()).collect());
        }
        more(stream, bytes).await?;
    }
}

async fn more(stream: &mut TcpStream, bytes: &mut Vec<u8>) -> Option<()> {
    let mut chunk = [0; 4096];
    let n = stream.read(&mut chunk).await.ok().filter(|n| *n > 0)?;
    bytes.extend_from_slice(&chunk[..n]);
    Some(())
}
