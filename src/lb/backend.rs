//! A backend: one endpoint *in this process*, with the state that outlives snapshots.
//!
//! The same `Arc<Backend>` stays as long as the endpoint's identity lasts, so counters and in-flight numbers survive
//! every change of the set. In-flight counts sit in slots of shared chunks ([`SlotArena`]), so that least-conn can scan
//! a thousand of them without a thousand cache misses.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::BackendId;
use super::crowd::Crowd;
use super::ending::Mark;
use super::queue::{Depth, Queue};
use super::snapshot::{Member, Snapshot};
use crate::endpoint::Endpoint;
use crate::telemetry::cells::{BackendCells, PerWorker};

/// One endpoint in this process. Created and dropped by the pool task; counted on by workers.
#[derive(Debug)]
pub struct Backend {
    /// Identity in this process.
    pub id: BackendId,
    /// What the registration says.
    pub endpoint: Endpoint,
    /// haproxy's server name: `NAME_HOST:PORT`.
    pub server_name: Arc<str>,
    /// Requests (HTTP) or connections (TCP) in progress, over all workers.
    pub in_flight: Slot,
    /// HTTP/1 connections to it that requests go over.
    pub crowd: Arc<Crowd>,
    /// Raised when its sessions are to end. Written by the pool task only.
    pub ended: Mark,
    /// Counters, one set per worker.
    pub cells: PerWorker<BackendCells>,
}

/// Number of counters that lie together: 64 of 4 bytes are four cache lines.
pub const CHUNK_SLOTS: usize = 64;

/// A run of in-flight counters.
#[derive(Debug)]
pub struct Chunk(pub(super) [AtomicU32; CHUNK_SLOTS]);

/// One in-flight counter in a chunk. Owned by a backend, given back to the arena when the backend is dropped.
#[derive(Debug)]
pub struct Slot {
    pub(super) chunk: Arc<Chunk>,
    pub(super) index: usize,
    free: std::sync::mpsc::Sender<(Arc<Chunk>, usize)>,
    /// Where requests of the service wait for a slot.
    pub(super) queue: Arc<Queue>,
    /// Those that wait for this backend and no other.
    pub(super) queued: Depth,
    /// Where its member stands in the current snapshot, as a hint. Written when one is published.
    place: AtomicU32,
}

impl Slot {
    #[expect(clippy::indexing_slicing, reason = "index < CHUNK_SLOTS by construction")]
    fn cell(&self) -> &AtomicU32 {
        &self.chunk.0[self.index]
    }

    /// The current count, over all workers.
    pub fn get(&self) -> u32 {
        self.cell().load(Ordering::Relaxed)
    }

    /// Requests that wait for this backend and no other, now and at most.
    pub fn queued(&self) -> (u32, u32) {
        self.queued.get()
    }

    /// Counts one more unless `limit` is reached. Never above it for a moment: whoever looks in that moment would wait
    /// for a slot that nobody holds.
    pub(super) fn try_enter(&self, limit: Option<u32>) -> bool {
        let Some(limit) = limit else {
            self.cell().fetch_add(1, Ordering::SeqCst);
            return true;
        };
        let one_more = |count| (count < limit).then_some(count + 1);
        self.cell().fetch_update(Ordering::SeqCst, Ordering::Relaxed, one_more).is_ok()
    }

    /// One less. Sequentially consistent, as is the look into the queue that follows: see [`Queue`].
    pub(super) fn leave(&self) {
        self.cell().fetch_sub(1, Ordering::SeqCst);
    }

    /// Remembers where the member stands in the snapshot that is about to be published.
    pub(super) fn stand_at(&self, place: usize) {
        self.place.store(u32::try_from(place).unwrap_or(u32::MAX), Ordering::Relaxed);
    }

    /// The member of this backend in `snapshot`, unless it is none.
    pub(super) fn member_in<'s>(&self, snapshot: &'s Snapshot) -> Option<&'s Member> {
        let place = usize::try_from(self.place.load(Ordering::Relaxed)).ok()?;
        let member = snapshot.members.get(place)?;
        std::ptr::eq(&raw const member.backend.in_flight, self).then_some(member)
    }
}

impl Chunk {
    /// All counts together.
    pub(super) fn sum(&self) -> u32 {
        self.0.iter().map(|slot| slot.load(Ordering::Relaxed)).sum()
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        // The arena may be gone already (its service was removed): then the chunk goes with its last slot.
        drop(self.free.send((Arc::clone(&self.chunk), self.index)));
    }
}

/// Hands out slots, lowest free first, so that the backends of a service lie together. Owned by the pool task.
#[derive(Debug)]
pub struct SlotArena {
    free: Vec<(Arc<Chunk>, usize)>,
    returned: std::sync::mpsc::Receiver<(Arc<Chunk>, usize)>,
    give_back: std::sync::mpsc::Sender<(Arc<Chunk>, usize)>,
    queue: Arc<Queue>,
}

impl Default for SlotArena {
    fn default() -> Self {
        Self::new(Arc::default())
    }
}

impl SlotArena {
    /// For the backends of the service whose requests wait in `queue`.
    pub fn new(queue: Arc<Queue>) -> Self {
        let (give_back, returned) = std::sync::mpsc::channel();
        Self { free: Vec::new(), returned, give_back, queue }
    }

    /// Where the requests of its service wait.
    #[cfg(test)]
    pub(super) fn queue(&self) -> &Arc<Queue> {
        &self.queue
    }

    /// A counter at zero.
    pub fn take(&mut self) -> Slot {
        self.free.extend(self.returned.try_iter());
        if self.free.is_empty() {
            let chunk = Arc::new(Chunk(std::array::from_fn(|_| AtomicU32::new(0))));
            self.queue.add_chunk(&chunk);
            self.free.extend((0..CHUNK_SLOTS).rev().map(|index| (Arc::clone(&chunk), index)));
        }
        #[expect(clippy::expect_used, reason = "a chunk was added above when it was empty")]
        let (chunk, index) = self.free.pop().expect("the free list is not empty");
        Slot {
            chunk,
            index,
            free: self.give_back.clone(),
            queue: Arc::clone(&self.queue),
            queued: Depth::default(),
            place: AtomicU32::new(u32::MAX),
        }
    }
}
