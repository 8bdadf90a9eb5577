//! `slowstart`: a server that came back takes its share step by step. Never at the start of the process, as haproxy.

use std::num::NonZeroU32;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::{Dirty, Pool};
use crate::lb::limits::Ramp;

/// Shortest time between two steps, haproxy's.
const LEAST_STEP: Duration = Duration::from_secs(1);

/// Steps of a long slow start, haproxy's.
const STEPS: u32 = 20;

/// How far a server is.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Warmth {
    /// When it came back, and how long it takes from there.
    since: Option<(Instant, Duration)>,
    pub(super) ramp: Ramp,
    /// Percent of its `maxconn`; counted only while it warms up.
    percent: u32,
}

impl Warmth {
    /// From now on, for so long; at once without.
    pub(super) fn begin(&mut self, now: Instant, whole: Option<Duration>) {
        *self = Self::default();
        if let Some(whole) = whole {
            self.since = Some((now, whole));
            self.follow(now);
        }
    }

    /// True when a step was made.
    fn follow(&mut self, now: Instant) -> bool {
        let Some((since, whole)) = self.since else {
            return false;
        };
        // haproxy counts whole seconds, and takes a part of one for one.
        let whole = whole.as_millis().div_ceil(1000).max(1);
        let whole = u64::try_from(whole).unwrap_or(u64::MAX);
        let elapsed = now.saturating_duration_since(since).as_secs();
        if elapsed >= whole {
            *self = Self::default();
            return true;
        }
        let before = (self.ramp, self.percent);
        self.ramp = Ramp::at(elapsed, whole);
        self.percent = u32::try_from(100 * elapsed / whole).unwrap_or(100);
        before != (self.ramp, self.percent)
    }

    /// True until it has its full share.
    pub(super) fn is_partial(&self) -> bool {
        self.since.is_some()
    }

    /// What it may have of a `maxconn`: at least one.
    pub(super) fn of(&self, max: NonZeroU32) -> NonZeroU32 {
        if self.since.is_none() {
            return max;
        }
        let part = u64::from(max.get()) * u64::from(self.percent) / 100;
        u32::try_from(part).ok().and_then(NonZeroU32::new).unwrap_or(NonZeroU32::MIN)
    }

    /// When to look again.
    fn next(&self, now: Instant) -> Option<Instant> {
        let (_, whole) = self.since?;
        Some(now + (whole / STEPS).max(LEAST_STEP))
    }
}

impl Pool {
    /// Lets those that warm up make their step.
    pub(super) fn follow_warmth(&mut self) {
        let now = Instant::now();
        let mut next = None;
        for record in &mut self.book.records {
            if record.warmth.follow(now) {
                self.dirty = Dirty::Set;
            }
            next = next.into_iter().chain(record.warmth.next(now)).min();
        }
        self.next_step = next;
    }
}

/// Comes when a server may have to make a step.
pub(super) async fn step_due(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}
