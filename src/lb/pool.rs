//! The pool task: joins membership, checks and evidence into snapshots. One per service, the only writer.
//!
//! It takes everything that is waiting, then builds once; a snapshot is published only when something a worker can see
//! has changed. Evidence comes in at the rate of requests: it is read in bounded batches and never starves the rest.
//!
//! Owner of: the book of backends, the verdicts (through its [`Checker`]), the snapshot, the view.

mod book;
mod view;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use self::book::{Book, Moves, Record};
use self::view::Standing;
use super::addresses::Addresses;
use super::backend::Backend;
use super::balancer::{self, Balancer};
use super::handle::{CheckView, PoolHandle, PoolView, SetOrigin};
use super::snapshot::{Member, Snapshot};
use super::{BackendId, Outcome, OutcomeKind, PoolSettings};
use crate::discovery::Discovered;
use crate::discovery::policy::{self, Published};
use crate::endpoint::ServiceName;
use crate::health::Health;
use crate::health::checker::{CheckId, CheckReport, CheckRunner, Checker, stagger};

/// Outcomes waiting for the pool; what comes on top is dropped and counted: evidence is about a state, not a sum.
const OUTCOME_QUEUE: usize = 1024;

/// Outcomes and reports taken before the set is built again.
const BATCH: usize = 256;

/// How long the view may lag behind when only details of checks have changed. Verdicts and sets are shown at once.
const DETAIL_DELAY: Duration = Duration::from_secs(1);

/// What a pool is given to work with.
#[derive(Debug)]
pub struct PoolInputs {
    /// The last word of discovery.
    pub discovered: watch::Receiver<Discovered>,
    /// Addresses of names.
    pub addresses: Arc<dyn Addresses>,
    /// Changes of settings.
    pub commands: mpsc::Receiver<PoolCommand>,
    /// How probes are made, and the bound of all pools together on those under way.
    pub checks: CheckRunner,
}

/// What a running pool can be told.
#[derive(Debug)]
pub enum PoolCommand {
    /// New settings, applied without touching what is under way: backends stay, verdicts stay, the cursor stays unless
    /// the strategy changes.
    Settings(Box<PoolSettings>),
}

/// The task's state.
#[derive(Debug)]
pub struct Pool {
    name: ServiceName,
    settings: PoolSettings,
    balancer: Box<dyn Balancer>,
    book: Book,
    checker: Checker,
    published: Published,
    inputs: PoolInputs,
    names: watch::Receiver<u64>,
    outcomes: mpsc::Receiver<Outcome>,
    snapshot: Arc<ArcSwap<Snapshot>>,
    view: Arc<ArcSwap<PoolView>>,
    views: watch::Sender<u64>,
    membership_changes: u64,
    health_changes: u64,
    dirty: Dirty,
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
}

impl Pool {
    /// A pool and its shared end. The handle gives nobody until the task has run. Call within a runtime.
    pub fn new(
        name: ServiceName,
        settings: PoolSettings,
        workers: usize,
        inputs: PoolInputs,
    ) -> (PoolHandle, Self) {
        let balancer = balancer::build(settings.strategy);
        let (report, outcomes) = mpsc::channel(OUTCOME_QUEUE);
        let (views, seen) = watch::channel(0);
        let snapshot = Arc::new(ArcSwap::from_pointee(Snapshot {
            revision: 0,
            members: Box::default(),
            known: 0,
            up: 0,
            picker: balancer.build(&[]),
        }));
        let view = Arc::new(ArcSwap::from_pointee(PoolView {
            revision: 0,
            origin: SetOrigin::Nothing,
            backends: Vec::new(),
            discovered: Discovered::default(),
            membership_changes: 0,
            health_changes: 0,
        }));
        let handle = PoolHandle {
            name: name.clone(),
            snapshot: Arc::clone(&snapshot),
            view: Arc::clone(&view),
            outcomes: report,
            outcomes_dropped: Arc::new(AtomicU64::new(0)),
            views: seen,
        };
        let pool = Self {
            name,
            settings,
            balancer,
            book: Book::new(workers),
            checker: Checker::new(inputs.checks.clone()),
            published: Published::default(),
            names: inputs.addresses.subscribe(),
            inputs,
            outcomes,
            snapshot,
            view,
            views,
            membership_changes: 0,
            health_changes: 0,
            dirty: Dirty::Nothing,
        };
        (handle, pool)
    }

