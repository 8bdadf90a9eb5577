//! Who is at the other end of a client's connection, and where that one came to.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::door::DoorId;
use super::shared::Listener;
use crate::dial::header::Whose;

/// The client of a connection: its address, if it has one. Behind `accept-proxy` the one that the header carried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Peer(Option<SocketAddr>);

impl Peer {
    /// A client of a unix socket.
    pub(crate) const UNIX: Self = Self(None);

    /// The address and port; `None` for a client of a unix socket.
    pub(crate) fn addr(self) -> Option<SocketAddr> {
        self.0
    }

    /// The address; `None` for a client of a unix socket.
    pub(crate) fn ip(self) -> Option<IpAddr> {
        self.0.map(|addr| addr.ip())
    }
}

impl From<SocketAddr> for Peer {
    fn from(addr: SocketAddr) -> Self {
        Self(Some(addr))
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(addr) => addr.fmt(f),
            None => f.write_str("unix"),
        }
    }
}

/// Which way a client came in.
#[derive(Clone, Debug)]
pub(crate) struct Entrance {
    /// The listening socket.
    pub(crate) door: DoorId,
    /// The address that the client has connected to, if a header of the PROXY protocol carried one. Apart, because few
    /// connections have one and all idle ones would keep the room for it.
    pub(crate) carried: Option<Arc<SocketAddr>>,
}

impl Entrance {
    /// The address that the client connected to: the carried one, else as it is bound; a socket bound to all addresses
    /// says just that. `None` for a unix socket.
    pub(crate) fn local(&self, listener: &Listener) -> Option<SocketAddr> {
        match &self.carried {
            Some(carried) => Some(**carried),
            None => listener.door(self.door)?.addr,
        }
    }
}

impl Entrance {
    /// The address that the client connected to: the carried one, else what its socket says.
    pub(crate) fn reached(&self, said: impl FnOnce() -> Option<SocketAddr>) -> Option<SocketAddr> {
        self.carried.as_deref().copied().or_else(said)
    }
}

impl From<DoorId> for Entrance {
    fn from(door: DoorId) -> Self {
        Self { door, carried: None }
    }
}

/// Whose a connection to a backend is: that of the client at `peer`, which has connected to `local`.
pub(crate) fn whose(peer: Peer, local: Option<SocketAddr>) -> Whose {
    // A unix socket has no addresses.
    peer.addr().zip(local).map_or(Whose::Unknown, |(peer, local)| Whose::Clients(peer, local))
}
