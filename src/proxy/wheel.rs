//! All deadlines of one worker thread, on one wheel.
//!
//! A connection has one entry for its whole life and moves its deadline as often as it likes: a later one costs a store,
//! because the wheel looks again when the earlier one comes; only an earlier one is put elsewhere. So a request that
//! meets its deadlines touches no timer at all. Entries also make it possible to wake everybody of a listener (a drain).
//!
//! Four levels of 64 slots: 8 ms, 512 ms, 33 s, 35 min wide. An entry sits in the slot of its deadline on the finest
//! level that reaches there, and comes down level by level. It fires up to one finest slot late, never early.

use std::task::Waker;
use std::time::Duration;

use super::millis::Millis;

/// Width of the finest slot. Time-outs are written in milliseconds but matter in tenths of seconds; finer slots would
/// only wake the thread more often.
pub(crate) const GRAIN: Duration = Duration::from_millis(8);

const LEVELS: usize = 4;
/// The number of levels, where a level is a shift.
const TOP: u32 = 4;
const SLOTS: u64 = 64;
const BITS: u32 = SLOTS.trailing_zeros();

/// No neighbour, no list.
const NONE: u32 = u32::MAX;

/// An entry's place. Given back with [`Wheel::remove`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Entry(u32);

/// Entries that can be woken together: those of one listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Group(pub(crate) u32);

#[derive(Debug)]
pub(super) struct Node {
    deadline: Millis,
    /// Its deadline came, and no other was set since.
    has_fired: bool,
    /// Woken when the deadline comes, and by [`Wheel::wake`]. `None`: the node is free.
    waker: Option<Waker>,
    group: Group,
    /// The list it is in: level * 64 + slot, or [`NONE`].
    list: u32,
    /// When that slot is looked at.
    due: Millis,
    next: u32,
    previous: u32,
}

/// The wheel. Owned by one thread.
#[derive(Debug)]
pub(crate) struct Wheel {
    nodes: Vec<Node>,
    free: Vec<u32>,
    /// First node of each slot of each level.
    heads: Vec<u32>,
    /// Which slots of a level have nodes.
    occupied: [u64; LEVELS],
    /// All slots before this time (in grains) have been looked at.
    turned: u64,
    /// Wakes whoever turns the wheel, when an entry comes before the time it waits for.
    turner: Option<Waker>,
    turner_waits_for: Millis,
}

impl Wheel {
    pub(crate) fn new() -> Self {
        Self {
            nodes: Vec::new(),
            free: Vec::new(),
            heads: vec![NONE; LEVELS * 64],
            occupied: [0; LEVELS],
            turned: 0,
            turner: None,
            turner_waits_for: Millis::NEVER,
        }
    }

    /// An entry without a deadline.
    pub(crate) fn add(&mut self, waker: Waker, group: Group) -> Entry {
        let node = Node {
            deadline: Millis::NEVER,
            has_fired: false,
            waker: Some(waker),
            group,
            list: NONE,
            due: Millis::NEVER,
            next: NONE,
            previous: NONE,
        };
        if let Some(index) = self.free.pop()
            && let Some(free) = self.node(index)
        {
            *free = node;
            return Entry(index);
        }
        let index = u32::try_from(self.nodes.len()).unwrap_or(NONE);
        self.nodes.push(node);
        Entry(index)
    }

    /// Forgets an entry.
    pub(crate) fn remove(&mut self, entry: Entry) {
        self.unlink(entry.0);
        if let Some(node) = self.node(entry.0)
            && node.waker.take().is_some()
        {
            self.free.push(entry.0);
        }
    }

    /// Moves the deadline. Cheap when it comes later than it did.
    pub(crate) fn set(&mut self, entry: Entry, deadline: Millis) {
        let Some(node) = self.node(entry.0) else {
            return;
        };
        node.deadline = deadline;
        node.has_fired = false;
        if deadline < node.due {
            self.unlink(entry.0);
            self.link(entry.0, deadline);
        }
    }

    /// True when the deadline set last has come.
    pub(crate) fn has_fired(&self, entry: Entry) -> bool {
        self.nodes.get(entry.0 as usize).is_some_and(|node| node.has_fired)
    }

    /// Wakes everybody of a group.
    pub(crate) fn wake(&self, group: Group) {
        let members = self.nodes.iter().filter(|node| node.group == group);
        for waker in members.filter_map(|node| node.waker.as_ref()) {
            waker.wake_by_ref();
        }
    }

