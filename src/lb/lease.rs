//! Proof that one use of a backend is counted.

use std::net::SocketAddr;
use std::sync::Arc;

use super::Protocol;
use super::backend::Backend;
use super::snapshot::Member;

/// One request (HTTP) or connection (TCP) on a backend. Dropping it, however that comes, uncounts it.
#[derive(Debug)]
pub struct Lease {
    backend: Arc<Backend>,
    addr: SocketAddr,
    protocol: Protocol,
}

impl Lease {
    /// `None` when the member is at its `maxconn`.
    pub(super) fn take(member: &Member) -> Option<Self> {
        let limit = member.max_connections.map(std::num::NonZeroU32::get);
        member.backend.in_flight.try_enter(limit).then(|| Self {
            backend: Arc::clone(&member.backend),
            addr: member.addr,
            protocol: member.protocol,
        })
    }

    /// Who.
    pub fn backend(&self) -> &Arc<Backend> {
        &self.backend
    }

    /// Where to connect.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// What it speaks.
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.backend.in_flight.leave();
    }
}
