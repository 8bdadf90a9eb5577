//! The one place where the pool applies the membership policy.

use crate::discovery::{Membership, MembershipPolicy};
use crate::endpoint::{Endpoint, EndpointSet};
use crate::lb::handle::SetOrigin;

/// The set in use and where it comes from.
#[derive(Clone, Debug)]
pub(super) struct Published {
    pub(super) set: EndpointSet,
    pub(super) origin: SetOrigin,
}

impl Default for Published {
    fn default() -> Self {
        Self {
            set: EndpointSet::default(),
            origin: SetOrigin::Nothing,
        }
    }
}

/// What is balanced over, given the last word of discovery and what was in use before.
pub(super) fn apply(
    policy: &MembershipPolicy,
    membership: &Membership,
    previous: &Published,
) -> Published {
    let found = match membership {
        Membership::Known(set) => set.as_slice(),
        Membership::Pending | Membership::Missing => &[],
    };
    let extra = if policy.keep_default_servers {
        policy.default_servers.as_slice()
    } else {
        &[]
    };
    let set = with_port(policy, found.iter().chain(extra));
    if !set.is_empty() {
        return Published {
            set,
            origin: SetOrigin::Discovered,
        };
    }
    if !policy.default_servers.is_empty() {
        let set = with_port(policy, policy.default_servers.iter());
        return Published {
            set,
            origin: SetOrigin::DefaultServers,
        };
    }
    let heard = !matches!(membership, Membership::Pending);
    if heard && policy.use_previous_backends && !previous.set.is_empty() {
        return Published {
            set: previous.set.clone(),
            origin: SetOrigin::Previous,
        };
    }
    Published {
        set,
        origin: if heard {
            SetOrigin::Discovered
        } else {
            SetOrigin::Nothing
        },
    }
}

fn with_port<'a>(
    policy: &MembershipPolicy,
    endpoints: impl Iterator<Item = &'a Endpoint>,
) -> EndpointSet {
    endpoints
        .map(|endpoint| Endpoint {
            port: policy.port_override.unwrap_or(endpoint.port),
            ..endpoint.clone()
        })
        .collect()
}
