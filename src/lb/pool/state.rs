//! What a pool knows that would be lost with its process, and how another one goes on from it.
//!
//! A verdict that took three failed checks to reach must not be learnt again at the cost of requests, and a new process
//! must not send the first request of every host to the first backend. Counters are not part of it: they grow until the
//! last connection of the former process has ended (`app::handover`).

use std::collections::HashMap;
use std::net::SocketAddr;

use super::Pool;
use super::book::{Identity, identity};
use crate::dial::Address;
use crate::discovery::policy::{Named, Published, SetOrigin};
use crate::endpoint::{Endpoint, EndpointSet};
use crate::health::rise_fall::Verdict;
use crate::lb::balancer;
use crate::lb::handle::CheckView;

/// The state of a pool.
#[derive(Clone, Debug, Default)]
pub struct PoolState {
    /// Where the balancer's turn stands.
    pub position: usize,
    /// The set in use.
    pub set: EndpointSet,
    /// The set before filters and election.
    pub in_force: EndpointSet,
    /// Whom discovery named last: what "previous" means.
    pub named: Named,
    /// Where it comes from.
    pub origin: SetOrigin,
    /// How often the set has changed.
    pub membership_changes: u64,
    /// How often a verdict has changed.
    pub health_changes: u64,
    /// The backends in use.
    pub backends: Vec<BackendState>,
}

/// What is known about one backend.
#[derive(Clone, Debug)]
pub struct BackendState {
    /// Who.
    pub endpoint: Endpoint,
    /// Where its name leads.
    pub addr: Option<SocketAddr>,
    /// The verdict; `None` when it is not checked.
    pub verdict: Option<Verdict>,
    /// Result of the last check.
    pub last_check: Option<CheckView>,
}

impl Pool {
    /// Everything, as it is now.
    pub(super) fn export(&self) -> PoolState {
        let backends = self.book.records.iter().map(|record| BackendState {
            endpoint: record.backend.endpoint.clone(),
            addr: record.address.as_ref().ok().and_then(Address::inet),
            verdict: self.checker.verdict(record.check_id()).map(|known| known.verdict()),
            last_check: record.last_check.clone(),
        });
        PoolState {
            position: self.balancer.position(),
            set: self.published.set.clone(),
            in_force: self.published.in_force.clone(),
            named: self.published.named.clone(),
            origin: self.published.origin,
            membership_changes: self.membership_changes,
            health_changes: self.health_changes,
            backends: backends.collect(),
        }
    }

    /// Begins where another pool of the service stood. The first set is built with it; what it says about backends that
    /// are not in that set is forgotten.
    pub(super) fn restore(&mut self, state: PoolState) {
        self.balancer = balancer::build_at(&self.settings.strategy, state.position);
        let PoolState { in_force, named, origin, .. } = state;
        self.published = Published { in_force, named, origin, ..Published::default() };
        self.rebuild(false);
        self.membership_changes = state.membership_changes;
        self.health_changes = state.health_changes;
        let mut known: HashMap<Identity, BackendState> = state
            .backends
            .into_iter()
            .map(|backend| (identity(&backend.endpoint), backend))
            .collect();
        for record in &mut self.book.records {
            let Some(backend) = known.remove(&identity(&record.backend.endpoint)) else {
                continue;
            };
            let Some(verdict) = backend.verdict.filter(|_| record.check.is_some()) else {
                continue;
            };
            let id = record.check_id();
            self.checker.restore(id, &verdict);
            if let Some(verdict) = self.checker.verdict(id) {
                record.health = verdict.health();
                record.since = verdict.since();
                record.last_check = backend.last_check;
                if record.last_check.is_some() {
                    record.standing = verdict.to_string();
                }
            }
        }
    }
}
