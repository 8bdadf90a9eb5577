//! A client's connection as the `h2` crate and hyper read it: what was read before comes first, and frames are told apart
//! on the way, so that a client that only talks about the connection is noticed.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::settings::{FUTILE_BYTES, FUTILE_SHARE};

/// Bytes that a client has sent about its connection, and those for which it is there. Shared by the connection's tasks.
#[derive(Debug, Default)]
pub(super) struct Talk {
    futile: Cell<u64>,
    useful: Cell<u64>,
    /// Bytes that its socket has taken.
    taken: Cell<u64>,
    /// More waits, and its socket takes nothing.
    is_blocked: Cell<bool>,
}

impl Talk {
    /// Counts bytes of requests and answers.
    pub(super) fn add_useful(&self, bytes: u64) {
        self.useful.set(self.useful.get().saturating_add(bytes));
    }

    /// Bytes that the client's socket has taken.
    pub(super) fn taken(&self) -> u64 {
        self.taken.get()
    }

    /// True when more waits, and the client does not read.
    pub(super) fn is_blocked(&self) -> bool {
        self.is_blocked.get()
    }

    fn wrote(&self, went: &Poll<io::Result<usize>>) {
        self.is_blocked.set(went.is_pending());
        if let Poll::Ready(Ok(n)) = went {
            self.taken.set(self.taken.get().saturating_add(*n as u64));
        }
    }

    fn add_futile(&self, bytes: u64) {
        self.futile.set(self.futile.get().saturating_add(bytes));
    }

    /// True for a flood.
    pub(super) fn is_flood(&self) -> bool {
        self.futile.get()
            > FUTILE_BYTES.saturating_add(self.useful.get().saturating_mul(FUTILE_SHARE))
    }
}

/// Bytes of the preface, which is no frame.
const PREFACE_BYTES: usize = 24;

/// Bytes of a frame's head: length (3), type, flags, stream (4).
const FRAME_HEAD: usize = 9;

/// Tells frames apart.
#[derive(Debug)]
pub(super) struct Watch {
    talk: Rc<Talk>,
    /// Bytes to come of the frame (or preface) that has begun.
    left: usize,
    head: [u8; FRAME_HEAD],
    filled: usize,
}

impl Watch {
    /// Of a connection that begins.
    pub(super) fn new(talk: &Rc<Talk>) -> Self {
        Self { talk: Rc::clone(talk), left: PREFACE_BYTES, head: [0; FRAME_HEAD], filled: 0 }
    }

    /// Takes note of what came.
    fn see(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let over = self.left.min(bytes.len());
            self.left -= over;
            bytes = bytes.get(over..).unwrap_or_default();
            let wanted = FRAME_HEAD - self.filled;
            let n = wanted.min(bytes.len());
            if let (Some(to), Some(from)) =
                (self.head.get_mut(self.filled..self.filled + n), bytes.get(..n))
            {
                to.copy_from_slice(from);
            }
            self.filled += n;
            bytes = bytes.get(n..).unwrap_or_default();
            if self.filled == FRAME_HEAD {
                self.filled = 0;
                self.begin();
            }
        }
    }

    fn begin(&mut self) {
        /// DATA, HEADERS and CONTINUATION.
        const CARRIERS: [u8; 3] = [0, 1, 9];
        let [a, b, c, kind, ..] = self.head;
        let length = u32::from_be_bytes([0, a, b, c]);
        self.left = usize::try_from(length).unwrap_or(usize::MAX);
        let bytes = u64::from(length) + FRAME_HEAD as u64;
        if length > 0 && CARRIERS.contains(&kind) {
            self.talk.add_useful(bytes);
        } else {
            self.talk.add_futile(bytes);
        }
    }
}

/// The connection.
#[derive(Debug)]
pub(super) struct Gauged<S> {
    io: S,
    early: Vec<u8>,
    used: usize,
    watch: Option<Watch>,
}

impl<S> Gauged<S> {
    /// `early` comes first.
    pub(super) fn new(io: S, early: Vec<u8>, watch: Option<Watch>) -> Self {
        Self { io, early, used: 0, watch }
    }
}

impl<S> Gauged<S> {
    fn wrote(&self, went: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Some(watch) = &self.watch {
            watch.talk.wrote(&went);
        }
        went
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Gauged<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buffer.filled().len();
        let early = this.early.get(this.used..).unwrap_or_default();
        if early.is_empty() {
            ready!(Pin::new(&mut this.io).poll_read(cx, buffer))?;
        } else {
            let n = early.len().min(buffer.remaining());
            buffer.put_slice(early.get(..n).unwrap_or_default());
            this.used += n;
            if this.used == this.early.len() {
                (this.early, this.used) = (Vec::new(), 0);
            }
        }
        if let Some(watch) = &mut this.watch {
            watch.see(buffer.filled().get(before..).unwrap_or_default());
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Gauged<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let went = Pin::new(&mut self.io).poll_write(cx, bytes);
        self.wrote(went)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let went = Pin::new(&mut self.io).poll_write_vectored(cx, parts);
        self.wrote(went)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, payload: usize) -> Vec<u8> {
        let length = u32::try_from(payload).unwrap().to_be_bytes();
        let mut bytes = vec![length[1], length[2], length[3], kind, 0, 0, 0, 0, 1];
        bytes.resize(FRAME_HEAD + payload, 7);
        bytes
    }

    /// Futile and useful bytes of these frames, read in pieces of `step`.
    fn seen(frames: &[(u8, usize)], step: usize) -> (u64, u64) {
        let talk = Rc::new(Talk::default());
        let mut watch = Watch::new(&talk);
        let mut all = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        for (kind, payload) in frames {
            all.extend(frame(*kind, *payload));
        }
        for piece in all.chunks(step) {
            watch.see(piece);
        }
        (talk.futile.get(), talk.useful.get())
    }

    #[test]
    fn frames_are_told_apart_however_they_come() {
        let frames = [(4, 0), (1, 20), (0, 100), (0, 0), (6, 8), (9, 5), (3, 4), (8, 4)];
        for step in [1, 2, 7, 9, 24, 1000] {
            let futile = 9 + 9 + 17 + 13 + 13;
            assert_eq!(seen(&frames, step), (futile, 29 + 109 + 14), "in pieces of {step}");
        }
    }

    #[test]
    fn a_flood_is_what_outweighs_everything_said() {
        let talk = Talk::default();
        talk.add_futile(FUTILE_BYTES);
        assert!(!talk.is_flood());
        talk.add_futile(FUTILE_SHARE);
        assert!(talk.is_flood());
        talk.add_useful(1);
        assert!(!talk.is_flood());
    }

    #[tokio::test]
    async fn what_was_read_before_comes_first() {
        use tokio::io::AsyncReadExt;
        let mut gauged = Gauged::new(&b"second"[..], b"first ".to_vec(), None);
        let mut all = String::new();
        gauged.read_to_string(&mut all).await.unwrap();
        assert_eq!(all, "first second");
    }
}
