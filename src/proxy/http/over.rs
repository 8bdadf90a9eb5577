//! The end of an exchange: what is counted, what is kept, what is given back.

use super::client::{Client, Fixed};
use super::exchange::{Exchange, Phase};
use crate::proxy::{CloseMode, Reuse};

impl Exchange {
    /// The backend has said all, and nothing behind it if `is_clean`. That is the end, unless it goes on reading the
    /// request: `202 Accepted` may come before what is accepted. Of a refusal that says `Connection: close` nobody waits for the rest; nor of
    /// another answer that says so, when nothing of the body had come: a client may want to know whether it is to come.
    pub(super) fn said_all(&mut self, fixed: &Fixed, client: &mut Client, is_clean: bool) {
        let is_awaited = self.down.keep_backend || (self.down.accepts && self.up.bytes > 0);
        let reads_on = is_clean && is_awaited && !self.up.is_broken;
        if !reads_on || self.up.is_done() {
            self.complete(fixed, client, is_clean);
        }
    }

    /// True while the request goes on behind its answer.
    pub(super) fn is_answered(&self) -> bool {
        !self.is_over && self.down.phase == Phase::Body && self.down.body.is_done()
    }

    /// It is over for the backend, too. Its connection is kept if it is clean: nothing more came, and it took the whole request.
    pub(super) fn complete(&mut self, fixed: &Fixed, client: &mut Client, is_clean: bool) {
        let http = &client.settings.http;
        let may_keep = is_clean
            && self.down.keep_backend
            && http.close_mode == CloseMode::KeepAlive
            && self.up.is_done()
            && !self.up.is_broken;
        if let Some(mut upstream) = self.upstream.take()
            && may_keep
        {
            let is_own = http.reuse == Reuse::Never || upstream.is_private();
            upstream.owner = is_own.then(|| fixed.timer.entry());
            if is_own {
                fixed.timer.own();
            }
            fixed.local.upstreams.borrow_mut().put(upstream, fixed.now());
        }
        self.down.keep_client &= self.up.body.is_done();
        self.finish(fixed, client);
    }

    /// Bytes of heads and bodies on their way to the client.
    pub(super) fn count_out(&self, fixed: &Fixed, n: usize) {
        let n = u64::try_from(n).unwrap_or(u64::MAX);
        fixed.cells().bytes_out.add(n);
        if let Some(cells) = self.backend_cells(fixed) {
            cells.bytes_out.add(n);
        }
    }

    /// Bytes of the request so far.
    pub(super) fn came(&self) -> u64 {
        self.up.bytes + u64::try_from(self.request.len).unwrap_or_default()
    }

    /// Counts, releases the lease, and leaves the client's connection to its next request. Once only.
    pub(super) fn finish(&mut self, fixed: &Fixed, client: &mut Client) {
        if std::mem::replace(&mut self.is_over, true) {
            return;
        }
        let service = fixed.cells();
        let came = self.came();
        service.bytes_in.add(came);
        if let Some(cells) = self.backend_cells(fixed) {
            cells.bytes_in.add(came);
        }
        let now = fixed.local.clock.instant();
        service.latency.observe(now.saturating_duration_since(self.started));
        if let Some(notes) = &mut self.notes {
            notes.course.bytes_in += self.up.bytes;
        }
        client.end_request(fixed, fixed.now());
        // An answer that did not wait for its request: the rest of that may still come.
        client.has_more |= !self.up.body.is_done();
        self.lease = None;
        self.upstream = None;
        let mut spares = fixed.local.spares.borrow_mut();
        spares.give(std::mem::take(&mut self.up.head));
        spares.give(std::mem::take(&mut self.up.waiting));
        spares.give(std::mem::take(&mut self.down.inbox));
    }
}
