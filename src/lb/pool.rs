//! The pool task: joins membership, checks and evidence into snapshots. One per service, the only writer.
//!
//! It takes everything that is waiting, then builds once; a snapshot is published only when something a worker can see
//! has changed. Evidence comes in at the rate of requests: it is read in bounded batches and never starves the rest.
//!
//! A panic in it does not end it: the snapshot stays in force, and a new book is made from the last words (`restart`).
//!
//! Owner of: the book of backends, the verdicts (through its [`Checker`]), the snapshot, the view.

mod book;
mod ending;
mod inputs;
mod messages;
mod number;
mod publish;
mod restart;
pub mod state;
mod view;
mod warmth;

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use self::book::Book;
use self::ending::Endings;
use self::state::PoolState;
use super::balancer::{self, Balancer};
use super::handle::{PoolHandle, PoolView, SetOrigin};
use super::queue::{self, Queue};
use super::snapshot::Snapshot;
use super::{BackendId, Outcome, PoolSettings};
use crate::discovery::Discovered;
use crate::discovery::names::NameCache;
use crate::discovery::policy::Published;
use crate::endpoint::ServiceName;
use crate::health::checker::Checker;
use crate::health::runner::CheckRunner;

/// Outcomes waiting for the pool; what comes on top is dropped and counted: evidence is about a state, not a sum.
const OUTCOME_QUEUE: usize = 1024;

/// Outcomes and reports taken before the set is built again.
const BATCH: usize = 256;

/// Least time between two views that differ in details of checks only: so long may those lag behind. Verdicts and sets
/// are shown at once.
const DETAIL_DELAY: Duration = Duration::from_secs(1);

/// What a pool is given to work with.
#[derive(Debug)]
pub struct PoolInputs {
    /// The last word of discovery.
    pub discovered: watch::Receiver<Discovered>,
    /// Addresses of DNS names in registrations; somebody else drives it.
    pub names: NameCache,
    /// Changes of settings.
    pub commands: mpsc::Receiver<PoolCommand>,
    /// How probes are made, and the bound of all pools together on those under way.
    pub checks: CheckRunner,
    /// What another process knew about the same service, to go on from.
    pub initial: Option<PoolState>,
}

/// What a running pool can be told.
#[derive(Debug)]
pub enum PoolCommand {
    /// New settings, applied without touching what is under way: backends stay, verdicts stay, the cursor stays unless
    /// the strategy changes.
    Settings(Box<PoolSettings>),
    /// The same, for a source that takes the place of the former one. It is told before that source begins.
    Source(Box<PoolSettings>),
}

/// The task's state.
#[derive(Debug)]
pub struct Pool {
    name: ServiceName,
    settings: PoolSettings,
    balancer: Box<dyn Balancer>,
    book: Book,
    workers: usize,
    checker: Checker,
    published: Published,
    /// `published` is of a source that has been replaced.
    is_former: bool,
    inputs: PoolInputs,
    names_changed: watch::Receiver<u64>,
    outcomes: mpsc::Receiver<Outcome>,
    exports: mpsc::Receiver<oneshot::Sender<PoolState>>,
    snapshot: Arc<ArcSwap<Snapshot>>,
    /// One of its members speaks HTTP/2.
    http2: Arc<AtomicBool>,
    /// Served when a new snapshot has room.
    queue: Arc<Queue>,
    view: Arc<ArcSwap<PoolView>>,
    views: watch::Sender<u64>,
    ends: watch::Sender<u64>,
    endings: Endings,
    membership_changes: u64,
    health_changes: u64,
    dirty: Dirty,
    /// Were down when the checker was replaced.
    were_down: Vec<BackendId>,
    /// When the view was last replaced.
    shown: Instant,
    /// When a server in its slow start may make its next step.
    next_step: Option<Instant>,
    /// The balancer is not the one that built the published picker.
    picker_outdated: bool,
}

/// What has to be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dirty {
    Nothing,
    /// Details of checks, shown no later than this.
    Details(Instant),
    /// Sets, verdicts, addresses or the source's state: at once.
    Set,
}

/// Inputs whose sender is gone are no longer waited for; the pool goes on with what it has.
#[derive(Clone, Copy, Debug)]
struct Open {
    discovered: bool,
    names: bool,
    commands: bool,
    outcomes: bool,
    exports: bool,
}

