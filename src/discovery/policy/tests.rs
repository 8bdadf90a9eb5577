//! Examples of each rule, and what holds for any policy and any words.

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
fn default_servers_that_change_before_the_first_word_serve_at_once() {
    let (d, e) = (with_defaults(&["d"]), with_defaults(&["e"]));
    let before = after(&d, &[Membership::Pending]);
    assert_eq!(hosts(&apply(&e, &Membership::Pending, &before).set), ["e"]);
    let none = apply(&policy(), &Membership::Pending, &before);
    assert_eq!((none.set.len(), none.origin), (0, SetOrigin::Nothing));
}

#[test]
fn what_is_kept_is_discoverys_word_and_not_what_was_made_of_it() {
    // Discovery has never named anybody.
    let before = after(&with_defaults(&["d"]), &[known(&[])]);
    assert!(apply(&policy(), &known(&[]), &before).set.is_empty());
    let keep = MembershipPolicy { keep_default_servers: true, ..with_defaults(&["d"]) };
    let before = after(&keep, &[known(&["a"]), known(&[])]);
    assert_eq!(hosts(&before.set), ["d"]);
    let back = apply(&policy(), &known(&[]), &before);
    assert_eq!((hosts(&back.set), back.origin), (vec!["a"], SetOrigin::Previous));
    let moved = MembershipPolicy { port_override: Some(9), ..policy() };
    let kept = apply(&moved, &Membership::Missing, &back);
    assert_eq!((&*kept.set.as_slice()[0].host, kept.set.as_slice()[0].port), ("a", 9));
    let settled = Published { named: Named { has_ports: true, ..back.named.clone() }, ..back };
    assert_eq!(apply(&moved, &Membership::Missing, &settled).set.as_slice()[0].port, 80);
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
    let policy =
        MembershipPolicy { label_filters: vec![az(json!("x"), false)], ..with_defaults(&["d"]) };
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
    (0_u8..6, 0_u8..2, proptest::option::of(0_u64..9), 0_u8..3).prop_map(|(host, name, id, az)| {
        Endpoint {
            name: (name > 0).then(|| "n".into()),
            id,
            ..labelled(&format!("h{host}"), json!(az))
        }
    })
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
    fn a_policy_that_changes_is_as_if_it_had_always_been(
        former in some_policy(), policy in some_policy(),
        words in proptest::collection::vec(some_membership(), 1..6),
    ) {
        let changed = apply(&policy, &words[words.len() - 1], &after(&former, &words));
        let always = after(&policy, &words);
        prop_assert!(changed.set.same_members(&always.set));
        prop_assert!(changed.in_force.same_members(&always.in_force));
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
