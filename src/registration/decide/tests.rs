//! The promises of `decide`.

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
