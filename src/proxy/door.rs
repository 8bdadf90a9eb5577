//! One listening socket of a service, as those see it who accept from it and count what has come through.

use std::net::SocketAddr;

use super::gate::Gate;
use super::listener::Listening;

/// Which of a service's listening sockets: in the order of the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DoorId(pub(crate) u16);

impl DoorId {
    /// The number that haproxy gives the socket within its frontend: from 1 on.
    pub(crate) fn number(self) -> u16 {
        self.0.saturating_add(1)
    }
}

/// A listening socket. Shared by all workers.
#[derive(Debug)]
pub(crate) struct Door {
    /// As it is bound; `None` for a unix socket.
    pub(crate) addr: Option<SocketAddr>,
    /// Every connection begins with a header of the PROXY protocol.
    pub(crate) accepts_proxy: bool,
    /// `maxconn` of the `bind` line, and who is inside; most have none.
    pub(crate) limit: Option<Limit>,
}

/// A limit of one socket.
#[derive(Debug)]
pub(crate) struct Limit {
    pub(crate) max: u32,
    pub(crate) gate: Gate,
}

impl Door {
    pub(crate) fn new(socket: &Listening) -> Self {
        let options = &socket.options;
        let limit = |max| Limit { max, gate: Gate::default() };
        Self {
            addr: socket.addr.tcp(),
            accepts_proxy: options.accept_proxy,
            limit: options.max_connections.map(limit),
        }
    }

    /// True for one whose clients have no address.
    pub(crate) fn is_unix(&self) -> bool {
        self.addr.is_none()
    }

    /// Counts one more unless so many are inside.
    pub(crate) fn try_enter(&self) -> Result<(), u32> {
        match &self.limit {
            Some(Limit { max, gate }) if !gate.try_enter(Some(*max)) => Err(*max),
            _ => Ok(()),
        }
    }

    /// One less.
    pub(crate) fn leave(&self) {
        if let Some(limit) = &self.limit {
            limit.gate.leave();
        }
    }
}
