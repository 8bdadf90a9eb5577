//! Which reporter of this process has which node, and which persistent nodes it knows as made for it.
//!
//! Two services may say the same of the same host under the same path (two sets of checks on one port, or
//! `load_test_concurrency`): *twins*. Each has a node of its own, as in the original, and neither takes the other's for one
//! too many. A reporter claims the node that it relies on; nodes that nobody has claimed yet may be those of its twins.
//!
//! A service that changes has two reporters for a while, the former one with the node that goes and the new one with the
//! node that comes, so claims belong to reporters ([`Claimant`]) and not to names of services. What outlives the process is
//! kept by name ([`Kin::remember`]); there each reporter adds and removes only what it knows itself.
//!
//! Locked for a few operations, never across an await or a write to the disk.

#[cfg(test)]
pub(super) mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Kin, Wanted};
use crate::endpoint::ServiceName;

/// The claims of all reporters of a process.
#[derive(Debug, Default)]
pub struct Claims(Mutex<All>);

#[derive(Debug, Default)]
struct All {
    last: u64,
    claims: BTreeMap<u64, Claim>,
}

#[derive(Debug)]
struct Claim {
    spot: Spot,
    /// Equal for twins.
    identity: String,
    wanted: Wanted,
    node: Option<String>,
    /// Nodes that former reporters of the registration had and that may still be there.
    former: BTreeSet<String>,
    known: BTreeSet<String>,
}

/// Where the nodes of a service stand.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Spot {
    /// Key under `services`.
    pub service: ServiceName,
    /// `zk_hosts`, as in [`super::ZooKeeperPlace`].
    pub ensemble: Arc<str>,
    /// `zk_path`.
    pub parent: Arc<str>,
}

impl Claims {
    /// Whether any reporter has `node`.
    pub fn is_claimed(&self, ensemble: &str, node: &str) -> bool {
        self.all().claims.values().any(|claim| claim.has(ensemble, node))
    }

    fn all(&self) -> MutexGuard<'_, All> {
        // Whole between two operations.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Claim {
    fn has(&self, ensemble: &str, node: &str) -> bool {
        &*self.spot.ensemble == ensemble && self.node.as_deref() == Some(node)
    }
}

/// A reporter among the others. Dropped, it has nothing any more; what is remembered stays.
#[derive(Debug)]
pub struct Claimant {
    kin: Arc<dyn Kin>,
    spot: Spot,
    id: u64,
}

impl Claimant {
    /// Enters a reporter that will see to `spot`; those of one `identity` are twins. It knows the persistent nodes that are
    /// remembered there, but for those of reporters that still run.
    pub fn enter(kin: Arc<dyn Kin>, spot: Spot, identity: String) -> Self {
        let mut known = kin.remembered(&spot);
        let id = {
            let mut all = kin.claims().all();
            for claim in all.claims.values().filter(|claim| claim.spot == spot) {
                known.retain(|node| !claim.known.contains(node));
            }
            all.last += 1;
            let id = all.last;
            let claim = Claim {
                spot: spot.clone(),
                identity,
                wanted: Wanted::Undecided,
                node: None,
                former: BTreeSet::new(),
                known,
            };
            all.claims.insert(id, claim);
            id
        };
        Self { kin, spot, id }
    }

    /// Whose sessions are, and what is remembered.
    pub fn kin(&self) -> &dyn Kin {
        &*self.kin
    }

    /// See [`Kin::is_of_younger`].
    pub fn is_of_younger(&self, node: &str) -> bool {
        self.kin.is_of_younger(&self.spot.ensemble, node)
    }

    /// What is wanted of this reporter: one that wants no node waits for none.
    pub fn wants(&self, wanted: Wanted) {
        self.with(|claim| claim.wanted = wanted);
    }

    /// This reporter has `node`, and no other; false when another one has it.
    pub fn claim(&self, node: &str) -> bool {
        let mut all = self.kin.claims().all();
        let is_free = !self.is_others(&all, node);
        if is_free && let Some(claim) = all.claims.get_mut(&self.id) {
            claim.node = Some(node.to_owned());
        }
        is_free
    }

