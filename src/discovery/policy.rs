//! What is done with a raw membership before it is balanced over: one pure function.
//!
//! Every removal is obeyed at once; a registration that was withdrawn gets no more traffic. Only the *transition to
//! nothing* (an empty list, or the path gone) is doubted, because it almost never means that the whole service was
//! switched off: then `default_servers` step in, else the last non-empty set stays (`use_previous_backends`).
//!
//! What is kept for that is discovery's word ([`Named`]), not the set that was made of it: default servers and the port
//! override are applied anew each time, so that they are always those of the settings in force.
//!
//! Label filters and leader election come after that, on what is in force, as in the original: a filter that matches
//! nobody gives nobody, whatever `default_servers` say (Yelp relies on empty zones). Unlike the original, which lets the
//! whole set through half of the time, an election that cannot be held elects nobody.

use crate::discovery::{LabelFilter, Membership, MembershipPolicy};
use crate::endpoint::{Endpoint, EndpointSet};
use serde_json::Value;

/// Where the set in use comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum SetOrigin {
    /// Nothing heard and no default servers.
    #[default]
    Nothing,
    /// What discovery says.
    Discovered,
    /// `default_servers`.
    DefaultServers,
    /// Discovery says empty or missing; the last non-empty set is kept (`use_previous_backends`).
    Previous,
}

/// The outcome of the policy. The default is the state before anything was heard.
#[derive(Clone, Debug, Default)]
pub struct Published {
    /// The endpoints to balance over: `in_force` after label filters and leader election.
    pub set: EndpointSet,
    /// Where it comes from.
    pub origin: SetOrigin,
    /// The set before filters and election.
    pub in_force: EndpointSet,
    /// Discovery has spoken.
    pub is_word: bool,
    /// Whom discovery named last; what "previous" means next time.
    pub named: Named,
    /// For people, one line each, why the set is not simply what discovery says: "label_filters removed all 4". Empty
    /// when there is nothing to explain.
    pub notes: Vec<String>,
}

/// The last non-empty word of discovery.
#[derive(Clone, Debug, Default)]
pub struct Named {
    /// Whom it named.
    pub set: EndpointSet,
    /// The ports are settled: `backend_port_override` is not for this set.
    pub has_ports: bool,
}

impl Named {
    fn with_port(&self, port: Option<u16>) -> EndpointSet {
        let port = port.filter(|_| !self.has_ports);
        self.set.as_slice().iter().map(|endpoint| with_port(endpoint, port)).collect()
    }
}

impl Published {
    /// Another source speaks from now on: should it know nobody, the set that the former one's word has led to is what
    /// stays, with the ports that it has.
    pub fn leave_source(&mut self) {
        if self.is_word {
            self.named = Named { set: self.set.clone(), has_ports: true };
        }
    }

    /// True when both say the same to the balancer: the same members, whatever the order and the notes.
    pub fn same_members(&self, other: &Self) -> bool {
        self.set.same_members(&other.set)
    }
}

/// Applies `policy` to what discovery says. `previous` is what this function returned last for the service
/// ([`Published::default`] at first, or what a state file held).
pub fn apply(
    policy: &MembershipPolicy,
    membership: &Membership,
    previous: &Published,
) -> Published {
    let mut notes = Vec::new();
    let named = match membership {
        Membership::Known(found) if !found.is_empty() => {
            Named { set: found.clone(), has_ports: false }
        }
        Membership::Known(_) | Membership::Missing | Membership::Pending => previous.named.clone(),
    };
    let (in_force, origin) = match membership {
        Membership::Pending => before_the_first_word(policy, previous),
        Membership::Known(found) => on_word(policy, found, &named, &mut notes),
        Membership::Missing => {
            notes.push("the path does not exist".to_owned());
            on_word(policy, &EndpointSet::default(), &named, &mut notes)
        }
    };
    let filtered = filter(&policy.label_filters, &in_force, &mut notes);
    let set = if policy.leader_election { elect(&filtered, &mut notes) } else { filtered };
    let is_word = membership.is_heard();
    Published { set, origin, in_force, is_word, named, notes }
}

