//! haproxy's messages about servers, to the `log` targets. The process log says the same in its own way.
//!
//! Checks alone make a server go down or up: one that discovery adds or removes has never been that. That nobody is left
//! is said whatever the reason, as soon as workers see it.

use super::{Pool, view};
use crate::health::Health;
use crate::lb::BackendId;
use crate::telemetry::access::Turn;

impl Pool {
    /// The verdict on this one has changed with its last check.
    pub(super) fn tell_turn(&mut self, id: BackendId, info: &str) {
        let Some(log) = &self.settings.states else {
            return;
        };
        let usable = view::usable(&self.book.records);
        let Some(record) = self.book.get_mut(id) else {
            return;
        };
        let Some(check) = &record.last_check else {
            return;
        };
        let (is_up, slot) = (record.health == Health::Up, &record.backend.in_flight);
        let own = slot.queued().0;
        let room = record.settings.max_connections.map_or(u32::MAX, |max| max.get());
        // Nobody goes on waiting for a server that is down.
        let (requeued, queued) =
            if is_up { (self.queue.view().common.min(room), own) } else { (own, 0) };
        log.turned(&Turn {
            server: &record.backend.server_name,
            is_backup: record.settings.backup,
            is_up,
            code: check.code,
            status: check.status,
            info,
            took: check.took,
            usable,
            sessions: slot.get(),
            requeued,
            queued,
        });
    }

    /// The service has lost the last server that it could use.
    pub(super) fn tell_nobody_left(&self) {
        if let Some(log) = &self.settings.states {
            log.nobody_left();
        }
    }
}
