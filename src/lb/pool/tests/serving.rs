//! Who is picked, and what new settings change about that.

use super::*;

#[tokio::test(start_paused = true)]
async fn sequential_requests_come_in_haproxys_order_from_the_start() {
    let bench = start(settings(Strategy::RoundRobin));
    bench.with(&[("1", "weight=1 check"), ("2", "weight=2 check"), ("3", "weight=3 check")]).await;
    let order: String = (0..24)
        .map(|_| bench.acquire().unwrap().addr().clone())
        .map(|a| {
            if a == addr(1) {
                'A'
            } else if a == addr(2) {
                'B'
            } else {
                'C'
            }
        })
        .collect();
    assert_eq!(order, "CBCACB".repeat(4));
}

#[tokio::test(start_paused = true)]
async fn who_waits_is_served_by_a_server_that_comes_and_by_a_raised_maxconn() {
    let bench = start(settings(Strategy::RoundRobin));
    bench.with(&[("1", "maxconn=1")]).await;
    let held = bench.acquire().unwrap();
    let line_up = || bench.handle.line_up(PickContext::default()).unwrap();
    let (first, second, third) = (line_up(), line_up(), line_up());
    assert_eq!(bench.acquire().unwrap_err(), PickError::AllFull { eligible: 1 });
    bench.with(&[("1", "maxconn=1"), ("2", "maxconn=1")]).await;
    let (first, ahead) = first.await;
    assert_eq!((first.addr().clone(), ahead.backend), (addr(2), 1));
    bench.with(&[("1", "maxconn=2"), ("2", "maxconn=1")]).await;
    let (second, _) = second.await;
    assert_eq!(*second.addr(), addr(1));
    bench.with(&[("2", "maxconn=1")]).await;
    drop((held, second));
    assert_eq!(bench.handle.queue().length, 1, "a slot of one that has left is not given out");
    drop(first);
    assert_eq!(*third.await.0.addr(), addr(2));
}

#[tokio::test(start_paused = true)]
async fn another_strategy_is_published_even_for_the_same_members() {
    let bench = start(settings(Strategy::LeastConn));
    bench.with(&[("1", "weight=1"), ("2", "weight=3")]).await;
    bench.command(settings(Strategy::RoundRobin)).await;
    let picked: Vec<_> = (0..4).map(|_| bench.acquire().unwrap().addr().clone()).collect();
    assert_eq!(picked.iter().filter(|a| **a == addr(2)).count(), 3);
}

#[tokio::test(start_paused = true)]
async fn new_settings_keep_verdicts_and_leases() {
    let bench = start(settings(Strategy::RoundRobin));
    bench.script.answer(addr(1), Answer::Refuse);
    bench.with(&[("1", "check"), ("2", "check")]).await;
    bench.until_health(1, Health::Down).await;
    let lease = bench.acquire().unwrap();
    bench
        .command(PoolSettings { order: BackendOrder::Descending, ..settings(Strategy::LeastConn) })
        .await;
    assert_eq!(bench.view(1).health, Health::Down);
    assert_eq!(lease.backend().in_flight.get(), 1);
    assert_eq!(hosts(&bench.handle), ["127.0.0.2"]);
}
