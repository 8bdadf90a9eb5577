//! `balance leastconn`: the smallest load per weight over all workers, as haproxy 2.6 computes it.
//!
//! The key is 0 for an idle backend, else `floor((in_flight + 1) * 4096 / (16 * weight))`; the smallest wins. Idle
//! backends come first whatever their weight, so at low load this is a round robin. Ties go in turn.
//!
//! haproxy keeps a tree behind a lock; we look at all counters at every pick, which is exact over all workers without
//! one. That is cheap because counters lie together in chunks (`backend.rs`), a row of the table belongs to a stretch of
//! one chunk, and the division is a multiplication by a reciprocal computed when the table is built. Two workers that
//! pick at the same moment may both choose the same backend: the counters they read were true at that moment.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::PickContext;
use super::backend::{CHUNK_SLOTS, Chunk};
use super::balancer::{Balancer, may_take};
use super::snapshot::{Member, Picker};

/// Fraction bits of the reciprocals. With 31 bits `floor` is exact up to 2^23 requests in flight on one backend (each
/// needs a descriptor; the kernel's limit is far below), and the product stays below 2^64.
const FRACTION: u32 = 31;

/// The policy; owns the turn of its service.
#[derive(Debug, Default)]
pub struct LeastConn {
    turn: Arc<AtomicUsize>,
}

impl LeastConn {
    /// With its turn at `position`.
    pub(super) fn at(position: usize) -> Self {
        Self { turn: Arc::new(AtomicUsize::new(position)) }
    }
}

impl Balancer for LeastConn {
    fn position(&self) -> usize {
        self.turn.load(Ordering::Relaxed)
    }

    fn build(&self, members: &[Member]) -> Box<dyn Picker> {
        let rows = rows(members);
        Box::new(Scan {
            // Their limits are not in the table.
            looks_twice: members.iter().any(|m| m.limits.elastic.is_some()),
            positions: rows.iter().map(|row| row.entries.len()).sum(),
            rows,
            turn: Arc::clone(&self.turn),
        })
    }
}

/// All counters in the order in which they lie in memory.
#[derive(Debug)]
struct Scan {
    rows: Box<[Row]>,
    /// A member is asked whether it is full, besides the table.
    looks_twice: bool,
    /// Entries in all rows.
    positions: usize,
    /// Position after the last pick: where the next one starts looking, so that ties go in turn.
    turn: Arc<AtomicUsize>,
}

/// A stretch of one chunk.
#[derive(Debug)]
struct Row {
    chunk: Arc<Chunk>,
    /// Slot of the first entry.
    first: usize,
    /// Position of the first entry in the whole table.
    base: usize,
    entries: Box<[Entry]>,
}

/// What is known about one slot.
#[derive(Clone, Copy, Debug)]
struct Entry {
    /// `ceil(4096 * 2^FRACTION / share)`, the share in sixteenths.
    reciprocal: u64,
    /// Largest count with which one more is allowed, minus one (wrapping): see [`Row::best_in`].
    room: u32,
    /// Index of the member; `u32::MAX` for a slot in the stretch that belongs to nobody here.
    member: u32,
}

impl Entry {
    const NOBODY: Self = Self { reciprocal: 0, room: 0, member: u32::MAX };

    fn new(member: &Member, index: u32) -> Self {
        Self {
            reciprocal: (4096_u64 << FRACTION).div_ceil(member.share().max(1)),
            room: member.max_connections.map_or(u32::MAX, NonZeroU32::get) - 1,
            member: index,
        }
    }
}

/// The least loaded so far.
#[derive(Clone, Copy, Debug)]
struct Best {
    /// Its key with the fraction bits cleared: whatever is below has a smaller key. `u64::MAX`: nobody yet.
    bound: u64,
    member: usize,
    position: usize,
}

impl Picker for Scan {
    fn pick(&self, members: &[Member], cx: PickContext<'_>) -> Option<usize> {
        if self.positions == 0 {
            return None;
        }
        // Counted up at once, so that workers that pick at the same moment look from different places.
        let start = self.turn.fetch_add(1, Ordering::Relaxed) % self.positions;
        let from = self.rows.partition_point(|row| row.base <= start).saturating_sub(1);
        let (before, after) = self.rows.split_at_checked(from)?;
        let (first, rest) = after.split_first()?;
        let skip = start - first.base;
        let mut best = Best { bound: u64::MAX, member: usize::MAX, position: start };
        let asks = self.looks_twice || !cx.avoid.is_empty();
        let stretches = std::iter::once((first, skip..first.entries.len()))
            .chain(rest.iter().chain(before).map(|row| (row, 0..row.entries.len())))
            .chain(std::iter::once((first, 0..skip)));
        for (row, range) in stretches {
            row.best_in(range, &mut best, members, (cx, asks));
            if best.bound == 0 {
                break;
            }
        }
        if best.bound == u64::MAX {
            return None;
        }
        if best.position != start {
            self.turn.store(best.position + 1, Ordering::Relaxed);
        }
        Some(best.member)
    }

