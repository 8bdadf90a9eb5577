//! A registration as a node in ZooKeeper.
//!
//! The problem: a session may end, be taken for ended, or change hands; a write may be done without anybody saying so;
//! operators and other hosts write in the same place. The original notices few of these and creates a second node, adopts
//! one that dies with another session, or none at all.
//!
//! So nothing is remembered as done. Whatever happens (another wish, a session lost, found or replaced, our node gone or
//! changed, an answer lost) ends in the same *pass*: look at all children that may be ours, take the next step of one
//! table (`plan`), until there is none. At rest there is one watch on the one node, and no traffic.
//!
//! Invariants: at rest exactly one node says what we register, owned by our current session (or by nobody, for the
//! persistent kinds). A node is changed or deleted only when its owner is our session or one that is known to be given up
//! by us ([`Kin`](super::Kin)), or when it has no owner and was made here. A new node stands before its predecessor goes.
//!
//! One reporter at a time per host, port and name under one path: two would take each other's node for a remnant. So a
//! reload that changes weight, labels, kind or encoding stops the former reporter (which leaves its node) and starts the
//! next one, which creates anew and deletes the old node afterwards.

mod look;
mod pass;
mod plan;
mod publish;
mod setback;
mod shape;
#[cfg(test)]
mod tests;
mod world;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use self::look::Memory;
use self::pass::{Desk, On, Rest};
use self::publish::Publisher;
use self::setback::Setback;
use self::shape::Shape;
use self::world::{Moment, another_moment, another_wish, waiting};
use super::claims::Claimant;
use super::{Registration, Relation, Reporter, Wanted, ZooKeeperPlace};
use crate::backoff::Backoff;
use crate::endpoint::ServiceName;
use crate::health::BoxFuture;
use crate::registry::record::NerveRecord;
use crate::registry::writer::RegistryWriter;
use crate::registry::{Session, SessionState};

/// First and longest wait before another look while the registry does not answer although its session is up.
const RETRY: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

/// Wait after a refusal, a lack of rights above all: it takes a human to change that (edge case 29).
const REFUSED_PAUSE: Duration = Duration::from_secs(30);

/// First and longest wait before a node is mended that was mended within [`CALM`]. The first five repairs in a row come
/// within a second each; whoever keeps deleting gets a node every half minute in the end, not a war.
const REPAIR: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(30));

/// A node that stood this long is mended at once.
const CALM: Duration = Duration::from_secs(2);

/// How often we ask whether the younger process that has our place still runs. Costs a look at a file of this host.
const YOUNGER_CHECK: Duration = Duration::from_secs(1);

/// Registers one service as a node in ZooKeeper.
#[derive(Debug)]
pub struct ZooKeeperReporter {
    registry: Arc<dyn RegistryWriter>,
    claimant: Arc<Claimant>,
    service: ServiceName,
    shape: Shape,
    ttl: Option<Rewriting>,
}

impl ZooKeeperReporter {
    /// A reporter for `record` at `place`, which entered as `claimant`; `registry` has the session with the place's ensemble.
    pub fn new(
        registry: Arc<dyn RegistryWriter>,
        claimant: Arc<Claimant>,
        service: ServiceName,
        record: &NerveRecord,
        place: &ZooKeeperPlace,
    ) -> Self {
        // Ephemeral nodes have the session for that.
        let ttl = place.ttl.filter(|ttl| !place.kind.is_ephemeral() && !ttl.is_zero());
        let ttl = ttl.map(|every| Rewriting::every(every, Arc::clone(&place.ensemble)));
        Self { registry, claimant, service, shape: Shape::new(record, place), ttl }
    }
}

/// Equal for registrations that say the same: host, port and name, under one path of one ensemble.
pub(super) fn identity(record: &NerveRecord, place: &ZooKeeperPlace) -> String {
    format!("{}\n{}", place.ensemble, Shape::new(record, place).identity())
}

impl Reporter for ZooKeeperReporter {
    fn run(
        self: Box<Self>,
        wanted: watch::Receiver<Wanted>,
        state: watch::Sender<Registration>,
        stop: CancellationToken,
    ) -> BoxFuture<'static, ()> {
        let Self { registry, claimant, service, shape, ttl } = *self;
        let sessions = registry.session();
        let memory = Memory::new(claimant);
        let desk = Desk::new(registry, shape, memory, Publisher::new(state));
        let work = Work {
            service,
            desk,
            wanted,
            sessions,
            retry: Backoff::new(RETRY.0, RETRY.1),
            repair: Backoff::new(REPAIR.0, REPAIR.1),
            ttl,
        };
        Box::pin(async move {
            tokio::select! {
                biased;
                () = stop.cancelled() => {}
                () = work.run() => {}
            }
        })
    }
}

/// `ttl_seconds`.
#[derive(Debug)]
struct Rewriting {
    every: Duration,
    due: Instant,
    /// For statsd.
    ensemble: Arc<str>,
}

