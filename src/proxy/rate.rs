//! How fast a direction of a relay is, as far as that decides how it waits.

use super::millis::Millis;

/// Bytes in a millisecond that are many: 4 Gbit/s. The reactor's overhead matters above.
const MANY: u32 = 512 * 1024;

/// Bytes by milliseconds: of the one in which bytes moved last, and of the one before in which any did.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Rate {
    /// The low bits of the millisecond: a pause of 49 days looks like none.
    at: u32,
    now: u32,
    before: u32,
    /// The two follow each other.
    is_steady: bool,
}

impl Rate {
    /// `n` bytes have moved.
    pub(super) fn add(&mut self, at: Millis, n: usize) {
        let at = u32::try_from(at.0 & u64::from(u32::MAX)).unwrap_or_default();
        if at != self.at {
            self.is_steady = at == self.at.wrapping_add(1);
            self.before = self.now;
            self.now = 0;
            self.at = at;
        }
        self.now = self.now.saturating_add(u32::try_from(n).unwrap_or(u32::MAX));
    }

    /// It moved many bytes when it moved any.
    pub(super) fn is_high(&self) -> bool {
        self.now.max(self.before) >= MANY
    }

    /// It has moved many for more than a millisecond without a pause.
    pub(super) fn is_lasting(&self) -> bool {
        self.is_steady && self.before >= MANY
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn high_is_many_at_a_time_and_lasting_is_many_before_this_millisecond() {
        let mut rate = Rate::default();
        let mut seen = Vec::new();
        let many = MANY as usize;
        for (at, n) in [(7, many - 1), (7, 1), (8, 1), (9, many), (11, 1), (12, 1), (13, 1)] {
            rate.add(Millis(at), n);
            seen.push((rate.is_high(), rate.is_lasting()));
        }
        let (no, high, lasting) = ((false, false), (true, false), (true, true));
        assert_eq!(seen, [no, high, lasting, high, high, no, no]);
    }
}
