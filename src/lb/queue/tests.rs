use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::sync::Barrier;
use std::task::Waker;

use super::*;
use crate::lb::backend::SlotArena;
use crate::lb::balancer::testing::member_in;
use crate::lb::fixed::{FixedPool, fixed};
use crate::lb::lease::Lease;
use crate::lb::snapshot::{Member, Picker};
use crate::lb::{PickContext, PickError, balancer};

fn pool(servers: u16, max: u32) -> FixedPool {
    let addrs: Vec<_> = (1..=servers).map(|port| ([127, 0, 0, 1], port).into()).collect();
    fixed("test", &addrs, NonZeroU32::new(max), 1)
}

fn acquire(pool: &FixedPool) -> Result<Lease, PickError> {
    pool.handle.acquire(PickContext::default())
}

fn line_up(pool: &FixedPool) -> Place {
    pool.handle.line_up(PickContext::default()).unwrap()
}

/// What has come of a place.
fn look(place: &mut Place) -> Option<(Lease, Ahead)> {
    match Pin::new(place).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(served) => Some(served),
        Poll::Pending => None,
    }
}

use std::pin::Pin;
use std::task::{Context, Poll};

#[test]
fn a_slot_goes_to_who_came_first_and_to_nobody_else() {
    let pool = pool(1, 2);
    let mut held = vec![acquire(&pool).unwrap(), acquire(&pool).unwrap()];
    let mut places: VecDeque<_> = (0..3).map(|_| line_up(&pool)).collect();
    assert_eq!(pool.handle.queue().length, 3);
    for ahead in 1..=3 {
        held.remove(0);
        assert_eq!(acquire(&pool).unwrap_err(), PickError::AllFull { eligible: 1 });
        assert!(places.iter_mut().skip(1).all(|place| look(place).is_none()));
        let (lease, turn) = look(&mut places.pop_front().unwrap()).unwrap();
        assert_eq!(turn, Ahead { server: 0, backend: ahead });
        assert_eq!(pool.backends[0].in_flight.get(), 2);
        held.push(lease);
    }
    drop(held);
    assert_eq!(pool.backends[0].in_flight.get(), 0);
    let view = pool.handle.queue();
    assert_eq!((view.length, view.most, view.entered, view.served), (0, 3, 3, 3));
}

#[test]
fn who_leaves_passes_on_what_was_on_its_way() {
    let pool = pool(1, 1);
    let held = acquire(&pool).unwrap();
    let (mut first, mut second, mut third) = (line_up(&pool), line_up(&pool), line_up(&pool));
    assert_eq!(second.leave(), Ahead { server: 0, backend: 1 });
    drop(held);
    assert_eq!(first.leave(), Ahead { server: 0, backend: 1 }, "it had a slot on its way");
    assert!(look(&mut second).is_none());
    let (lease, ahead) = look(&mut third).unwrap();
    assert_eq!(ahead.backend, 2);
    drop(lease);
    assert_eq!(pool.backends[0].in_flight.get(), 0);
    assert!(acquire(&pool).is_ok());
}

#[test]
fn who_comes_when_there_is_room_gets_it_at_once() {
    let pool = pool(2, 1);
    let held = acquire(&pool).unwrap();
    let mut late = line_up(&pool);
    let (lease, _) = look(&mut late).unwrap();
    assert_ne!(lease.backend().id, held.backend().id);
}

/// Sends everybody to wait for the first member.
#[derive(Debug)]
struct FirstOnly;

impl Picker for FirstOnly {
    fn pick(&self, members: &[Member], cx: PickContext<'_>) -> Option<usize> {
        members.first().filter(|m| !m.is_full_for(cx)).map(|_| 0)
    }
    fn wait_for(&self, _members: &[Member], _cx: PickContext<'_>) -> Option<usize> {
        Some(0)
    }
}

/// A cell with a snapshot of `members` in which everybody waits for the first.
fn bound(arena: &SlotArena, members: &[Member]) -> Arc<ArcSwap<Snapshot>> {
    first(arena.queue(), snapshot(members, Box::new(FirstOnly)))
}

fn snapshot(members: &[Member], picker: Box<dyn Picker>) -> Snapshot {
    let (known, up) = (members.len(), members.len());
    Snapshot { revision: 1, known, up, members: members.into(), picker }
}

