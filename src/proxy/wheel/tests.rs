use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Wake;

use proptest::prelude::*;

use super::*;

#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

struct Timer {
    wheel: Wheel,
    turner: Arc<Count>,
}

impl Timer {
    fn new() -> Self {
        Self { wheel: Wheel::new(), turner: Arc::default() }
    }

    fn add(&mut self, deadline: u64) -> (Entry, Arc<Count>) {
        let count = Arc::<Count>::default();
        let entry = self.wheel.add(Arc::clone(&count).into(), Group(1));
        self.wheel.set(entry, Millis(deadline));
        (entry, count)
    }

    fn turn(&mut self, now: u64) -> Option<u64> {
        self.wheel.turn(Millis(now), &Arc::clone(&self.turner).into()).map(|next| next.0)
    }

    /// Turns whenever the wheel asks for it, until `end`.
    fn run(&mut self, end: u64) -> usize {
        let mut turns = 0;
        let mut now = 0;
        while let Some(next) = self.turn(now).filter(|next| *next <= end) {
            now = next;
            turns += 1;
            assert!(turns < 1_000_000, "it never comes to rest");
        }
        turns
    }
}

fn woken(count: &Count) -> usize {
    count.0.load(Ordering::Relaxed)
}

#[test]
fn an_entry_fires_once_and_never_early() {
    let mut timer = Timer::new();
    let (_, count) = timer.add(100);
    assert_eq!(timer.turn(0), Some(104));
    timer.turn(99);
    assert_eq!(woken(&count), 0);
    assert_eq!(timer.turn(104), None);
    assert_eq!(woken(&count), 1);
    timer.turn(1000);
    assert_eq!(woken(&count), 1);
}

#[test]
fn a_later_deadline_costs_one_look_and_an_earlier_one_wakes_the_turner() {
    let mut timer = Timer::new();
    let (entry, count) = timer.add(100);
    timer.turn(0);
    timer.wheel.set(entry, Millis(50_000));
    assert!(timer.turn(104).is_some_and(|next| next > 104));
    assert_eq!(woken(&count), 0);
    assert_eq!(woken(&timer.turner), 0);
    timer.wheel.set(entry, Millis(200));
    assert_eq!(woken(&timer.turner), 1);
    assert_eq!(timer.turn(150), Some(200));
    timer.turn(200);
    assert_eq!(woken(&count), 1);
}

#[test]
fn a_removed_entry_is_silent_and_its_place_is_used_again() {
    let mut timer = Timer::new();
    let (entry, count) = timer.add(10);
    timer.wheel.remove(entry);
    timer.wheel.remove(entry);
    let (again, _) = timer.add(1_000_000);
    assert_eq!(again, entry);
    timer.turn(500);
    assert_eq!(woken(&count), 0);
    timer.wheel.wake(Group(1));
    assert_eq!((woken(&count), timer.wheel.nodes.len()), (0, 1));
}

#[test]
fn never_is_never_and_a_week_is_a_week() {
    let mut timer = Timer::new();
    let (_, never) = timer.add(u64::MAX);
    assert_eq!(timer.turn(0), None);
    let week = 7 * 86_400_000;
    let (_, count) = timer.add(week);
    assert!(timer.run(week - 1) < 1000);
    assert_eq!(woken(&count), 0);
    timer.run(week + 8);
    assert_eq!((woken(&count), woken(&never)), (1, 0));
}

proptest! {
    #[test]
    fn every_entry_fires_in_its_grain(
        deadlines in proptest::collection::vec(1_u64..40_000_000, 1..30),
        start in 0_u64..10_000_000,
    ) {
        let mut timer = Timer::new();
        timer.turn(start);
        let entries: Vec<_> = deadlines.iter().map(|d| timer.add(start + d).1).collect();
        let mut now = start;
        while let Some(next) = timer.turn(now) {
            prop_assert!(next > now);
            for (deadline, count) in deadlines.iter().zip(&entries) {
                prop_assert_eq!(woken(count), usize::from(start + deadline <= now));
            }
            now = next;
            timer.turn(now);
            for (deadline, count) in deadlines.iter().zip(&entries) {
                let late = now.saturating_sub(start + deadline);
                prop_assert!(woken(count) == 1 || start + deadline > now || late == 0);
            }
        }
        prop_assert!(entries.iter().all(|count| woken(count) == 1));
    }
}
