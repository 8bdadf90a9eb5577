//! From verdicts, announcements and limits to what should be registered. Pure; time is an argument.
//!
//! An announced downtime wins over everything, at once, and costs nothing: it is an operator's word. Below it stand the
//! checks, whose returns flap damping may hold back and whose changes the rate limit may. Before the first verdict
//! nothing is decided, so that a restart leaves what it finds. A downtime is there for a restart of the service: when it
//! has ended, only a pass that began after that says how the service is.
//!
//! Tokens are taken as the original takes them: for each change that is reported, the first verdict included, even when
//! it is down and there is nothing to deregister; a change that was held back is tried again at every pass, and needs a
//! token even if the verdict has turned meanwhile. An announcement neither takes a token nor is a flap.

#[cfg(test)]
mod tests;

use tokio::time::Instant;

use super::damping::Damping;
use super::rate::TokenBucket;
use super::{LimitSettings, Wanted};

/// The judge of one service.
#[derive(Debug)]
pub struct Decider {
    bucket: TokenBucket,
    is_shadow: bool,
    damping: Option<Damping>,
    /// Verdict of the checks.
    is_up: Option<bool>,
    /// The verdict is from before the end of a downtime.
    is_stale: bool,
    /// The pass under way began while no downtime held, and none was announced since.
    is_pass_fresh: bool,
    /// The state that was last let through; `None` also while a change is held back (nerve's `was_up`).
    reported: Option<bool>,
    /// The rate limit holds a change back.
    is_held: bool,
    wanted: Wanted,
    /// It has been wanted before, so a return is a *re*-registration.
    was_present: bool,
}

/// An announced downtime as the judge sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Downtime {
    /// It ends by itself then.
    pub ends: Option<Instant>,
}

impl Downtime {
    /// Whether it holds at `now`.
    pub fn holds(self, now: Instant) -> bool {
        self.ends.is_none_or(|ends| now < ends)
    }
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// What the registry should say.
    pub wanted: Wanted,
    /// Why.
    pub why: Why,
    /// Something changes by itself then; decide again.
    pub wake: Option<Instant>,
    /// The rate limit holds back a change (or would, in shadow mode), for the first time in a row.
    pub is_newly_throttled: bool,
}

/// What a decision rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Why {
    /// No pass has ended yet.
    NoVerdict,
    /// A downtime has ended, and no pass since: somebody should look at once.
    Ended,
    /// A downtime was announced.
    Announced,
    /// The verdict of the checks.
    Verdict,
    /// The checks pass, but damping holds the return back.
    Suppressed,
    /// The rate limit holds the verdict back.
    Throttled,
}

impl Decider {
    /// Nothing known, nothing asked for.
    pub fn new(limits: &LimitSettings, now: Instant) -> Self {
        Self {
            bucket: TokenBucket::new(&limits.rate, now),
            is_shadow: limits.rate.is_shadow,
            damping: limits.damping.clone().map(|settings| Damping::new(settings, now)),
            is_up: None,
            is_stale: false,
            is_pass_fresh: true,
            reported: None,
            is_held: false,
            wanted: Wanted::Undecided,
            was_present: false,
        }
    }

    /// A pass of the checks begins.
    pub fn begin(&mut self, downtime: Option<Downtime>, now: Instant) {
        self.is_pass_fresh = !downtime.is_some_and(|downtime| downtime.holds(now));
    }

    /// That pass has ended. A loss counts as a flap once the service has been registered, and not when it happened during
    /// an announced downtime. True when the verdict has changed, the first one included.
    pub fn verdict(&mut self, is_up: bool, downtime: Option<Downtime>, now: Instant) -> bool {
        let former = self.is_up.replace(is_up);
        let is_announced = downtime.is_some_and(|downtime| downtime.holds(now));
        let is_expected = is_announced || self.is_stale;
        let is_loss = former == Some(true) && !is_up && self.was_present && !is_expected;
        self.is_stale &= !self.is_pass_fresh;
        if let Some(damping) = self.damping.as_mut().filter(|_| is_loss) {
            damping.loss(now);
        }
        former != Some(is_up)
    }

    /// What should be registered at `now`. Takes tokens.
    pub fn decide(&mut self, downtime: Option<Downtime>, now: Instant) -> Decision {
        if let Some(downtime) = downtime.filter(|downtime| downtime.holds(now)) {
            self.wanted = Wanted::Absent;
            (self.is_stale, self.is_pass_fresh) = (true, false);
            return self.decision(Why::Announced, downtime.ends);
        }
        if self.is_stale {
            return Decision { wanted: Wanted::Undecided, ..self.decision(Why::Ended, None) };
        }
        let Some(is_up) = self.is_up else {
            return self.decision(Why::NoVerdict, None);
        };
        // What is still registered is not returning: there is nothing to hold back.
        let is_away = self.wanted != Wanted::Present;
        let suppressed_until = self.suppressed_until(now).filter(|_| is_up && is_away);
        let is_good = is_up && suppressed_until.is_none();
        let has_token = self.reported == Some(is_good) || self.bucket.take(now);
        let was_held = std::mem::replace(&mut self.is_held, !has_token && !self.is_shadow);
        self.reported = (!self.is_held).then_some(is_good);
        let wish = if is_good { Wanted::Present } else { Wanted::Absent };
        if !self.is_held {
            self.wanted = wish;
        }
        self.was_present |= self.wanted == Wanted::Present;
        let why = match suppressed_until {
            Some(_) => Why::Suppressed,
            None if self.wanted == wish => Why::Verdict,
            None => Why::Throttled,
        };
        let is_newly_throttled = !has_token && !was_held;
        Decision { is_newly_throttled, ..self.decision(why, suppressed_until) }
    }

    /// Flap penalty at `now`; 0 without damping.
    pub fn penalty(&self, now: Instant) -> f64 {
        self.damping.as_ref().map_or(0.0, |damping| damping.penalty(now))
    }

    /// Damping holds a return back until then, whether the checks pass or not.
    pub fn suppressed_until(&self, now: Instant) -> Option<Instant> {
        self.damping.as_ref().and_then(|damping| damping.suppressed_until(now))
    }

    fn decision(&self, why: Why, wake: Option<Instant>) -> Decision {
        Decision { wanted: self.wanted, why, wake, is_newly_throttled: false }
    }
}
