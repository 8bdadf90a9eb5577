//! How fast a direction of a relay is, as far as that decides how it waits.

use super::millis::Millis;

/// Bytes in a millisecond from which a stream is fast: 4 Gbit/s. Below, the reactor's overhead matters little. Of
/// [`WorkerSettings`](super::worker::WorkerSettings).
pub const FAST: u32 = 512 * 1024;

/// Milliseconds in a row that make it a lasting one: an answer of a few megabytes is over before.
const LASTING: u8 = 3;

/// Bytes by milliseconds: of the one in which bytes moved last, and of the one before in which any did.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Rate {
    /// The low bits of the millisecond: a pause of 49 days looks like none.
    at: u32,
    now: u32,
    before: u32,
    /// Fast milliseconds, one after the other, until the one before.
    streak: u8,
}

impl Rate {
    /// `n` bytes have moved; `fast` as [`FAST`].
    pub(super) fn add(&mut self, (at, n): (Millis, usize), fast: u32) {
        let at = u32::try_from(at.0 & u64::from(u32::MAX)).unwrap_or_default();
        if at != self.at {
            let goes_on = at == self.at.wrapping_add(1) && self.now >= fast;
            self.streak = if goes_on { self.streak.saturating_add(1) } else { 0 };
            self.before = self.now;
            self.now = 0;
            self.at = at;
        }
        self.now = self.now.saturating_add(u32::try_from(n).unwrap_or(u32::MAX));
    }

    /// It is fast whenever it moves.
    pub(super) fn is_high(&self, fast: u32) -> bool {
        self.now.max(self.before) >= fast
    }

    /// It has been fast for some milliseconds without a pause.
    pub(super) fn is_lasting(&self) -> bool {
        self.streak >= LASTING
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn high_is_much_at_a_time_and_lasting_is_much_for_some_milliseconds_on_end() {
        let mut rate = Rate::default();
        let mut seen = Vec::new();
        for (at, n) in [(5, 9), (5, 1), (6, 1), (6, 9), (7, 10), (8, 1), (9, 1), (11, 1)] {
            rate.add((Millis(at), n), 10);
            seen.push((rate.is_high(10), rate.is_lasting()));
        }
        let (no, high, lasting) = ((false, false), (true, false), (true, true));
        assert_eq!(seen, [no, high, high, high, high, lasting, no, no]);
    }
}
