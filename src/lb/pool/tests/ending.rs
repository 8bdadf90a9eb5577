//! Sessions that end with their server.

use super::*;
use crate::lb::ending::{OnRemove, Reason};

#[tokio::test(start_paused = true)]
async fn a_backend_that_goes_down_ends_its_sessions_where_its_line_says_so() {
    let bench = start(settings(Strategy::RoundRobin));
    bench.with(&[("1", "fall=1 kill"), ("2", "fall=1")]).await;
    bench.until_health(1, Health::Up).await;
    let (one, two) = (bench.acquire().unwrap(), bench.acquire().unwrap());
    assert_eq!((one.addr(), two.addr()), (&addr(1), &addr(2)));
    let mut ends = bench.handle.ends();
    bench.script.answer(addr(1), Answer::Refuse);
    bench.script.answer(addr(2), Answer::Refuse);
    bench.until_health(1, Health::Down).await;
    bench.until_health(2, Health::Down).await;
    assert_eq!((one.ended(), two.ended()), (Some(Reason::Down), None));
    assert!(ends.has_changed().unwrap());
    ends.mark_unchanged();
    // Those that begin when it is back live.
    bench.script.answer(addr(1), Answer::Pass);
    bench.until_health(1, Health::Up).await;
    assert_eq!(bench.acquire().unwrap().ended(), None);
    assert!(!ends.has_changed().unwrap());
}

async fn removed(then: OnRemove, back: Option<u64>) -> Vec<bool> {
    let removal = Removal { then, drain_time: Duration::from_secs(10) };
    let bench = start(PoolSettings { removal, ..settings(Strategy::RoundRobin) });
    bench.with(&[("1", ""), ("2", "")]).await;
    let lease = bench.acquire().unwrap();
    assert_eq!(*lease.addr(), addr(1));
    bench.with(&[("2", "")]).await;
    let mut ended = Vec::new();
    for second in [0, 9, 11, 100] {
        if back == Some(second) {
            bench.with(&[("1", ""), ("2", "")]).await;
        }
        tokio::time::sleep(Duration::from_secs(second)).await;
        ended.push(lease.ended() == Some(Reason::Removed));
    }
    ended
}

#[tokio::test(start_paused = true)]
async fn sessions_of_a_removed_backend_end_as_the_service_says() {
    // After 0, 9, 20 and 120 s.
    assert_eq!(removed(OnRemove::Keep, None).await, [false; 4]);
    assert_eq!(removed(OnRemove::Drain, None).await, [false, false, true, true]);
    assert_eq!(removed(OnRemove::Drain, Some(11)).await, [false; 4]);
    assert_eq!(removed(OnRemove::Kill, None).await, [true; 4]);
}
