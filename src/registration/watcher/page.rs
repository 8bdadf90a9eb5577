//! The watcher's view, kept up to date in place: two hundred services change it four hundred times a second.

use std::fmt::{self, Write as _};
use std::sync::Arc;
use std::time::SystemTime;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::health::local::Pass;
use crate::registration::decide::{Decider, Decision, Why};
use crate::registration::view::{CheckView, DownMark, WatchView};

/// The view and what is remembered to write it cheaply.
#[derive(Debug)]
pub(super) struct Page {
    view: watch::Sender<WatchView>,
    /// End of the suppression on both clocks, so that it is the same time at every update.
    suppressed: Option<(Instant, SystemTime)>,
}

impl Page {
    pub(super) fn new(view: watch::Sender<WatchView>, names: Vec<Arc<str>>) -> Self {
        view.send_modify(|view| {
            let blank = |name| CheckView {
                name,
                is_up: None,
                last: None,
                took: std::time::Duration::ZERO,
                at: None,
            };
            *view = WatchView {
                checks: names.into_iter().map(blank).collect(),
                ..WatchView::default()
            };
        });
        Self { view, suppressed: None }
    }

    /// Why things are as they are.
    pub(super) fn reason(&self) -> Arc<str> {
        Arc::clone(&self.view.borrow().reason)
    }

    /// Shows a decision and, if it follows one, the pass. Receivers are woken only if something is other than before,
    /// the results and the fading penalty aside.
    pub(super) fn update(
        &mut self,
        pass: Option<Pass>,
        decision: &Decision,
        decider: &Decider,
        mark: Option<&DownMark>,
    ) {
        let now = Instant::now();
        let suppressed_until = self.on_the_wall(decider.suppressed_until(now), now);
        self.view.send_if_modified(|view| {
            let mut is_news = pass.is_some_and(|pass| take_pass(view, pass));
            view.penalty = decider.penalty(now);
            is_news |= put(&mut view.suppressed_until, suppressed_until);
            is_news |= put(&mut view.wanted, decision.wanted);
            if decision.is_newly_throttled {
                view.throttled += 1;
                is_news = true;
            }
            if view.down.as_ref() != mark {
                view.down = mark.cloned();
                is_news = true;
            }
            let reason = Reason { view, why: decision.why }.to_string();
            if *view.reason != *reason {
                view.reason = Arc::from(reason);
                is_news = true;
            }
            is_news
        });
    }

    fn on_the_wall(&mut self, until: Option<Instant>, now: Instant) -> Option<SystemTime> {
        let until = until?;
        if let Some((_, wall)) = self.suppressed.filter(|(known, _)| *known == until) {
            return Some(wall);
        }
        let wall = SystemTime::now().checked_add(until - now)?;
        self.suppressed = Some((until, wall));
        Some(wall)
    }
}

/// True when a verdict changed.
fn take_pass(view: &mut WatchView, pass: Pass) -> bool {
    let mut is_news = pass.is_up.is_some() && put(&mut view.is_up, pass.is_up);
    view.passes += 1;
    view.failed_passes += u64::from(pass.is_up == Some(false));
    if is_news {
        view.transitions += 1;
        view.since = Some(SystemTime::now());
    }
    // Those that ran are the first ones.
    for (check, result) in view.checks.iter_mut().zip(pass.results) {
        is_news |= put(&mut check.is_up, result.is_up);
        check.last = Some(result.result);
        check.took = result.took;
        check.at = Some(result.at);
    }
    is_news
}

/// True when it was another value.
fn put<T: PartialEq>(place: &mut T, value: T) -> bool {
    let is_other = *place != value;
    *place = value;
    is_other
}

/// The reason in one line.
struct Reason<'a> {
    view: &'a WatchView,
    why: Why,
}

impl fmt::Display for Reason<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.why {
            Why::NoVerdict => f.write_str("no check has ended yet"),
            Why::Ended => f.write_str("a downtime has ended; the checks are asked anew"),
            Why::Announced => match &self.view.down {
                Some(mark) => announcement(f, mark),
                None => f.write_str("down by an operator"),
            },
            Why::Verdict => self.verdict(f),
            Why::Suppressed => {
                self.verdict(f)?;
                f.write_str("; held back by flap_damping")
            }
            Why::Throttled => {
                self.verdict(f)?;
                f.write_str("; held back by rate_limiting")
            }
        }
    }
}

impl Reason<'_> {
    /// "checks pass", or the first check that is down and its last word.
    fn verdict(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.view.is_up == Some(true) {
            return f.write_str("checks pass");
        }
        let Some(check) = self.view.checks.iter().find(|check| check.is_up == Some(false)) else {
            return f.write_str("checks fail");
        };
        match &check.last {
            Some(Err(error)) => one_line(f, format_args!("{}: {error}", check.name)),
            Some(Ok(_)) | None => {
                one_line(f, format_args!("{}: passes, not often enough yet", check.name))
            }
        }
    }
}

/// "down for 30s by an operator: deploy".
fn announcement(f: &mut fmt::Formatter<'_>, mark: &DownMark) -> fmt::Result {
    f.write_str("down")?;
    if let Some(until) = mark.until {
        // To the nearest second: the two times were read one after the other.
        let seconds = until.duration_since(mark.since).unwrap_or_default().as_secs_f64();
        write!(f, " for {seconds:.0}s")?;
    }
    f.write_str(" by an operator")?;
    if mark.reason.is_empty() {
        return Ok(());
    }
    one_line(f, format_args!(": {}", mark.reason))
}

/// Writes with every control character made a blank: texts come from outside.
fn one_line(f: &mut fmt::Formatter<'_>, text: fmt::Arguments<'_>) -> fmt::Result {
    struct Blanked<'a, 'b>(&'a mut fmt::Formatter<'b>);
    impl fmt::Write for Blanked<'_, '_> {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            text.chars().try_for_each(|c| self.0.write_char(if c.is_control() { ' ' } else { c }))
        }
    }
    Blanked(f).write_fmt(text)
}
