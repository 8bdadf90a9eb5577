//! `hash-balance-factor`: no backend gets more than its share of the load times a factor.
//!
//! haproxy's rule: the requests in progress, this one included, times the factor are slots, which are dealt out by
//! weight, at least one to each. Asks all counters at every pick; only those who set a factor pay for it.

use super::hash::Factor;
use super::snapshot::Member;

/// The shares of a set.
#[derive(Debug)]
pub(super) struct Bounded {
    factor: u64,
    /// Scaled weight of all members before each one.
    before: Box<[u64]>,
    total: u64,
}

impl Bounded {
    pub(super) fn new(factor: Factor, members: &[Member]) -> Self {
        let mut total = 0;
        let before = members.iter().map(|member| {
            let before = total;
            total += weight(member);
            before
        });
        let before = before.collect();
        Self { factor: u64::from(factor.percent()), before, total }
    }

    /// Slots to be dealt out now.
    pub(super) fn slots(&self, members: &[Member]) -> u64 {
        let load: u64 = members.iter().map(|m| u64::from(m.backend.in_flight.get())).sum();
        ((load + 1) * self.factor).div_ceil(100)
    }

    /// True when the member at `index` has a free one among `slots`.
    pub(super) fn has_slot(&self, slots: u64, members: &[Member], index: usize) -> bool {
        let (Some(member), Some(before)) = (members.get(index), self.before.get(index)) else {
            return false;
        };
        let (each, rest) = (slots / self.total.max(1), slots % self.total.max(1));
        let upto = |weight: u64| weight * rest / self.total.max(1);
        let own = weight(member) * each + upto(before + weight(member)) - upto(*before);
        u64::from(member.backend.in_flight.get()) < own.max(1)
    }
}

/// Scaled as haproxy's, which decides who gets the slots that do not divide evenly.
fn weight(member: &Member) -> u64 {
    member.share()
}
