//! Which service of this process has which node.
//!
//! Two services may say the same of the same host under the same path (two sets of checks on one port, or
//! `load_test_concurrency`): *twins*. Each has a node of its own, as in the original, and neither takes the other's for one
//! too many. A service claims the node that it relies on; nodes that nobody has claimed yet may be those of its twins.
//!
//! Locked for a few map operations, never across an await.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::endpoint::ServiceName;

/// The claims of all services of a process.
#[derive(Debug, Default)]
pub struct Claims(Mutex<HashMap<ServiceName, Claim>>);

#[derive(Debug, Default)]
struct Claim {
    /// Equal for twins.
    identity: String,
    node: Option<String>,
}

impl Claims {
    /// `service` is there; those of one `identity` are twins. What it has claimed stays.
    pub fn enter(&self, service: &ServiceName, identity: String) {
        self.all().entry(service.clone()).or_default().identity = identity;
    }

    /// `service` has `node`, and no other; false when another service has it.
    pub fn claim(&self, service: &ServiceName, node: &str) -> bool {
        let mut all = self.all();
        let is_free = !is_anothers(&all, service, node);
        if is_free {
            all.entry(service.clone()).or_default().node = Some(node.to_owned());
        }
        is_free
    }

    /// The node that `service` has.
    pub fn node_of(&self, service: &ServiceName) -> Option<String> {
        self.all().get(service)?.node.clone()
    }

    /// Whether another service than `service` has `node`.
    pub fn is_anothers(&self, service: &ServiceName, node: &str) -> bool {
        is_anothers(&self.all(), service, node)
    }

    /// `service` has none.
    pub fn release(&self, service: &ServiceName) {
        if let Some(claim) = self.all().get_mut(service) {
            claim.node = None;
        }
    }

    /// `service` is not there any more.
    pub fn leave(&self, service: &ServiceName) {
        self.all().remove(service);
    }

    /// Whether any service has `node`.
    pub fn is_claimed(&self, node: &str) -> bool {
        self.all().values().any(|claim| claim.node.as_deref() == Some(node))
    }

    /// How many twins of `service` have no node yet: as many unclaimed ones may be theirs.
    pub fn waiting_twins(&self, service: &ServiceName) -> usize {
        let all = self.all();
        let Some(ours) = all.get(service) else {
            return 0;
        };
        let waiting = all.iter().filter(|(name, claim)| {
            *name != service && claim.node.is_none() && claim.identity == ours.identity
        });
        waiting.count()
    }

    fn all(&self) -> MutexGuard<'_, HashMap<ServiceName, Claim>> {
        // Whole between two operations.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_anothers(all: &HashMap<ServiceName, Claim>, service: &ServiceName, node: &str) -> bool {
    all.iter().any(|(name, claim)| name != service && claim.node.as_deref() == Some(node))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_has_one_service_and_a_service_one_node() {
        let claims = Claims::default();
        let (a, b) = (ServiceName::new("a"), ServiceName::new("b"));
        assert!(claims.claim(&a, "/x") && !claims.claim(&b, "/x"));
        assert!(claims.is_anothers(&b, "/x") && !claims.is_anothers(&a, "/x"));
        assert!(claims.claim(&a, "/y") && claims.claim(&b, "/x"));
        claims.release(&a);
        assert!(!claims.is_anothers(&b, "/y"));
    }

    #[test]
    fn twins_without_a_node_are_counted() {
        let claims = Claims::default();
        let [a, b, c] = ["a", "b", "c"].map(ServiceName::new);
        for (service, identity) in [(&a, "same"), (&b, "same"), (&c, "other")] {
            claims.enter(service, identity.to_owned());
        }
        assert_eq!((claims.waiting_twins(&a), claims.waiting_twins(&c)), (1, 0));
        assert!(claims.claim(&b, "/x"));
        assert_eq!(claims.waiting_twins(&a), 0);
        claims.leave(&b);
        assert!(!claims.is_claimed("/x"));
        assert_eq!(claims.waiting_twins(&a), 0, "who is gone waits for nothing");
    }
}