    /// The node that it has.
    pub fn node(&self) -> Option<String> {
        self.kin.claims().all().claims.get(&self.id)?.node.clone()
    }

    /// It has none.
    pub fn release(&self) {
        self.with(|claim| claim.node = None);
    }

    /// Whether another reporter has `node`.
    pub fn is_anothers(&self, node: &str) -> bool {
        self.is_others(&self.kin.claims().all(), node)
    }

    /// How many twins may want a node and have none yet: as many unclaimed ones may be theirs.
    pub fn waiting_twins(&self) -> usize {
        let all = self.kin.claims().all();
        let Some(ours) = all.claims.get(&self.id) else {
            return 0;
        };
        let waiting = all.claims.iter().filter(|(id, claim)| {
            **id != self.id
                && claim.node.is_none()
                && claim.wanted != Wanted::Absent
                && claim.identity == ours.identity
        });
        waiting.count()
    }

    /// The persistent nodes that were made for this reporter's registration, for all that is known.
    pub fn known(&self) -> BTreeSet<String> {
        let all = self.kin.claims().all();
        all.claims.get(&self.id).map(|claim| claim.known.clone()).unwrap_or_default()
    }

    /// The nodes that former reporters of the registration had: ours to end, whatever they say.
    pub fn former(&self) -> BTreeSet<String> {
        let all = self.kin.claims().all();
        all.claims.get(&self.id).map(|claim| claim.former.clone()).unwrap_or_default()
    }

    /// None of them is left but ours.
    pub fn forget_former(&self) {
        self.with(|claim| claim.former.clear());
    }

    /// These are they now; remembered before this returns. Costs a write to the disk when that is news.
    pub fn know(&self, nodes: &BTreeSet<String>) {
        let mut former = BTreeSet::new();
        self.with(|claim| former = std::mem::replace(&mut claim.known, nodes.clone()));
        let made: BTreeSet<_> = nodes.difference(&former).cloned().collect();
        let mut gone: BTreeSet<_> = former.difference(nodes).cloned().collect();
        self.keep_others(&mut gone);
        if !made.is_empty() || !gone.is_empty() {
            self.kin.remember(&self.spot, &made, &gone);
        }
    }

    /// `heir` goes on with what this reporter has and knows. It must have ended.
    pub fn hand_on(&self, heir: &Self) {
        let (mut node, mut former, mut nodes) = (None, BTreeSet::new(), BTreeSet::new());
        self.with(|claim| {
            node = claim.node.take();
            former = std::mem::take(&mut claim.former);
            nodes = std::mem::take(&mut claim.known);
        });
        heir.with(|claim| {
            claim.former.extend(former.into_iter().chain(node.clone()));
            claim.node = node;
            claim.known.extend(nodes.iter().cloned());
        });
        if heir.spot != self.spot && !nodes.is_empty() {
            // In this order: a node that two know of is ended by one of them, one that nobody knows of by none.
            heir.kin.remember(&heir.spot, &nodes, &BTreeSet::new());
            self.keep_others(&mut nodes);
            self.kin.remember(&self.spot, &BTreeSet::new(), &nodes);
        }
    }

    /// What another reporter of the same spot knows is not forgotten there.
    fn keep_others(&self, gone: &mut BTreeSet<String>) {
        let all = self.kin.claims().all();
        for (_, claim) in all.claims.iter().filter(|(id, _)| **id != self.id) {
            gone.retain(|node| claim.spot != self.spot || !claim.known.contains(node));
        }
    }

    fn with(&self, change: impl FnOnce(&mut Claim)) {
        if let Some(claim) = self.kin.claims().all().claims.get_mut(&self.id) {
            change(claim);
        }
    }

    fn is_others(&self, all: &All, node: &str) -> bool {
        all.claims.iter().any(|(id, claim)| *id != self.id && claim.has(&self.spot.ensemble, node))
    }
}

impl Drop for Claimant {
    fn drop(&mut self) {
        self.kin.claims().all().claims.remove(&self.id);
    }
}
