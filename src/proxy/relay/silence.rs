//! How long nothing may move, and who is to blame for it.

use std::task::{Context, Poll};
use std::time::Duration;

use super::{Finish, Meter, Patience, Relay, Which};
use crate::proxy::direction::Direction;
use crate::proxy::local::Local;
use crate::proxy::millis::Millis;
use crate::proxy::timer::Timer;

/// How often within a silence it is seen whether a side that seems to take nothing does.
const LOOKS: u32 = 4;

/// Buffers or pipes that it may take each time: more than a socket buffers.
const FILLS: u32 = 64;

impl Relay {
    /// Waits for the end of a silence. A side that has said nothing for too long is taken to have said all, as with haproxy:
    /// the other is told, and has the rest of its own silence. Ready when neither has any left, or when one has taken nothing
    /// of what was said to it.
    pub(super) fn poll_idle(
        &mut self,
        cx: &mut Context<'_>,
        timer: &Timer,
        (patience, meter): (Patience<'_>, &impl Meter),
    ) -> Poll<Finish> {
        loop {
            let silence = self.silence(patience);
            let until = silence.map_or(Millis::NEVER, |(limit, _)| self.active.after(limit));
            let look = silence.map_or(Millis::NEVER, |(limit, _)| self.next_look(limit));
            let deadline = until.min(look).min(patience.age);
            if deadline == Millis::NEVER || !timer.expires(deadline) {
                return Poll::Pending;
            }
            let Some((_, which)) = silence.filter(|_| deadline < patience.age) else {
                return Poll::Ready(Finish::Aged);
            };
            let active = self.active;
            if let Poll::Ready(finish) = self.look(cx, timer.local(), meter) {
                return Poll::Ready(finish);
            }
            if deadline < until || self.active != active {
                continue;
            }
            cx.waker().wake_by_ref();
            let first = *self.expired.get_or_insert(which);
            let (own, other) = match which {
                Which::Client => (&mut self.up, &self.down),
                Which::Backend => (&mut self.down, &self.up),
            };
            own.ended = true;
            if other.holds() || other.ended {
                if which == Which::Backend && other.closed {
                    // It was told that no more comes: a close would tell it nothing, and it may wait for ever.
                    self.backend.reset();
                }
                return Poll::Ready(Finish::Idle(first));
            }
        }
    }

    /// When a side that takes nothing is looked at next.
    fn next_look(&self, limit: Duration) -> Millis {
        if self.up.holds() || self.down.holds() {
            self.looked.max(self.active).after(limit / LOOKS)
        } else {
            Millis::NEVER
        }
    }

    /// Has sides that seem to take nothing take what they can: see [`creep`](super::creep). Renews `active` if that shows
    /// that one of them reads.
    fn look(&mut self, cx: &mut Context<'_>, local: &Local, meter: &impl Meter) -> Poll<Finish> {
        let (active, was_full) = (self.active, self.looked >= self.active);
        let mut fills = 0;
        while fills < FILLS && self.creeps() {
            fills += 1;
            if let Poll::Ready(finish) = self.poll(cx, local, meter) {
                return Poll::Ready(finish);
            }
        }
        self.looked = local.clock.tick();
        self.active = if fills > 0 && (was_full || fills == FILLS) { self.looked } else { active };
        Poll::Pending
    }

    /// The silence that ends next: of a side that has to take what was said to it, or has not said all and is listened to.
    fn silence(&self, patience: Patience<'_>) -> Option<(Duration, Which)> {
        let t = patience.timeouts;
        let client = t.client_fin.filter(|_| self.down.closed).or(t.tunnel).or(t.client);
        let server = t.server_fin.filter(|_| self.up.closed).or(t.tunnel).or(t.server);
        let is_due =
            |own: &Direction, other: &Direction| other.holds() || !(own.ended || own.holds());
        let client = client.filter(|_| is_due(&self.up, &self.down)).map(|it| (it, Which::Client));
        let server = server.filter(|_| is_due(&self.down, &self.up)).map(|it| (it, Which::Backend));
        client.into_iter().chain(server).min_by_key(|(limit, _)| *limit)
    }

    /// True when a side that seemed to be silent has taken something.
    fn creeps(&mut self) -> bool {
        self.up.creep(&self.backend);
        self.down.creep(&self.client);
        (self.up.moved, self.down.moved) != (0, 0)
    }
}
