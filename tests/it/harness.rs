//! The harness itself, against haproxy: a tool that is wrong finds nothing.

use std::time::Duration;

use crate::support::client::{Conn, get, sequence};
use crate::support::lab::Lab;
use crate::support::load::{Load, percentile};
use crate::support::oracle::Oracle;
use crate::support::wait::eventually;

#[tokio::test]
async fn an_origin_process_can_be_killed_and_the_client_notices() {
    let lab = Lab::new().await;
    let mut origin = lab.origin_process("P").await;
    assert_eq!(get(origin.addr(), "/").await.expect("alive").text(), "P");
    origin.kill9().await;
    let failure = get(origin.addr(), "/").await.expect_err("dead");
    assert!(failure.contains("refused"), "{failure}");
}

#[tokio::test]
async fn an_origin_dies_with_its_connections_and_comes_back() {
    let lab = Lab::new().await;
    let origin = lab.origin("A").await;
    let mut conn = Conn::open(origin.addr()).await.expect("connect");
    assert_eq!(conn.get("/").await.expect("answer").text(), "A");
    origin.die().await;
    eventually("FIN seen", Duration::from_secs(2), || async {
        if conn.is_reusable() { Err("still open") } else { Ok(()) }
    })
    .await;
    origin.revive().await;
    assert_eq!(sequence(origin.addr(), 2).await, "AA");
}

#[tokio::test]
async fn a_load_is_half_kept_half_new_and_counts_failures() {
    let lab = Lab::alone().await;
    let (a, b) = (lab.origin("A").await, lab.origin("B").await);
    let haproxy =
        Oracle::start(&lab, "http", &[], &[("a", a.addr(), ""), ("b", b.addr(), "")]).await;
    let load = Load::start(haproxy.addr, 500);
    eventually("500 requests", Duration::from_secs(5), || async {
        if load.ended() >= 500 { Ok(()) } else { Err(load.ended()) }
    })
    .await;
    let good = load.stop().await;
    good.assert_no_failure();
    let kept = good.samples.iter().filter(|s| s.kept).count();
    assert!(kept.abs_diff(good.samples.len() / 2) <= 1);
    let shares = good.per_origin();
    assert!(shares["A"].abs_diff(shares["B"]) < 60, "{shares:?}");
    assert!(good.latency(50) < Duration::from_millis(50), "{:?}", good.latency(50));

    a.die().await;
    b.die().await;
    let load = Load::start(haproxy.addr, 100);
    eventually("20 requests", Duration::from_secs(10), || async {
        if load.ended() >= 20 { Ok(()) } else { Err(load.ended()) }
    })
    .await;
    assert!(load.stop().await.samples.iter().all(|s| s.outcome.is_err()));
}

#[test]
fn percentiles_are_nearest_rank() {
    let values: Vec<Duration> = (1..=20).map(Duration::from_millis).collect();
    assert_eq!(percentile(values.clone(), 95), Duration::from_millis(19));
    assert_eq!(percentile(values.clone(), 50), Duration::from_millis(10));
    assert_eq!(percentile(values, 100), Duration::from_millis(20));
}
