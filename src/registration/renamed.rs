//! A service under another name goes on with what stands in the registry: the node has no notion of names, but what this
//! host knows about nodes is kept by service ([`Kin`]).

use std::collections::BTreeSet;

use super::{Kin, Place, RegistrationSettings};

/// What is known of the nodes of `from` is known of `to` from now on. Neither has a reporter at this moment.
pub fn renamed(kin: &dyn Kin, from: &RegistrationSettings, to: &RegistrationSettings) {
    if from.service == to.service {
        return;
    }
    if let Place::ZooKeeper(place) = &from.place
        && let Some(nodes) = kin.remembered_node(&from.service, &place.path)
    {
        let known = kin.remembered_node(&to.service, &place.path).unwrap_or_default();
        let all: BTreeSet<_> = known.lines().chain(nodes.lines()).collect();
        let all = Vec::from_iter(all).join("\n");
        // In this order: a node that two know of is ended by one of them, one that nobody knows of by none.
        kin.remember_node(&to.service, &place.path, Some(&all));
        kin.remember_node(&from.service, &place.path, None);
    }
    kin.claims().leave(&from.service);
}
