//! Limits that change while somebody waits.

use super::*;
use crate::lb::balancer;

#[test]
fn a_lower_maxconn_is_reached_before_anybody_is_served() {
    let mut arena = SlotArena::default();
    let mut a = member_in(&mut arena, 1, Some(3));
    let strategy = || balancer::build(&crate::lb::Strategy::RoundRobin);
    let build =
        |m: &Member| snapshot(std::slice::from_ref(m), strategy().build(std::slice::from_ref(m)));
    let cell = first(arena.queue(), build(&a));
    let queue = Arc::clone(arena.queue());
    let mut held: Vec<_> = (0..3).map(|_| Lease::take(&a).unwrap()).collect();
    let mut waits = queue.enter(None).unwrap();
    a.max_connections = NonZeroU32::new(1);
    publish(&queue, &cell, build(&a));
    held.pop();
    held.pop();
    assert!(look(&mut waits).is_none());
    assert_eq!(a.backend.in_flight.get(), 1);
    a.max_connections = NonZeroU32::new(2);
    publish(&queue, &cell, build(&a));
    assert!(look(&mut waits).is_some());
}

#[test]
fn the_limit_grows_with_those_that_wait_and_they_are_let_in_by_that() {
    let mut arena = SlotArena::default();
    let mut a = member_in(&mut arena, 1, Some(5));
    let (min, full) = (NonZeroU32::MIN, NonZeroU32::new(10).unwrap());
    a.limits.elastic = Some(crate::lb::limits::Elastic { min, full });
    for strategy in [crate::lb::Strategy::RoundRobin, crate::lb::Strategy::LeastConn] {
        let picker = balancer::build(&strategy).build(std::slice::from_ref(&a));
        let cell = first(arena.queue(), snapshot(std::slice::from_ref(&a), picker));
        let queue = arena.queue();
        let mut held = vec![cell.load().acquire(PickContext::default()).unwrap()];
        let mut waiting = VecDeque::new();
        for busy in 2..=12_u32 {
            waiting.push_back(queue.enter(None).unwrap());
            queue.serve();
            if let Some((lease, _)) = look(&mut waiting[0]) {
                held.push(lease);
                waiting.pop_front();
            }
            let limit = (busy * 5 / 10).clamp(1, 5);
            assert_eq!(a.backend.in_flight.get(), limit, "{strategy:?}, {busy} busy");
            assert!(cell.load().acquire(PickContext::default()).is_err());
        }
        drop(waiting);
        drop(held);
        assert_eq!(a.backend.in_flight.get(), 0);
        arena = SlotArena::default();
        a = Member { limits: a.limits, ..member_in(&mut arena, 1, Some(5)) };
    }
}

/// Asks for a limit, changes the load, asks again.
#[derive(Debug)]
struct Meddler;

impl Picker for Meddler {
    fn pick(&self, members: &[Member], cx: PickContext<'_>) -> Option<usize> {
        let limit = || members[0].limit_at(cx.busy);
        let before = limit();
        assert!((0..4).all(|_| members[1].backend.in_flight.try_enter(None)));
        assert_eq!(limit(), before, "the load was summed up again");
        assert!(members[0].limit() > before);
        None
    }
}

#[test]
fn the_load_is_summed_up_once_for_a_pick() {
    let mut arena = SlotArena::default();
    let mut a = member_in(&mut arena, 1, Some(10));
    let (min, full) = (NonZeroU32::MIN, NonZeroU32::new(10).unwrap());
    a.limits.elastic = Some(crate::lb::limits::Elastic { min, full });
    let _held = Lease::take(&a).unwrap();
    let b = member_in(&mut arena, 1, None);
    let cell = first(arena.queue(), snapshot(&[a, b], Box::new(Meddler)));
    let all_full = PickError::AllFull { eligible: 2 };
    assert_eq!(cell.load().acquire(PickContext::default()).unwrap_err(), all_full);
}

#[test]
fn what_another_process_has_counted_is_added() {
    let queue = Queue::default();
    queue.inherit([3, 2, 1_000]);
    queue.inherit([1, 1, 500]);
    let view = queue.view();
    assert_eq!((view.entered, view.served), (4, 3));
    assert_eq!(view.waited, Duration::from_micros(1_500));
}
