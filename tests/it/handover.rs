//! A new process in the place of a running one: nothing is refused, nothing is lost, nothing is forgotten.

mod ends;
mod generator;
mod memory;
mod reloads;
mod scene;
mod signals;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::json;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use self::scene::{caller, successor_with, web};
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
    refuse_broken(&lab, &current, &load).await;
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

/// A broken configuration ends the process that was given it; the old one has not even noticed.
async fn refuse_broken(lab: &Lab, current: &Synapse, load: &Load) {
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn verdicts_and_the_turn_are_handed_over() {
    let lab = Lab::new().await;
    let (a, b, c) = (lab.origin("A").await, lab.origin("B").await, lab.origin("C").await);
    let dead = lab.origin("D").await;
    dead.die().await;
    let front = lab.free_addr();
    // Long after the hand-over: what the new one knows by then, it was told.
    let check = "check inter 1s downinter 60s rise 2 fall 1";
    let servers = [
        ("A", a.addr(), "check inter 60s"),
        ("B", b.addr(), "check inter 60s"),
        ("C", c.addr(), "check inter 60s"),
        ("D", dead.addr(), check),
    ];
    let services = json!({"web": fixed(front, "http", &[], &servers)});
    let mut old = lab.synapse(config(services)).await;
    eventually("D is down", PATIENCE, || async {
        let shown = old.service("web").await;
        if state_of(&shown, "D") == "DOWN" { Ok(()) } else { Err(shown) }
    })
    .await;
    assert_eq!(sequence(front, 4).await, "ABCA");
    let changes = old.service("web").await["health_changes"].clone();
    let new = old.successor(None);
    old.until_logged(TAKEN_OVER).await;
    // Its workers may take one more client in that moment, and then have had the same turn.
    assert_eq!(old.ended().await.code(), Some(0));
    assert_eq!(sequence(front, 4).await, "BCAB", "the turn goes on");
    let shown = new.service("web").await;
    assert_eq!(state_of(&shown, "D"), "DOWN", "{shown}");
    assert_eq!(shown["health_changes"], changes);
    assert_eq!(shown["traffic"]["requests"], 8, "{shown}");
    assert_eq!(new.stop().await.code(), Some(0));
    assert!(!lab.dir().join("state/handover.sock").exists());
}

fn state_of(service: &serde_json::Value, name: &str) -> String {
    let servers = service["servers"].as_array().expect("a list");
    let found = servers.iter().find(|s| s["name"].as_str().is_some_and(|n| n.starts_with(name)));
    found.expect("known")["state"].as_str().expect("text").to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kept_connection_finishes_in_the_old_process() {
    let lab = Lab::new().await;
    let (mut old, front, _a) = web(&lab).await;
    let mut used = Conn::open(front).await.expect("connect");
    let mut idle = Conn::open(front).await.expect("connect");
    for conn in [&mut used, &mut idle] {
        assert_eq!(conn.get("/").await.expect("answer").header("connection"), None);
    }
    let new = old.successor(None);
    old.until_logged(TAKEN_OVER).await;
    old.until_logged("draining connections").await;
    // The workers hear of the drain a moment later.
    let mut asked = 4;
    while used.get("/").await.expect("one more").header("connection").is_none() {
        asked += 1;
    }
    assert_eq!(get(front, "/").await.expect("the new one").text(), "A");
    let mut rest = Vec::new();
    assert_eq!(idle.read_rest(&mut rest).await, Ok(0), "closed after a while");
    assert_eq!(old.ended().await.code(), Some(0));
    eventually("all are counted", PATIENCE, || async {
        let shown = new.service("web").await;
        let (requests, open) =
            (&shown["traffic"]["requests"], &shown["traffic"]["connections_open"]);
        if *requests == asked && *open == 0 { Ok(()) } else { Err(shown) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_successor_that_dies_or_cannot_bind_changes_nothing() {
    let lab = Lab::new().await;
    let a = lab.origin("A").await;
    let (front, taken) = (lab.free_addr(), lab.origin("X").await.addr());
    let service = |bind| fixed(bind, "http", &[], &[("A", a.addr(), "")]);
    let old = lab.synapse(config(json!({"web": service(front)}))).await;
    // An address that somebody else has.
    let services = json!({"web": service(front), "more": service(taken)});
    let mut new = successor_with(&old, &lab, services);
    assert_eq!(new.ended().await.code(), Some(1));
    assert!(new.log().contains("address already in use"), "{}", new.log());
    // Killed in the middle, whenever that is.
    for delay in [0, 5, 20, 40] {
        let mut new = old.successor(None);
        tokio::time::sleep(Duration::from_millis(delay)).await;
        if new.log().contains("serving") {
            return;
        }
        new.signal(Signal::KILL);
        new.ended().await;
        if old.log().contains(TAKEN_OVER) {
            // Too late: it had everything.
            return;
        }
        assert_eq!(get(front, "/").await.expect("served").text(), "A");
        let live = get(old.admin(), "/live").await.expect("admin");
        assert_eq!(live.status, 200);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_second_of_two_successors_is_refused() {
    let lab = Lab::new().await;
    let (old, front, _a) = web(&lab).await;
    // One that asks and says no more.
    let first = caller(&lab, &[]);
    old.until_logged("hand-over asked for").await;
    let mut second = old.successor(None);
    assert_eq!(second.ended().await.code(), Some(1));
    let said = second.log();
    assert!(said.contains("a hand-over to another process is under way"), "{said}");
    drop(first);
    old.until_logged("hand-over came to nothing").await;
    let third = old.successor(None);
    old.until_logged(TAKEN_OVER).await;
    third.until_logged("serving").await;
    assert_eq!(get(front, "/").await.expect("served").text(), "A");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_kill_9_the_stale_socket_is_no_obstacle() {
    let lab = Lab::new().await;
    let (mut old, front, _a) = web(&lab).await;
    old.signal(Signal::KILL);
    old.ended().await;
    assert!(lab.dir().join("state/handover.sock").exists());
    let new = old.successor(None);
    new.until_logged("serving").await;
    assert_eq!(get(front, "/").await.expect("served").text(), "A");
}
