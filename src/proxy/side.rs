//! A socket of a relay, watched by the reactor or for a while not.
//!
//! The reactor reports each arrival, wanted or not. While a fast stream of bulk waits for its slow side, or rests
//! ([`super::lull`]), its source's next bytes would wake the thread for every packet until the receive buffer is full
//! (measured: 25 times for each time that the slow side was ready). So the source is taken out of the reactor meanwhile,
//! as haproxy clears its interest.
//!
//! Only the direction that reads from a side leaves it, when something else will wake it: the other side's readiness to
//! take bytes, or the end of a lull. It does not while the other direction waits to write there. A side that is not
//! watched is tried as it is; it is watched again when it has nothing, or takes nothing, and has to be waited for.

use std::io::{self, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::AsyncWrite as _;
use tokio::net::TcpStream;

use super::farewell::reset;

/// A socket.
#[derive(Debug)]
pub(super) enum Side {
    /// In the reactor.
    Watched(TcpStream),
    /// Not in it: nothing that happens here wakes anybody.
    Unwatched(std::net::TcpStream),
    /// The reactor did not take it or give it up: it is closed, the error has been told. Neither peer did this: the relay
    /// ends as [`Finish::Own`](super::relay::Finish::Own), the other side with a reset. This one's peer sees a reset, too, if
    /// there were bytes of it that nobody had read, else an end: nobody has the socket any more who could ask for one.
    Lost,
}

impl Side {
    /// The socket, watched again if it was not. What it has to say is known after the reactor's next turn.
    pub(super) fn watched(&mut self) -> io::Result<&mut TcpStream> {
        if let Self::Unwatched(_) = self
            && let Self::Unwatched(stream) = std::mem::replace(self, Self::Lost)
        {
            *self = Self::Watched(TcpStream::from_std(stream)?);
            #[cfg(test)]
            seen::LEFT.with(|left| left.set(left.get() - 1));
        }
        match self {
            Self::Watched(stream) => Ok(stream),
            Self::Unwatched(_) | Self::Lost => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    /// Takes it out of the reactor, until [`Side::watched`].
    pub(super) fn leave(&mut self) -> io::Result<()> {
        if let Self::Watched(_) = self
            && let Self::Watched(stream) = std::mem::replace(self, Self::Lost)
        {
            *self = Self::Unwatched(stream.into_std()?);
            #[cfg(test)]
            seen::LEFT.with(|left| left.set(left.get() + 1));
        }
        Ok(())
    }

    /// True when it was lost: an error that is told now is the reactor's, not the peer's.
    pub(super) fn is_lost(&self) -> bool {
        matches!(self, Self::Lost)
    }

    /// What `call` comes to on a socket that is not watched. `None`: it is watched, or must be waited for.
    pub(super) fn try_unwatched<R>(
        &self,
        call: impl FnOnce(&std::net::TcpStream) -> io::Result<R>,
    ) -> Option<io::Result<R>> {
        let Self::Unwatched(stream) = self else {
            return None;
        };
        match call(stream) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
            other => Some(other),
        }
    }

    /// Writes something, or waits.
    pub(super) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let done = match self.try_unwatched(|mut stream| stream.write(bytes)) {
            Some(done) => Poll::Ready(done),
            None => Pin::new(self.watched()?).poll_write(cx, bytes),
        };
        if let Poll::Ready(Ok(0)) = done {
            // It would be tried for ever.
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        done
    }

    /// Its descriptor, unless it was lost.
    pub(super) fn fd(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Self::Watched(stream) => Some(stream.as_fd()),
            Self::Unwatched(stream) => Some(stream.as_fd()),
            Self::Lost => None,
        }
    }

    /// Its close, which follows, will be a reset.
    pub(super) fn reset(&self) {
        self.fd().into_iter().for_each(reset);
    }
}

/// For tests: what nobody else can see.
#[cfg(test)]
pub(super) mod seen {
    use std::cell::Cell;

    thread_local! {
        /// How many sides of this thread are not watched now.
        pub(in crate::proxy) static LEFT: Cell<i32> = const { Cell::new(0) };
    }
}
