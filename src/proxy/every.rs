//! Which retries of a request that belongs to one backend may go to another.

use super::Redispatch;

/// haproxy's N of `option redispatch N`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Every {
    /// Each how many-th retry goes elsewhere; 0: none.
    period: u32,
    retries: u32,
}

impl Every {
    /// Of `option redispatch N` and `retries`.
    pub(super) fn new(redispatch: Redispatch, retries: u32) -> Self {
        let period = match redispatch {
            Redispatch::Off => 0,
            Redispatch::On { every: every @ 0.. } => every.unsigned_abs(),
            // Counted from the end: -1 is the last.
            Redispatch::On { every } => (retries + 1).saturating_sub(every.unsigned_abs()),
        };
        Self { period, retries: 0 }
    }

    /// True when the retry that begins now goes elsewhere.
    pub(super) fn is_due(&mut self) -> bool {
        self.retries += 1;
        self.period > 0 && self.retries.is_multiple_of(self.period)
    }
}
