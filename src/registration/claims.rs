//! Which service of this process has which node.
//!
//! Two services may say the same of the same host under the same path (two sets of checks on one port, or
//! `load_test_concurrency`): then each has a node of its own, as in the original, and neither takes the other's for one
//! too many. Held for a map operation, never across an await.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::endpoint::ServiceName;

/// The claims of all services of a process.
#[derive(Debug, Default)]
pub struct Claims(Mutex<HashMap<String, ServiceName>>);

impl Claims {
    /// `service` has `node`, and no other; false when another service has it.
    pub fn claim(&self, service: &ServiceName, node: &str) -> bool {
        let mut owners = self.owners();
        let is_free = owners.get(node).is_none_or(|owner| owner == service);
        if is_free {
            owners.retain(|_, owner| owner != service);
            owners.insert(node.to_owned(), service.clone());
        }
        is_free
    }

    /// Whether another service than `service` has `node`.
    pub fn is_anothers(&self, service: &ServiceName, node: &str) -> bool {
        self.owners().get(node).is_some_and(|owner| owner != service)
    }

    /// `service` has none.
    pub fn release(&self, service: &ServiceName) {
        self.owners().retain(|_, owner| owner != service);
    }

    fn owners(&self) -> MutexGuard<'_, HashMap<String, ServiceName>> {
        // Whole between two operations.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
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
}