impl Pool {
    /// A pool and its shared end. The handle gives nobody until the task has run. Call within a runtime.
    pub fn new(
        name: ServiceName,
        settings: PoolSettings,
        workers: usize,
        inputs: PoolInputs,
    ) -> (PoolHandle, Self) {
        let balancer = balancer::build(&settings.strategy);
        let (report, outcomes) = mpsc::channel(OUTCOME_QUEUE);
        let (export, exports) = mpsc::channel(1);
        let (views, seen) = watch::channel(0);
        let (ends, ended) = watch::channel(0);
        let queue = Arc::new(Queue::default());
        let picker = balancer.build(&[]);
        let nobody = Snapshot { revision: 0, members: Box::default(), known: 0, up: 0, picker };
        let snapshot = queue::first(&queue, nobody);
        let http2 = Arc::<AtomicBool>::default();
        let view = Arc::new(ArcSwap::from_pointee(PoolView {
            revision: 0,
            origin: SetOrigin::Nothing,
            backends: Vec::new(),
            discovered: Discovered::default(),
            notes: Vec::new(),
            membership_changes: 0,
            health_changes: 0,
        }));
        let handle = PoolHandle {
            name: name.clone(),
            snapshot: Arc::clone(&snapshot),
            http2: Arc::clone(&http2),
            queue: Arc::clone(&queue),
            view: Arc::clone(&view),
            outcomes: report,
            exports: export,
            outcomes_dropped: Arc::new(AtomicU64::new(0)),
            views: seen,
            ends: ended,
        };
        let pool = Self {
            name,
            settings,
            balancer,
            book: Book::new(workers, &queue),
            queue,
            workers,
            checker: Checker::new(inputs.checks.clone()),
            published: Published::default(),
            is_former: false,
            names_changed: inputs.names.changed(),
            inputs,
            outcomes,
            exports,
            snapshot,
            http2,
            view,
            views,
            ends,
            endings: Endings::default(),
            membership_changes: 0,
            health_changes: 0,
            dirty: Dirty::Nothing,
            were_down: Vec::new(),
            shown: Instant::now(),
            next_step: None,
            picker_outdated: false,
        };
        (handle, pool)
    }

    /// Works until `stop`. Sources that end leave their last word standing.
    async fn work(&mut self, stop: &CancellationToken) {
        let mut open =
            Open { discovered: true, names: true, commands: true, outcomes: true, exports: true };
        let mut batch = Vec::new();
        let mut stopped = pin!(stop.cancelled());
        match self.inputs.initial.take() {
            Some(state) => self.restore(state),
            None => self.rebuild(true),
        }
        self.recall_down();
        loop {
            self.publish();
            self.end_sessions();
            tokio::select! {
                () = &mut stopped => return,
                changed = self.inputs.discovered.changed(), if open.discovered => {
                    open.discovered = changed.is_ok();
                    self.rebuild(false);
                }
                changed = self.names_changed.changed(), if open.names => {
                    open.names = changed.is_ok();
                    self.take_addresses();
                }
                command = self.inputs.commands.recv(), if open.commands => match command {
                    Some(command) => {
                        self.obey(command);
                        self.rebuild(true);
                    }
                    None => open.commands = false,
                },
                taken = self.outcomes.recv_many(&mut batch, BATCH), if open.outcomes => {
                    open.outcomes = taken > 0;
                    self.take_outcomes(&mut batch);
                }
                export = self.exports.recv(), if open.exports => match export {
                    // Whoever asked may have given up.
                    Some(asked) => drop(asked.send(self.export())),
                    None => open.exports = false,
                },
                report = self.checker.next() => self.take_report(report),
                () = details_due(self.dirty) => {}
                () = self.endings.due() => {}
                () = warmth::step_due(self.next_step) => self.follow_warmth(),
            }
            self.take_waiting(&mut batch);
        }
    }

    /// Everything else that is waiting already, so that one build answers for all of it.
    fn take_waiting(&mut self, batch: &mut Vec<Outcome>) {
        let is_told = self.take_commands();
        if is_told || self.inputs.discovered.has_changed().unwrap_or(false) {
            self.rebuild(is_told);
        }
        if self.names_changed.has_changed().unwrap_or(false) {
            self.take_addresses();
        }
        while batch.len() < BATCH
            && let Ok(outcome) = self.outcomes.try_recv()
        {
            batch.push(outcome);
        }
        self.take_outcomes(batch);
        for _ in 0..BATCH {
            let Some(report) = self.checker.try_next() else {
                break;
            };
            self.take_report(report);
        }
    }
}

async fn details_due(dirty: Dirty) {
    match dirty {
        Dirty::Details(at) => sleep_until(at).await,
        Dirty::Nothing | Dirty::Set => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
