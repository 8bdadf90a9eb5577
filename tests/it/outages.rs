//! Whatever becomes of ZooKeeper: no request fails, and a registration made afterwards is used within two seconds.
//!
//! Each fault is tried twice: briefly, and as `slow_…` with 60 s of load. What the registry alone has to endure
//! (`tests/zookeeper`) is not repeated here.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::task::block_in_place;
use tokio::time::{Instant, sleep, sleep_until};

use crate::scale::{cpu_seconds, rss_bytes};
use crate::support::child::{ip, is_child};
use crate::support::client::get;
use crate::support::gate::Gate;
use crate::support::lab::Lab;
use crate::support::load::{Load, percentile};
use crate::support::oracle::need;
use crate::support::origin::Origin;
use crate::support::registry::Registrations;
use crate::support::synapse::{Synapse, config, is_release, listener};
use crate::support::wait::eventually;
use crate::support::zookeeper::Zk;

const PATIENCE: Duration = Duration::from_secs(30);
const PATH: &str = "/nerve/services/web";
const PER_SECOND: u32 = 500;
/// The promise: from the registration after healing to its first request.
const CONVERGENCE: Duration = Duration::from_secs(2);
/// The address of ZooKeeper on an interface of its own, which can be taken down.
const OWN: &str = "10.99.7.1";

/// What happens to ZooKeeper.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// `kill -9`; started again afterwards.
    Killed,
    /// SIGSTOP for twice the session.
    Hung,
    /// `kill -9` and a start, again and again.
    Restarted,
    /// `kill -9`, its data removed, started; nobody registers for a while.
    Wiped,
    /// Every child deleted, one after the other.
    Emptied,
    /// The leader of three killed.
    LeaderLost,
    /// Two of three killed.
    QuorumLost,
    /// The interface to it down; `true` in a network namespace of our own only.
    InterfaceDown,
}

/// How long everything takes.
#[derive(Clone, Copy, Debug)]
struct Pace {
    /// `zk_session_timeout`, in seconds.
    session: u32,
    /// How long the fault lasts.
    outage: Duration,
    /// How long the load lasts at least.
    load: Duration,
}

const BRIEF: Pace = Pace {
    session: 2,
    outage: Duration::from_secs(4),
    load: Duration::from_secs(7),
};
const LONG: Pace = Pace {
    session: 10,
    outage: Duration::from_secs(25),
    load: Duration::from_secs(60),
};

impl Fault {
    fn zookeeper(self) -> Zk {
        match self {
            Self::LeaderLost | Self::QuorumLost => Zk::ensemble(3),
            Self::InterfaceDown => interface_of_its_own(),
            Self::Killed | Self::Hung | Self::Restarted | Self::Wiped | Self::Emptied => {
                Zk::standalone()
            }
        }
    }

    /// True while synapse has to say that it hears nobody.
    fn silences(self) -> bool {
        matches!(
            self,
            Self::Killed | Self::Hung | Self::QuorumLost | Self::InterfaceDown
        )
    }

    /// Lets it happen, for the time of the outage.
    async fn strike(self, zk: &Zk, nodes: &[String], outage: Duration) {
        let end = Instant::now() + outage;
        match self {
            Self::Killed => zk.kill9(),
            Self::Hung => zk.stop(),
            Self::Restarted => {
                while Instant::now() < end {
                    block_in_place(|| {
                        zk.kill9();
                        zk.restart();
                    });
                    sleep(outage / 4).await;
                }
            }
            Self::Wiped => block_in_place(|| {
                zk.kill9();
                zk.wipe();
                zk.restart();
            }),
            Self::Emptied => {
                let registrations = Registrations::connect(&zk.connect_string()).await;
                for node in nodes {
                    registrations.delete(node).await;
                    sleep(outage / 8).await;
                }
            }
            Self::LeaderLost => zk.leader().kill9(),
            Self::QuorumLost => zk.members().iter().take(2).for_each(|m| m.kill9()),
            Self::InterfaceDown => interface_down(),
        }
        sleep_until(end).await;
    }

