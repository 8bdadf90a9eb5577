//! Proof that one use of a backend is counted.

use std::net::SocketAddr;
use std::sync::Arc;

use super::backend::Backend;
use super::ending::{Reason, Seen};
use super::snapshot::Member;

/// One request (HTTP) or connection (TCP) on a backend. Dropping it, however that comes, uncounts it.
#[derive(Debug)]
pub struct Lease {
    backend: Arc<Backend>,
    addr: SocketAddr,
    /// The backend's mark when it began.
    began: Seen,
}

impl Lease {
    /// `None` when the member is at its `maxconn`.
    pub(super) fn take(member: &Member) -> Option<Self> {
        let limit = member.max_connections.map(std::num::NonZeroU32::get);
        member.backend.in_flight.try_enter(limit).then(|| Self {
            backend: Arc::clone(&member.backend),
            addr: member.addr,
            began: member.backend.ended.seen(),
        })
    }

    /// Who.
    pub fn backend(&self) -> &Arc<Backend> {
        &self.backend
    }

    /// Why what it is used for must end now, if it must. One relaxed load.
    pub fn ended(&self) -> Option<Reason> {
        self.backend.ended.since(self.began)
    }

    /// Where to connect.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.backend.in_flight.leave();
    }
}
