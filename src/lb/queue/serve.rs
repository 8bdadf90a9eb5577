//! Giving out what is free to those that wait, in the order in which they came.

use std::sync::Weak;
use std::sync::atomic::{Ordering, fence};

use super::Queue;
use super::line::{Depth, Line, Lines, Waiter};
use crate::lb::backend::Backend;
use crate::lb::lease::Grant;
use crate::lb::limits::Busy;
use crate::lb::snapshot::{Member, Snapshot};
use crate::lb::{BackendId, PickContext};

impl Queue {
    /// Gives out what is free: after somebody came, and after a new snapshot. Those that wait for a server that is picked
    /// no more wait for any from then on.
    pub(in crate::lb) fn serve(&self) {
        let Some(source) = self.snapshot.get().and_then(Weak::upgrade) else {
            return;
        };
        let mut lines = self.lock();
        // Whoever did not see us has given up its slot before: now it shows.
        fence(Ordering::SeqCst);
        let snapshot = source.load();
        if self.release_bound(&mut lines, &snapshot) {
            // The same for who did not see them in the line of the service.
            fence(Ordering::SeqCst);
        }
        // Who goes from waiting to being served is in it before and after: one number for all.
        let busy = Busy::default();
        let cx = PickContext { busy: Some(&busy), ..PickContext::default() };
        let Lines { common, bound, .. } = &mut *lines;
        let mut any_has_room = true;
        loop {
            let first = common.first().filter(|_| any_has_room);
            let mut behind = None;
            for line in bound.values_mut() {
                if self.serve_bound(line, first, &snapshot, cx) {
                    behind = behind.into_iter().chain(line.first()).min();
                }
            }
            let claim = || snapshot.claim(cx).ok();
            any_has_room = self.serve_line(common, (&self.common, false), behind, claim);
            if behind.is_none() {
                break;
            }
        }
        bound.retain(|_, line| !line.waiting.is_empty());
    }

    /// [`Queue::serve_line`] for the line of a server.
    fn serve_bound(
        &self,
        line: &mut Line,
        before: Option<u64>,
        snapshot: &Snapshot,
        cx: PickContext<'_>,
    ) -> bool {
        let Some(server) = line.server.upgrade() else {
            return false;
        };
        let Some(member) = member_of(&server, snapshot) else {
            return false;
        };
        let take = || Grant::take(member, cx.busy);
        self.serve_line(line, (&server.in_flight.queued, true), before, take)
    }

    /// Serves a line until it is empty, until there is no room, or until it is the turn of who came at `before`: then true.
    fn serve_line(
        &self,
        line: &mut Line,
        (depth, is_bound): (&Depth, bool),
        before: Option<u64>,
        claim: impl Fn() -> Option<Grant>,
    ) -> bool {
        let has_to_wait = loop {
            self.length.fetch_sub(line.skip_gone(), Ordering::SeqCst);
            let Some(first) = line.first() else {
                break false;
            };
            if before.is_some_and(|before| before < first) {
                break true;
            }
            let Some(grant) = claim() else {
                break false;
            };
            if let Some(back) = line.give(grant, is_bound) {
                back.give_back();
            }
            self.length.fetch_sub(1, Ordering::SeqCst);
        };
        depth.set(line);
        has_to_wait
    }

    /// Moves those that wait for nobody of `snapshot` to the line of the service, where they keep their turn; true if there
    /// were any.
    fn release_bound(&self, lines: &mut Lines, snapshot: &Snapshot) -> bool {
        let Lines { common, bound, .. } = lines;
        let is_member = |line: &Line| {
            line.server.upgrade().is_some_and(|server| member_of(&server, snapshot).is_some())
        };
        let strangers: Vec<BackendId> =
            bound.iter().filter(|(_, line)| !is_member(line)).map(|(id, _)| *id).collect();
        for line in strangers.iter().filter_map(|id| bound.remove(id)) {
            if let Some(server) = line.server.upgrade() {
                server.in_flight.queued.set(&Line::default());
            }
            let came_at = common.served;
            common.waiting.extend(
                line.waiting.into_iter().map(|(at, waiter)| (at, Waiter { came_at, ..waiter })),
            );
        }
        self.common.set(common);
        !strangers.is_empty()
    }
}

/// The member of `server`. Asked for every line, so the hint comes first; it is wrong while a snapshot is being published,
/// and a line must not be given up for that.
fn member_of<'s>(server: &Backend, snapshot: &'s Snapshot) -> Option<&'s Member> {
    let is_it = |member: &&Member| member.backend.id == server.id;
    server.in_flight.member_in(snapshot).or_else(|| snapshot.members.iter().find(is_it))
}