#[test]
fn who_waits_for_one_server_is_served_by_that_one_in_turn_with_the_others() {
    let mut arena = SlotArena::default();
    let mut a = member_in(&mut arena, 1, Some(1));
    a.limits.max_queue = NonZeroU32::new(2);
    let b = member_in(&mut arena, 1, Some(1));
    let cell = bound(&arena, &[a.clone(), b.clone()]);
    let queue = arena.queue();
    let on_a = cell.load().acquire(PickContext::default()).unwrap();
    let on_b = Lease::take(&b).unwrap();
    let wanted = (&a.backend, a.limits.max_queue);
    let mut first = queue.enter(Some(wanted)).unwrap();
    let mut any = queue.enter(None).unwrap();
    let mut second = queue.enter(Some(wanted)).unwrap();
    assert!(queue.enter(Some(wanted)).is_none(), "maxqueue");
    assert_eq!(a.backend.in_flight.queued(), (2, 2));
    drop(on_a);
    let (on_a, ahead) = look(&mut first).unwrap();
    assert_eq!(ahead, Ahead { server: 1, backend: 0 });
    drop(on_a);
    let (on_a, ahead) = look(&mut any).unwrap();
    assert_eq!((on_a.backend().id, ahead), (a.backend.id, Ahead { server: 0, backend: 1 }));
    drop(on_b);
    assert!(look(&mut second).is_none(), "it wants the other one");
    drop(on_a);
    let (_lease, ahead) = look(&mut second).unwrap();
    assert_eq!(ahead, Ahead { server: 2, backend: 0 });
}

#[test]
fn who_waits_for_a_server_that_is_gone_waits_for_any_and_a_new_one_serves() {
    let mut arena = SlotArena::default();
    let a = member_in(&mut arena, 1, Some(1));
    let b = member_in(&mut arena, 1, Some(1));
    let cell = bound(&arena, std::slice::from_ref(&a));
    let queue = Arc::clone(arena.queue());
    let on_a = cell.load().acquire(PickContext::default()).unwrap();
    let mut waits = queue.enter(Some((&a.backend, None))).unwrap();
    publish(&queue, &cell, snapshot(&[], Box::new(FirstOnly)));
    assert_eq!((queue.view().common, a.backend.in_flight.queued()), (1, (0, 1)));
    drop(on_a);
    assert!(look(&mut waits).is_none(), "its slot is not given to anybody any more");
    assert_eq!(a.backend.in_flight.get(), 0);
    publish(&queue, &cell, snapshot(std::slice::from_ref(&b), Box::new(FirstOnly)));
    let (lease, ahead) = look(&mut waits).unwrap();
    assert_eq!((lease.backend().id, ahead.backend), (b.backend.id, 1));
}

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

#[test]
fn who_came_first_is_served_first_over_all_lines() {
    let mut arena = SlotArena::default();
    let mut a = member_in(&mut arena, 1, Some(1));
    let publish_with = |a: &Member, cell: &ArcSwap<Snapshot>, queue: &Queue| {
        publish(queue, cell, snapshot(std::slice::from_ref(a), Box::new(FirstOnly)));
    };
    let cell = bound(&arena, std::slice::from_ref(&a));
    let queue = Arc::clone(arena.queue());
    let _held = cell.load().acquire(PickContext::default()).unwrap();
    let mut places = [false, true, false, true]
        .map(|is_bound| queue.enter(is_bound.then_some((&a.backend, None))).unwrap());
    let mut leases = Vec::new();
    // One more, then two at once.
    for (max, served) in [(2, 0..1), (4, 1..3), (5, 3..4)] {
        a.max_connections = NonZeroU32::new(max);
        publish_with(&a, &cell, &queue);
        let expected = served.end;
        leases.extend(places[served].iter_mut().map(|place| look(place).expect("its turn").0));
        assert!(places[expected..].iter_mut().all(|place| look(place).is_none()), "{max}");
    }
}

#[test]
fn who_lined_up_by_an_old_snapshot_waits_for_any() {
    let mut arena = SlotArena::default();
    let a = member_in(&mut arena, 1, Some(1));
    let b = member_in(&mut arena, 1, Some(1));
    let cell = bound(&arena, &[a.clone(), b.clone()]);
    let queue = Arc::clone(arena.queue());
    publish(&queue, &cell, snapshot(std::slice::from_ref(&b), Box::new(FirstOnly)));
    let on_b = cell.load().acquire(PickContext::default()).unwrap();
    let mut late = queue.enter(Some((&a.backend, None))).unwrap();
    queue.serve();
    assert_eq!((queue.view().common, a.backend.in_flight.queued()), (1, (0, 1)));
    drop(on_b);
    assert_eq!(look(&mut late).unwrap().0.backend().id, b.backend.id);
}

