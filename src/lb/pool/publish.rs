//! What the pool shows: the snapshot for workers, the view for people.

use std::sync::Arc;

use super::view::{self, Standing};
use super::{Dirty, Pool};
use crate::lb::handle::PoolView;
use crate::lb::snapshot::{Member, Snapshot};

impl Pool {
    /// Shows what has changed: the snapshot if a worker can tell the difference, then the view.
    pub(super) fn publish(&mut self) {
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
        let eligible = records
            .iter()
            .zip(standings)
            .filter(|(_, s)| **s == Standing::Eligible);
        let members: Box<[Member]> = eligible
            .filter_map(|(record, _)| view::member(record))
            .collect();
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
}

fn same_members(a: &[Member], b: &[Member]) -> bool {
    a.len() == b.len()
        && a.iter().zip(b).all(|(a, b)| {
            Arc::ptr_eq(&a.backend, &b.backend)
                && (a.addr, a.weight, a.max_connections) == (b.addr, b.weight, b.max_connections)
        })
}
