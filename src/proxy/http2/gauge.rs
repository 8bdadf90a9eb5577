//! A client's connection as the `h2` crate and hyper read it: what was read before comes first, and what goes by is counted,
//! so that a client that only talks about the connection is noticed, and one that does not read.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use h2::Reason;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::frames::Watch;
use super::settings::{FUTILE_BYTES, FUTILE_SHARE};
use crate::proxy::millis::{Clock, Millis};

/// Bytes that a client has sent about its connection, and those for which it is there. Shared by the connection's tasks.
#[derive(Debug, Default)]
pub(super) struct Talk {
    futile: Cell<u64>,
    useful: Cell<u64>,
    /// Bytes that have come from it.
    heard: Cell<u64>,
    /// Bytes that its socket has taken.
    taken: Cell<u64>,
    /// More waits, and its socket takes nothing.
    is_blocked: Cell<bool>,
    /// What is wrong with a frame that has come.
    fault: Cell<Option<Reason>>,
}

impl Talk {
    /// Counts bytes of requests and answers.
    pub(super) fn add_useful(&self, bytes: u64) {
        self.useful.set(self.useful.get().saturating_add(bytes));
    }

    /// Bytes that have come from the client.
    pub(super) fn heard(&self) -> u64 {
        self.heard.get()
    }

    /// Bytes that the client's socket has taken.
    pub(super) fn taken(&self) -> u64 {
        self.taken.get()
    }

    /// True when more waits, and the client does not read.
    pub(super) fn is_blocked(&self) -> bool {
        self.is_blocked.get()
    }

    /// What is wrong with a frame that has come, if anything is. Nothing from there on is read.
    pub(super) fn fault(&self) -> Option<Reason> {
        self.fault.get()
    }

    fn wrote(&self, went: &Poll<io::Result<usize>>) {
        self.is_blocked.set(went.is_pending());
        if let Poll::Ready(Ok(n)) = went {
            self.taken.set(self.taken.get().saturating_add(*n as u64));
        }
    }

    fn hear(&self, bytes: usize) {
        self.heard.set(self.heard.get().saturating_add(bytes as u64));
    }

    /// Counts bytes about the connection.
    pub(super) fn add_futile(&self, bytes: u64) {
        self.futile.set(self.futile.get().saturating_add(bytes));
    }

    /// Futile and useful bytes.
    #[cfg(test)]
    pub(super) fn counted(&self) -> (u64, u64) {
        (self.futile.get(), self.useful.get())
    }

    /// True for a flood.
    pub(super) fn is_flood(&self) -> bool {
        self.futile.get()
            > FUTILE_BYTES.saturating_add(self.useful.get().saturating_mul(FUTILE_SHARE))
    }
}

/// When a count was last seen to move.
#[derive(Debug)]
pub(super) struct Progress(Cell<(u64, Millis)>);

impl Progress {
    /// Of a count that is 0, as of `now`.
    pub(super) fn new(now: Millis) -> Self {
        Self(Cell::new((0, now)))
    }

    /// Looks at the count; when it moved last.
    pub(super) fn look(&self, count: u64, clock: &Clock) -> Millis {
        if count != self.0.get().0 {
            self.0.set((count, clock.tick()));
        }
        self.last()
    }

    /// When it was last seen to move.
    pub(super) fn last(&self) -> Millis {
        self.0.get().1
    }
}

/// The connection.
#[derive(Debug)]
pub(super) struct Gauged<S> {
    io: S,
    early: Vec<u8>,
    used: usize,
    talk: Rc<Talk>,
    watch: Option<Watch>,
}

impl<S> Gauged<S> {
    /// HTTP/2. `early` comes first.
    pub(super) fn frames(io: S, early: Vec<u8>, talk: &Rc<Talk>) -> Self {
        Self { watch: Some(Watch::new()), ..Self::bytes(io, early, talk) }
    }

    /// Anything else.
    pub(super) fn bytes(io: S, early: Vec<u8>, talk: &Rc<Talk>) -> Self {
        Self { io, early, used: 0, talk: Rc::clone(talk), watch: None }
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
        while this.talk.fault().is_some() {
            // Whoever owns the connection ends it. Read past, because what is left unread would turn its farewell into a reset.
            ready!(Pin::new(&mut this.io).poll_read(cx, buffer))?;
            if buffer.filled().len() == before {
                return Poll::Ready(Ok(()));
            }
            buffer.set_filled(before);
        }
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
        let came = buffer.filled().get(before..).unwrap_or_default();
        this.talk.hear(came.len());
        if let Some(watch) = &mut this.watch
            && let Err((may, reason)) = watch.see(&this.talk, came)
        {
            this.talk.fault.set(Some(reason));
            buffer.set_filled(before + may);
            if may == 0 {
                // Asked again for what follows, which is read past.
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
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
        self.talk.wrote(&went);
        went
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let went = Pin::new(&mut self.io).poll_write_vectored(cx, parts);
        self.talk.wrote(&went);
        went
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
        let talk = Rc::new(Talk::default());
        let mut gauged = Gauged::bytes(&b"second"[..], b"first ".to_vec(), &talk);
        let mut all = String::new();
        gauged.read_to_string(&mut all).await.unwrap();
        assert_eq!((all.as_str(), talk.heard()), ("first second", 12));
    }
}
