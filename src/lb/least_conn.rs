//! `balance leastconn`: the smallest load per weight over all workers, as haproxy 2.6 computes it.
//!
//! The key is 0 for an idle backend, else `floor((in_flight + 1) * 4096 / (16 * weight))`; the smallest wins. Idle
//! backends come first whatever their weight, so at low load this is a round robin. Ties go in turn.
//!
//! haproxy keeps a tree behind a lock; we look at all counters at every pick, which is exact over all workers without
//! one. That is cheap because counters lie together in chunks (`backend.rs`), a row of the table belongs to a stretch of
//! one chunk, and the division is a multiplication by a reciprocal computed when the table is built. Beyond the first row
//! not even that is done for those who lose: "a smaller key than the best so far" is "fewer in flight than a limit", the
//! same for all backends of one weight, and it changes only when somebody better is found. Two workers that pick at the
//! same moment may both choose the same backend: the counters they read were true at that moment.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use super::PickContext;
use super::backend::{CHUNK_SLOTS, Chunk};
use super::balancer::{Balancer, may_take};
use super::snapshot::{Member, Picker};

/// Fraction bits of the reciprocals. With 31 bits `floor` is exact up to 2^23 requests in flight on one backend (each
/// needs a descriptor; the kernel's limit is far below), and the product stays below 2^64.
const FRACTION: u32 = 31;

/// Counters compared before the first branch.
const GROUP: usize = 8;

/// Weights told apart by the small search: its limits are one cache line, set anew for each pick.
const FEW: usize = 16;

/// Enough for all weights, 1 to 256, and nobody's.
const ALL: usize = 512;

/// The policy; owns the turn of its service.
#[derive(Debug, Default)]
pub struct LeastConn {
    turn: Arc<AtomicUsize>,
}

impl Balancer for LeastConn {
    fn build(&self, members: &[Member]) -> Box<dyn Picker> {
        let weights = weights(members);
        let rows = rows(members, &weights);
        Box::new(Scan {
            positions: rows.iter().map(|row| row.entries.len()).sum(),
            rows,
            weights,
            turn: Arc::clone(&self.turn),
        })
    }
}

/// All counters in the order in which they lie in memory.
#[derive(Debug)]
struct Scan {
    rows: Box<[Row]>,
    /// Weight of each class. The first is nobody's, and 0.
    weights: Box<[u64]>,
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
    /// What every look needs of each slot: the class of its weight; 0 for one that belongs to nobody here.
    classes: Box<[u16]>,
    /// What is needed of those that may win.
    entries: Box<[Entry]>,
}

/// What is known about one slot besides its class.
#[derive(Clone, Copy, Debug)]
struct Entry {
    /// `ceil(256 * 2^FRACTION / weight)`.
    reciprocal: u64,
    /// Largest count with which one more is allowed, minus one (wrapping): see [`Search::weigh`].
    room: u32,
    /// Index of the member; `u32::MAX` for a slot in the stretch that belongs to nobody here.
    member: u32,
}

impl Entry {
    const NOBODY: Self = Self {
        reciprocal: 0,
        room: 0,
        member: u32::MAX,
    };

    fn new(member: &Member, index: u32) -> Self {
        Self {
            reciprocal: (256_u64 << FRACTION).div_ceil(weight(member)),
            room: member
                .max_connections
                .map_or(u32::MAX, std::num::NonZeroU32::get)
                - 1,
            member: index,
        }
    }
}

/// One look at all counters. `N` is a power of two above the number of classes.
#[derive(Debug)]
struct Search<'a, const N: usize> {
    weights: &'a [u64],
    members: &'a [Member],
    cx: PickContext<'a>,
    /// Of each class: whoever has fewer in flight has a key below `limits_of`. 0, so nobody, for nobody's class.
    limits: [u32; N],
    /// The bound that the limits belong to.
    limits_of: u64,
    /// The best key with the fraction bits cleared: whatever is below has a smaller key. `u64::MAX`: nobody yet.
    bound: u64,
    best: Option<Best>,
}

