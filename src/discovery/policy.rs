//! What is done with a raw membership before it is balanced over: one pure function.
//!
//! Every removal is obeyed at once; a registration that was withdrawn gets no more traffic. Only the *transition to
//! nothing* (an empty list, or the path gone) is doubted, because it almost never means that the whole service was
//! switched off: then `default_servers` step in, else the last non-empty set stays (`use_previous_backends`).
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
    /// The set before filters and election; what "previous" means next time.
    pub in_force: EndpointSet,
    /// For people, one line each, why the set is not simply what discovery says: "label_filters removed all 4". Empty
    /// when there is nothing to explain.
    pub notes: Vec<String>,
}

impl Published {
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
    let (in_force, origin) = match membership {
        Membership::Pending => before_the_first_word(policy, previous),
        Membership::Known(found) => on_word(policy, found, previous, &mut notes),
        Membership::Missing => {
            notes.push("the path does not exist".to_owned());
            on_word(policy, &EndpointSet::default(), previous, &mut notes)
        }
    };
    let filtered = filter(&policy.label_filters, &in_force, &mut notes);
    let set = if policy.leader_election { elect(&filtered, &mut notes) } else { filtered };
    Published { set, origin, in_force, notes }
}

/// The default servers as they stand in the config: the port override is for what was discovered.
fn before_the_first_word(
    policy: &MembershipPolicy,
    previous: &Published,
) -> (EndpointSet, SetOrigin) {
    if !previous.in_force.is_empty() {
        (previous.in_force.clone(), previous.origin)
    } else if policy.default_servers.is_empty() {
        (EndpointSet::default(), SetOrigin::Nothing)
    } else {
        (default_servers(policy), SetOrigin::DefaultServers)
    }
}

