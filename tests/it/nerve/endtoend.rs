//! nerve and synapse together: a deployment costs no request.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Map, Value, json};
use tokio::time::Instant;

use crate::support::lab::Lab;
use crate::support::load::{Load, percentile};
use crate::support::nerve::{Nerve, service, until_nodes};
use crate::support::origin::{Origin, OriginProcess};
use crate::support::synapse::{Synapse, config, listener};
use crate::support::wait::eventually;
use crate::support::zookeeper::Zk;

const PATH: &str = "/nerve/services/web";
const PATIENCE: Duration = Duration::from_secs(20);
const PER_SECOND: u32 = 500;
const NAMES: [&str; 3] = ["a", "b", "c"];

/// ZooKeeper, nerve registering three backends, synapse in front of them.
struct Scene {
    zk: Zk,
    nerve: Nerve,
    _synapse: Synapse,
    front: SocketAddr,
}

impl Scene {
    async fn new(lab: &Lab, backends: [SocketAddr; 3]) -> Self {
        let zk = Zk::standalone();
        // A busy machine is not to look like a dying backend.
        let checks = json!({"checks": [{"type": "http", "uri": "/ping", "timeout": 5}]});
        let services: Map<String, Value> = NAMES
            .iter()
            .zip(backends)
            .map(|(name, addr)| {
                let one = service(&zk.connect_string(), PATH, addr, checks.clone());
                ((*name).to_owned(), one)
            })
            .collect();
        let nerve = Nerve::start(lab, json!({"services": services})).await;
        until_nodes(&zk.client().await, PATH, 3).await;
        let front = lab.free_addr();
        let web = json!({
            "discovery": {"method": "zookeeper", "hosts": [zk.connect_string()], "path": PATH},
            "haproxy": listener(front, "http", &[])
        });
        let synapse = lab.synapse(config(json!({"web": web}))).await;
        Self { zk, nerve, _synapse: synapse, front }
    }

    async fn tell(&self, arguments: &[&str]) {
        let said = self.nerve.tell(arguments).await;
        assert_eq!(said.code, Some(0), "{arguments:?}: {}{}", said.stdout, said.stderr);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn down_and_kill_costs_no_request() {
    // The promised load is for the release build; this machine may be building something.
    deployments(10, 100).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_down_and_kill_costs_no_request_a_hundred_times() {
    deployments(100, PER_SECOND).await;
}

/// `nerve down X` returns, the backend is killed at once, it is started again, `nerve up X`; one backend after the other.
async fn deployments(rounds: usize, per_second: u32) {
    let lab = Lab::alone().await;
    let mut backends = Vec::new();
    for name in NAMES {
        backends.push(lab.origin_process(name).await);
    }
    let addr = |i: usize| backends[i].addr();
    let scene = Scene::new(&lab, [addr(0), addr(1), addr(2)]).await;
    let client = scene.zk.client().await;
    let load = Load::start(scene.front, per_second);
    let mut took = Vec::new();
    for round in 0..rounds {
        let (turn, name) = (round % NAMES.len(), NAMES[round % NAMES.len()]);
        let before = load.ended();
        eventually("a load before the change", PATIENCE, || async {
            if load.ended() > before + 50 { Ok(()) } else { Err(load.ended()) }
        })
        .await;
        let begun = Instant::now();
        scene.tell(&["down", name, "--for", "60s", "--reason", "deploy"]).await;
        took.push(begun.elapsed());
        backends[turn].kill9().await;
        let addr = backends[turn].addr();
        if round % 2 == 0 {
            // The careful order; the other is a script that does not wait for its service.
            backends[turn] = OriginProcess::start(name, addr).await;
            scene.tell(&["up", name]).await;
        } else {
            scene.tell(&["up", name]).await;
            backends[turn] = OriginProcess::start(name, addr).await;
        }
        until_nodes(&client, PATH, 3).await;
    }
    let report = load.stop().await;
    println!(
        "{rounds} deployments, {} requests, p99 {:?}; `nerve down` took p50 {:?}, p100 {:?}",
        report.samples.len(),
        report.latency(99),
        percentile(took.clone(), 50),
        percentile(took, 100)
    );
    report.assert_no_failure();
    assert_eq!(report.per_origin().len(), 3, "all of them serve: {:?}", report.per_origin());
}

/// How long after `nerve down` has returned the backend still gets requests: what a script would have to wait for if
/// its requests could not be repeated.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn timed_when_down_returns_clients_have_heard_of_it() {
    const ROUNDS: usize = 30;
    let lab = Lab::alone().await;
    let mut backends: Vec<Origin> = Vec::new();
    for name in NAMES {
        backends.push(lab.origin(name).await);
    }
    let scene =
        Scene::new(&lab, [backends[0].addr(), backends[1].addr(), backends[2].addr()]).await;
    let client = scene.zk.client().await;
    let load = Load::start(scene.front, PER_SECOND);
    let mut late = Vec::new();
    for round in 0..ROUNDS {
        let origin = &backends[round % NAMES.len()];
        let asked = origin.requests();
        eventually("it has its share", PATIENCE, || async {
            if origin.requests() > asked + 20 { Ok(()) } else { Err(origin.requests()) }
        })
        .await;
        scene.tell(&["down", origin.name()]).await;
        let returned = Instant::now();
        eventually("it is left alone", PATIENCE, || async {
            let last = origin.times().last.unwrap_or(returned).max(returned);
            if last.elapsed() > Duration::from_millis(150) { Ok(()) } else { Err(last.elapsed()) }
        })
        .await;
        let last = origin.times().last.expect("it had requests");
        late.push(last.saturating_duration_since(returned));
        scene.tell(&["up", origin.name()]).await;
        until_nodes(&client, PATH, 3).await;
    }
    load.stop().await.assert_no_failure();
    let (p50, p100) = (percentile(late.clone(), 50), percentile(late, 100));
    println!(
        "{ROUNDS} rounds: last request after `nerve down` returned: p50 {p50:?}, p100 {p100:?}"
    );
    assert!(p100 <= Duration::from_millis(50), "p100 {p100:?}");
}
