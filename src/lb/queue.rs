//! Where requests wait while all servers are full: first come, first served, over all workers.
//!
//! One per service. Nobody touches it while somebody has room: a lease that ends looks at one number, a pick at none. A
//! lease that ends while others wait hands on its very slot, still counted, so that nobody who comes later can have it.
//! Besides the line of the service there is one per server, for requests that want that server and no other; a slot goes
//! to the earlier of those at the head of the two.
//!
//! No slot and no waiter is lost: who waits has first been counted in `length` and then found no room; who leaves first
//! gives up the slot and then looks at `length`. Both pairs are sequentially consistent, so one of the two sees the other.
//! A waiter that is dropped leaves its line, or passes on the slot that was on its way to it.
//!
//! Owner of: the lines. A server's slots are counted in its [`Slot`]; the queue only moves them from one to the next.

mod line;
mod place;
mod serve;

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::oneshot;
use tokio::time::Instant;

pub use self::line::Ahead;
pub(super) use self::line::Depth;
use self::line::{Lines, Waiter};
pub use self::place::Place;
use super::backend::{Backend, Chunk, Slot};
use super::lease::Grant;
use super::snapshot::Snapshot;

/// The queue of a service.
#[derive(Debug, Default)]
pub struct Queue {
    /// Waiters in all lines. Changed while the lines are locked.
    length: AtomicU32,
    lines: Mutex<Lines>,
    /// The service's current snapshot; set once. Weak, because backends lead here.
    snapshot: OnceLock<Weak<ArcSwap<Snapshot>>>,
    /// All in-flight counters of the service.
    chunks: ArcSwap<Vec<Arc<Chunk>>>,
    /// Those that wait for any server.
    common: Depth,
    counts: Counts,
}

/// What has happened in a queue. Written while something waits only.
#[derive(Debug, Default)]
struct Counts {
    entered: AtomicU64,
    served: AtomicU64,
    waited_us: AtomicU64,
}

/// What people see of a queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueueView {
    /// Requests waiting now, those for one server included.
    pub length: u32,
    /// Of them for any server.
    pub common: u32,
    /// Most that have waited for any server at a time.
    pub most: u32,
    /// Requests that had to wait, since the start.
    pub entered: u64,
    /// Of them got a server.
    pub served: u64,
    /// Time that all of them have waited, those that were not served included.
    pub waited: Duration,
}

impl Queue {
    /// Another chunk of the service's counters.
    pub(super) fn add_chunk(&self, chunk: &Arc<Chunk>) {
        self.chunks.rcu(|chunks| {
            let mut chunks = Vec::clone(chunks);
            chunks.push(Arc::clone(chunk));
            chunks
        });
    }

    /// True while nobody waits. One load: on the way of every request.
    pub(super) fn is_empty(&self) -> bool {
        self.length.load(Ordering::SeqCst) == 0
    }

    /// True while somebody waits for whichever server has room first. One load: on the way of every request.
    pub(super) fn has_line(&self) -> bool {
        self.common.get().0 > 0
    }

    /// True while somebody waits who would take this very slot. Nobody else has to be looked for when it is left: the
    /// others wait for other servers, or come to their line in [`Queue::serve`].
    pub(super) fn wants(&self, slot: &Slot) -> bool {
        // Between the slot that was left and the lines, as `serve` has one between the lines and the slots.
        fence(Ordering::SeqCst);
        self.has_line() || slot.queued().0 > 0
    }

    /// Requests of the service in progress and waiting.
    pub(super) fn busy(&self) -> u32 {
        let in_flight: u32 = self.chunks.load().iter().map(|chunk| chunk.sum()).sum();
        in_flight.saturating_add(self.length.load(Ordering::Relaxed))
    }

    /// For people.
    pub fn view(&self) -> QueueView {
        let (common, most) = self.common.get();
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        QueueView {
            length: self.length.load(Ordering::Relaxed),
            common,
            most,
            entered: of(&self.counts.entered),
            served: of(&self.counts.served),
            waited: Duration::from_micros(of(&self.counts.waited_us)),
        }
    }

    /// Adds what another process has counted: those that entered, those that were served, and the microseconds that all of
    /// them waited.
    pub fn inherit(&self, [entered, served, waited_us]: [u64; 3]) {
        self.counts.entered.fetch_add(entered, Ordering::Relaxed);
        self.counts.served.fetch_add(served, Ordering::Relaxed);
        self.counts.waited_us.fetch_add(waited_us, Ordering::Relaxed);
    }

