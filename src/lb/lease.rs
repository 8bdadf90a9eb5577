//! Proof that one use of a backend is counted.

use std::sync::Arc;

use super::Protocol;
use super::backend::Backend;
use super::ending::{Reason, Seen};
use super::limits::Busy;
use super::snapshot::Member;
use crate::dial::header::Form;
use crate::dial::{Address, Way};

/// One request (HTTP) or connection (TCP) on a backend. Dropping it, however that comes, uncounts it: its slot goes to
/// whoever waits longest for one, or is free.
#[derive(Debug)]
pub struct Lease {
    backend: Arc<Backend>,
    addr: Address,
    /// `None`: the usual one.
    way: Option<Arc<Way>>,
    /// The backend's mark when it began.
    began: Seen,
    protocol: Protocol,
}

impl Lease {
    /// `None` when the member is at its `maxconn`.
    #[cfg(test)]
    pub(super) fn take(member: &Member) -> Option<Self> {
        Grant::take(member, None).map(Self::from)
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
    pub fn addr(&self) -> &Address {
        &self.addr
    }

    /// In what way, if not the usual one.
    pub fn way(&self) -> Option<&Arc<Way>> {
        self.way.as_ref()
    }

    /// The header that a connection to it begins with: then it carries one client's requests only.
    pub fn header(&self) -> Option<Form> {
        self.way.as_ref()?.header
    }

    /// What it speaks.
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }
}

impl From<Grant> for Lease {
    fn from(grant: Grant) -> Self {
        Self {
            backend: grant.backend,
            addr: grant.addr,
            way: grant.way,
            began: grant.began,
            protocol: grant.protocol,
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let slot = &self.backend.in_flight;
        let queue = &slot.queue;
        if !queue.is_empty() && queue.wants(slot) && queue.pass_on(slot) {
            return;
        }
        slot.leave();
        // Whoever came in between saw no room; nobody else will look for them.
        if !queue.is_empty() && queue.wants(slot) {
            queue.serve();
        }
    }
}

/// A counted use on its way to who will have it as a [`Lease`]. Lost, it stays counted for ever: for the queue only, which
/// cannot drop leases while it is locked.
#[derive(Debug)]
#[must_use]
pub(super) struct Grant {
    backend: Arc<Backend>,
    addr: Address,
    way: Option<Arc<Way>>,
    began: Seen,
    protocol: Protocol,
}

impl Grant {
    /// `None` when the member is at its `maxconn`.
    pub(super) fn take(member: &Member, busy: Option<&Busy>) -> Option<Self> {
        let limit = member.limit_at(busy);
        member.backend.in_flight.try_enter(limit).then(|| Self::of(member))
    }

    /// Of a use of `member` that is counted already.
    pub(super) fn of(member: &Member) -> Self {
        Self {
            backend: Arc::clone(&member.backend),
            addr: member.addr.clone(),
            way: member.way.clone(),
            began: member.backend.ended.seen(),
            protocol: member.protocol,
        }
    }

    /// Uncounts it, without a look at who waits.
    pub(super) fn give_back(self) {
        self.backend.in_flight.leave();
    }
}
