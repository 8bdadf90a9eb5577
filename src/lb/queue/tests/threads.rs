//! Several threads at once, and who holds the lock meanwhile.

use std::sync::Barrier;

use super::*;

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
