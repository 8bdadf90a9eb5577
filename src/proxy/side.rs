//! A socket of a relay, watched by the reactor or for a while not.
//!
//! The reactor reports each arrival, wanted or not. While a fast stream of bulk waits for its slow side, or rests
//! ([`super::lull`]), its source's next bytes would wake the thread for every packet until the receive buffer is full
//! (measured: 25 times for each time that the slow side was ready). So the source is taken out of the reactor meanwhile,
//! as haproxy clears its interest. Who leaves a side unwatched has something else that will wake it.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use socket2::SockRef;
use tokio::net::TcpStream;

/// A socket.
#[derive(Debug)]
pub(super) enum Side {
    /// In the reactor.
    Watched(TcpStream),
    /// Not in it: nothing that happens here wakes anybody.
    Unwatched(std::net::TcpStream),
    /// The reactor did not take it or give it up: it is closed, the error has been told.
    Lost,
}

impl Side {
    /// The socket, watched again if it was not. What it has to say is known after the reactor's next turn.
    pub(super) fn watched(&mut self) -> io::Result<&mut TcpStream> {
        if let Self::Unwatched(_) = self
            && let Self::Unwatched(stream) = std::mem::replace(self, Self::Lost)
        {
            *self = Self::Watched(TcpStream::from_std(stream)?);
        }
        match self {
            Self::Watched(stream) => Ok(stream),
            Self::Unwatched(_) | Self::Lost => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    /// Takes it out of the reactor, until [`Side::watched`].
    pub(super) fn unwatch(&mut self) -> io::Result<()> {
        if let Self::Watched(_) = self
            && let Self::Watched(stream) = std::mem::replace(self, Self::Lost)
        {
            *self = Self::Unwatched(stream.into_std()?);
        }
        Ok(())
    }

    /// The bare socket, if it is not watched.
    pub(super) fn unwatched(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Self::Unwatched(stream) => Some(stream.as_fd()),
            Self::Watched(_) | Self::Lost => None,
        }
    }

    /// Its close, which follows, will be a reset.
    pub(super) fn reset(&self) {
        let done = match self {
            Self::Watched(stream) => stream.set_zero_linger(),
            Self::Unwatched(stream) => SockRef::from(stream).set_linger(Some(Duration::ZERO)),
            Self::Lost => Ok(()),
        };
        if let Err(error) = done {
            tracing::debug!(%error, "reset");
        }
    }
}