fn on_word(
    policy: &MembershipPolicy,
    found: &EndpointSet,
    previous: &Published,
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
    if policy.use_previous_backends && !previous.in_force.is_empty() {
        notes.push(format!(
            "discovery knows nobody: the last {} are kept (use_previous_backends)",
            previous.in_force.len()
        ));
        return (previous.in_force.clone(), SetOrigin::Previous);
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
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn endpoint(host: &str) -> Endpoint {
        Endpoint::new(host, 80)
    }

    fn known(hosts: &[&str]) -> Membership {
        Membership::Known(hosts.iter().map(|host| endpoint(host)).collect())
    }

    fn hosts(set: &EndpointSet) -> Vec<&str> {
        set.as_slice().iter().map(|e| &*e.host).collect()
    }

    fn policy() -> MembershipPolicy {
        MembershipPolicy { use_previous_backends: true, ..MembershipPolicy::default() }
    }

    fn with_defaults(hosts: &[&str]) -> MembershipPolicy {
        MembershipPolicy {
            default_servers: hosts.iter().map(|host| endpoint(host)).collect(),
            ..policy()
        }
    }

    /// Publishes after `words` in a row.
    fn after(policy: &MembershipPolicy, words: &[Membership]) -> Published {
        words.iter().fold(Published::default(), |previous, word| apply(policy, word, &previous))
    }

    #[test]
    fn default_servers_serve_until_the_first_word() {
        let before = after(&policy(), &[Membership::Pending]);
        assert_eq!((before.set.len(), before.origin), (0, SetOrigin::Nothing));
        let policy = MembershipPolicy { port_override: Some(9), ..with_defaults(&["d"]) };
        let before = after(&policy, &[Membership::Pending]);
        assert_eq!(hosts(&before.set), ["d"]);
        assert_eq!(before.set.as_slice()[0].port, 80, "not overridden");
        assert_eq!(before.origin, SetOrigin::DefaultServers);
        let word = after(&policy, &[Membership::Pending, known(&["a"])]);
        assert_eq!(hosts(&word.set), ["a"]);
        assert_eq!(word.set.as_slice()[0].port, 9);
    }

    #[test]
    fn nothing_known_falls_back_to_default_servers_then_to_the_previous_set() {
        for nothing in [known(&[]), Membership::Missing] {
            let back = after(&with_defaults(&["d"]), &[known(&["a"]), nothing.clone()]);
            assert_eq!(hosts(&back.set), ["d"]);
            assert_eq!(back.origin, SetOrigin::DefaultServers);

            let kept = after(&policy(), &[known(&["a", "b"]), nothing.clone(), nothing.clone()]);
            assert_eq!(hosts(&kept.set), ["a", "b"]);
            assert_eq!(kept.origin, SetOrigin::Previous);
            assert!(kept.notes.iter().any(|note| note.contains("the last 2 are kept")));

            let obey = MembershipPolicy::default();
            let empty = after(&obey, &[known(&["a"]), nothing]);
            assert_eq!((empty.set.len(), empty.origin), (0, SetOrigin::Discovered));
        }
    }

    #[test]
    fn a_kept_set_gives_way_to_the_next_word() {
        let words = [known(&["a", "b"]), Membership::Missing, known(&["c"])];
        let published = after(&policy(), &words);
        assert_eq!(hosts(&published.set), ["c"]);
        assert_eq!(published.origin, SetOrigin::Discovered);
        assert!(published.notes.is_empty());
    }

    #[test]
    fn kept_default_servers_are_appended_with_the_overridden_port() {
        let policy = MembershipPolicy {
            keep_default_servers: true,
            port_override: Some(7),
            ..with_defaults(&["d", "a"])
        };
        let published = after(&policy, &[known(&["a", "b"])]);
        assert_eq!(hosts(&published.set), ["a", "b", "d"]);
        assert!(published.set.as_slice().iter().all(|e| e.port == 7));
        let alone = after(&policy, &[known(&[])]);
        assert_eq!(hosts(&alone.set), ["d", "a"]);
        assert_eq!(alone.origin, SetOrigin::DefaultServers);
    }

    fn labelled(host: &str, az: Value) -> Endpoint {
        Endpoint {
            labels: crate::endpoint::Labels::from([("az".to_owned(), az)]).into(),
            ..endpoint(host)
        }
    }

    fn az(value: Value, negate: bool) -> LabelFilter {
        LabelFilter { label: "az".into(), value, negate }
    }

    #[test]
    fn filters_compare_with_types_and_a_missing_label_is_null() {
        let set: EndpointSet = [
            labelled("text", json!("1")),
            labelled("number", json!(1)),
            endpoint("none"),
            labelled("null", json!(null)),
        ]
        .into_iter()
        .collect();
        let filtered = |filters: &[LabelFilter]| {
            let policy = MembershipPolicy { label_filters: filters.to_vec(), ..policy() };
            let published = after(&policy, &[Membership::Known(set.clone())]);
            hosts(&published.set).join(" ")
        };
        assert_eq!(filtered(&[az(json!("1"), false)]), "text");
        assert_eq!(filtered(&[az(json!(1), true)]), "text none null");
        assert_eq!(filtered(&[az(json!(null), false)]), "none null");
        assert_eq!(filtered(&[az(json!("1"), true), az(json!(1), true)]), "none null");
    }

    #[test]
    fn a_filter_that_matches_nobody_wins_over_every_fallback() {
        let policy = MembershipPolicy {
            label_filters: vec![az(json!("x"), false)],
            ..with_defaults(&["d"])
        };
        let published = after(&policy, &[known(&["a", "b", "c", "e"])]);
        assert!(published.set.is_empty());
        assert_eq!(published.notes, ["label_filters removed all 4"]);
    }

    fn with_id(host: &str, id: u64) -> Endpoint {
        Endpoint { id: Some(id), ..endpoint(host) }
    }

    #[test]
    fn the_smallest_id_leads_and_without_ids_nobody_does() {
        let policy = MembershipPolicy { leader_election: true, ..policy() };
        let elected = |endpoints: &[Endpoint]| {
            let word = Membership::Known(endpoints.iter().cloned().collect());
            after(&policy, &[word])
        };
        let leader = elected(&[with_id("a", 9), with_id("b", 3), with_id("c", 5)]);
        assert_eq!(hosts(&leader.set), ["b"]);
        let none = elected(&[with_id("a", 9), endpoint("b")]);
        assert!(none.set.is_empty());
        assert_eq!(none.notes, ["leader_election: 1 of 2 have no id, so nobody is elected"]);
        assert_eq!(elected(&[]).notes, ["leader_election: nobody to elect"]);
    }

    fn some_endpoint() -> impl Strategy<Value = Endpoint> {
        (0_u8..6, 0_u8..2, proptest::option::of(0_u64..9), 0_u8..3).prop_map(
            |(host, name, id, az)| Endpoint {
                name: (name > 0).then(|| "n".into()),
                id,
                ..labelled(&format!("h{host}"), json!(az))
            },
        )
    }

    fn some_membership() -> impl Strategy<Value = Membership> {
        prop_oneof![
            1 => Just(Membership::Pending),
            1 => Just(Membership::Missing),
            6 => proptest::collection::vec(some_endpoint(), 0..6)
                .prop_map(|all| Membership::Known(all.into_iter().collect())),
        ]
    }

    fn some_policy() -> impl Strategy<Value = MembershipPolicy> {
        (
            proptest::collection::vec(some_endpoint(), 0..3),
            any::<[bool; 4]>(),
            proptest::option::of(1_u16..4),
            0_u8..4,
        )
            .prop_map(
                |(default_servers, [keep, previous, elect, negate], port_override, filter)| {
                    MembershipPolicy {
                        default_servers,
                        keep_default_servers: keep,
                        use_previous_backends: previous,
                        port_override,
                        label_filters: (filter < 3)
                            .then(|| az(json!(filter), negate))
                            .into_iter()
                            .collect(),
                        leader_election: elect,
                    }
                },
            )
    }

    proptest! {
        #[test]
        fn every_word_with_somebody_in_it_is_obeyed_exactly(
            policy in some_policy(), words in proptest::collection::vec(some_membership(), 0..6),
            last in proptest::collection::vec(some_endpoint(), 1..6),
        ) {
            let policy = MembershipPolicy { keep_default_servers: false, port_override: None, ..policy };
            let last: EndpointSet = last.into_iter().collect();
            let published = apply(&policy, &Membership::Known(last.clone()), &after(&policy, &words));
            prop_assert!(published.in_force.same_members(&last));
            prop_assert_eq!(published.origin, SetOrigin::Discovered);
        }

        #[test]
        fn applying_the_same_word_twice_changes_nothing(
            policy in some_policy(), words in proptest::collection::vec(some_membership(), 1..6),
        ) {
            let once = after(&policy, &words);
            let twice = apply(&policy, &words[words.len() - 1], &once);
            prop_assert!(once.same_members(&twice));
            prop_assert!(once.in_force.same_members(&twice.in_force));
        }

        #[test]
        fn with_use_previous_backends_somebody_stays_somebody(
            policy in some_policy(), words in proptest::collection::vec(some_membership(), 1..8),
        ) {
            let policy = MembershipPolicy { use_previous_backends: true, ..policy };
            let mut previous = Published::default();
            for word in &words {
                let next = apply(&policy, word, &previous);
                prop_assert!(previous.in_force.is_empty() || !next.in_force.is_empty());
                previous = next;
            }
        }

        #[test]
        fn filters_and_election_only_take_away(
            policy in some_policy(), words in proptest::collection::vec(some_membership(), 1..6),
        ) {
            let published = after(&policy, &words);
            let in_force = published.in_force.as_slice();
            prop_assert!(published.set.as_slice().iter().all(|e| in_force.contains(e)));
            prop_assert!(!policy.leader_election || published.set.len() <= 1);
            prop_assert!(published.set.len() == in_force.len() || !published.notes.is_empty()
                || policy.leader_election);
        }
    }
}
