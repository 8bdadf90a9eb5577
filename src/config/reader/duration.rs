//! Durations: bounded here for every reader, so that no deadline overflows.

use std::time::Duration;

use super::Cursor;
use crate::config::report::Report;
use crate::config::text::{BareNumber, MAX_DURATION, duration_of, show};

impl Cursor<'_> {
    /// A duration above zero up to [`MAX_DURATION`], see [`duration_of`].
    pub fn duration(&self, bare: BareNumber, report: &mut Report) -> Option<Duration> {
        let found = duration_of(self.value, bare).filter(|d| !d.is_zero());
        self.bounded(found, "a positive duration such as \"250ms\" or \"5s\"", report)
    }

    /// As [`duration`](Self::duration), or zero.
    pub fn delay(&self, bare: BareNumber, report: &mut Report) -> Option<Duration> {
        let found = duration_of(self.value, bare);
        self.bounded(found, "a duration such as 0, \"250ms\" or \"5s\"", report)
    }

    fn bounded(
        &self,
        found: Option<Duration>,
        expected: &str,
        report: &mut Report,
    ) -> Option<Duration> {
        let fits = found.filter(|duration| *duration <= MAX_DURATION);
        match (found, fits) {
            (_, Some(_)) => {}
            (Some(_), None) => {
                let days = MAX_DURATION.as_secs() / 86_400;
                let text = format!("{} is above {days}d, the most that is taken", show(self.value));
                report.complain(&self.place, text);
            }
            (None, _) => self.wrong(expected, report),
        }
        fits
    }
}
