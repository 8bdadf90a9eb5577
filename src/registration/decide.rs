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

#[cfg(test)]
mod tests {
    use super::super::{DampingSettings, RateSettings};
    use super::*;
    use proptest::prelude::*;
    use std::time::Duration;

    fn rate(average_rate: f64, max_burst: f64, is_shadow: bool) -> LimitSettings {
        LimitSettings { rate: RateSettings { average_rate, max_burst, is_shadow }, damping: None }
    }

    fn damped() -> LimitSettings {
        LimitSettings { damping: Some(DampingSettings::default()), ..Default::default() }
    }

    struct Case {
        decider: Decider,
        now: Instant,
    }

    impl Case {
        fn new(limits: &LimitSettings) -> Self {
            let now = Instant::now();
            Self { decider: Decider::new(limits, now), now }
        }

        fn after(&mut self, seconds: f64) -> &mut Self {
            self.now += Duration::from_secs_f64(seconds);
            self
        }

        fn pass(&mut self, is_up: bool) -> Decision {
            self.pass_during(is_up, None)
        }

        fn pass_during(&mut self, is_up: bool, downtime: Option<Downtime>) -> Decision {
            self.decider.begin(downtime, self.now);
            self.decider.verdict(is_up, downtime, self.now);
            self.decider.decide(downtime, self.now)
        }
    }

    const FOR_EVER: Option<Downtime> = Some(Downtime { ends: None });

    #[test]
    fn nothing_is_decided_before_the_first_verdict() {
        let mut case = Case::new(&LimitSettings::default());
        let decision = case.decider.decide(None, case.now);
        assert_eq!((decision.wanted, decision.why), (Wanted::Undecided, Why::NoVerdict));
        assert_eq!(case.pass(true).wanted, Wanted::Present);
        assert_eq!(case.pass(false).wanted, Wanted::Absent);
    }

    #[test]
    fn a_downtime_wins_at_once_and_needs_no_token() {
        let mut case = Case::new(&rate(0.0, 1.0, false));
        assert_eq!(case.decider.decide(FOR_EVER, case.now).wanted, Wanted::Absent);
        let mut case = Case::new(&rate(1.0, 1.0, false));
        assert_eq!(case.pass(true).wanted, Wanted::Present);
        assert_eq!(case.pass_during(true, FOR_EVER).wanted, Wanted::Absent);
        assert_eq!(case.pass(true).wanted, Wanted::Present, "and so is its end");
    }

    #[test]
    fn a_downtime_ends_by_itself() {
        let mut case = Case::new(&LimitSettings::default());
        let ends = case.now + Duration::from_secs(30);
        let downtime = Some(Downtime { ends: Some(ends) });
        let decision = case.pass_during(true, downtime);
        assert_eq!((decision.wanted, decision.wake), (Wanted::Absent, Some(ends)));
        let decision = case.decider.decide(downtime, ends);
        assert_eq!((decision.wanted, decision.why), (Wanted::Undecided, Why::Ended));
        case.now = ends;
        assert_eq!(case.pass_during(true, downtime).wanted, Wanted::Present);
    }

    #[test]
    fn a_pass_from_before_the_end_of_a_downtime_says_nothing_after_it() {
        let mut case = Case::new(&damped());
        case.pass(true);
        // Began before the downtime, during it, and before it while it came and went.
        for (at_begin, meanwhile) in [(None, FOR_EVER), (FOR_EVER, None), (None, FOR_EVER)] {
            case.decider.begin(at_begin, case.now);
            assert_eq!(case.decider.decide(FOR_EVER, case.now).wanted, Wanted::Absent);
            case.decider.verdict(true, meanwhile, case.now);
            assert_eq!(case.decider.decide(None, case.now).why, Why::Ended);
        }
        // Dead since the restart: that is no flap.
        assert_eq!(case.pass(false).wanted, Wanted::Absent);
        assert!(case.decider.penalty(case.now) < f64::EPSILON);
        assert_eq!(case.pass(true).wanted, Wanted::Present);
    }

    #[test]
    fn the_first_verdict_takes_a_token_even_when_it_is_down() {
        let mut case = Case::new(&rate(1.0, 1.0, false));
        assert_eq!(case.pass(false).wanted, Wanted::Absent);
        let held = case.pass(true);
        assert_eq!((held.wanted, held.why), (Wanted::Absent, Why::Throttled));
        assert_eq!(case.after(1.0).pass(true).wanted, Wanted::Present);
    }

    #[test]
    fn what_is_held_back_is_tried_again_and_told_once() {
        let mut case = Case::new(&rate(0.1, f64::INFINITY, false));
        let mut told = 0;
        let mut first = None;
        for pass in 0_u32..40 {
            let decision = case.pass(true);
            told += u32::from(decision.is_newly_throttled);
            if decision.wanted == Wanted::Present && first.is_none() {
                first = Some(f64::from(pass) * 0.5);
            }
            case.after(0.5);
        }
        assert_eq!((first, told), (Some(9.0), 1));
    }

