//! `hash-type consistent`: backends stand on a ring with many points each, a key goes to the nearest.
//!
//! A point's place depends on nothing but the backend's number ([`Member::number`]) and which of its points it is, so a
//! backend that comes or goes moves its own keys only. A request without a key takes the ring's points in turn.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::PickContext;
use super::balancer::{Balancer, may_take};
use super::bounded::Bounded;
use super::hash::{Factor, avalanche};
use super::snapshot::{Member, Picker};

/// Most points of a ring: 8 MiB, and a rebuild within some 100 ms. Weights that need more (a thousand backends of weight
/// 66) are scaled down, each to one point at least; haproxy has no such limit, so keys may then go elsewhere than there.
pub const MAX_POINTS: usize = 1024 * 1024;

/// haproxy numbers the points of a server from its number times this: the largest weight, scaled.
const POINTS_PER_NUMBER: u32 = 256 * 16;

/// The policy; owns the turn of its service.
#[derive(Debug, Default)]
pub struct Consistent {
    turn: Arc<AtomicUsize>,
    factor: Option<Factor>,
}

impl Consistent {
    /// With its turn at `position`.
    pub(super) fn at(position: usize, factor: Option<Factor>) -> Self {
        Self { turn: Arc::new(AtomicUsize::new(position)), factor }
    }
}

impl Balancer for Consistent {
    fn position(&self) -> usize {
        self.turn.load(Ordering::Relaxed)
    }

    fn build(&self, members: &[Member]) -> Box<dyn Picker> {
        Box::new(Ring {
            points: points(members),
            turn: Arc::clone(&self.turn),
            bounded: self.factor.map(|factor| Bounded::new(factor, members)),
        })
    }
}

fn points(members: &[Member]) -> Box<[(u32, u32)]> {
    let total: u64 = members.iter().map(Member::share).sum();
    let limit = u64::try_from(MAX_POINTS).unwrap_or(u64::MAX);
    let mut points = Vec::new();
    for (index, member) in (0..).zip(members) {
        let mut count = member.share();
        if total > limit && count > 0 {
            count = (count * limit / total).max(1);
        }
        let first = member.number.wrapping_mul(POINTS_PER_NUMBER);
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        points.extend((0..count).map(|nth| (avalanche(first.wrapping_add(nth)), index)));
    }
    // Stable: of equal points the first member's comes first.
    points.sort_by_key(|(at, _)| *at);
    points.into()
}

#[derive(Debug)]
struct Ring {
    /// Place and index of the member, by place.
    points: Box<[(u32, u32)]>,
    turn: Arc<AtomicUsize>,
    bounded: Option<Bounded>,
}

impl Ring {
    /// Index of the point that is nearest, of two at the same distance the one before.
    fn nearest(&self, hash: u32) -> Option<usize> {
        let count = self.points.len();
        let next = self.points.partition_point(|(at, _)| *at < hash) % count.max(1);
        let before = next.checked_sub(1).unwrap_or(count.checked_sub(1)?);
        let (at, _) = self.points.get(next)?;
        let (at_before, _) = self.points.get(before)?;
        let is_before = hash.wrapping_sub(*at_before) <= at.wrapping_sub(hash);
        Some(if is_before { before } else { next })
    }

    fn member(&self, point: usize) -> Option<usize> {
        let (_, index) = self.points.get(point % self.points.len().max(1))?;
        usize::try_from(*index).ok()
    }

    /// The first that may be taken, going round from `start`.
    fn walk(&self, start: usize, may: impl Fn(usize) -> bool) -> Option<(usize, usize)> {
        let mut last = usize::MAX;
        (start..start.saturating_add(self.points.len())).find_map(|point| {
            let index = self.member(point)?;
            // Neighbours are often the same.
            let is_new = std::mem::replace(&mut last, index) != index;
            (is_new && may(index)).then_some((point, index))
        })
    }

    /// Who a request belongs to whose nearest point is `start`: the first that is allowed and has not more than its bound.
    fn owner(
        &self,
        start: usize,
        members: &[Member],
        is_allowed: impl Fn(usize) -> bool,
    ) -> Option<usize> {
        let found = match &self.bounded {
            None => self.walk(start, is_allowed),
            Some(bounded) => {
                let slots = bounded.slots(members);
                let fits = |index| is_allowed(index) && bounded.has_slot(slots, members, index);
                self.walk(start, fits)
            }
        };
        found.map(|(_, index)| index)
    }

    /// The next in turn.
    fn in_turn(&self, may: impl Fn(usize) -> bool) -> Option<usize> {
        let start = self.turn.fetch_add(1, Ordering::Relaxed).checked_rem(self.points.len())?;
        let (point, index) = self.walk(start, may)?;
        if point != start {
            self.turn.store(point + 1, Ordering::Relaxed);
        }
        Some(index)
    }
}