/// The default servers as they stand in the config: the port override is for what was discovered.
fn before_the_first_word(
    policy: &MembershipPolicy,
    previous: &Published,
) -> (EndpointSet, SetOrigin) {
    if !previous.named.set.is_empty() {
        (previous.named.with_port(policy.port_override), previous.origin)
    } else if policy.default_servers.is_empty() {
        (EndpointSet::default(), SetOrigin::Nothing)
    } else {
        (default_servers(policy), SetOrigin::DefaultServers)
    }
}

fn on_word(
    policy: &MembershipPolicy,
    found: &EndpointSet,
    named: &Named,
    notes: &mut Vec<String>,
) -> (EndpointSet, SetOrigin) {
    let kept = policy.default_servers.iter().filter(|_| policy.keep_default_servers);
    let merged: EndpointSet = found
        .as_slice()
        .iter()
        .chain(kept)
        .map(|endpoint| with_port(endpoint, policy.port_override))
        .collect();
    if !found.is_empty() {
        return (merged, SetOrigin::Discovered);
    }
    if !merged.is_empty() {
        return (merged, SetOrigin::DefaultServers);
    }
    if !policy.default_servers.is_empty() {
        notes.push("discovery knows nobody: default_servers are used".to_owned());
        return (default_servers(policy), SetOrigin::DefaultServers);
    }
    if policy.use_previous_backends && !named.set.is_empty() {
        notes.push(format!(
            "discovery knows nobody: the last {} are kept (use_previous_backends)",
            named.set.len()
        ));
        return (named.with_port(policy.port_override), SetOrigin::Previous);
    }
    (EndpointSet::default(), SetOrigin::Discovered)
}

fn default_servers(policy: &MembershipPolicy) -> EndpointSet {
    policy.default_servers.iter().cloned().collect()
}

fn with_port(endpoint: &Endpoint, port: Option<u16>) -> Endpoint {
    // A socket has none.
    let port = port.filter(|_| endpoint.socket().is_none());
    Endpoint { port: port.unwrap_or(endpoint.port), ..endpoint.clone() }
}

/// Keeps what satisfies every filter.
fn filter(filters: &[LabelFilter], set: &EndpointSet, notes: &mut Vec<String>) -> EndpointSet {
    if filters.is_empty() {
        return set.clone();
    }
    let kept: EndpointSet = set
        .as_slice()
        .iter()
        .filter(|endpoint| filters.iter().all(|filter| matches(filter, endpoint)))
        .cloned()
        .collect();
    let (before, removed) = (set.len(), set.len() - kept.len());
    if removed > 0 && kept.is_empty() {
        notes.push(format!("label_filters removed all {before}"));
    } else if removed > 0 {
        notes.push(format!("label_filters removed {removed} of {before}"));
    }
    kept
}

/// JSON equality, types included (`"1"` is not `1`); a missing label is null.
fn matches(filter: &LabelFilter, endpoint: &Endpoint) -> bool {
    let label = endpoint.labels.get(&filter.label).unwrap_or(&Value::Null);
    (label == &filter.value) != filter.negate
}

/// The smallest id, alone. Everybody needs one: a partial order among some of them would elect differently elsewhere.
fn elect(set: &EndpointSet, notes: &mut Vec<String>) -> EndpointSet {
    let total = set.len();
    if total == 0 {
        notes.push("leader_election: nobody to elect".to_owned());
        return EndpointSet::default();
    }
    let without = set.as_slice().iter().filter(|e| e.id.is_none()).count();
    if without > 0 {
        notes.push(format!(
            "leader_election: {without} of {total} have no id, so nobody is elected"
        ));
        return EndpointSet::default();
    }
    set.as_slice().iter().min_by_key(|endpoint| endpoint.id).cloned().into_iter().collect()
}

#[cfg(test)]
mod tests;
