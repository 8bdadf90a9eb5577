//! A new process in the place of a running one: nothing is refused, nothing is lost, nothing is forgotten.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::json;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::support::client::{Conn, get, sequence};
use crate::support::lab::Lab;
use crate::support::load::Load;
use crate::support::synapse::{Synapse, config, fixed};
use crate::support::wait::eventually;

const PATIENCE: Duration = Duration::from_secs(20);
const TAKEN_OVER: &str = "another process has taken over";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hand_overs_under_load_cost_nothing() {
    hand_overs(5, 200).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_a_hundred_hand_overs_under_load_cost_nothing() {
    hand_overs(100, 500).await;
}

/// New process over old, again and again, under load and while somebody scrapes; then a broken configuration.
async fn hand_overs(rounds: usize, per_second: u32) {
    let lab = Lab::alone().await;
    let (a, b) = (lab.origin("A").await, lab.origin("B").await);
    let front = lab.free_addr();
    let check = "check inter 500ms";
    let servers = [("A", a.addr(), check), ("B", b.addr(), check)];
    let services = json!({"web": fixed(front, "http", &[], &servers)});
    let mut current = lab.synapse(config(services)).await;
    let load = Load::start(front, per_second);
    let scrapes = Scrapes::start(current.admin());
    let mut former = Vec::new();
    for round in 0..rounds {
        let next = current.successor(None);
        current.until_logged(TAKEN_OVER).await;
        former.push((round, std::mem::replace(&mut current, next)));
        let done = load.ended();
        eventually("more requests", PATIENCE, || async {
            let more = load.ended() - done;
            if more >= 20 { Ok(()) } else { Err(more) }
        })
        .await;
    }
    let broken = lab.write("broken.json", "{\"services\": {\"web\": 5}}");
    let mut refused = current.successor(Some(&broken));
    assert_eq!(refused.ended().await.code(), Some(1), "{}", refused.log());
    assert!(!current.log().contains("hand-over asked for"), "{}", current.log());
    let done = load.ended();
    eventually("the old one serves", PATIENCE, || async {
        let more = load.ended() - done;
        if more >= 50 { Ok(()) } else { Err(more) }
    })
    .await;
    let report = load.stop().await;
    let scraped = scrapes.stop().await;
    println!(
        "{rounds} hand-overs: {} requests, p99 {:?}, {scraped} scrapes",
        report.samples.len(),
        report.latency(99)
    );
    report.assert_no_failure();
    assert!(scraped >= rounds, "{scraped} scrapes");
    for (round, mut synapse) in former {
        let status = synapse.ended().await;
        assert_eq!(status.code(), Some(0), "round {round}: {}", synapse.log());
    }
    // Everything that was answered by any of them is counted in the last one.
    eventually("all requests counted", PATIENCE, || async {
        let shown = current.service("web").await;
        let counted = shown["traffic"]["requests"].as_u64().expect("a number");
        let sent = u64::try_from(report.samples.len()).expect("fits");
        if counted == sent { Ok(()) } else { Err((counted, sent)) }
    })
    .await;
    let shares = report.per_origin();
    assert!(shares["A"].abs_diff(shares["B"]) <= 2 * rounds + 2, "{shares:?}");
}

/// Scrapes `/metrics` all the time; every answer must be there, and no counter may ever fall.
struct Scrapes {
    stop: CancellationToken,
    task: JoinHandle<usize>,
}

impl Scrapes {
    fn start(admin: SocketAddr) -> Self {
        let stop = CancellationToken::new();
        let token = stop.clone();
        let task = tokio::spawn(async move {
            let mut last = BTreeMap::new();
            let mut scrapes = 0;
            while !token.is_cancelled() {
                let answer = get(admin, "/metrics").await.expect("a scrape");
                assert_eq!(answer.status, 200);
                let now = counters(&answer.text());
                for (series, then) in &last {
                    let value = now.get(series).copied().unwrap_or(0.0);
                    assert!(value >= *then, "{series} fell from {then} to {value}");
                }
                last = now;
                scrapes += 1;
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            scrapes
        });
        Self { stop, task }
    }

    async fn stop(self) -> usize {
        self.stop.cancel();
        self.task.await.expect("scrapes are fine")
    }
}

/// The counters of the services: what belongs to the process (CPU time, start) begins anew with it.
fn counters(text: &str) -> BTreeMap<String, f64> {
    let is_counter = |series: &str| {
        let name = series.split('{').next().unwrap_or_default();
        name.starts_with("synapse_")
            && (name.ends_with("_total") || name.ends_with("_bucket") || name.ends_with("_sum"))
            && !name.contains("process_cpu")
    };
    text.lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.rsplit_once(' '))
        .filter(|(series, _)| is_counter(series))
        .map(|(series, value)| (series.to_owned(), value.parse().expect("a number")))
        .collect()
}
