//! What the pool shows: the snapshot for workers, the view for people.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::time::Instant;

use super::book::Record;
use super::view::{self, Standing};
use super::{Dirty, Pool};
use crate::lb::handle::{BackendView, PoolView};
use crate::lb::queue;
use crate::lb::snapshot::{Member, Snapshot};

impl Pool {
    /// Shows what has changed: the snapshot if a worker can tell the difference, then the view.
    pub(super) fn publish(&mut self) {
        match self.dirty {
            Dirty::Set => self.publish_all(),
            Dirty::Details(due) if due <= Instant::now() => self.publish_details(),
            Dirty::Details(_) | Dirty::Nothing => {}
        }
    }

    fn publish_all(&mut self) {
        let standings = view::standings(&self.book.records, self.settings.all_backups);
        let revision = self.publish_snapshot(&standings);
        let records = self.book.records.iter_mut().zip(&standings);
        let backends = records.map(|(record, standing)| shown(record, *standing)).collect();
        self.show(revision, backends);
    }

    /// Ten thousand checks a minute cost this much each: only who was checked is written anew, the rest is shared with
    /// the view before, and workers have nothing to see.
    fn publish_details(&mut self) {
        let standings = view::standings(&self.book.records, self.settings.all_backups);
        let current = self.view.load();
        let mut backends = current.backends.clone();
        let revision = current.revision;
        drop(current);
        let records = self.book.records.iter_mut().zip(&standings);
        for (backend, (record, standing)) in backends.iter_mut().zip(records) {
            if record.unseen {
                *backend = shown(record, *standing);
            }
        }
        self.show(revision, backends);
    }

    fn show(&mut self, revision: u64, backends: Vec<Arc<BackendView>>) {
        self.dirty = Dirty::Nothing;
        self.shown = Instant::now();
        self.view.store(Arc::new(PoolView {
            revision,
            origin: self.published.origin,
            notes: self.published.notes.clone(),
            backends,
            discovered: self.inputs.discovered.borrow().clone(),
            membership_changes: self.membership_changes,
            health_changes: self.health_changes,
        }));
        self.views.send_modify(|n| *n += 1);
    }

    /// Returns the revision of the snapshot in force.
    pub(super) fn publish_snapshot(&mut self, standings: &[Standing]) -> u64 {
        let records = &self.book.records;
        let eligible = records.iter().zip(standings).filter(|(_, s)| **s == Standing::Eligible);
        let members: Box<[Member]> =
            eligible.filter_map(|(record, _)| view::member(record)).collect();
        let up = records.iter().filter(|r| view::is_up(r)).count();
        let outdated = std::mem::take(&mut self.picker_outdated);
        let current = self.snapshot.load();
        let same = current.revision > 0
            && !outdated
            && (current.known, current.up) == (records.len(), up)
            && same_members(&current.members, &members);
        if same {
            return current.revision;
        }
        if members.is_empty() && !current.members.is_empty() {
            self.tell_nobody_left();
        }
        let revision = current.revision + 1;
        let (known, picker) = (records.len(), self.balancer.build(&members));
        let next = Snapshot { revision, known, up, picker, members };
        let has_http2 = next.has_http2();
        if has_http2 {
            // Before: a request that does not see it must not find such a server.
            self.http2.store(true, Ordering::Release);
        }
        queue::publish(&self.queue, &self.snapshot, next);
        self.http2.store(has_http2, Ordering::Release);
        revision
    }
}

fn shown(record: &mut Record, standing: Standing) -> Arc<BackendView> {
    record.unseen = false;
    Arc::new(view::backend_view(record, standing))
}

fn same_members(a: &[Member], b: &[Member]) -> bool {
    a.len() == b.len()
        && a.iter().zip(b).all(|(a, b)| {
            Arc::ptr_eq(&a.backend, &b.backend)
                && (a.number, &a.addr, a.weight) == (b.number, &b.addr, b.weight)
                && a.way == b.way
                && (a.max_connections, a.limits, a.protocol)
                    == (b.max_connections, b.limits, b.protocol)
        })
}
