//! A socket that hyper reads and writes while we keep an eye on it.
//!
//! hyper owns the I/O object of a connection; the balancer needs to know whether bytes have come, when something last
//! moved and whether the peer takes what is written. So both hold the same socket: one thread, `Rc` and cells.

use std::cell::{Cell, RefCell};
use std::io::{self, IoSlice};
use std::os::fd::AsFd;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use rustix::net::RecvFlags;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Instant;

/// A watched socket.
#[derive(Debug)]
pub(crate) struct Socket {
    /// Borrowed within one poll only. Taken when the connection stops being HTTP.
    stream: RefCell<Option<TcpStream>>,
    received: Cell<u64>,
    active: Cell<Instant>,
    /// When a byte was last written, or [`Socket::touch`] called.
    sent: Cell<Instant>,
    write_blocked: Cell<bool>,
    /// A backend's: see [`Socket::backend`].
    hears_out: bool,
}

/// What a look into the receive queue shows, without taking anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Glance {
    /// Nothing there.
    Empty,
    /// Bytes wait.
    Bytes,
    /// The peer has finished sending.
    Ended,
    /// Reset or broken.
    Broken,
}

impl Socket {
    /// A client's.
    pub(crate) fn new(stream: TcpStream) -> Rc<Self> {
        Self::with(stream, false)
    }

    /// A backend's. One that answers early and closes resets what is still being sent; hyper would end with the failed
    /// write and never read the answer that waits. So writing blocks instead of failing while there is something to read.
    pub(crate) fn backend(stream: TcpStream) -> Rc<Self> {
        Self::with(stream, true)
    }

    fn with(stream: TcpStream, hears_out: bool) -> Rc<Self> {
        Rc::new(Self {
            stream: RefCell::new(Some(stream)),
            received: Cell::new(0),
            active: Cell::new(Instant::now()),
            sent: Cell::new(Instant::now()),
            write_blocked: Cell::new(false),
            hears_out,
        })
    }

    /// Bytes received so far.
    pub(crate) fn received(&self) -> u64 {
        self.received.get()
    }

    /// When a byte last moved, either way.
    pub(crate) fn last_active(&self) -> Instant {
        self.active.get()
    }

    /// When a byte last moved to the peer.
    pub(crate) fn last_sent(&self) -> Instant {
        self.sent.get()
    }

    /// Starts a silence now.
    pub(crate) fn touch(&self) {
        let now = Instant::now();
        self.active.set(now);
        self.sent.set(now);
    }

    /// True while the peer does not take what is to be written.
    pub(crate) fn is_write_blocked(&self) -> bool {
        self.write_blocked.get()
    }

    /// Ready when there may be something to read, an end or an error included.
    pub(crate) fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<()> {
        match self.stream.borrow().as_ref() {
            Some(stream) => stream.poll_read_ready(cx).map(drop),
            None => Poll::Pending,
        }
    }

    /// After a look that found nothing: waits for news instead of being told the old.
    pub(crate) fn forget_readiness(&self) {
        if let Some(stream) = self.stream.borrow().as_ref() {
            let nothing = || Err::<(), _>(io::ErrorKind::WouldBlock.into());
            // The error is what clears it.
            drop(stream.try_io(Interest::READABLE, nothing));
        }
    }

    /// The bare stream, when HTTP is done with it. Whoever still holds the socket reads errors from then on.
    pub(crate) fn take(&self) -> Option<TcpStream> {
        self.stream.borrow_mut().take()
    }

    /// Looks without taking.
    pub(crate) fn glance(&self) -> Glance {
        let stream = self.stream.borrow();
        let Some(stream) = stream.as_ref() else {
            return Glance::Broken;
        };
        let mut byte = [0_u8; 1];
        let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
        match rustix::net::recv(stream.as_fd(), &mut byte, flags) {
            Ok((_, 0)) => Glance::Ended,
            Ok(_) => Glance::Bytes,
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => Glance::Empty,
            Err(_) => Glance::Broken,
        }
    }

    fn poll_with<T>(
        &self,
        poll: impl FnOnce(Pin<&mut TcpStream>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        match self.stream.borrow_mut().as_mut() {
            Some(stream) => poll(Pin::new(stream)),
            None => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }

    fn note_write(&self, result: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        let failed = matches!(result, Poll::Ready(Err(_)));
        let result = if failed && self.hears_out && self.glance() == Glance::Bytes {
            // No waker: the reader of the answer drives the connection.
            Poll::Pending
        } else {
            result
        };
        if let Poll::Ready(Ok(_)) = result {
            self.touch();
        }
        self.write_blocked.set(result.is_pending());
        result
    }
}

/// hyper's end of a [`Socket`]. Shutting down does nothing: the balancer closes when it is done with the socket.
#[derive(Debug)]
pub(crate) struct Io(pub(crate) Rc<Socket>);

impl AsyncRead for Io {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let result = self.0.poll_with(|stream| stream.poll_read(cx, buf));
        let n = buf.filled().len() - before;
        if n > 0 {
            let n = u64::try_from(n).unwrap_or(u64::MAX);
            self.0.received.set(self.0.received.get().wrapping_add(n));
            self.0.active.set(Instant::now());
        }
        result
    }
}

impl AsyncWrite for Io {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = self.0.poll_with(|stream| stream.poll_write(cx, buf));
        self.0.note_write(result)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        // A plain send is cheaper than writev for a single buffer, which is the common case.
        if let [only] = bufs {
            return self.poll_write(cx, only);
        }
        let result = self.0.poll_with(|stream| stream.poll_write_vectored(cx, bufs));
        self.0.note_write(result)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