#[test]
fn places_that_are_about_to_change_move_nobody_out_of_a_line() {
    let mut arena = SlotArena::default();
    let a = member_in(&mut arena, 1, Some(1));
    let b = member_in(&mut arena, 1, Some(1));
    let cell = bound(&arena, &[a.clone(), b.clone()]);
    let queue = Arc::clone(arena.queue());
    let on_a = cell.load().acquire(PickContext::default()).unwrap();
    let mut waits = queue.enter(Some((&a.backend, None))).unwrap();
    // As in the middle of a publication.
    place_members(&snapshot(&[b, a.clone()], Box::new(FirstOnly)));
    queue.serve();
    assert_eq!((queue.view().common, a.backend.in_flight.queued().0), (0, 1));
    drop(on_a);
    assert_eq!(look(&mut waits).unwrap().0.backend().id, a.backend.id);
}

#[test]
fn a_lease_that_nobody_waits_for_ends_without_the_lock() {
    let mut arena = SlotArena::default();
    let a = member_in(&mut arena, 1, Some(1));
    let b = member_in(&mut arena, 1, Some(1));
    let cell = bound(&arena, &[a.clone(), b.clone()]);
    let queue = Arc::clone(arena.queue());
    let _on_a = cell.load().acquire(PickContext::default()).unwrap();
    let on_b = Lease::take(&b).unwrap();
    let _waits = queue.enter(Some((&a.backend, None))).unwrap();
    let lines = queue.lock();
    let (done, is_done) = std::sync::mpsc::channel();
    let leaver = std::thread::spawn(move || {
        drop(on_b);
        done.send(()).unwrap();
    });
    is_done.recv_timeout(Duration::from_secs(10)).expect("it waited for the lock");
    drop(lines);
    leaver.join().unwrap();
}

#[test]
fn a_slot_is_not_handed_on_when_its_backend_left_while_the_lines_were_locked() {
    let mut arena = SlotArena::default();
    let a = member_in(&mut arena, 1, Some(1));
    let cell = bound(&arena, std::slice::from_ref(&a));
    let queue = Arc::clone(arena.queue());
    let on_a = cell.load().acquire(PickContext::default()).unwrap();
    let mut waits = queue.enter(None).unwrap();
    let lines = queue.lock();
    let leaver = std::thread::spawn(move || drop(on_a));
    // Time for it to get to the lock. Were it too short, the test would see less, and not fail.
    for _ in 0..10_000 {
        std::thread::yield_now();
    }
    cell.store(Arc::new(snapshot(&[], Box::new(FirstOnly))));
    drop(lines);
    leaver.join().unwrap();
    assert!(look(&mut waits).is_none());
    assert_eq!(a.backend.in_flight.get(), 0);
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

/// Threads that take, wait, give up and leave at random: never more than `maxconn`, everybody served or gone, nothing
/// left over. A waiter that is not served in ten seconds is lost.
#[test]
fn no_slot_and_no_waiter_is_lost_under_many_threads() {
    const THREADS: usize = 4;
    const ROUNDS: u32 = 20_000;
    let (servers, max) = (2, 2);
    let pool = Arc::new(pool(servers, max));
    let barrier = Arc::new(Barrier::new(THREADS));
    let threads: Vec<_> = (0..THREADS)
        .map(|n| {
            let (pool, barrier) = (Arc::clone(&pool), Arc::clone(&barrier));
            std::thread::spawn(move || {
                let runtime =
                    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
                let mut random = fastrand::Rng::with_seed(n as u64);
                barrier.wait();
                runtime.block_on(async {
                    let mut held = VecDeque::new();
                    let mut waited = 0_u32;
                    for _ in 0..ROUNDS {
                        let lease = match acquire(&pool) {
                            Ok(lease) => lease,
                            Err(PickError::AllFull { .. }) => {
                                let mut place = line_up(&pool);
                                if random.u8(..8) == 0 {
                                    if random.bool() {
                                        std::thread::yield_now();
                                    }
                                    drop(place);
                                    continue;
                                }
                                // It may be us who hold what we wait for.
                                held.clear();
                                let patience = Duration::from_secs(10);
                                let served = tokio::time::timeout(patience, &mut place).await;
                                waited += 1;
                                served.expect("a waiter was lost").0
                            }
                            Err(other) => panic!("{other}"),
                        };
                        assert!(lease.backend().in_flight.get() <= max);
                        held.push_back(lease);
                        if held.len() > 1 || random.bool() {
                            held.pop_front();
                        }
                    }
                    waited
                })
            })
        })
        .collect();
    let waited: u32 = threads.into_iter().map(|thread| thread.join().unwrap()).sum();
    let view = pool.handle.queue();
    assert!(waited > 0, "nobody had to wait: {view:?}");
    assert_eq!((view.length, view.common), (0, 0));
    assert!(pool.backends.iter().all(|b| b.in_flight.get() == 0));
    assert_eq!(pool.handle.queue.busy(), 0);
}
