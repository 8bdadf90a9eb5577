//! From results to nerve's verdict. Pure.
//!
//! The original keeps the last `max(rise, fall)` results; its first one fills the whole memory, so it counts at once.
//! Afterwards: none of the last `fall` passed: down; all of the last `rise` passed: up; else the verdict stays. Both
//! conditions ask only how long the newest run of equal results is, so that is all we keep: a `rise` of a billion costs no
//! memory.

use std::num::NonZeroU32;

/// The verdict of one check and what it rests on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    rise: u32,
    fall: u32,
    /// The newest result and how many of its kind there are in a row; `None` before the first.
    run: Option<(bool, u32)>,
    is_up: bool,
}

impl Window {
    /// No result yet. `rise` passes in a row bring it up, `fall` failures take it down.
    pub fn new(rise: NonZeroU32, fall: NonZeroU32) -> Self {
        Self { rise: rise.get(), fall: fall.get(), run: None, is_up: false }
    }

    /// The verdict; `None` before the first result.
    pub fn is_up(&self) -> Option<bool> {
        self.run.map(|_| self.is_up)
    }

    /// Takes a result and gives the verdict.
    pub fn record(&mut self, passed: bool) -> bool {
        let length = match self.run {
            // As if it had been so for ever.
            None => u32::MAX,
            Some((last, length)) if last == passed => length.saturating_add(1),
            Some(_) => 1,
        };
        self.run = Some((passed, length));
        if !passed && length >= self.fall {
            self.is_up = false;
        }
        if passed && length >= self.rise {
            self.is_up = true;
        }
        self.is_up
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn window(rise: u32, fall: u32) -> Window {
        Window::new(NonZeroU32::new(rise).unwrap(), NonZeroU32::new(fall).unwrap())
    }

    fn trace(rise: u32, fall: u32, results: &str) -> String {
        let mut window = window(rise, fall);
        results.chars().map(|c| if window.record(c == 'T') { 'u' } else { 'd' }).collect()
    }

    /// The original, word for word: a buffer, filled by the first result.
    fn model(rise: usize, fall: usize, results: &[bool]) -> Vec<bool> {
        let size = rise.max(fall);
        let mut buffer: Vec<bool> = Vec::new();
        let mut is_up = false;
        let mut verdicts = Vec::new();
        for passed in results {
            if buffer.is_empty() {
                buffer = vec![*passed; size];
            }
            buffer.push(*passed);
            buffer.remove(0);
            if !buffer[size - fall..].contains(&true) {
                is_up = false;
            }
            if buffer[size - rise..].iter().all(|p| *p) {
                is_up = true;
            }
            verdicts.push(is_up);
        }
        verdicts
    }

    #[test]
    fn the_originals_traces() {
        assert_eq!(trace(3, 2, "TFTFFTTT"), "uuuudddu");
        assert_eq!(trace(3, 2, "FTTTFF"), "ddduud");
    }

    #[test]
    fn one_and_one_follows_every_result() {
        assert_eq!(trace(1, 1, "FTFFT"), "duddu");
    }

    #[test]
    fn there_is_no_verdict_before_the_first_result() {
        let mut window = window(2, 2);
        assert_eq!(window.is_up(), None);
        window.record(false);
        assert_eq!(window.is_up(), Some(false));
    }

    #[test]
    fn the_first_result_counts_whatever_rise_and_fall_are() {
        assert_eq!(trace(u32::MAX, u32::MAX, "TTF"), "uuu");
        assert_eq!(trace(u32::MAX, u32::MAX, "FTT"), "ddd");
    }

    proptest! {
        #[test]
        fn it_is_the_originals_buffer(
            rise in 1_u32..6,
            fall in 1_u32..6,
            results in prop::collection::vec(any::<bool>(), 0..60),
        ) {
            let mut window = window(rise, fall);
            let verdicts: Vec<bool> = results.iter().map(|passed| window.record(*passed)).collect();
            prop_assert_eq!(verdicts, model(rise as usize, fall as usize, &results));
        }
    }
}
