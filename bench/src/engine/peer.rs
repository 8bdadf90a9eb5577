//! What a socket of the bench is.

use std::os::fd::{AsFd, BorrowedFd};

use rustix::event::epoll;

use super::Shared;
use super::client::Client;
use super::origin::{Connection, Listener};

/// A socket and what it does when it is ready.
#[derive(Debug)]
pub(crate) enum Peer {
    /// An origin's listener.
    Listener(Listener),
    /// A connection of an origin.
    Origin(Connection),
    /// A client's connection.
    Client(Client),
}

/// What becomes of a peer after it was ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum After {
    /// It stays as it is.
    Keep,
    /// It waits for something else now.
    Interest(epoll::EventFlags),
    /// Its socket is a new one, to be registered.
    Reopened,
    /// It stays and may be used for another request of a paced load.
    Idle,
    /// It is over.
    End,
}

impl Peer {
    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Listener(peer) => peer.as_fd(),
            Self::Origin(peer) => peer.as_fd(),
            Self::Client(peer) => peer.as_fd(),
        }
    }

    pub(super) fn interest(&self) -> epoll::EventFlags {
        match self {
            Self::Listener(_) => epoll::EventFlags::IN,
            Self::Origin(peer) => peer.interest(),
            Self::Client(peer) => peer.interest(),
        }
    }

    pub(super) fn ready(&mut self, shared: &mut Shared, flags: epoll::EventFlags) -> After {
        match self {
            Self::Listener(peer) => peer.ready(shared),
            Self::Origin(peer) => peer.ready(shared, flags),
            Self::Client(peer) => peer.ready(shared, flags),
        }
    }
}
