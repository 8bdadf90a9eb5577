use super::*;
use crate::lb::backend::SlotArena;
use crate::lb::balancer::testing::{member_in, members};
use crate::lb::lease::Lease;
use proptest::prelude::*;

fn key(load: u32, weight: u64) -> u64 {
    if load == 0 { 0 } else { (u64::from(load) + 1) * 4096 / (16 * weight) }
}

fn load(member: &Member, n: u32) {
    for _ in 0..n {
        assert!(member.backend.in_flight.try_enter(None));
    }
}

#[test]
fn idle_members_take_turns_whatever_their_weights() {
    let members = members(&[1, 2, 3]);
    let picker = LeastConn::default().build(&members);
    let picked: String = (0..9)
        .map(|_| picker.pick(&members, PickContext::default()).unwrap())
        .map(|i| ["A", "B", "C"][i])
        .collect();
    assert_eq!(picked, "ABCABCABC");
}

#[test]
fn idle_members_take_turns_around_a_busy_one() {
    let members = members(&[1, 1, 1]);
    load(&members[1], 1);
    let picker = LeastConn::default().build(&members);
    let mut counts = [0; 3];
    for _ in 0..100 {
        counts[picker.pick(&members, PickContext::default()).unwrap()] += 1;
    }
    assert_eq!(counts, [50, 0, 50]);
}

#[test]
fn six_held_requests_follow_weights_one_two_three() {
    let members = members(&[1, 2, 3]);
    let picker = LeastConn::default().build(&members);
    let held: Vec<_> = (0..6)
        .map(|_| {
            Lease::take(&members[picker.pick(&members, PickContext::default()).unwrap()]).unwrap()
        })
        .collect();
    let counts: Vec<_> = members.iter().map(|m| m.backend.in_flight.get()).collect();
    assert_eq!(counts, [1, 2, 3]);
    drop(held);
}

#[test]
fn slots_of_other_sets_between_ours_are_never_picked() {
    let mut arena = SlotArena::default();
    let all: Vec<_> = (0..200).map(|_| member_in(&mut arena, 1, None)).collect();
    let ours: Vec<_> = all.iter().step_by(3).cloned().collect();
    let picker = LeastConn::default().build(&ours);
    let mut counts = vec![0; ours.len()];
    for _ in 0..ours.len() * 4 {
        counts[picker.pick(&ours, PickContext::default()).unwrap()] += 1;
    }
    assert!(counts.iter().all(|c| *c == 4), "{counts:?}");
}

proptest! {
    #[test]
    fn the_reciprocal_divides_exactly(load in 1_u32..(1 << 23) - 1, weight in 1_u64..=256) {
        let entry = Entry { reciprocal: (256_u64 << FRACTION).div_ceil(weight), room: 0, member: 0 };
        prop_assert_eq!(((u64::from(load) + 1) * entry.reciprocal) >> FRACTION, key(load, weight));
    }

    #[test]
    fn the_smallest_key_wins(set in prop::collection::vec((1_u64..=256, 0_u32..50), 1..150), start in 0_usize..200) {
        let members = members(&set.iter().map(|(w, _)| *w).collect::<Vec<_>>());
        for (member, (_, n)) in members.iter().zip(&set) {
            load(member, *n);
        }
        let balancer = LeastConn::default();
        balancer.turn.store(start, Ordering::Relaxed);
        let picked = balancer.build(&members).pick(&members, PickContext::default()).unwrap();
        let least = set.iter().map(|(w, n)| key(*n, *w)).min().unwrap();
        prop_assert_eq!(key(set[picked].1, set[picked].0), least);
    }
}
