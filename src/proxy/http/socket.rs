//! A socket that is tried before it is waited for.
//!
//! A client's is given to the reactor only when there is really something to wait for: many a connection has its request
//! in the kernel when it is accepted, and ends after one answer.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{RecvFlags, SendFlags};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;

use crate::proxy::farewell::reset;
use crate::proxy::pipe::Pipe;

/// A non-blocking socket of this thread.
#[derive(Debug)]
pub(crate) enum Socket {
    /// Not known to the reactor.
    Bare(std::net::TcpStream),
    /// Known to it.
    Watched(TcpStream),
    /// The same, while the bytes that wait are not wanted: it tells of what comes behind them alone.
    Overlooked(TcpStream),
    /// Taken away.
    Gone,
    /// The reactor did not take it: it is closed, the error has been told. Neither peer did this.
    Lost,
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

fn gone() -> io::Error {
    io::ErrorKind::NotConnected.into()
}

impl Socket {
    /// Reads what is there; 0 is the end.
    pub(crate) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        self.heed()?;
        if let Self::Bare(stream) = self {
            match rustix::net::recv(stream.as_fd(), &mut *buffer, RecvFlags::DONTWAIT) {
                Ok((n, _)) => return Poll::Ready(Ok(n)),
                Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => self.watch()?,
                Err(error) => return Poll::Ready(Err(error.into())),
            }
        }
        let Self::Watched(stream) = self else {
            return Poll::Ready(Err(gone()));
        };
        let mut chunk = ReadBuf::new(buffer);
        ready!(Pin::new(stream).poll_read(cx, &mut chunk))?;
        Poll::Ready(Ok(chunk.filled().len()))
    }

