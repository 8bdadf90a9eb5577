//! One service's watcher: runs its checks, decides, publishes.
//!
//! A pass of the checks may hang; the watcher does not. Announced downtimes, their ends and those of damping are handled
//! while a pass is under way and while the watcher pauses, so nothing delays a deregistration that somebody asks for.
//!
//! Owner of the verdict, the limits, [`Wanted`] and [`WatchView`]. A stop leaves all of them as they are: who wants the
//! service deregistered asks the reporter after that.

mod announced;
mod page;
#[cfg(test)]
mod tests;

use std::fmt::Debug;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use self::announced::Announced;
use self::page::Page;
use super::decide::{Decider, Decision, Why};
use super::view::{DownMark, WatchView};
use super::{LimitSettings, Wanted};
use crate::endpoint::ServiceName;
use crate::health::BoxFuture;
use crate::health::local::{LocalCheckSettings, LocalRunner, Pass, ServiceChecks};
use crate::registry::{Session, SessionState};
use crate::telemetry::statsd::nerve as statsd;

/// Shortest pause between two passes: `check_interval: 0` must not be a busy loop.
const MIN_PAUSE: Duration = Duration::from_millis(10);

/// The checks of a service as the watcher needs them.
pub trait Checks: Debug + Send + 'static {
    /// Their names, in order.
    fn names(&self) -> Vec<Arc<str>>;

    /// Goes through them once; its results are those of the first checks, in order. Dropped when the watcher stops.
    fn pass(&mut self) -> BoxFuture<'_, Pass>;
}

impl Checks for ServiceChecks {
    fn names(&self) -> Vec<Arc<str>> {
        self.checks().map(|(name, _)| Arc::clone(name)).collect()
    }

    fn pass(&mut self) -> BoxFuture<'_, Pass> {
        Box::pin(Self::pass(self))
    }
}

/// The watcher of one service.
#[derive(Debug)]
pub struct Watcher {
    checks: Box<dyn Checks>,
    interval: Duration,
    limits: LimitSettings,
    service: ServiceName,
    session: Option<watch::Receiver<Session>>,
}

impl Watcher {
    /// A watcher with the checks of `settings`.
    pub fn new(
        settings: &LocalCheckSettings,
        runner: &LocalRunner,
        limits: LimitSettings,
        service: ServiceName,
    ) -> Self {
        let checks = Box::new(ServiceChecks::new(settings, runner));
        Self::with_checks(checks, settings.interval, limits, service)
    }

    /// A watcher with checks of the caller's making, that pauses `interval` between the end of a pass and the next, at
    /// least 10 ms.
    pub fn with_checks(
        checks: Box<dyn Checks>,
        interval: Duration,
        limits: LimitSettings,
        service: ServiceName,
    ) -> Self {
        Self { checks, interval: interval.max(MIN_PAUSE), limits, service, session: None }
    }

    /// Registered over `session`, whose state is told to statsd with each pass. `None`: a file, which is always there.
    #[must_use]
    pub fn over(self, session: Option<watch::Receiver<Session>>) -> Self {
        Self { session, ..self }
    }

    /// Runs until `stop`.
    ///
    /// `wanted` changes only when the wish does. `view` always shows the last results, but its receivers are woken only
    /// by what somebody would want to hear of: verdicts, the wish, its reason, downtimes, limits.
    pub async fn run(
        self,
        marks: watch::Receiver<Option<DownMark>>,
        wanted: watch::Sender<Wanted>,
        view: watch::Sender<WatchView>,
        stop: CancellationToken,
    ) {
        let Self { mut checks, interval, limits, service, session } = self;
        let mut desk = Desk {
            decider: Decider::new(&limits, Instant::now()),
            announced: Announced::new(marks),
            wanted,
            page: Page::new(view, checks.names()),
            wake: None,
            is_asked: false,
            told_suppressed: None,
            is_shadow: limits.rate.is_shadow,
            service,
            session,
        };
        statsd::watcher_started(desk.service.as_str());
        tokio::select! {
            biased;
            () = stop.cancelled() => {}
            () = desk.work(checks.as_mut(), interval) => {}
        }
        statsd::watcher_stopped(desk.service.as_str());
    }
}

