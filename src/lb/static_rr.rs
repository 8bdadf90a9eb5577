//! The order of `balance static-rr`, which is also the table of `hash-type map-based`.
//!
//! haproxy's fill: at each step every member gains its weight; whoever has gathered the most whole shares of the total is
//! taken, the first in order among equals, and pays one total. haproxy adds up all members at every step; here each gain
//! of a whole share is an event, known in advance, so that a table of 64k places for a thousand members takes
//! milliseconds.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};

use super::round_robin::reduce;

/// Indices of members, one per unit of weight; empty when no weight is above 0. Scaled down above
/// [`MAX_TABLE`](super::round_robin::MAX_TABLE).
pub(super) fn static_order(weights: &[u64]) -> Box<[u32]> {
    Fill::new(reduce(weights)).collect()
}

struct Fill {
    weights: Vec<u64>,
    total: u64,
    step: u64,
    /// Who gains its next share when, and which one it is.
    due: BinaryHeap<Reverse<(u64, usize, u64)>>,
    /// Who has shares to spend: most first, then in order.
    ready: BTreeSet<(Reverse<u64>, usize)>,
    /// Shares to spend, of each.
    shares: Vec<u64>,
}

impl Fill {
    fn new(weights: Vec<u64>) -> Self {
        let able = weights.iter().enumerate().filter(|(_, weight)| **weight > 0);
        Self {
            due: able.map(|(index, _)| Reverse((0, index, 0))).collect(),
            ready: BTreeSet::new(),
            shares: vec![0; weights.len()],
            total: weights.iter().sum(),
            step: 0,
            weights,
        }
    }

    /// Gives everybody the shares gained up to now.
    fn gain(&mut self) {
        while let Some(Reverse((at, index, nth))) = self.due.peek().copied()
            && at <= self.step
        {
            self.due.pop();
            let weight = self.weights.get(index).copied().unwrap_or(1);
            // The share after this one is whole once `(step + 1) * weight` reaches its cost.
            let cost = self.total * (nth + 1);
            self.due.push(Reverse((cost.div_ceil(weight) - 1, index, nth + 1)));
            self.change(index, |shares| shares + 1);
        }
    }

    fn change(&mut self, index: usize, to: impl FnOnce(u64) -> u64) {
        let Some(shares) = self.shares.get_mut(index) else {
            return;
        };
        self.ready.remove(&(Reverse(*shares), index));
        *shares = to(*shares);
        if *shares > 0 {
            self.ready.insert((Reverse(*shares), index));
        }
    }
}

impl Iterator for Fill {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        if self.step >= self.total {
            return None;
        }
        self.gain();
        let (_, index) = *self.ready.first()?;
        self.change(index, |shares| shares.saturating_sub(1));
        self.step += 1;
        u32::try_from(index).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn letters(weights: &[u64]) -> String {
        static_order(weights).iter().map(|i| char::from(b'A' + u8::try_from(*i).unwrap())).collect()
    }

    #[test]
    fn the_order_is_haproxys() {
        assert_eq!(letters(&[1, 1, 1]), "ABC");
        assert_eq!(letters(&[1, 2, 3]), "ACBCBC");
        assert_eq!(letters(&[5, 1, 1]), "AAABAAC");
        assert_eq!(letters(&[10, 20, 30]), "ACBCBC");
    }

    #[test]
    fn without_weight_there_is_no_place() {
        assert_eq!(letters(&[]), "");
        assert_eq!(letters(&[0, 0]), "");
        assert_eq!(letters(&[0, 7]), "B");
    }

    /// The rule as haproxy's manual tells it, member by member.
    fn by_the_book(weights: &[u64]) -> Vec<u32> {
        let total: i64 = weights.iter().map(|w| *w as i64).sum();
        let mut scores = vec![0_i64; weights.len()];
        (0..total)
            .map(|_| {
                scores.iter_mut().zip(weights).for_each(|(score, w)| *score += *w as i64);
                let rank = |i: &usize| ((scores[*i] + total) / total, Reverse(*i));
                let best =
                    (0..scores.len()).filter(|i| weights[*i] > 0).max_by_key(|i| rank(i)).unwrap();
                scores[best] -= total;
                u32::try_from(best).unwrap()
            })
            .collect()
    }

    proptest! {
        #[test]
        fn events_give_the_same_table_as_steps(weights in prop::collection::vec(0_u64..=40, 0..12)) {
            prop_assert_eq!(static_order(&weights).to_vec(), by_the_book(&reduce(&weights)));
        }

        #[test]
        fn everybody_gets_as_many_places_as_its_weight(weights in prop::collection::vec(0_u64..=256, 0..40)) {
            let order = static_order(&weights);
            for (index, weight) in reduce(&weights).into_iter().enumerate() {
                prop_assert_eq!(order.iter().filter(|i| **i as usize == index).count() as u64, weight);
            }
        }
    }
}