    /// Writes what fits. An error, never 0, when nothing can be written any more.
    pub(crate) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if let Self::Bare(stream) = self {
            let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
            match rustix::net::send(stream.as_fd(), bytes, flags) {
                Ok(n) => return Poll::Ready(Ok(n)),
                Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => self.watch()?,
                Err(error) => return Poll::Ready(Err(error.into())),
            }
        }
        let (Self::Watched(stream) | Self::Overlooked(stream)) = self else {
            return Poll::Ready(Err(gone()));
        };
        some(ready!(Pin::new(stream).poll_write(cx, bytes)))
    }

    /// Writes one behind the other.
    pub(crate) fn poll_write_two(
        &mut self,
        cx: &mut Context<'_>,
        first: &[u8],
        second: &[u8],
    ) -> Poll<io::Result<usize>> {
        if matches!(self, Self::Bare(_)) {
            self.watch()?;
        }
        let (Self::Watched(stream) | Self::Overlooked(stream)) = self else {
            return Poll::Ready(Err(gone()));
        };
        let both = [IoSlice::new(first), IoSlice::new(second)];
        some(ready!(Pin::new(stream).poll_write_vectored(cx, &both)))
    }

    /// Moves what is there, `most` bytes of it, into the empty pipe; 0 is the end.
    pub(crate) fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        (pipe, most): (&mut Pipe, usize),
    ) -> Poll<io::Result<usize>> {
        self.heed()?;
        self.watch()?;
        let Self::Watched(stream) = self else {
            return Poll::Ready(Err(gone()));
        };
        pipe.poll_fill(cx, (stream, most))
    }

    /// Writes from the pipe what fits.
    pub(crate) fn poll_drain(
        &mut self,
        cx: &mut Context<'_>,
        pipe: &mut Pipe,
    ) -> Poll<io::Result<usize>> {
        self.watch()?;
        let (Self::Watched(stream) | Self::Overlooked(stream)) = self else {
            return Poll::Ready(Err(gone()));
        };
        pipe.poll_drain(cx, stream)
    }

    /// Ready when there may be something to read, an end or an error included. Never for a bare socket.
    pub(crate) fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<()> {
        match self {
            Self::Watched(stream) | Self::Overlooked(stream) => {
                stream.poll_read_ready(cx).map(drop)
            }
            Self::Bare(_) | Self::Gone | Self::Lost => Poll::Pending,
        }
    }

    /// After a look that found nothing: waits for news instead of being told the old.
    pub(crate) fn forget_readiness(&self) {
        if let Self::Watched(stream) | Self::Overlooked(stream) = self {
            forget_readiness(stream);
        }
    }

    /// Waits for what comes behind the bytes that wait, an end or an error, instead of being told of these.
    pub(crate) fn overlook(&mut self) {
        self.forget_readiness();
        if let Self::Watched(_) = self
            && let Self::Watched(stream) = std::mem::replace(self, Self::Lost)
        {
            *self = Self::Overlooked(stream);
        }
    }

    /// Undoes [`Socket::overlook`]: a reactor that meets a socket for the first time tells of what waits.
    ///
    /// # Errors
    /// As [`Socket::watch`].
    fn heed(&mut self) -> io::Result<()> {
        if let Self::Overlooked(_) = self
            && let Self::Overlooked(stream) = std::mem::replace(self, Self::Lost)
        {
            *self = Self::Watched(TcpStream::from_std(stream.into_std()?)?);
        }
        Ok(())
    }

    /// True when the peer has finished sending, whatever waits to be read.
    pub(crate) fn has_ended(&self) -> bool {
        let (Self::Watched(stream) | Self::Overlooked(stream)) = self else {
            return false;
        };
        let mut look = [PollFd::new(stream, PollFlags::RDHUP)];
        poll(&mut look, Some(&Timespec::default())).is_ok_and(|ready| ready > 0)
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Self::Bare(stream) => Some(stream.as_fd()),
            Self::Watched(stream) | Self::Overlooked(stream) => Some(stream.as_fd()),
            Self::Gone | Self::Lost => None,
        }
    }

    /// Looks without taking.
    pub(crate) fn glance(&self) -> Glance {
        let Some(fd) = self.fd() else {
            return Glance::Broken;
        };
        let mut byte = [0_u8; 1];
        match rustix::net::recv(fd, &mut byte, RecvFlags::PEEK | RecvFlags::DONTWAIT) {
            Ok((_, 0)) => Glance::Ended,
            Ok(_) => Glance::Bytes,
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => Glance::Empty,
            Err(_) => Glance::Broken,
        }
    }

    /// The address of this end.
    pub(crate) fn local_addr(&self) -> io::Result<SocketAddr> {
        match self {
            Self::Bare(stream) => stream.local_addr(),
            Self::Watched(stream) | Self::Overlooked(stream) => stream.local_addr(),
            Self::Gone | Self::Lost => Err(gone()),
        }
    }

    /// True while the reactor does not know it.
    pub(crate) fn is_bare(&self) -> bool {
        matches!(self, Self::Bare(_))
    }

    /// True when the reactor did not take it: an error that is told now is ours, not the peer's.
    pub(crate) fn is_lost(&self) -> bool {
        matches!(self, Self::Lost)
    }

    /// Gives it to the reactor.
    ///
    /// # Errors
    /// When that does not take it, for want of memory or `fs.epoll.max_user_watches`: the socket is lost.
    pub(crate) fn watch(&mut self) -> io::Result<()> {
        if let Self::Bare(_) = self
            && let Self::Bare(stream) = std::mem::replace(self, Self::Lost)
        {
            *self = Self::Watched(TcpStream::from_std(stream)?);
        }
        Ok(())
    }

    /// Its close, which follows, will be a reset.
    pub(crate) fn reset(&self) {
        self.fd().into_iter().for_each(reset);
    }

    /// The stream, for whoever goes on with it.
    pub(crate) fn take(&mut self) -> Option<TcpStream> {
        self.heed().ok()?;
        self.watch().ok()?;
        match std::mem::replace(self, Self::Gone) {
            Self::Watched(stream) => Some(stream),
            Self::Bare(_) | Self::Overlooked(_) | Self::Gone | Self::Lost => None,
        }
    }
}

/// After a look that found nothing: the reactor tells news instead of the old.
pub(crate) fn forget_readiness(stream: &TcpStream) {
    let nothing = || Err::<(), _>(io::ErrorKind::WouldBlock.into());
    // The error is what clears it.
    drop(stream.try_io(Interest::READABLE, nothing));
}

/// `Ok(0)` would be tried for ever.
fn some(written: io::Result<usize>) -> Poll<io::Result<usize>> {
    match written {
        Ok(0) => Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
        other => Poll::Ready(other),
    }
}