/// The watcher at work.
#[derive(Debug)]
struct Desk {
    service: ServiceName,
    decider: Decider,
    announced: Announced,
    wanted: watch::Sender<Wanted>,
    page: Page,
    /// When to decide again at the latest.
    wake: Option<Instant>,
    /// A downtime has ended: the next pass begins at once.
    is_asked: bool,
    /// End of the suppression that the log knows of.
    told_suppressed: Option<Instant>,
    is_shadow: bool,
    session: Option<watch::Receiver<Session>>,
}

impl Desk {
    async fn work(&mut self, checks: &mut dyn Checks, interval: Duration) {
        self.decide(None);
        loop {
            self.decider.begin(self.announced.downtime(), Instant::now());
            let pass = self.attend(checks.pass()).await;
            if let Some(pass) = pass {
                self.tell_statsd(&pass);
                self.decide(Some(pass));
            }
            if !self.is_asked {
                self.attend(sleep(interval)).await;
            }
        }
    }

    /// Waits for `what` and decides meanwhile whenever there is reason to. `None` when a downtime ends meanwhile: then a
    /// pass is to begin at once. One that is under way may hang since before the service was restarted.
    async fn attend<T>(&mut self, what: impl Future<Output = T>) -> Option<T> {
        let mut what = pin!(what);
        loop {
            tokio::select! {
                biased;
                () = self.announced.changed() => {}
                () = reached(self.wake) => {}
                done = &mut what => return Some(done),
            }
            self.decide(None);
            if self.is_asked {
                return None;
            }
        }
    }

    /// A check without evidence has no verdict to tell.
    fn tell_statsd(&self, pass: &Pass) {
        let service = self.service.as_str();
        let is_there =
            |session: &watch::Receiver<Session>| session.borrow().state == SessionState::Connected;
        statsd::ping(self.session.as_ref().is_none_or(is_there), service);
        for check in &pass.results {
            if let Some(is_up) = check.is_up {
                statsd::service_check(is_up, service, &check.name);
            }
        }
    }

    fn decide(&mut self, pass: Option<Pass>) {
        let now = Instant::now();
        let downtime = self.announced.downtime();
        let verdict = pass.as_ref().and_then(|pass| pass.is_up);
        let is_turn = verdict.is_some_and(|is_up| self.decider.verdict(is_up, downtime, now));
        let decision = self.decider.decide(downtime, now);
        self.wake = decision.wake;
        self.is_asked = decision.why == Why::Ended;
        let is_new_wish = self.wanted.send_if_modified(|wanted| {
            std::mem::replace(wanted, decision.wanted) != decision.wanted
        });
        self.page.update(pass, &decision, &self.decider, self.announced.mark(now));
        self.tell(&decision, is_turn, is_new_wish, now);
    }

    /// Each change once: what is wished for, else the verdict; the beginning of being held back.
    fn tell(&mut self, decision: &Decision, is_turn: bool, is_new_wish: bool, now: Instant) {
        let service = &self.service;
        let suppressed = self.decider.suppressed_until(now);
        let was_suppressed = self.told_suppressed.is_some_and(|until| now < until);
        self.told_suppressed = suppressed;
        if let Some(until) = suppressed.filter(|_| !was_suppressed) {
            let (penalty, wait) = (self.decider.penalty(now), until - now);
            warn!(%service, penalty, ?wait, "flapping: not registered again before it calms down");
        }
        if decision.is_newly_throttled {
            statsd::throttled(service.as_str(), self.is_shadow);
            warn!(%service, shadow = self.is_shadow, "changes more often than rate_limiting allows");
        }
        if !is_turn && !is_new_wish {
            return;
        }
        let (reason, wanted) = (self.page.reason(), decision.wanted);
        if is_new_wish {
            let word = match wanted {
                Wanted::Present => "up",
                Wanted::Absent => "down",
                Wanted::Undecided => "checking",
            };
            if wanted != Wanted::Undecided {
                statsd::transition(wanted == Wanted::Present, service.as_str());
            }
            info!(%service, %reason, "{word}");
        } else if was_suppressed && decision.why != Why::Announced {
            // A flapper would fill the log.
            debug!(%service, %reason, "the verdict changed, nothing else");
        } else {
            info!(%service, %reason, "the verdict changed, nothing else");
        }
    }
}

async fn reached(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}
