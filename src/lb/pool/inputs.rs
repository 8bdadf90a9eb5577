//! What the pool does with each kind of news.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tracing::{info, warn};

use super::book::{Moves, Record};
use super::{DETAIL_DELAY, Dirty, Pool, PoolCommand};
use crate::discovery::policy::{self, Published};
use crate::discovery::{Discovered, MembershipPolicy};
use crate::endpoint::ServiceName;
use crate::health::Health;
use crate::health::checker::{CheckId, CheckReport, stagger};
use crate::lb::backend::Backend;
use crate::lb::balancer;
use crate::lb::ending::Reason;
use crate::lb::handle::CheckView;
use crate::lb::{BackendId, Outcome, OutcomeKind};
use crate::telemetry::statsd;

impl Pool {
    /// Takes over all settings that wait. They are in force with the next rebuild, which follows if any were there.
    pub(super) fn take_commands(&mut self) -> bool {
        let mut any = false;
        while let Ok(command) = self.inputs.commands.try_recv() {
            self.obey(command);
            any = true;
        }
        any
    }

    pub(super) fn obey(&mut self, command: PoolCommand) {
        let settings = match command {
            PoolCommand::Settings(settings) => settings,
            PoolCommand::Source(settings) => {
                self.is_former = true;
                settings
            }
        };
        if settings.strategy != self.settings.strategy {
            self.balancer = balancer::build(&settings.strategy);
            self.picker_outdated = true;
        }
        self.settings = *settings;
    }

    /// Applies the policy to the last word; the book only follows when the set has changed, or when it `must`.
    pub(super) fn rebuild(&mut self, must: bool) {
        let word = self.inputs.discovered.borrow_and_update().clone();
        // Not before: the policy for a source's word is told before that source begins.
        let must = self.take_commands() || must;
        let was_former = std::mem::replace(&mut self.is_former, word.former.is_some());
        if was_former && !self.is_former {
            self.published.leave_source();
        }
        let published = judge(&self.settings.membership, &word, &self.published);
        if !published.same_members(&self.published) {
            self.membership_changes += 1;
            statsd::synapse::config_updated();
        }
        if published.notes != self.published.notes && !published.notes.is_empty() {
            info!(service = %self.name, notes = ?published.notes, "membership policy applied");
        }
        // The order counts too: equal words make equal snapshots, whatever was said before.
        let changed = published.set.as_slice() != self.published.set.as_slice();
        self.published = published;
        self.dirty = Dirty::Set;
        if !changed && !must {
            return;
        }
        // Some may have come out of maintenance.
        self.next_step = Some(Instant::now());
        let moves = self.book.replace(&self.published.set, &self.settings, &self.inputs.names);
        for backend in &moves.left {
            self.checker.remove(CheckId(backend.id.0));
        }
        self.note_moves(&moves);
        self.log_moves(&moves);
        self.log_complaints(&moves);
        self.schedule_checks();
    }

    /// Options of a registration that cannot be used are named once, when it comes.
    fn log_complaints(&mut self, moves: &Moves) {
        for backend in moves.joined.iter().take(MAX_NAMED) {
            let Some(record) = self.book.get_mut(backend.id) else {
                continue;
            };
            for complaint in &record.settings.complaints {
                warn!(service = %self.name, backend = %backend.server_name, complaint, "server option skipped");
            }
        }
    }

    pub(super) fn take_addresses(&mut self) {
        self.names_changed.mark_unchanged();
        if self.book.refresh_addresses() {
            self.dirty = Dirty::Set;
            self.schedule_checks();
        }
    }

    /// Makes the checker check exactly what the book says; new checks are spread over their interval.
    fn schedule_checks(&mut self) {
        let checker = &mut self.checker;
        let fresh =
            self.book.records.iter().filter(|r| checker.verdict(r.check_id()).is_none()).count();
        let mut delays = stagger(fresh);
        for record in &mut self.book.records {
            let id = record.check_id();
            let wanted = record.check.as_ref().and_then(|c| Some((c, record.check_target(c)?)));
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

    pub(super) fn take_outcomes(&mut self, batch: &mut Vec<Outcome>) {
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

    pub(super) fn take_report(&mut self, report: CheckReport) {
        let Some(verdict) = self.checker.verdict(report.id) else {
            return;
        };
        let Some(record) = self.book.get_mut(BackendId(report.id.0)) else {
            return;
        };
        let was = std::mem::replace(&mut record.health, verdict.health());
        record.since = verdict.since();
        record.standing = verdict.to_string();
        record.unseen = true;
        let (code, status, detail, info) = match report.result {
            Ok(pass) => (
                pass.code,
                pass.status,
                pass.status.map_or_else(|| "connected".to_owned(), |s| format!("status {s}")),
                String::new(),
            ),
            Err(error) => (error.code, error.status, error.detail, error.info),
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
            if record.health == Health::Down && record.settings.shutdown_sessions {
                self.endings.end(&record.backend, Reason::Down);
            }
            if was == Health::Down {
                record.warmth.begin(report.at, record.settings.slow_start);
                self.next_step = Some(report.at);
            }
            log_verdict(&self.name, record);
            self.tell_turn(BackendId(report.id.0), &info);
        } else if self.dirty == Dirty::Nothing {
            self.dirty = Dirty::Details(self.details_due(report.at));
        }
    }

    /// At once, unless the view is younger than [`DETAIL_DELAY`]: a timer of its own for each of the seldom checks of
    /// hundreds of services costs more than the view.
    fn details_due(&self, now: Instant) -> Instant {
        let earliest = self.shown + DETAIL_DELAY;
        if earliest <= now {
            return now;
        }
        self.inputs.checks.align(earliest, 64 * DETAIL_DELAY)
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

/// Word and policy belong together.
fn judge(in_force: &MembershipPolicy, word: &Discovered, previous: &Published) -> Published {
    let mut published = policy::apply(word.policy(in_force), &word.membership, previous);
    if word.former.is_some() {
        published.notes.push("the new source has not spoken yet: the former set stays".to_owned());
    }
    published
}

/// Backends named in one log line.
const MAX_NAMED: usize = 10;

fn log_verdict(service: &ServiceName, record: &Record) {
    let backend = &record.backend.server_name;
    let check = record.last_check.as_ref().map_or("", |check| check.detail.as_str());
    match record.health {
        Health::Down => warn!(%service, %backend, check, "backend down"),
        Health::Up | Health::Unchecked => info!(%service, %backend, check, "backend up"),
    }
}