    /// Ends it: from now on ZooKeeper answers.
    fn heal(self, zk: &Zk) {
        match self {
            Self::Killed | Self::QuorumLost => block_in_place(|| zk.restart()),
            Self::Hung => zk.cont(),
            Self::InterfaceDown => interface_up(),
            // Two of three are enough, an empty one is a healthy one.
            Self::Restarted | Self::Wiped | Self::Emptied | Self::LeaderLost => {}
        }
    }
}

/// A server that synapse reaches over an interface which is not `lo`. Only in a network namespace of our own.
fn interface_of_its_own() -> Zk {
    ip("link set lo up");
    // One end of a cable; its other end only keeps the line alive.
    ip("link add zk0 type veth peer name zk1");
    ip("link set zk1 up");
    interface_up();
    Zk::standalone_with("clientPortAddress=0.0.0.0")
}

fn interface_up() {
    ip("link set zk0 up");
    ip(&format!("addr add {OWN}/24 dev zk0"));
}

/// With its address, as DHCP does it: our server is on this host, and its address would be reachable without a link.
fn interface_down() {
    ip(&format!("addr del {OWN}/24 dev zk0"));
    ip("link set zk0 down");
}

/// Where synapse is told to look.
fn hosts(fault: Fault, zk: &Zk) -> Vec<String> {
    if fault == Fault::InterfaceDown {
        return vec![format!("{OWN}:{}", zk.member(0).addr().port())];
    }
    let all = zk.connect_string();
    all.split(',').map(str::to_owned).collect()
}

fn web(hosts: &[String], lab: &Lab, session: u32) -> (std::net::SocketAddr, Value) {
    let front = lab.free_addr();
    let mut config = config(json!({"web": {
        "discovery": {"method": "zookeeper", "hosts": hosts, "path": PATH},
        "haproxy": listener(front, "http", &[])
    }}));
    config["zk_session_timeout"] = json!(session);
    (front, config)
}

/// Registers an origin in a way that outlives our session.
async fn register(registrations: &Registrations, origin: &Origin) -> String {
    let node = format!("{PATH}/{}", origin.name());
    let (addr, name) = (origin.addr(), origin.name());
    let data = json!({"host": addr.ip().to_string(), "port": addr.port(), "name": name});
    registrations
        .create_named(&node, data.to_string().as_bytes())
        .await;
    node
}

/// Whether synapse says that it hears ZooKeeper.
async fn is_connected(synapse: &Synapse) -> bool {
    let metrics = synapse.metrics().await;
    let line = metrics
        .lines()
        .find(|line| line.starts_with("synapse_registry_connected{"))
        .expect("one ensemble");
    line.ends_with(" 1")
}

async fn until_asked(origin: &Origin) {
    eventually(&format!("{} is used", origin.name()), PATIENCE, || async {
        origin.times().first.ok_or("no request yet")
    })
    .await;
}

/// The load, the fault, the load, the healing, a registration, the load.
async fn survives(fault: Fault, pace: Pace) {
    let lab = Lab::new().await;
    let zk = block_in_place(|| fault.zookeeper());
    let registrations = Registrations::connect(&zk.connect_string()).await;
    registrations.path(PATH).await;
    let (mut origins, mut nodes) = (Vec::new(), Vec::new());
    for name in ["A", "B", "C"] {
        let origin = lab.origin(name).await;
        nodes.push(register(&registrations, &origin).await);
        origins.push(origin);
    }
    let late = lab.origin("D").await;
    let (front, config) = web(&hosts(fault, &zk), &lab, pace.session);
    let synapse = lab.synapse(config).await;
    for origin in &origins {
        eventually("all are used", PATIENCE, || async {
            get(front, "/").await?;
            origin.times().first.map(drop).ok_or("not used".to_owned())
        })
        .await;
    }

    let begun = Instant::now();
    let load = Load::start(front, PER_SECOND);
    sleep(Duration::from_secs(1)).await;
    fault.strike(&zk, &nodes, pace.outage).await;
    serves_as_before(fault, &origins, &synapse).await;
    fault.heal(&zk);
    let healed = Instant::now();
    let registrations = Registrations::connect(&zk.connect_string()).await;
    registrations.path(PATH).await;
    late.mark();
    register(&registrations, &late).await;
    let registered = Instant::now();
    until_asked(&late).await;
    let (since_healed, since_registered) = (healed.elapsed(), registered.elapsed());
    sleep_until(begun + pace.load).await;

    let report = load.stop().await;
    println!(
        "{fault:?}: {} requests in {:?}, p99 {:?}; new one used {since_registered:?} after its registration, \
         {since_healed:?} after healing; {} log lines",
        report.samples.len(),
        begun.elapsed(),
        report.latency(99),
        synapse.log().lines().count()
    );
    report.assert_no_failure();
    assert!(since_registered <= CONVERGENCE, "{since_registered:?}");
    assert!(is_connected(&synapse).await);
    let lines = synapse.log().lines().count();
    assert!(lines < 100, "{lines} lines are a flood:\n{}", synapse.log());
}