impl Rewriting {
    /// First after a random part, as the original: hosts that start together do not write together.
    fn every(every: Duration, ensemble: Arc<str>) -> Self {
        Self { every, due: Instant::now() + every.mul_f64(fastrand::f64()), ensemble }
    }
}

/// The running reporter.
#[derive(Debug)]
struct Work {
    service: ServiceName,
    desk: Desk,
    wanted: watch::Receiver<Wanted>,
    sessions: watch::Receiver<Session>,
    retry: Backoff,
    repair: Backoff,
    ttl: Option<Rewriting>,
}

/// Why a rest is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Woken {
    /// Another wish, or the session is another or in another state.
    World,
    /// The node that we relied on, or waited for.
    Node,
    /// Its time had come.
    Timer,
}

impl Work {
    /// Until dropped.
    async fn run(mut self) {
        loop {
            let wish = *self.wanted.borrow_and_update();
            let moment = Moment::of(&self.sessions.borrow_and_update());
            let (SessionState::Connected, Some(session)) = (moment.state, moment.id) else {
                self.wait_for_session(wish).await;
                continue;
            };
            self.desk.memory.enter(session);
            self.desk.publisher.reached();
            match self.pass(wish, session).await {
                Ok(rest) => self.rest(rest, wish, moment).await,
                Err(setback) => self.hold(setback, wish, moment).await,
            }
        }
    }

    async fn pass(&mut self, wish: Wanted, session: i64) -> Result<Rest, Setback> {
        if let Some(ttl) = &mut self.ttl
            && wish == Wanted::Present
            && ttl.due <= Instant::now()
        {
            ttl.due = Instant::now() + ttl.every;
            self.desk.rewrite(&ttl.ensemble).await?;
        }
        let rest = self.desk.pass(wish, session).await?;
        self.retry.reset();
        Ok(rest)
    }

    /// One news of the session or the wish.
    async fn wait_for_session(&mut self, wish: Wanted) {
        let trouble = waiting(&self.sessions.borrow());
        self.desk.publisher.unreached(wish, &trouble);
        tokio::select! {
            ended = self.sessions.changed() => if ended.is_err() { std::future::pending().await },
            () = another_wish(&mut self.wanted, wish) => {}
        }
    }

    /// Nothing to do until something happens.
    async fn rest(&mut self, mut rest: Rest, wish: Wanted, moment: Moment) {
        let since = Instant::now();
        let woken = loop {
            let until = match rest.on {
                On::Younger(_) => Some(Instant::now() + YOUNGER_CHECK),
                On::Ours if wish == Wanted::Present => self.ttl.as_ref().map(|ttl| ttl.due),
                On::Ours | On::Nothing | On::Foreign => None,
            };
            let woken = self.sleep(&mut rest.watch, until, (wish, moment)).await;
            match rest.on {
                On::Younger(session)
                    if woken == Woken::Timer
                        && self.desk.memory.relation(session) == Relation::Younger => {}
                On::Younger(_) | On::Ours | On::Nothing | On::Foreign => break woken,
            }
        };
        if woken == Woken::Node && rest.on == On::Ours && wish == Wanted::Present {
            self.pace(since, wish, moment).await;
        }
    }

    /// Our node was changed or deleted: mended at once, unless that happens again and again.
    async fn pace(&mut self, since: Instant, wish: Wanted, moment: Moment) {
        if since.elapsed() >= CALM {
            self.repair.reset();
            return;
        }
        let pause = self.repair.next_delay();
        debug!(service = %self.service, ?pause, "the node was touched again");
        self.sleep(&mut None, Some(Instant::now() + pause), (wish, moment)).await;
    }

    async fn hold(&mut self, setback: Setback, wish: Wanted, moment: Moment) {
        let (trouble, pause) = match setback {
            Setback::Soon(trouble) => (trouble, Some(self.retry.next_delay())),
            Setback::Slowly(trouble) => (trouble, Some(REFUSED_PAUSE)),
            Setback::Never(trouble) => (trouble, None),
            Setback::Outdated => return,
        };
        if self.desk.publisher.held_up(wish, &trouble) {
            warn!(service = %self.service, trouble, "not registered as wanted yet");
        }
        let until = pause.map(|pause| Instant::now() + pause);
        self.sleep(&mut None, until, (wish, moment)).await;
    }

    /// Until the wish or the session is another, the watch fires, or the time has come.
    async fn sleep(
        &mut self,
        watch: &mut Option<BoxFuture<'static, ()>>,
        until: Option<Instant>,
        (wish, moment): (Wanted, Moment),
    ) -> Woken {
        let timer = async {
            match until {
                Some(until) => sleep_until(until).await,
                None => std::future::pending().await,
            }
        };
        let fired = async {
            match watch {
                Some(watch) => watch.await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = another_wish(&mut self.wanted, wish) => Woken::World,
            () = another_moment(&mut self.sessions, moment) => Woken::World,
            () = fired => Woken::Node,
            () = timer => Woken::Timer,
        }
    }
}