    /// Puts the caller at the end of the line: of `server` with a bound on its length, else of the service. `None`: that
    /// bound is reached. Call [`Queue::serve`] then: somebody may have left before this one was seen.
    pub(super) fn enter(
        self: &Arc<Self>,
        server: Option<(&Arc<Backend>, Option<NonZeroU32>)>,
    ) -> Option<Place> {
        let (sender, slot) = oneshot::channel();
        let mut lines = self.lock();
        let arrival = lines.arrivals;
        let (line, depth) = match server {
            None => (&mut lines.common, &self.common),
            Some((backend, bound)) => {
                let line = lines.bound.entry(backend.id).or_default();
                let length = u32::try_from(line.waiting.len()).unwrap_or(u32::MAX);
                if bound.is_some_and(|bound| length >= bound.get()) {
                    return None;
                }
                line.server = Arc::downgrade(backend);
                (line, &backend.in_flight.queued)
            }
        };
        let came_at = line.served;
        line.waiting.insert(arrival, Waiter { slot: sender, came_at });
        depth.set(line);
        lines.arrivals += 1;
        self.length.fetch_add(1, Ordering::SeqCst);
        self.counts.entered.fetch_add(1, Ordering::Relaxed);
        drop(lines);
        Some(Place {
            queue: Arc::clone(self),
            arrival,
            server: server.map(|(backend, _)| Arc::clone(backend)),
            since: Instant::now(),
            slot,
            is_over: false,
        })
    }

    /// Hands the slot of a lease that ends to who waits longest for it; false when it has to be given up: nobody wants
    /// it, its backend is picked no more, or has more in progress than it may.
    pub(super) fn pass_on(&self, slot: &Slot) -> bool {
        let Some(source) = self.snapshot.get().and_then(Weak::upgrade) else {
            return false;
        };
        // Not before: while we waited for it the backend may have left and its sessions may have been ended. From here on
        // whoever publishes waits for us, because somebody is in line, before it ends any.
        let mut lines = self.lock();
        fence(Ordering::SeqCst);
        let snapshot = source.load();
        let Some(member) = slot.member_in(&snapshot) else {
            return false;
        };
        if member.limit().is_some_and(|limit| slot.get() > limit) {
            return false;
        }
        let mut grant = Grant::of(member);
        loop {
            let Lines { common, bound, .. } = &mut *lines;
            let own = bound.get_mut(&member.backend.id);
            let own_first = own.as_ref().and_then(|line| line.first());
            let (line, depth, is_bound) = match (own, own_first, common.first()) {
                (Some(own), Some(mine), any) if any.is_none_or(|any| mine < any) => {
                    (own, &slot.queued, true)
                }
                (_, _, Some(_)) => (common, &self.common, false),
                (_, _, None) => {
                    // Still counted, by the lease that ends.
                    drop(grant);
                    return false;
                }
            };
            let back = line.give(grant, is_bound);
            depth.set(line);
            self.length.fetch_sub(1, Ordering::SeqCst);
            match back {
                None => return true,
                Some(back) => grant = back,
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The cell of a service's snapshots, with the first one in it.
pub(super) fn first(queue: &Queue, snapshot: Snapshot) -> Arc<ArcSwap<Snapshot>> {
    place_members(&snapshot);
    let cell = Arc::new(ArcSwap::from_pointee(snapshot));
    // Set already: the same one, a service has one cell for its life.
    drop(queue.snapshot.set(Arc::downgrade(&cell)));
    cell
}

fn place_members(snapshot: &Snapshot) {
    for (place, member) in snapshot.members.iter().enumerate() {
        member.backend.in_flight.stand_at(place);
    }
}

/// Publishes `next` and gives those that wait what it has room for.
pub(super) fn publish(queue: &Queue, snapshot: &ArcSwap<Snapshot>, next: Snapshot) {
    place_members(&next);
    snapshot.store(Arc::new(next));
    // Who came before saw the former snapshot, and is seen here.
    fence(Ordering::SeqCst);
    if !queue.is_empty() {
        queue.serve();
    }
}

#[cfg(test)]
mod tests;