    #[test]
    fn a_rate_of_zero_decides_nothing_for_ever() {
        let mut case = Case::new(&rate(0.0, f64::INFINITY, false));
        for _ in 0..100 {
            assert_eq!(case.after(1e6).pass(true).wanted, Wanted::Undecided);
        }
    }

    #[test]
    fn a_deregistration_is_held_back_too_and_a_turn_needs_its_own_token() {
        let mut case = Case::new(&rate(1.0, 1.0, false));
        assert_eq!(case.pass(true).wanted, Wanted::Present);
        assert_eq!(case.pass(false).wanted, Wanted::Present);
        assert_eq!(case.after(0.5).pass(true).wanted, Wanted::Present);
        // The turn back was reported with the token of this second, as in the original.
        assert_eq!(case.after(0.5).pass(true).wanted, Wanted::Present);
        assert_eq!(case.pass(false).wanted, Wanted::Present);
        assert_eq!(case.after(1.0).pass(false).wanted, Wanted::Absent);
    }

    #[test]
    fn shadow_mode_only_tells() {
        let mut case = Case::new(&rate(1.0, 1.0, true));
        assert!(!case.pass(true).is_newly_throttled);
        for is_up in [false, true, false] {
            let decision = case.pass(is_up);
            assert!(decision.is_newly_throttled);
            assert_eq!(decision.wanted == Wanted::Present, is_up);
            assert!(!case.pass(is_up).is_newly_throttled, "no change, nothing to hold back");
        }
    }

    #[test]
    fn damping_holds_back_a_return_and_only_that() {
        let mut case = Case::new(&damped());
        assert_eq!(case.pass(true).wanted, Wanted::Present);
        for _ in 0..5 {
            assert_eq!(case.after(0.25).pass(false).wanted, Wanted::Absent);
            assert_eq!(case.after(0.25).pass(true).wanted, Wanted::Present);
        }
        assert_eq!(case.after(0.25).pass(false).why, Why::Verdict);
        let held = case.after(0.25).pass(true);
        assert_eq!((held.wanted, held.why), (Wanted::Absent, Why::Suppressed));
        let wake = held.wake.unwrap();
        assert!(wake <= case.now + Duration::from_secs(60));
        assert_eq!(case.decider.decide(None, wake).wanted, Wanted::Present);
    }

    #[test]
    fn announced_restarts_are_no_flaps() {
        let mut case = Case::new(&damped());
        case.pass(true);
        for _ in 0..50 {
            assert_eq!(case.after(0.1).pass_during(false, FOR_EVER).wanted, Wanted::Absent);
            assert_eq!(case.after(0.1).pass_during(true, FOR_EVER).wanted, Wanted::Absent);
            assert_eq!(case.pass(true).wanted, Wanted::Present);
        }
    }

    #[test]
    fn suppressed_changes_take_no_tokens() {
        let mut case = Case::new(&LimitSettings { rate: rate(20.0, 20.0, false).rate, ..damped() });
        for _ in 0..200 {
            case.pass(true);
            assert!(!case.pass(false).is_newly_throttled);
        }
    }

    proptest! {
        #[test]
        fn laws(
            steps in proptest::collection::vec((0_u64..5_000, any::<bool>(), 0_u8..10), 1..300),
            average_rate in prop_oneof![Just(0.0), Just(f64::INFINITY), 0.01_f64..5.0],
            is_shadow: bool,
        ) {
            let limits = LimitSettings { rate: rate(average_rate, 2.0, is_shadow).rate, ..damped() };
            let mut case = Case::new(&limits);
            let mut was_present = false;
            for (millis, is_up, mark) in steps {
                case.now += Duration::from_millis(millis);
                let downtime = (mark == 0).then_some(Downtime { ends: None });
                let before = case.decider.wanted;
                let decision = case.pass_during(is_up, downtime);
                if let Some(wake) = decision.wake {
                    prop_assert!(wake > case.now, "no busy loop");
                }
                if downtime.is_some() {
                    prop_assert_eq!(decision.wanted, Wanted::Absent);
                } else if decision.wanted != before {
                    prop_assert_eq!(decision.wanted == Wanted::Present, is_up, "only towards the verdict");
                }
                if !was_present {
                    prop_assert!(decision.why != Why::Suppressed, "a first registration is never damped");
                }
                if is_shadow && downtime.is_none() && !is_up {
                    prop_assert_eq!(decision.wanted, Wanted::Absent);
                }
                was_present |= decision.wanted == Wanted::Present;
            }
        }
    }
}