/// The least loaded so far.
#[derive(Clone, Copy, Debug)]
struct Best {
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
        let best = if self.weights.len() <= FEW {
            self.least::<FEW>(start, members, cx)
        } else {
            self.least::<ALL>(start, members, cx)
        }?;
        if best.position != start {
            self.turn.store(best.position + 1, Ordering::Relaxed);
        }
        Some(best.member)
    }
}

impl Scan {
    /// The first with the smallest key, looking from `start` all the way round.
    fn least<const N: usize>(
        &self,
        start: usize,
        members: &[Member],
        cx: PickContext<'_>,
    ) -> Option<Best> {
        let from = self
            .rows
            .partition_point(|row| row.base <= start)
            .saturating_sub(1);
        let (before, after) = self.rows.split_at_checked(from)?;
        let (first, rest) = after.split_first()?;
        let skip = start - first.base;
        let stretches = std::iter::once((first, skip..first.entries.len()))
            .chain(
                rest.iter()
                    .chain(before)
                    .map(|row| (row, 0..row.entries.len())),
            )
            .chain(std::iter::once((first, 0..skip)));
        let mut search = Search::<N> {
            weights: &self.weights,
            members,
            cx,
            limits: [0; N],
            limits_of: u64::MAX,
            bound: u64::MAX,
            best: None,
        };
        for (row, range) in stretches {
            search.look_at(row, range);
            if search.bound == 0 {
                break;
            }
        }
        search.best
    }
}

impl<const N: usize> Search<'_, N> {
    /// Takes the entries of a stretch into account; stops at the first idle one, which nothing can beat.
    fn look_at(&mut self, row: &Row, range: std::ops::Range<usize>) {
        let slots = row.chunk.0.get(row.first..).unwrap_or(&[]);
        if self.bound == u64::MAX {
            // Limits pay off only when many lose against the same.
            return self.weigh(row, slots, range);
        }
        let classes = row.classes.get(range.clone()).unwrap_or(&[]);
        let (groups, _) = classes.as_chunks::<GROUP>();
        let (slot_groups, _) = slots.get(range.start..).unwrap_or(&[]).as_chunks::<GROUP>();
        let mut at = range.start;
        for (counts, classes) in slot_groups.iter().zip(groups) {
            if self.limits_of != self.bound {
                self.set_limits();
            }
            if self.is_any_below(counts, classes) {
                self.weigh(row, slots, at..at + GROUP);
                if self.bound == 0 {
                    return;
                }
            }
            at += GROUP;
        }
        self.weigh(row, slots, at..range.end);
    }

    fn set_limits(&mut self) {
        self.limits_of = self.bound;
        for (limit, weight) in self.limits.iter_mut().zip(self.weights) {
            *limit = limit_below(self.bound >> FRACTION, *weight);
        }
    }

    /// The whole cost of those that lose, without a branch in between.
    fn is_any_below(&self, slots: &[AtomicU32; GROUP], classes: &[u16; GROUP]) -> bool {
        slots.iter().zip(classes).fold(false, |any, (slot, class)| {
            any | (slot.load(Ordering::Relaxed) < self.limit(*class))
        })
    }

    #[expect(
        clippy::indexing_slicing,
        reason = "N is a power of two: the index is below it, and no check is left in the loop"
    )]
    fn limit(&self, class: u16) -> u32 {
        self.limits[usize::from(class) & (N - 1)]
    }

    /// Improves `best` with the entries in `range`, one by one.
    fn weigh(&mut self, row: &Row, slots: &[AtomicU32], range: std::ops::Range<usize>) {
        let from = range.start;
        let slots = slots.get(from..).unwrap_or(&[]);
        let entries = row.entries.get(range).unwrap_or(&[]);
        for (at, (slot, entry)) in (row.base + from..).zip(slots.iter().zip(entries)) {
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
            if scaled < self.bound && self.take(entry, at) {
                self.bound = scaled >> FRACTION << FRACTION;
                if self.bound == 0 {
                    return;
                }
            }
        }
    }

    /// False for one that may not be used for this request.
    fn take(&mut self, entry: &Entry, position: usize) -> bool {
        let Ok(member) = usize::try_from(entry.member) else {
            return false;
        };
        let may = |m: &Member| may_take(m, self.cx);
        if !self.cx.avoid.is_empty() && !self.members.get(member).is_some_and(may) {
            return false;
        }
        self.best = Some(Best { member, position });
        true
    }
}

