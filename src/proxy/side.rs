//! A socket of a relay, watched by the reactor or for a while not.
//!
//! The reactor reports each arrival, wanted or not. While a stream of bulk waits for its slow side, the fast side's next
//! bytes would wake the thread for every packet until the receive buffer is full (measured: 25 times for each time that
//! the slow side was ready, a sixth of the stream's cost). So its socket is taken out of the reactor meanwhile, as
//! haproxy clears its interest.

use std::io;

use socket2::SockRef;
use tokio::net::TcpStream;

/// A socket. Not watched only between two polls of the relay that owns it.
#[derive(Debug)]
pub(super) enum Side {
    /// In the reactor.
    Watched(TcpStream),
    /// Not in it: nothing that happens here wakes anybody.
    Unwatched(std::net::TcpStream),
    /// The reactor did not take it or give it up; it is closed, and the error told.
    Lost,
}

impl Side {
    /// The socket, watched again if it was not. What it has to say is known after the reactor's next turn.
    pub(super) fn watched(&mut self) -> io::Result<&mut TcpStream> {
        if matches!(self, Self::Unwatched(_))
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
        if matches!(self, Self::Watched(_))
            && let Self::Watched(stream) = std::mem::replace(self, Self::Lost)
        {
            *self = Self::Unwatched(stream.into_std()?);
        }
        Ok(())
    }

    /// What is closed next says so by a reset.
    pub(super) fn reset(&self) {
        let done = match self {
            Self::Watched(stream) => stream.set_zero_linger(),
            Self::Unwatched(stream) => {
                SockRef::from(stream).set_linger(Some(std::time::Duration::ZERO))
            }
            Self::Lost => Ok(()),
        };
        if let Err(error) = done {
            tracing::debug!(%error, "reset");
        }
    }
}
