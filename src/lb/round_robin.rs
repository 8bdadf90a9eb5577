//! `balance roundrobin`: haproxy's smooth weighted order, laid out once per set into a cyclic table.
//!
//! haproxy moves servers between trees at every request; here the same order is computed when the set changes, and a
//! pick is one relaxed increment and one array read, whatever the number of backends. The order repeats after
//! `sum(weights) / gcd(weights)` picks, and within one cycle every backend gets exactly its share.
//!
//! The cursor belongs to the balancer, not to the table: it goes on when the set changes, or every membership change
//! would send the next request of every host to the first backend.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::PickContext;
use super::balancer::{Balancer, may_take};
use super::snapshot::{Member, Picker};

/// Longest table: 256 KiB per service at most, and a rebuild stays within a few ms. Weights that need more (some 260
/// backends of weight 250 without a common divisor) are scaled down; the share of a backend is then off by at most
/// half a slot, 3 % for 4,096 backends.
pub const MAX_TABLE: usize = 64 * 1024;

/// Tickets drawn before the members are searched one by one. Drawing again instead of taking the neighbour in the table
/// keeps the shares of the others even when one is full.
const MAX_DRAWS: usize = 64;

/// haproxy's largest effective weight (256 x 16): a constant of its tie-break.
const MAX_EFFECTIVE: u64 = 4096;

/// haproxy multiplies weights by this so that slow start has steps.
const WEIGHT_SCALE: u64 = 16;

/// The policy; owns the cursor of its service.
#[derive(Debug, Default)]
pub struct RoundRobin {
    cursor: Arc<AtomicUsize>,
}

impl RoundRobin {
    /// With its cursor at `position`.
    pub(super) fn at(position: usize) -> Self {
        Self { cursor: Arc::new(AtomicUsize::new(position)) }
    }
}

impl Balancer for RoundRobin {
    fn position(&self) -> usize {
        self.cursor.load(Ordering::Relaxed)
    }

    fn build(&self, members: &[Member]) -> Box<dyn Picker> {
        let weights: Vec<u64> = members.iter().map(Member::share).collect();
        Box::new(Table { slots: smooth_order(&weights), cursor: Arc::clone(&self.cursor) })
    }
}

/// One cycle of an order.
#[derive(Debug)]
pub(super) struct Table {
    /// Indices of members.
    pub(super) slots: Box<[u32]>,
    /// Tickets drawn so far; shared with earlier and later tables of the service.
    pub(super) cursor: Arc<AtomicUsize>,
}

impl Picker for Table {
    fn pick(&self, members: &[Member], cx: PickContext<'_>) -> Option<usize> {
        self.search(members, cx, |_step| self.cursor.fetch_add(1, Ordering::Relaxed))
    }
}

impl Table {
    /// The first that may be taken of those whose tickets `ticket` gives, step by step; then of all.
    #[inline]
    pub(super) fn search(
        &self,
        members: &[Member],
        cx: PickContext<'_>,
        ticket: impl Fn(usize) -> usize,
    ) -> Option<usize> {
        let mut last = 0;
        for step in 0..self.slots.len().min(MAX_DRAWS) {
            let slot = self.slots.get(ticket(step) % self.slots.len())?;
            last = usize::try_from(*slot).ok()?;
            if may_take(members.get(last)?, cx) {
                return Some(last);
            }
        }
        // Nearly everybody is full: look at each once.
        let (before, after) = members.split_at_checked(last)?;
        let found = after.iter().chain(before).position(|m| may_take(m, cx))?;
        Some((last + found) % members.len())
    }
}

/// Indices in haproxy's order, one full cycle; empty when no weight is above 0.
fn smooth_order(weights: &[u64]) -> Box<[u32]> {
    let weights = reduce(weights);
    if weights.iter().all(|w| *w <= 1) {
        // Equal weights: each once, in order.
        return (0..).zip(&weights).filter(|(_, w)| **w > 0).map(|(index, _)| index).collect();
    }
    Layout::new(&weights).collect()
}

/// The same shares with the smallest sum that keeps them, at most [`MAX_TABLE`].
pub(super) fn reduce(weights: &[u64]) -> Vec<u64> {
    let divisor = weights.iter().copied().fold(0, gcd).max(1);
    let reduced: Vec<u64> = weights.iter().map(|w| w / divisor).collect();
    let total: u64 = reduced.iter().sum();
    let limit = u64::try_from(MAX_TABLE).unwrap_or(u64::MAX);
    if total <= limit {
        return reduced;
    }
    reduced
        .iter()
        .map(|w| match w {
            0 => 0,
            w => ((w * limit + total / 2) / total).max(1),
        })
        .collect()
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// Lays the order out: every member has a position at which its next turn is due, and each turn moves it on by
/// `total / weight` (the remainder is carried). Who is due goes first; otherwise one that had no turn yet, heaviest
/// first; otherwise whoever is due soonest.
struct Layout {
    /// Without a turn so far: heaviest first, then in order.
    fresh: BTreeSet<(Reverse<u64>, usize)>,
    /// Waiting for the next turn: by haproxy's key, then by when they last had one.
    waiting: BTreeSet<(u64, u64, usize)>,
    turns: Vec<Turn>,
    total: u64,
    position: u64,
}

/// Where one member stands.
#[derive(Clone, Copy)]
struct Turn {
    weight: u64,
    /// Position at which it is due.
    due: u64,
    /// Carried remainder of `total / weight`.
    carry: u64,
    /// Turns left in this cycle: haproxy's order is off by one at the seam for few sets, the table is not.
    left: u64,
}

impl Layout {
    fn new(weights: &[u64]) -> Self {
        let turns =
            weights.iter().map(|&weight| Turn { weight, due: 0, carry: 0, left: weight }).collect();
        Self {
            fresh: (0..)
                .zip(weights)
                .filter(|(_, weight)| **weight > 0)
                .map(|(index, weight)| (Reverse(*weight), index))
                .collect(),
            waiting: BTreeSet::new(),
            turns,
            total: weights.iter().sum(),
            position: 0,
        }
    }

    /// Whose turn it is; taken out of its queue.
    fn take_next(&mut self) -> Option<usize> {
        let due = self.waiting.first().is_some_and(|(_, _, index)| {
            self.turns.get(*index).is_some_and(|t| t.due <= self.position)
        });
        if !due && let Some((_, index)) = self.fresh.pop_first() {
            if let Some(turn) = self.turns.get_mut(index) {
                turn.due = self.position;
            }
            return Some(index);
        }
        self.waiting.pop_first().map(|(_, _, index)| index)
    }

    /// Puts a member back with its next due position, unless its share of the cycle is used up.
    fn put_back(&mut self, index: usize) {
        let Some(turn) = self.turns.get_mut(index) else {
            return;
        };
        turn.left = turn.left.saturating_sub(1);
        turn.due += self.total / turn.weight;
        turn.carry += self.total % turn.weight;
        if turn.carry >= turn.weight {
            turn.carry -= turn.weight;
            turn.due += 1;
        }
        if turn.left > 0 {
            // haproxy orders by position mostly, by weight and remainder where positions are close.
            let fine = (MAX_EFFECTIVE + WEIGHT_SCALE * turn.carry)
                .saturating_sub(WEIGHT_SCALE * turn.weight)
                / WEIGHT_SCALE;
            self.waiting.insert((257 * turn.due + fine, self.position, index));
        }
    }
}

impl Iterator for Layout {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        let index = self.take_next()?;
        self.position += 1;
        self.put_back(index);
        u32::try_from(index).ok()
    }
}

#[cfg(test)]
mod tests;