/// At the end of the outage: the set is what it was, and what is wrong is shown.
async fn serves_as_before(fault: Fault, origins: &[Origin], synapse: &Synapse) {
    origins.iter().for_each(Origin::mark);
    let (last, others) = origins.split_last().expect("three");
    until_asked(last).await;
    if fault == Fault::Emptied {
        // Deletions are obeyed, except that of the last one.
        let used = others.iter().filter(|o| o.times().first.is_some());
        assert_eq!(used.count(), 0, "the deleted ones are used");
    } else {
        for origin in others {
            until_asked(origin).await;
        }
    }
    let ready = get(synapse.admin(), "/ready").await.expect("admin");
    assert_eq!(ready.status, 200, "{}", ready.text());
    assert_eq!(is_connected(synapse).await, !fault.silences());
}

/// One brief and one long test per fault.
macro_rules! outage {
    ($fault:ident, $brief:ident, $slow:ident) => {
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $brief() {
            survives(Fault::$fault, BRIEF).await;
        }

        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $slow() {
            survives(Fault::$fault, LONG).await;
        }
    };
}

outage!(
    Killed,
    zookeeper_killed_costs_no_request,
    slow_zookeeper_killed_costs_no_request
);
outage!(
    Hung,
    zookeeper_hung_costs_no_request,
    slow_zookeeper_hung_costs_no_request
);
outage!(
    Restarted,
    zookeeper_restarted_costs_no_request,
    slow_zookeeper_restarted_costs_no_request
);
outage!(
    Wiped,
    zookeeper_wiped_costs_no_request,
    slow_zookeeper_wiped_costs_no_request
);
outage!(
    Emptied,
    all_registrations_deleted_cost_no_request,
    slow_all_registrations_deleted_cost_no_request
);
outage!(
    LeaderLost,
    the_leader_lost_costs_no_request,
    slow_the_leader_lost_costs_no_request
);
outage!(
    QuorumLost,
    the_quorum_lost_costs_no_request,
    slow_the_quorum_lost_costs_no_request
);

/// True in a process with a network of its own; the caller then does the test there.
fn in_own_network(test: &str) -> bool {
    need("unshare", "util-linux");
    need("ip", "iproute2");
    is_child(&format!("outages::{test}"), true)
}

fn run(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime")
        .block_on(test);
}

#[test]
fn the_interface_down_costs_no_request() {
    if in_own_network("the_interface_down_costs_no_request") {
        run(survives(Fault::InterfaceDown, BRIEF));
    }
}

#[test]
fn slow_the_interface_down_costs_no_request() {
    if in_own_network("slow_the_interface_down_costs_no_request") {
        run(survives(Fault::InterfaceDown, LONG));
    }
}

#[test]
fn timed_the_interface_down_for_three_sessions_costs_no_cpu() {
    if in_own_network("timed_the_interface_down_for_three_sessions_costs_no_cpu") {
        run(three_sessions());
    }
}