impl Picker for Ring {
    fn pick(&self, members: &[Member], cx: PickContext<'_>) -> Option<usize> {
        let takes = |index: usize| members.get(index).is_some_and(|m| may_take(m, cx));
        let Some(hash) = cx.hash else {
            return self.in_turn(takes);
        };
        let start = self.nearest(hash)?;
        let is_avoided =
            |index: usize| members.get(index).is_none_or(|m| cx.avoid.contains(&m.backend.id));
        let owner = self.owner(start, members, |index| !is_avoided(index));
        match owner {
            Some(index) if cx.avoid.is_empty() => takes(index).then_some(index),
            // Of those that have not failed somebody with room is better than to wait.
            Some(index) if takes(index) => Some(index),
            Some(_) | None => self.walk(start, takes).map(|(_, index)| index),
        }
    }

    fn wait_for(&self, members: &[Member], cx: PickContext<'_>) -> Option<usize> {
        let start = self.nearest(cx.hash?)?;
        if cx.avoid.is_empty() { self.owner(start, members, |_any| true) } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lb::balancer::testing::members;
    use crate::lb::hash::Function;
    use proptest::prelude::*;

    fn numbered(weights: &[(u32, u64)]) -> Vec<Member> {
        let mut set = members(&weights.iter().map(|(_, w)| *w).collect::<Vec<_>>());
        set.iter_mut().zip(weights).for_each(|(member, (number, _))| member.number = *number);
        set
    }

    fn number(key: &str) -> u32 {
        avalanche(Function::Sdbm.of(key.as_bytes()))
    }

    fn keys(set: &[Member], count: usize) -> String {
        let picker = Consistent::default().build(set);
        let letter = |n: usize| {
            let cx = PickContext { hash: Some(number(&format!("k{n}"))), avoid: &[], busy: None };
            char::from(b'@' + u8::try_from(set[picker.pick(set, cx).unwrap()].number).unwrap())
        };
        (0..count).map(letter).collect()
    }

    #[test]
    fn keys_go_where_haproxy_sends_them() {
        assert_eq!(keys(&numbered(&[(1, 1), (2, 1), (3, 1)]), 24), "ACBCABABABCAABCCABACBCCC");
        assert_eq!(keys(&numbered(&[(1, 1), (2, 2), (3, 3)]), 24), "ACBCABABABCACBCBABCCBCCC");
    }

    #[test]
    fn only_the_keys_of_one_that_leaves_move() {
        let all = keys(&numbered(&[(1, 1), (2, 1), (3, 1)]), 24);
        let left = keys(&numbered(&[(1, 1), (3, 1)]), 24);
        for (was, is) in all.chars().zip(left.chars()) {
            assert!(was == 'B' || was == is, "{all} became {left}");
        }
        assert!(!left.contains('B'));
    }

    #[test]
    fn without_a_key_the_points_take_turns() {
        let set = numbered(&[(1, 1), (2, 2), (3, 3)]);
        let picker = Consistent::default().build(&set);
        let mut counts = [0; 3];
        for _ in 0..96 * 5 {
            counts[picker.pick(&set, PickContext::default()).unwrap()] += 1;
        }
        // Neighbours of one member count once each: a full turn gives everybody its points.
        assert_eq!(counts, [80, 160, 240]);
    }

    #[test]
    fn a_factor_bounds_the_load_of_a_popular_key() {
        let set = numbered(&[(1, 1), (2, 1), (3, 1)]);
        let picker = Consistent::at(0, Factor::new(125)).build(&set);
        let cx = PickContext { hash: Some(number("k0")), avoid: &[], busy: None };
        for _ in 0..300 {
            let index = picker.pick(&set, cx).unwrap();
            assert!(set[index].backend.in_flight.try_enter(None));
        }
        let mut loads: Vec<_> = set.iter().map(|m| m.backend.in_flight.get()).collect();
        assert!(loads.iter().all(|load| *load <= 126), "{loads:?}");
        loads.sort_unstable();
        assert_eq!(loads[2], 125, "{loads:?}");
    }

    #[test]
    fn weights_that_need_too_many_points_are_scaled() {
        let set: Vec<_> = (1..=600).map(|n| (n, 256)).collect();
        let points = points(&numbered(&set));
        assert!(points.len() <= MAX_POINTS && points.len() > MAX_POINTS / 2);
    }

    proptest! {
        #[test]
        fn one_that_comes_or_goes_moves_only_its_own_keys(
            weights in prop::collection::vec(1_u64..=8, 2..12), gone in any::<prop::sample::Index>(), hashes in prop::collection::vec(any::<u32>(), 100),
        ) {
            let set = numbered(&(1..).zip(weights).collect::<Vec<_>>());
            let gone = gone.index(set.len());
            let mut left = set.clone();
            left.remove(gone);
            let (before, after) = (Consistent::default().build(&set), Consistent::default().build(&left));
            for hash in hashes {
                let cx = PickContext { hash: Some(hash), avoid: &[], busy: None };
                let (was, is) = (before.pick(&set, cx).unwrap(), after.pick(&left, cx).unwrap());
                prop_assert!(was == gone || set[was].number == left[is].number);
            }
        }
    }
}
