//! Connections at rest cost next to nothing, and workers share them.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::{Map, json};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::support::client::Conn;
use crate::support::lab::Lab;
use crate::support::memory;
use crate::support::synapse::{Synapse, config, fixed, is_release};
use crate::support::wait::eventually;

const PATIENCE: Duration = Duration::from_secs(20);
/// Connections whose cost is measured.
const IDLE: u64 = 5_000;
/// The promise for each of them, in bytes of resident memory.
const EACH: u64 = 2_500;
/// Open before the first look: the process's own growth (threads, arenas of the allocator) is not theirs.
const BEFORE: u64 = 100;
/// The promise for a start with [`SERVICES`].
const START: u64 = 12_000_000;
const SERVICES: usize = 20;
/// Connections that are shared between two workers, and how far the two may be apart.
const SHARED: usize = 8;
const APART: u64 = 2;

/// Our own ends of the connections need descriptors.
fn raise_descriptors() {
    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).expect("up to the maximum");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn timed_five_thousand_idle_connections() {
    raise_descriptors();
    let lab = Lab::alone().await;
    let origin = lab.origin("A").await;
    for (has_served, what) in [(true, "served a request each"), (false, "never spoke")] {
        let front = lab.free_addr();
        let service = fixed(front, "http", &[], &[("A", origin.addr(), "")]);
        let mut config = config(json!({"web": service}));
        config["haproxy"]["global"] = json!(["maxconn 6000"]);
        // Not the former one's memory: what is free in there would be used first.
        let synapse = lab.synapse(config).await;
        let mut idle = Vec::new();
        open(front, &mut idle, BEFORE, has_served).await;
        settled(&synapse, idle.len()).await;
        let before = memory::resident(synapse.pid());
        open(front, &mut idle, IDLE, has_served).await;
        settled(&synapse, idle.len()).await;
        let used = memory::resident(synapse.pid());
        let each = used.saturating_sub(before) / IDLE;
        println!("{IDLE} connections that {what}: {each} bytes each; RSS {} kB", used >> 10);
        if is_release() {
            assert!(each <= EACH, "{each} bytes for each connection that {what}");
        }
        drop(idle);
        settled(&synapse, 0).await;
        assert!(synapse.stop().await.success());
    }
}

async fn open(front: SocketAddr, idle: &mut Vec<Conn>, count: u64, has_served: bool) {
    for _ in 0..count {
        let mut conn = Conn::open(front).await.expect("connect");
        if has_served {
            assert_eq!(conn.get("/").await.expect("an answer").text(), "A");
        }
        idle.push(conn);
    }
}

/// Waits until so many connections are open.
async fn settled(synapse: &Synapse, count: usize) {
    eventually("all are counted", PATIENCE, || async {
        let open = synapse.sample("synapse_connections_open").await;
        if open == count as f64 { Ok(()) } else { Err(open) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn timed_a_start_with_twenty_services() {
    let lab = Lab::alone().await;
    let origin = lab.origin("A").await;
    let services: Map<_, _> = (0..SERVICES)
        .map(|number| {
            let server = [("A", origin.addr(), "check")];
            (format!("s{number}"), fixed(lab.free_addr(), "http", &[], &server))
        })
        .collect();
    let synapse = lab.synapse(config(services.into())).await;
    let used = memory::resident(synapse.pid());
    println!("{SERVICES} services: RSS {} kB", used >> 10);
    if is_release() {
        assert!(used <= START, "{used} bytes");
    }
}

/// Connections open on each worker.
async fn shares(synapse: &Synapse) -> Vec<u64> {
    let metrics = synapse.metrics().await;
    let samples = metrics.lines().filter_map(|l| l.strip_prefix("synapse_worker_connections{"));
    samples.map(|s| s.rsplit(' ').next().expect("a value").parse().expect("a count")).collect()
}

/// The workers' shares once `count` are open. Never far apart on the way there.
async fn fair(synapse: &Synapse, count: u64) -> Vec<u64> {
    eventually("all are open", PATIENCE, || async {
        let shares = shares(synapse).await;
        assert_eq!(shares.len(), 2, "one sample per worker");
        if shares.iter().sum::<u64>() == count { Ok(shares) } else { Err(shares) }
    })
    .await
}

fn assert_fair(shares: &[u64], when: &str) {
    assert!(shares[0].abs_diff(shares[1]) <= APART, "{when}: {shares:?}");
}

/// HTTP connections at rest and TCP connections alike: one after the other, all at once, and after any of them have
/// been closed and replaced.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn eight_connections_are_shared_by_two_workers() {
    let lab = Lab::new().await;
    let (web, raw) = (lab.origin("A").await, lab.tcp_origin("B").await);
    for (mode, origin) in [("http", &web), ("tcp", &raw)] {
        let front = lab.free_addr();
        let service = fixed(front, mode, &[], &[("A", origin.addr(), "")]);
        let synapse = lab.synapse(config(json!({"it": service}))).await;
        let mut conns = Vec::new();
        for count in 1..=SHARED as u64 {
            conns.push(TcpStream::connect(front).await.expect("connect"));
            assert_fair(&fair(&synapse, count).await, "one after the other");
        }
        // Every choice of those that go: also all of one worker's.
        let mut seen = BTreeSet::new();
        for choice in 0_usize..256 {
            let goes = |index: usize| choice >> index & 1 == 1;
            let gone = choice.count_ones() as usize;
            if choice % 5 != 0 && ![0, SHARED].contains(&gone) {
                continue;
            }
            let mut index = 0;
            conns.retain(|_| {
                index += 1;
                !goes(index - 1)
            });
            fair(&synapse, (SHARED - gone) as u64).await;
            let mut opening = JoinSet::new();
            for _ in 0..gone {
                opening.spawn(TcpStream::connect(front));
            }
            for opened in opening.join_all().await {
                conns.push(opened.expect("connect"));
            }
            let shares = fair(&synapse, SHARED as u64).await;
            assert_fair(&shares, &format!("{mode}, {gone} replaced at once"));
            seen.insert(shares);
        }
        println!("{mode}: {seen:?}");
    }
}
