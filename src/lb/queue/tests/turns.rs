//! Whose turn it is: in one line, over all lines, and when servers come and go.

use super::*;

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