    /// Wakes those whose deadline has come by `now`; tells when to call again, `None` = when woken.
    pub(crate) fn turn(&mut self, now: Millis, turner: &Waker) -> Option<Millis> {
        let grain = now.0 / millis(GRAIN);
        while let Some((list, start)) = self.next_slot()
            && start <= grain
        {
            self.turned = self.turned.max(start);
            self.empty(list, now);
        }
        self.turned = self.turned.max(grain);
        let next = self.next_slot().map(|(_, start)| Millis(start * millis(GRAIN)));
        if self.turner.as_ref().is_none_or(|old| !old.will_wake(turner)) {
            self.turner = Some(turner.clone());
        }
        self.turner_waits_for = next.unwrap_or(Millis::NEVER);
        next
    }

    /// Wakes or moves on everybody in a slot.
    fn empty(&mut self, list: u32, now: Millis) {
        loop {
            let Some(index) = self.heads.get(list as usize).copied().filter(|i| *i != NONE) else {
                return;
            };
            self.unlink(index);
            let Some(node) = self.node(index) else {
                return;
            };
            let deadline = node.deadline;
            if deadline > now {
                self.link(index, deadline);
                continue;
            }
            node.has_fired = true;
            if let Some(waker) = &node.waker {
                waker.wake_by_ref();
            }
        }
    }

    /// The occupied slot that comes first, with the grain at which it begins. Later levels come first among equals: what
    /// is in them may belong before.
    fn next_slot(&self) -> Option<(u32, u64)> {
        let mut first: Option<(u32, u64)> = None;
        for (level, occupied) in (0_u32..).zip(self.occupied) {
            if occupied == 0 {
                continue;
            }
            let shift = level * BITS;
            let position = self.turned >> shift;
            // Slots from the current one on, round the wheel once.
            let ahead = occupied.rotate_right(u32::try_from(position % SLOTS).unwrap_or(0));
            let slot = position + u64::from(ahead.trailing_zeros());
            let start = (slot << shift).max(self.turned);
            if first.is_none_or(|(_, earliest)| start <= earliest) {
                let index = level * 64 + u32::try_from(slot % SLOTS).unwrap_or(0);
                first = Some((index, start));
            }
        }
        first
    }

    fn link(&mut self, index: u32, deadline: Millis) {
        if deadline == Millis::NEVER {
            return;
        }
        // The slot that begins when the deadline has passed.
        let grain = deadline.0.div_ceil(millis(GRAIN)).max(self.turned + 1);
        let mut level = 0;
        while level + 1 < TOP
            && (grain >> (level * BITS)) - (self.turned >> (level * BITS)) >= SLOTS
        {
            level += 1;
        }
        let shift = level * BITS;
        // Beyond the last level's reach: as far as it goes, and then again.
        let slot = (grain >> shift).min((self.turned >> shift) + SLOTS - 1);
        let list = level * 64 + u32::try_from(slot % SLOTS).unwrap_or(0);
        let due = Millis((slot << shift).saturating_mul(millis(GRAIN)));
        let head = self.heads.get_mut(list as usize).map_or(NONE, |h| std::mem::replace(h, index));
        if let Some(next) = self.node(head) {
            next.previous = index;
        }
        if let Some(node) = self.node(index) {
            (node.list, node.due, node.next, node.previous) = (list, due, head, NONE);
        }
        if let Some(occupied) = self.occupied.get_mut(level as usize) {
            *occupied |= 1 << (slot % SLOTS);
        }
        if due < self.turner_waits_for {
            self.turner_waits_for = due;
            if let Some(turner) = &self.turner {
                turner.wake_by_ref();
            }
        }
    }

    fn unlink(&mut self, index: u32) {
        let Some(node) = self.node(index) else {
            return;
        };
        let (list, next, previous) = (node.list, node.next, node.previous);
        if list == NONE {
            return;
        }
        (node.list, node.due, node.next, node.previous) = (NONE, Millis::NEVER, NONE, NONE);
        if let Some(next) = self.node(next) {
            next.previous = previous;
        }
        if let Some(previous) = self.node(previous) {
            previous.next = next;
        } else {
            if let Some(head) = self.heads.get_mut(list as usize) {
                *head = next;
            }
            if next == NONE
                && let Some(occupied) = self.occupied.get_mut((list / 64) as usize)
            {
                *occupied &= !(1 << (list % 64));
            }
        }
    }

    fn node(&mut self, index: u32) -> Option<&mut Node> {
        self.nodes.get_mut(index as usize)
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