    /// Runs until `stop`. Sources that end leave their last word standing.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut open = Open {
            discovered: true,
            names: true,
            commands: true,
        };
        let mut batch = Vec::new();
        self.take_membership();
        loop {
            self.publish();
            tokio::select! {
                () = stop.cancelled() => return,
                changed = self.inputs.discovered.changed(), if open.discovered => {
                    open.discovered = changed.is_ok();
                    self.take_membership();
                }
                changed = self.names.changed(), if open.names => {
                    open.names = changed.is_ok();
                    self.take_addresses();
                }
                command = self.inputs.commands.recv(), if open.commands => match command {
                    Some(command) => self.obey(command),
                    None => open.commands = false,
                },
                _ = self.outcomes.recv_many(&mut batch, BATCH) => self.take_outcomes(&mut batch),
                report = self.checker.next() => self.take_report(report),
                () = details_due(self.dirty) => self.dirty = Dirty::Set,
            }
            self.take_waiting(&mut batch);
        }
    }

    /// Everything else that is waiting already, so that one build answers for all of it.
    fn take_waiting(&mut self, batch: &mut Vec<Outcome>) {
        if self.inputs.discovered.has_changed().unwrap_or(false) {
            self.take_membership();
        }
        if self.names.has_changed().unwrap_or(false) {
            self.take_addresses();
        }
        while let Ok(command) = self.inputs.commands.try_recv() {
            self.obey(command);
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

    fn obey(&mut self, command: PoolCommand) {
        match command {
            PoolCommand::Settings(settings) => {
                if settings.strategy != self.settings.strategy {
                    self.balancer = balancer::build(settings.strategy);
                }
                self.settings = *settings;
                self.rebuild(true);
            }
        }
    }

    fn take_membership(&mut self) {
        self.inputs.discovered.mark_unchanged();
        self.rebuild(false);
    }

    /// Applies the policy to the last word; the book only follows when the set has changed, or when it `must`.
    fn rebuild(&mut self, must: bool) {
        let membership = self.inputs.discovered.borrow().membership.clone();
        let published = policy::apply(&self.settings.membership, &membership, &self.published);
        let changed = !published.same_members(&self.published);
        if changed {
            self.membership_changes += 1;
        }
        self.published = published;
        self.dirty = Dirty::Set;
        if !changed && !must {
            return;
        }
        let moves = self
            .book
            .replace(&self.published.set, &self.settings, &*self.inputs.addresses);
        for backend in &moves.left {
            self.checker.remove(CheckId(backend.id.0));
        }
        self.log_moves(&moves);
        self.schedule_checks();
    }

    fn take_addresses(&mut self) {
        self.names.mark_unchanged();
        if self.book.refresh_addresses(&*self.inputs.addresses) {
            self.dirty = Dirty::Set;
            self.schedule_checks();
        }
    }

    /// Makes the checker check exactly what the book says; new checks are spread over their interval.
    fn schedule_checks(&mut self) {
        let checker = &mut self.checker;
        let fresh = self
            .book
            .records
            .iter()
            .filter(|r| checker.verdict(r.check_id()).is_none())
            .count();
        let mut delays = stagger(fresh);
        for record in &mut self.book.records {
            let id = record.check_id();
            let wanted = record
                .check
                .as_ref()
                .and_then(|c| Some((c, record.check_target(c)?)));
            let Some((settings, target)) = wanted else {
                checker.remove(id);
                continue;
            };
            let delay = match checker.verdict(id) {
                Some(_) => Duration::ZERO,
                None => settings.interval.mul_f64(delays.next().unwrap_or(0.0)),
            };
            checker.set(id, target, settings, delay);
            if let Some(verdict) = checker.verdict(id) {
                record.health = verdict.health();
                record.since = verdict.since();
            }
        }
    }

    fn take_outcomes(&mut self, batch: &mut Vec<Outcome>) {
        for outcome in batch.drain(..) {
            let current = self
                .book
                .get_mut(outcome.backend)
                .is_some_and(|record| record.address.as_ref() == Ok(&outcome.addr));
            if !current {
                continue;
            }
            let id = CheckId(outcome.backend.0);
            match outcome.kind {
                OutcomeKind::Refused => {
                    if let Some(report) = self.checker.refused(id) {
                        self.take_report(report);
                    }
                }
                OutcomeKind::ConnectFailed => self.checker.probe_soon(id),
            }
        }
    }

    fn take_report(&mut self, report: CheckReport) {
        let Some(verdict) = self.checker.verdict(report.id) else {
            return;
        };
        let Some(record) = self.book.get_mut(BackendId(report.id.0)) else {
            return;
        };
        let was = std::mem::replace(&mut record.health, verdict.health());
        record.since = verdict.since();
        record.standing = verdict.to_string();
        let (code, status, detail) = match report.result {
            Ok(pass) => (
                pass.code,
                pass.status,
                pass.status
                    .map_or_else(|| "connected".to_owned(), |s| format!("status {s}")),
            ),
            Err(error) => (error.code, error.status, error.detail),
        };
        record.last_check = Some(CheckView {
            code,
            status,
            detail,
            took: report.took,
            at: report.at,
            streak: verdict.streak(),
        });
        if was != record.health {
            self.health_changes += 1;
            self.dirty = Dirty::Set;
            log_verdict(&self.name, record);
        } else if self.dirty == Dirty::Nothing {
            self.dirty = Dirty::Details(report.at + DETAIL_DELAY);
        }
    }

    /// Shows what has changed: the snapshot if a worker can tell the difference, then the view.
    fn publish(&mut self) {
        if self.dirty != Dirty::Set {
            return;
        }
        self.dirty = Dirty::Nothing;
        let standings = view::standings(&self.book.records, self.settings.all_backups);
        let revision = self.publish_snapshot(&standings);
        let backends = self
            .book
            .records
            .iter()
            .zip(&standings)
            .map(|(r, s)| view::backend_view(r, *s))
            .collect();
        self.view.store(Arc::new(PoolView {
            revision,
            origin: self.published.origin,
            backends,
            discovered: self.inputs.discovered.borrow().clone(),
            membership_changes: self.membership_changes,
            health_changes: self.health_changes,
        }));
        self.views.send_modify(|n| *n += 1);
    }

    /// Returns the revision of the snapshot in force.
    fn publish_snapshot(&self, standings: &[Standing]) -> u64 {
        let records = &self.book.records;
        let eligible = records
            .iter()
            .zip(standings)
            .filter(|(_, s)| **s == Standing::Eligible);
        let members: Box<[Member]> = eligible
            .filter_map(|(record, _)| view::member(record))
            .collect();
        let up = records.iter().filter(|r| view::is_up(r)).count();
        let current = self.snapshot.load();
        let same = current.revision > 0
            && (current.known, current.up) == (records.len(), up)
            && same_members(&current.members, &members);
        if same {
            return current.revision;
        }
        let revision = current.revision + 1;
        self.snapshot.store(Arc::new(Snapshot {
            revision,
            known: records.len(),
            up,
            picker: self.balancer.build(&members),
            members,
        }));
        revision
    }

    fn log_moves(&self, moves: &Moves) {
        let name = |backend: &Arc<Backend>| Arc::clone(&backend.server_name);
        if !moves.joined.is_empty() || !moves.left.is_empty() {
            info!(
                service = %self.name,
                joined = ?moves.joined.iter().take(MAX_NAMED).map(name).collect::<Vec<_>>(),
                joined_total = moves.joined.len(),
                left = ?moves.left.iter().take(MAX_NAMED).map(name).collect::<Vec<_>>(),
                left_total = moves.left.len(),
                backends = self.book.records.len(),
                "backends changed"
            );
        }
    }
}

/// Backends named in one log line.
const MAX_NAMED: usize = 10;

fn log_verdict(service: &ServiceName, record: &Record) {
    let backend = &record.backend.server_name;
    let check = record
        .last_check
        .as_ref()
        .map_or("", |check| check.detail.as_str());
    match record.health {
        Health::Down => warn!(%service, %backend, check, "backend down"),
        Health::Up | Health::Unchecked => info!(%service, %backend, check, "backend up"),
    }
}

fn same_members(a: &[Member], b: &[Member]) -> bool {
    a.len() == b.len()
        && a.iter().zip(b).all(|(a, b)| {
            Arc::ptr_eq(&a.backend, &b.backend)
                && (a.addr, a.weight, a.max_connections) == (b.addr, b.weight, b.max_connections)
        })
}

async fn details_due(dirty: Dirty) {
    match dirty {
        Dirty::Details(at) => sleep_until(at).await,
        Dirty::Nothing | Dirty::Set => std::future::pending().await,
    }
}