    fn wait_for(&self, members: &[Member], cx: PickContext<'_>) -> Option<usize> {
        shortest_queue(members, cx)
    }
}

/// haproxy's `leastconn` queues at a server while that has fewer in progress and waiting than `maxconn` and `maxqueue`
/// together; without `maxqueue` nobody waits for one server alone.
fn shortest_queue(members: &[Member], cx: PickContext<'_>) -> Option<usize> {
    let load = |member: &Member| {
        let slot = &member.backend.in_flight;
        let (max, queue) = (member.limit_at(cx.busy)?, member.limits.max_queue?.get());
        let load = slot.get().saturating_add(slot.queued().0);
        let may = load < max.saturating_add(queue) && !cx.avoid.contains(&member.backend.id);
        may.then(|| (u64::from(load) + 1) * 4096 / member.share().max(1))
    };
    let loads = members.iter().enumerate().filter_map(|(index, m)| Some((load(m)?, index)));
    loads.min().map(|(_, index)| index)
}

impl Row {
    /// Improves `best` with the entries in `range`; stops at the first idle one, which nothing can beat. `asks`: a member
    /// must agree, besides its entry.
    fn best_in(
        &self,
        range: std::ops::Range<usize>,
        best: &mut Best,
        members: &[Member],
        (cx, asks): (PickContext<'_>, bool),
    ) {
        let offset = range.start;
        let slots = self.chunk.0.get(self.first + offset..).unwrap_or(&[]);
        let entries = self.entries.get(range).unwrap_or(&[]);
        for (at, (slot, entry)) in slots.iter().zip(entries).enumerate() {
            let load = slot.load(Ordering::Relaxed);
            // One comparison for the two rare cases: idle (0 - 1 wraps to the top) and full.
            let scaled = if load.wrapping_sub(1) >= entry.room {
                if load != 0 || entry.member == u32::MAX {
                    continue;
                }
                0
            } else {
                (u64::from(load) + 1).wrapping_mul(entry.reciprocal)
            };
            if scaled >= best.bound {
                continue;
            }
            let Ok(member) = usize::try_from(entry.member) else {
                continue;
            };
            if asks && !members.get(member).is_some_and(|m| may_take(m, cx)) {
                continue;
            }
            *best = Best {
                bound: scaled >> FRACTION << FRACTION,
                member,
                position: self.base + offset + at,
            };
            if best.bound == 0 {
                return;
            }
        }
    }
}

/// Members sorted into stretches of their chunks; chunks in the order of their first member, so that a fresh service
/// is scanned in balancing order.
fn rows(members: &[Member]) -> Box<[Row]> {
    let mut chunks: Vec<(Arc<Chunk>, BTreeMap<usize, Entry>)> = Vec::new();
    let mut seen: BTreeMap<usize, usize> = BTreeMap::new();
    for (index, member) in (0..).zip(members) {
        let slot = &member.backend.in_flight;
        let at = *seen.entry(Arc::as_ptr(&slot.chunk).addr()).or_insert_with(|| {
            chunks.push((Arc::clone(&slot.chunk), BTreeMap::new()));
            chunks.len() - 1
        });
        if let Some((_, entries)) = chunks.get_mut(at) {
            entries.insert(slot.index, Entry::new(member, index));
        }
    }
    let mut base = 0;
    chunks
        .into_iter()
        .map(|(chunk, entries)| {
            let row = row(chunk, &entries, base);
            base += row.entries.len();
            row
        })
        .collect()
}

fn row(chunk: Arc<Chunk>, entries: &BTreeMap<usize, Entry>, base: usize) -> Row {
    let first = entries.first_key_value().map_or(0, |(slot, _)| *slot);
    let last = entries.last_key_value().map_or(0, |(slot, _)| *slot);
    Row {
        chunk,
        first,
        base,
        entries: (first..=last.min(CHUNK_SLOTS - 1))
            .map(|slot| entries.get(&slot).copied().unwrap_or(Entry::NOBODY))
            .collect(),
    }
}

#[cfg(test)]
mod tests;
