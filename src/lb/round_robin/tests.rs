use super::*;
use crate::lb::balancer::testing::{member, members};
use proptest::prelude::*;

fn letters(weights: &[u64]) -> String {
    smooth_order(weights).iter().map(|i| char::from(b'A' + u8::try_from(*i).unwrap())).collect()
}

#[test]
fn the_order_is_haproxys() {
    assert_eq!(letters(&[1, 2, 3]), "CBCACB");
    assert_eq!(letters(&[5, 1, 1]), "AAABAAC");
    assert_eq!(letters(&[1, 1, 1]), "ABC");
}

#[test]
fn a_common_divisor_does_not_change_the_order() {
    assert_eq!(letters(&[10, 20, 30]), "CBCACB");
    assert_eq!(letters(&[256, 256]), "AB");
}

#[test]
fn weight_zero_and_no_members_make_no_turns() {
    assert_eq!(letters(&[0, 1, 0]), "B");
    assert_eq!(letters(&[0, 3, 1]).len(), 4);
    assert_eq!(letters(&[0, 0]), "");
    assert_eq!(letters(&[]), "");
}

#[test]
fn sequential_requests_repeat_the_order_from_the_start() {
    let members = members(&[1, 2, 3]);
    let picker = RoundRobin::default().build(&members);
    let picked: String = (0..24)
        .map(|_| picker.pick(&members, PickContext::default()).unwrap())
        .map(|i| ["A", "B", "C"][i])
        .collect();
    assert_eq!(picked, "CBCACB".repeat(4));
}

#[test]
fn the_cursor_outlives_the_table() {
    let balancer = RoundRobin::default();
    let members = members(&[1, 1, 1]);
    let first = balancer.build(&members).pick(&members, PickContext::default());
    let second = balancer.build(&members).pick(&members, PickContext::default());
    assert_eq!((first, second), (Some(0), Some(1)));
}

#[test]
fn the_share_of_a_full_member_goes_to_all_others() {
    let mut set = members(&[1, 1, 1]);
    set[0] = member(1, Some(1));
    assert!(set[0].backend.in_flight.try_enter(None));
    let picker = RoundRobin::default().build(&set);
    let mut counts = [0; 3];
    for _ in 0..300 {
        counts[picker.pick(&set, PickContext::default()).unwrap()] += 1;
    }
    assert_eq!(counts, [0, 150, 150]);
}

#[test]
fn the_one_free_member_among_many_is_found() {
    let mut set: Vec<_> = (0..500).map(|_| member(7, Some(1))).collect();
    for (i, m) in set.iter_mut().enumerate().filter(|(i, _)| *i != 321) {
        m.weight = crate::endpoint::Weight::saturating(1 + i as u64 % 9);
        assert!(m.backend.in_flight.try_enter(None));
    }
    let picker = RoundRobin::default().build(&set);
    for _ in 0..100 {
        assert_eq!(picker.pick(&set, PickContext::default()), Some(321));
    }
}

#[test]
fn weights_that_need_a_longer_table_are_scaled() {
    let weights: Vec<u64> = (0..1000).map(|i| 200 + i % 57).collect();
    let order = smooth_order(&weights);
    assert!(order.len() <= MAX_TABLE + weights.len());
    let total: u64 = weights.iter().sum();
    let mut counts = vec![0_u64; weights.len()];
    for i in &order {
        counts[*i as usize] += 1;
    }
    for (w, c) in weights.iter().zip(counts) {
        let wanted = *w as f64 * order.len() as f64 / total as f64;
        assert!((c as f64 - wanted).abs() <= 1.0, "weight {w}: {c} of {wanted}");
    }
}

proptest! {
    #[test]
    fn every_cycle_gives_exact_shares(weights in prop::collection::vec(0_u64..=256, 0..40)) {
        let order = smooth_order(&weights);
        let divisor = weights.iter().copied().fold(0, gcd).max(1);
        for (index, weight) in weights.iter().enumerate() {
            let turns = order.iter().filter(|i| **i as usize == index).count() as u64;
            prop_assert_eq!(turns, weight / divisor);
        }
    }

    #[test]
    fn nobody_waits_much_longer_than_its_share(weights in prop::collection::vec(1_u64..=256, 2..12)) {
        // Smoothness: between two turns of a member lie at most twice as many picks as its share asks for.
        let order = smooth_order(&weights);
        for index in 0..weights.len() {
            let turns: Vec<_> = order.iter().enumerate().filter(|(_, i)| **i as usize == index).map(|(p, _)| p).collect();
            let gap = turns.windows(2).map(|w| w[1] - w[0]).max().unwrap_or(0);
            prop_assert!(gap <= 2 * order.len() / turns.len() + weights.len(), "gap {} of {:?}", gap, weights);
        }
    }
}