/// Interface down for three sessions without load: CPU < 5 %, back < 2 s after it is up.
async fn three_sessions() {
    let lab = Lab::alone().await;
    let zk = block_in_place(interface_of_its_own);
    let registrations = Registrations::connect(&zk.connect_string()).await;
    registrations.path(PATH).await;
    let (a, b) = (lab.origin("A").await, lab.origin("B").await);
    register(&registrations, &a).await;
    let (front, config) = web(&hosts(Fault::InterfaceDown, &zk), &lab, 2);
    let synapse = lab.synapse(config).await;
    assert_eq!(get(front, "/").await.expect("served").text(), "A");
    interface_down();
    let (down, before) = (Instant::now(), cpu_seconds(synapse.pid()));
    sleep(Duration::from_secs(6)).await;
    let busy = (cpu_seconds(synapse.pid()) - before) / down.elapsed().as_secs_f64();
    assert!(!is_connected(&synapse).await, "that is shown");
    // Made while synapse could not see it: being told of it proves that the session and its watches are back.
    register(&registrations, &b).await;
    interface_up();
    let up = Instant::now();
    eventually("the new one is used", PATIENCE, || async {
        get(front, "/").await?;
        b.times().first.map(drop).ok_or("not used".to_owned())
    })
    .await;
    let back = up.elapsed();
    println!(
        "interface down: {:.2} % CPU, back after {back:?}",
        busy * 100.0
    );
    assert!(busy < 0.05, "{busy}");
    assert!(back < CONVERGENCE, "{back:?}");
}

/// `$SMARTSTACK_OUTAGES` for a quicker look.
fn rounds() -> usize {
    std::env::var("SMARTSTACK_OUTAGES").map_or(200, |n| n.parse().expect("a number"))
}

fn descriptors(pid: u32) -> usize {
    let entries = std::fs::read_dir(format!("/proc/{pid}/fd")).expect("still running");
    entries.count()
}

/// Refused and silent in turn, 3 s each, with a session of 1 s: each outage ends a session.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_two_hundred_outages_leak_nothing() {
    let lab = Lab::alone().await;
    let zk = block_in_place(Zk::standalone);
    let mut gate = Gate::open_to(zk.member(0).addr()).await;
    let registrations = Registrations::connect(&zk.connect_string()).await;
    registrations.path(PATH).await;
    let (a, b) = (lab.origin("A").await, lab.origin("B").await);
    register(&registrations, &a).await;
    let (_, config) = web(&[gate.connect_string()], &lab, 1);
    let synapse = lab.synapse(config).await;
    let rounds = rounds();
    let (mut back, mut start) = (Vec::new(), (0, 0));
    for round in 0..rounds {
        if round == rounds / 10 {
            start = (rss_bytes(synapse.pid()), descriptors(synapse.pid()));
        }
        let outage = Duration::from_secs(3);
        if round % 2 == 0 {
            gate.close().await;
            sleep(outage).await;
            gate.open().await;
        } else {
            zk.stop();
            sleep(outage).await;
            zk.cont();
        }
        let healed = Instant::now();
        // Each round ends with a change, so that the watches prove to be back, too.
        let registrations = Registrations::connect(&zk.connect_string()).await;
        let known = if round % 2 == 0 {
            register(&registrations, &b).await;
            "synapse_backends_known{service=\"web\"} 2\n"
        } else {
            registrations.delete(&format!("{PATH}/B")).await;
            "synapse_backends_known{service=\"web\"} 1\n"
        };
        eventually("the change is seen", PATIENCE, || async {
            let metrics = synapse.metrics().await;
            if metrics.contains(known) {
                Ok(())
            } else {
                Err(metrics)
            }
        })
        .await;
        back.push(healed.elapsed());
    }
    let end = (rss_bytes(synapse.pid()), descriptors(synapse.pid()));
    let lines = synapse.log().lines().count();
    let back = percentile(back, 95);
    println!(
        "{rounds} outages: RSS {} -> {} kB, descriptors {} -> {}, {lines} log lines, back after (p95) {back:?}, \
         release: {}",
        start.0 / 1024,
        end.0 / 1024,
        start.1,
        end.1,
        is_release()
    );
    assert!(end.0 <= start.0 + 4_000_000, "RSS {} -> {}", start.0, end.0);
    assert!(end.1 <= start.1 + 2, "descriptors {} -> {}", start.1, end.1);
    assert!(back <= CONVERGENCE, "{back:?}");
    assert!(lines < 20 * rounds, "{lines} lines are a flood");
}
