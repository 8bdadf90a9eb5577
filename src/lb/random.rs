//! `balance random(N)`: N draws by weight, the least loaded per weight of them gets the request.
//!
//! With two draws the most loaded backend is far better off than with one, and no worker needs to look at all counters.
//! haproxy draws from its consistent ring, whose shares are a few percent off; here they are the weights'. The first draw
//! steps through the weights by the golden ratio instead of rolling dice: as unpredictable between hosts (each begins
//! somewhere else), but over any stretch of requests everybody gets its share.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::PickContext;
use super::balancer::{Balancer, may_take};
use super::bounded::Bounded;
use super::hash::Factor;
use super::snapshot::{Member, Picker};

/// 2^64 divided by the golden ratio.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// Draws that may hit somebody who cannot be taken, for each that is wanted, before members are searched one by one.
const MAX_MISSES: u32 = 16;

/// The policy; owns the turn of its service.
#[derive(Debug)]
pub struct Random {
    draws: u32,
    factor: Option<Factor>,
    turn: Arc<AtomicUsize>,
}

impl Random {
    /// With its turn at `position`.
    pub(super) fn at(position: usize, draws: u32, factor: Option<Factor>) -> Self {
        Self { draws, factor, turn: Arc::new(AtomicUsize::new(position)) }
    }

    /// Beginning anywhere.
    pub(super) fn anywhere() -> usize {
        fastrand::usize(..)
    }
}

impl Balancer for Random {
    fn position(&self) -> usize {
        self.turn.load(Ordering::Relaxed)
    }

    fn build(&self, members: &[Member]) -> Box<dyn Picker> {
        let mut total = 0;
        let upto = members.iter().map(|member| {
            total += member.share();
            total
        });
        Box::new(Dice {
            upto: upto.collect(),
            draws: self.draws,
            bounded: self.factor.map(|factor| Bounded::new(factor, members)),
            turn: Arc::clone(&self.turn),
        })
    }
}

#[derive(Debug)]
struct Dice {
    /// Weights up to and including each member.
    upto: Box<[u64]>,
    draws: u32,
    bounded: Option<Bounded>,
    turn: Arc<AtomicUsize>,
}

impl Dice {
    /// Who stands at this part of the whole weight.
    fn at(&self, part: u64) -> Option<usize> {
        let total = u128::from(*self.upto.last()?);
        let place = u64::try_from((u128::from(part) * total) >> 64).unwrap_or(u64::MAX);
        Some(self.upto.partition_point(|upto| *upto <= place))
    }
}

impl Picker for Dice {
    fn pick(&self, members: &[Member], cx: PickContext<'_>) -> Option<usize> {
        let turn = u64::try_from(self.turn.fetch_add(1, Ordering::Relaxed)).unwrap_or(0);
        let slots = self.bounded.as_ref().map(|bounded| (bounded, bounded.slots(members)));
        let fits = |index: usize| {
            slots.is_none_or(|(bounded, slots)| bounded.has_slot(slots, members, index))
        };
        let mut part = turn.wrapping_mul(GOLDEN);
        let (mut best, mut drawn, mut missed) = (None, 0, 0);
        let mut last = 0;
        while drawn < self.draws && missed < MAX_MISSES {
            last = self.at(part)?;
            part = mix(part);
            let member = members.get(last)?;
            if !may_take(member, cx) || !fits(last) {
                missed += 1;
                continue;
            }
            drawn += 1;
            let load = u64::from(member.backend.in_flight.get());
            best = lighter(best, (last, load, member.share()));
        }
        best.map(|(index, _, _)| index).or_else(|| {
            // Nearly everybody is full, or over the bound: look at each once.
            let (before, after) = members.split_at_checked(last)?;
            let found = after.iter().chain(before).position(|m| may_take(m, cx))?;
            Some((last + found) % members.len())
        })
    }
}

/// Index, load and weight.
type Drawn = (usize, u64, u64);

/// The one with less load per weight; the earlier one of equals.
fn lighter(best: Option<Drawn>, drawn: Drawn) -> Option<Drawn> {
    let is_lighter = best.is_none_or(|best| drawn.1 * best.2 < best.1 * drawn.2);
    if is_lighter { Some(drawn) } else { best }
}

/// A permutation of 64 bits that leaves no trace of the order (splitmix64's finish).
fn mix(n: u64) -> u64 {
    let n = n.wrapping_add(GOLDEN);
    let n = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    n ^ (n >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lb::balancer::testing::members;
    use crate::lb::lease::Lease;

    fn shares(weights: &[u64], draws: u32, requests: usize) -> Vec<u32> {
        let set = members(weights);
        let picker = Random::at(Random::anywhere(), draws, None).build(&set);
        let mut counts = vec![0; weights.len()];
        for _ in 0..requests {
            counts[picker.pick(&set, PickContext::default()).unwrap()] += 1;
        }
        counts
    }

    #[test]
    fn idle_backends_get_shares_by_weight() {
        for draws in [1, 2, 3] {
            for (count, wanted) in shares(&[1, 2, 3], draws, 600).into_iter().zip([100, 200, 300]) {
                assert!(count.abs_diff(wanted) <= wanted / 10, "{count} instead of {wanted}");
            }
        }
    }

    #[test]
    fn the_less_loaded_of_two_is_taken() {
        let set = members(&[1, 1]);
        let picker = Random::at(Random::anywhere(), 2, None).build(&set);
        let _held: Vec<_> = (0..50).filter_map(|_| Lease::take(&set[0])).collect();
        let busy =
            (0..400).filter(|_| picker.pick(&set, PickContext::default()) == Some(0)).count();
        // Only when both draws hit the busy one: a quarter.
        assert!((60..=140).contains(&busy), "{busy} of 400");
    }

    #[test]
    fn a_factor_bounds_the_load() {
        let set = members(&[1, 1, 1]);
        let picker = Random::at(0, 1, Factor::new(110)).build(&set);
        let mut held = Vec::new();
        for _ in 0..300 {
            held.push(Lease::take(&set[picker.pick(&set, PickContext::default()).unwrap()]));
        }
        for member in &set {
            assert!(member.backend.in_flight.get() <= 111);
        }
    }
}
