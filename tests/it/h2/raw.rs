//! HTTP/2 frame by frame, for what no library would send.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

/// How long an answer may take on a loaded machine.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const PRIORITY: u8 = 2;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
pub(super) const PUSH_PROMISE: u8 = 5;
pub(super) const PING: u8 = 6;
pub(super) const GOAWAY: u8 = 7;
pub(super) const WINDOW_UPDATE: u8 = 8;
pub(super) const CONTINUATION: u8 = 9;

pub(super) const END_STREAM: u8 = 1;
pub(super) const ACK: u8 = 1;
pub(super) const END_HEADERS: u8 = 4;
pub(super) const PADDED: u8 = 8;
pub(super) const WITH_PRIORITY: u8 = 0x20;

/// One frame's bytes.
pub(super) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("short").to_be_bytes();
    let mut bytes = vec![length[1], length[2], length[3], kind, flags];
    bytes.extend_from_slice(&stream.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// HPACK: each field a literal that is not indexed, nothing compressed.
pub(super) fn fields(fields: &[(&str, &[u8])]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        string(&mut block, name.as_bytes());
        string(&mut block, value);
    }
    block
}

fn string(block: &mut Vec<u8>, text: &[u8]) {
    // 127 and more: what is beyond, seven bits at a time.
    let Some(mut rest) = text.len().checked_sub(127) else {
        block.push(u8::try_from(text.len()).expect("below 127"));
        block.extend_from_slice(text);
        return;
    };
    block.push(127);
    while rest >= 128 {
        block.push(u8::try_from(rest % 128).expect("below 128") | 128);
        rest /= 128;
    }
    block.push(u8::try_from(rest).expect("below 128"));
    block.extend_from_slice(text);
}

/// The fields of a request as it should be.
pub(super) fn request(method: &'static str) -> Vec<(&'static str, &'static [u8])> {
    vec![
        (":method", method.as_bytes()),
        (":scheme", b"http"),
        (":path", b"/"),
        (":authority", b"test.example"),
    ]
}

/// HEADERS of a request on `stream`.
pub(super) fn ask(method: &'static str, flags: u8, stream: u32) -> Vec<u8> {
    frame(HEADERS, flags | END_HEADERS, stream, &fields(&request(method)))
}

/// A frame that came.
#[derive(Clone, Debug)]
pub(super) struct Frame {
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) stream: u32,
    pub(super) payload: Vec<u8>,
}

impl Frame {
    /// The number at `at`: an error code, usually.
    pub(super) fn number(&self, at: usize) -> u32 {
        let bytes = self.payload.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
        u32::from_be_bytes(bytes.expect("four bytes"))
    }
}

/// A connection.
pub(super) struct Raw {
    stream: TcpStream,
    came: Vec<u8>,
}

impl Raw {
    pub(super) async fn bare(addr: SocketAddr) -> Self {
        let stream = TcpStream::connect(addr).await.expect("connect");
        Self { stream, came: Vec::new() }
    }

    /// With preface and settings said, heard and acknowledged.
    pub(super) async fn open(addr: SocketAddr) -> Self {
        Self::open_with(addr, &[]).await
    }

    /// With these settings.
    pub(super) async fn open_with(addr: SocketAddr, settings: &[(u16, u32)]) -> Self {
        Self::bare(addr).await.greet(settings).await
    }

    /// The same where the system takes little that is not read.
    pub(super) async fn open_narrow(addr: SocketAddr, settings: &[(u16, u32)]) -> Self {
        let socket = TcpSocket::new_v4().expect("socket");
        socket.set_recv_buffer_size(16 * 1024).expect("a size");
        let stream = socket.connect(addr).await.expect("connect");
        Self { stream, came: Vec::new() }.greet(settings).await
    }

    async fn greet(self, settings: &[(u16, u32)]) -> Self {
        let mut raw = self;
        let mut payload = Vec::new();
        for (id, value) in settings {
            payload.extend_from_slice(&id.to_be_bytes());
            payload.extend_from_slice(&value.to_be_bytes());
        }
        let hello = [PREFACE, &frame(SETTINGS, 0, 0, &payload)].concat();
        assert!(raw.send(&hello).await);
        loop {
            let frame = raw.next().await.expect("settings");
            if frame.kind == SETTINGS && frame.flags == 0 {
                break;
            }
        }
        assert!(raw.send(&frame(SETTINGS, ACK, 0, &[])).await);
        raw
    }

    /// False when the other side has gone.
    pub(super) async fn send(&mut self, bytes: &[u8]) -> bool {
        timeout(PATIENCE, self.stream.write_all(bytes)).await.expect("it reads").is_ok()
    }

    /// The next frame; `None` when the connection has ended.
    pub(super) async fn next(&mut self) -> Option<Frame> {
        loop {
            if let [a, b, c, kind, flags, stream @ ..] = self.came.as_slice() {
                let length = u32::from_be_bytes([0, *a, *b, *c]);
                let length = usize::try_from(length).expect("24 bits");
                if self.came.len() >= 9 + length {
                    let (kind, flags) = (*kind, *flags);
                    let stream = stream[..4].try_into().map(u32::from_be_bytes).expect("four");
                    let payload = self.came[9..9 + length].to_vec();
                    self.came.drain(..9 + length);
                    return Some(Frame { kind, flags, stream, payload });
                }
            }
            let more = self.stream.read_buf(&mut self.came);
            let more = timeout(PATIENCE, more).await.expect("neither a frame nor an end");
            if !more.is_ok_and(|n| n > 0) {
                return None;
            }
        }
    }
}