/// With `weight`, exactly those that have fewer in flight than this have a key below `key`; 0 for weight 0.
///
/// `floor((n + 1) * 256 / weight) < key` is `n + 1 < key * weight / 256`, and an idle one (key 0) is below any but 0.
fn limit_below(key: u64, weight: u64) -> u32 {
    if key == 0 || weight == 0 {
        return 0;
    }
    let limit = (key * weight).div_ceil(256) - 1;
    u32::try_from(limit).unwrap_or(u32::MAX).max(1)
}

/// The distinct weights, nobody's first.
fn weights(members: &[Member]) -> Box<[u64]> {
    let distinct: BTreeSet<u64> = members.iter().map(weight).collect();
    std::iter::once(0).chain(distinct).collect()
}

/// Never 0: that is nobody's.
fn weight(member: &Member) -> u64 {
    u64::from(member.weight.get()).max(1)
}

fn class(member: &Member, weights: &[u64]) -> u16 {
    let class = weights.binary_search(&weight(member)).unwrap_or(0);
    u16::try_from(class).unwrap_or(0)
}

/// Class and entry by slot.
type Stretch = BTreeMap<usize, (u16, Entry)>;

/// Members sorted into stretches of their chunks; chunks in the order of their first member, so that a fresh service
/// is scanned in balancing order.
fn rows(members: &[Member], weights: &[u64]) -> Box<[Row]> {
    let mut chunks: Vec<(Arc<Chunk>, Stretch)> = Vec::new();
    let mut seen: BTreeMap<usize, usize> = BTreeMap::new();
    for (index, member) in (0..).zip(members) {
        let slot = &member.backend.in_flight;
        let at = *seen
            .entry(Arc::as_ptr(&slot.chunk).addr())
            .or_insert_with(|| {
                chunks.push((Arc::clone(&slot.chunk), Stretch::new()));
                chunks.len() - 1
            });
        if let Some((_, entries)) = chunks.get_mut(at) {
            let class = class(member, weights);
            entries.insert(slot.index, (class, Entry::new(member, index)));
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

fn row(chunk: Arc<Chunk>, entries: &Stretch, base: usize) -> Row {
    let first = entries.first_key_value().map_or(0, |(slot, _)| *slot);
    let last = entries.last_key_value().map_or(0, |(slot, _)| *slot);
    let (classes, entries): (Vec<_>, Vec<_>) = (first..=last.min(CHUNK_SLOTS - 1))
        .map(|slot| entries.get(&slot).copied().unwrap_or((0, Entry::NOBODY)))
        .unzip();
    Row {
        chunk,
        first,
        base,
        classes: classes.into(),
        entries: entries.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lb::backend::SlotArena;
    use crate::lb::balancer::testing::{member_in, members};
    use crate::lb::lease::Lease;
    use proptest::prelude::*;

    /// As in haproxy's source: 16 is its scale of weights.
    fn haproxys_key(load: u32, weight: u64) -> u64 {
        if load == 0 {
            0
        } else {
            (u64::from(load) + 1) * 4096 / (16 * weight)
        }
    }

    fn load(member: &Member, n: u32) {
        for _ in 0..n {
            assert!(member.backend.in_flight.try_enter(None));
        }
    }

    #[test]
    fn idle_members_take_turns_whatever_their_weights() {
        let members = members(&[1, 2, 3]);
        let picker = LeastConn::default().build(&members);
        let picked: String = (0..9)
            .map(|_| picker.pick(&members, PickContext::default()).unwrap())
            .map(|i| ["A", "B", "C"][i])
            .collect();
        assert_eq!(picked, "ABCABCABC");
    }

    #[test]
    fn idle_members_take_turns_around_a_busy_one() {
        let members = members(&[1, 1, 1]);
        load(&members[1], 1);
        let picker = LeastConn::default().build(&members);
        let mut counts = [0; 3];
        for _ in 0..100 {
            counts[picker.pick(&members, PickContext::default()).unwrap()] += 1;
        }
        assert_eq!(counts, [50, 0, 50]);
    }

    #[test]
    fn six_held_requests_follow_weights_one_two_three() {
        let members = members(&[1, 2, 3]);
        let picker = LeastConn::default().build(&members);
        let held: Vec<_> = (0..6)
            .map(|_| {
                Lease::take(&members[picker.pick(&members, PickContext::default()).unwrap()])
                    .unwrap()
            })
            .collect();
        let counts: Vec<_> = members.iter().map(|m| m.backend.in_flight.get()).collect();
        assert_eq!(counts, [1, 2, 3]);
        drop(held);
    }

    #[test]
    fn slots_of_other_sets_between_ours_are_never_picked() {
        let mut arena = SlotArena::default();
        let all: Vec<_> = (0..200).map(|_| member_in(&mut arena, 1, None)).collect();
        let ours: Vec<_> = all.iter().step_by(3).cloned().collect();
        let picker = LeastConn::default().build(&ours);
        let mut counts = vec![0; ours.len()];
        for _ in 0..ours.len() * 4 {
            counts[picker.pick(&ours, PickContext::default()).unwrap()] += 1;
        }
        assert!(counts.iter().all(|c| *c == 4), "{counts:?}");
    }

    proptest! {
        #[test]
        fn the_reciprocal_divides_exactly(load in 1_u32..(1 << 23) - 1, weight in 1_u64..=256) {
            let reciprocal = (256_u64 << FRACTION).div_ceil(weight);
            prop_assert_eq!(((u64::from(load) + 1) * reciprocal) >> FRACTION, haproxys_key(load, weight));
        }

        #[test]
        fn fewer_than_the_limit_is_a_smaller_key(
            load in prop_oneof![0_u32..70, any::<u32>()],
            weight in 1_u64..=256,
            best in prop_oneof![0_u32..70, any::<u32>()],
            best_weight in 1_u64..=256,
        ) {
            let best = haproxys_key(best, best_weight);
            // No counter gets to u32::MAX.
            let load = load.min(u32::MAX - 1);
            let smaller = haproxys_key(load, weight) < best;
            prop_assert_eq!(load < limit_below(best, weight), smaller);
        }

        #[test]
        fn full_and_avoided_ones_are_passed_over(
            set in prop::collection::vec((1_u64..=40, 0_u32..6, 1_u32..6, any::<bool>()), 1..300),
            start in 0_usize..200,
        ) {
            let mut arena = SlotArena::default();
            let members: Vec<_> = set.iter().map(|(w, _, max, _)| member_in(&mut arena, *w, Some(*max))).collect();
            for (member, (_, n, _, _)) in members.iter().zip(&set) {
                load(member, *n);
            }
            let avoid: Vec<_> = members.iter().zip(&set).filter(|(_, s)| s.3).map(|(m, _)| m.backend.id).collect();
            let usable = |(w, n, max, avoided): &(u64, u32, u32, bool)| {
                (!avoided && n < max).then(|| haproxys_key(*n, *w))
            };
            let balancer = LeastConn::default();
            balancer.turn.store(start, Ordering::Relaxed);
            let picked = balancer.build(&members).pick(&members, PickContext { avoid: &avoid });
            let least = set.iter().filter_map(usable).min();
            prop_assert_eq!(picked.map(|i| usable(&set[i])), least.map(Some));
        }

        #[test]
        fn the_smallest_key_wins(set in prop::collection::vec((1_u64..=256, 1_u32..50), 1..300), start in 0_usize..200) {
            let members = members(&set.iter().map(|(w, _)| *w).collect::<Vec<_>>());
            for (member, (_, n)) in members.iter().zip(&set) {
                load(member, *n);
            }
            let balancer = LeastConn::default();
            balancer.turn.store(start, Ordering::Relaxed);
            let picked = balancer.build(&members).pick(&members, PickContext::default()).unwrap();
            let least = set.iter().map(|(w, n)| haproxys_key(*n, *w)).min().unwrap();
            prop_assert_eq!(haproxys_key(set[picked].1, set[picked].0), least);
        }
    }
}
