//! What a worker sees of a service: the eligible backends and the picker over them, built whole, swapped whole.

use std::fmt::Debug;
use std::num::NonZeroU32;
use std::sync::Arc;

use super::backend::Backend;
use super::lease::{Grant, Lease};
use super::limits::{Busy, Limits};
use super::{BackendId, PickContext, PickError, Protocol};
use crate::dial::{Address, Way};
use crate::endpoint::Weight;

/// One eligible backend: up (or unchecked), not disabled, weight above 0, address known.
#[derive(Clone, Debug)]
pub struct Member {
    /// The backend.
    pub backend: Arc<Backend>,
    /// Its number within the service, haproxy's server id: what `balance first` sorts by and a consistent hash is made of.
    /// As its server line says (`id`), else given by the pool: 1, 2, … in balancing order, kept as long as it is known.
    pub number: u32,
    /// Where to connect now; a name in the registration has been resolved by the control plane.
    pub addr: Address,
    /// In what way, if not the usual one. Never one that is the usual.
    pub way: Option<Arc<Way>>,
    /// Share of traffic.
    pub weight: Weight,
    /// `maxconn`.
    pub max_connections: Option<NonZeroU32>,
    /// What else bounds it.
    pub limits: Limits,
    /// `proto`.
    pub protocol: Protocol,
}

impl Member {
    /// True when it may have no more in progress.
    pub fn is_full(&self) -> bool {
        self.limit().is_some_and(|limit| self.backend.in_flight.get() >= limit)
    }

    /// As [`Member::is_full`], during one pick.
    pub(super) fn is_full_for(&self, cx: PickContext<'_>) -> bool {
        self.limit_at(cx.busy).is_some_and(|limit| self.backend.in_flight.get() >= limit)
    }

    /// How many it may have in progress now. `None`: any number.
    pub fn limit(&self) -> Option<u32> {
        self.limit_at(None)
    }

    /// The same at the load that others were told.
    pub(super) fn limit_at(&self, busy: Option<&Busy>) -> Option<u32> {
        let max = self.max_connections?.get();
        let elastic = self.limits.elastic;
        Some(elastic.map_or(max, |elastic| elastic.limit(max, &self.backend.in_flight, busy)))
    }

    /// Its share of traffic in sixteenths of a unit of weight: less than `16 * weight` while it starts slowly.
    pub fn share(&self) -> u64 {
        u64::from(self.weight.get()) * self.limits.ramp.sixteenths()
    }
}

/// A table for one set of members. Runs per request: no lock, no allocation.
///
/// To add a balancer: one file, one variant in [`super::Strategy`], one arm in `balancer::build`, a row in
/// `benches/pick.rs`; the shared property tests must pass.
pub trait Picker: Debug + Send + Sync {
    /// Index of a member that is not full and not in `cx.avoid`, if there is one.
    fn pick(&self, members: &[Member], cx: PickContext<'_>) -> Option<usize>;

    /// Who a request waits for that `pick` found nobody for: a member, in whose own queue it stands, or whoever has room
    /// first. Called only then, so it may be slow.
    fn wait_for(&self, _members: &[Member], _cx: PickContext<'_>) -> Option<usize> {
        None
    }
}

/// Immutable view of a service; never edited, replaced by the pool task.
#[derive(Debug)]
pub struct Snapshot {
    /// Counts publications; 0 before the first.
    pub revision: u64,
    /// Backends that may be picked, in balancing order. Backups only when no active one is usable.
    pub members: Box<[Member]>,
    /// Backends known, eligible or not.
    pub known: usize,
    /// Backends up or unchecked.
    pub up: usize,
    /// The table.
    pub picker: Box<dyn Picker>,
}

impl Snapshot {
    /// Picks a member and counts the use of it.
    ///
    /// # Errors
    /// [`PickError`] when nobody is eligible or all are full.
    pub fn acquire(&self, cx: PickContext<'_>) -> Result<Lease, PickError> {
        self.claim(cx).map(Lease::from)
    }

    /// See [`PoolHandle::acquire_of`](super::handle::PoolHandle::acquire_of).
    pub(super) fn acquire_of(&self, backend: BackendId) -> Option<Lease> {
        let member = self.members.iter().find(|member| member.backend.id == backend)?;
        Grant::take(member, None).map(Lease::from)
    }

    /// As [`Snapshot::acquire`], for the queue.
    pub(super) fn claim(&self, cx: PickContext<'_>) -> Result<Grant, PickError> {
        if self.members.is_empty() {
            return Err(PickError::NoneEligible { known: self.known, up: self.up });
        }
        let busy = Busy::default();
        let cx = PickContext { busy: cx.busy.or(Some(&busy)), ..cx };
        // A member can fill up between the pick and the count: ask again, at most once per member.
        for _ in 0..self.members.len() {
            let picked = self.picker.pick(&self.members, cx).or_else(|| self.anybody(cx));
            let Some(member) = picked.and_then(|index| self.members.get(index)) else {
                break;
            };
            if let Some(grant) = Grant::take(member, cx.busy) {
                return Ok(grant);
            }
        }
        Err(PickError::AllFull { eligible: self.members.len() })
    }

    /// True when HTTP/2 is spoken to one of the members.
    pub fn has_http2(&self) -> bool {
        self.members.iter().any(|member| member.protocol == Protocol::Http2)
    }

    /// Those that failed before are better than nobody.
    fn anybody(&self, cx: PickContext<'_>) -> Option<usize> {
        if cx.avoid.is_empty() {
            None
        } else {
            self.picker.pick(&self.members, PickContext { avoid: &[], ..cx })
        }
    }
}
