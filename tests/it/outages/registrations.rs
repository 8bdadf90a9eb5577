//! What writers do to readers: they vanish together, leave ghosts, and write what nobody can read.

use std::time::Duration;

use serde_json::json;

use super::{PATH, PATIENCE};
use crate::support::gate::Gate;
use crate::support::load::Load;
use crate::support::registry::Registrations;
use crate::support::scene::Scene;
use crate::support::wait::eventually;

/// Every writer loses its session at the same time: to a reader that is nobody left, which is not believed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn registrations_that_all_expire_at_once_cost_no_request() {
    let scene = Scene::new().await;
    let mut gate = Gate::open_to(scene.zk.member(0).addr()).await;
    let mut writers = Vec::new();
    for name in ["A", "B", "C"] {
        let session = Duration::from_secs(2);
        let writer = Registrations::connect_for(&gate.connect_string(), session).await;
        writer.nerve(PATH, &scene.lab.origin(name).await).await;
        writers.push(writer);
    }
    let synapse = scene.synapse(|_| ()).await;
    scene.until_serves("ABC").await;
    let load = Load::start(scene.front, 100);
    gate.close().await;
    eventually("all of them expire", PATIENCE, || async {
        let left = scene.registrations.children(PATH).await.expect("the parent stays");
        if left.is_empty() { Ok(()) } else { Err(left) }
    })
    .await;
    eventually("the kept set is explained", PATIENCE, || async {
        let reason = synapse.service("web").await["reason"].to_string();
        let kept = "discovery says nobody, the previous set is kept";
        if reason.contains(kept) { Ok(()) } else { Err(reason) }
    })
    .await;
    let known = synapse.sample("synapse_backends_known").await;
    println!("mass expiry: {known} of 3 kept");
    assert!(known >= 1.0, "{known}");
    scene.nerve("D").await;
    scene.until_serves("D").await;
    load.stop().await.assert_no_failure();
}

/// A writer that was killed and comes back at once: two sequential nodes until the former session expires.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ghost_beside_its_successor_is_one_backend() {
    let scene = Scene::new().await;
    let (a, ghost) = scene.nerve("A").await;
    let synapse = scene.synapse(|_| ()).await;
    scene.until_serves("A").await;
    scene.registrations.nerve(PATH, &a).await;
    // Seen after the second node, so that has been seen, too.
    let (_, witness) = scene.nerve("B").await;
    scene.until_serves("AB").await;
    assert_eq!(synapse.sample("synapse_backends_known").await, 2.0);
    let load = Load::start(scene.front, 100);
    scene.registrations.delete(&ghost).await;
    scene.registrations.delete(&witness).await;
    scene.until_serves("A").await;
    assert_eq!(synapse.sample("synapse_backends_known").await, 1.0);
    load.stop().await.assert_no_failure();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn huge_and_strange_registrations_are_left_out() {
    let scene = Scene::new().await;
    scene.keep("A").await;
    let synapse = scene.synapse(|_| ()).await;
    scene.until_serves("A").await;
    let huge = format!("{{\"host\": \"{}\", \"port\": 80}}", "h".repeat(900_000));
    let long = "n".repeat(60_000);
    let port = |port: serde_json::Value| json!({"host": "10.0.0.1", "port": port}).to_string();
    let strange: [(&str, Vec<u8>); 9] = [
        ("huge", huge.into_bytes()),
        ("bytes", vec![0xff; 10]),
        ("words", port(json!("abc")).into_bytes()),
        ("zero", port(json!(0)).into_bytes()),
        ("beyond", port(json!(70_000)).into_bytes()),
        ("nan", b"{\"host\": \"10.0.0.1\", \"port\": 1, \"weight\": NaN}".to_vec()),
        ("100%", Vec::new()),
        ("\u{fc}n\u{ef}c\u{f6}de", Vec::new()),
        (&long, Vec::new()),
    ];
    for (name, data) in &strange {
        scene.registrations.create_named(&format!("{PATH}/{name}"), data).await;
    }
    scene.keep("B").await;
    scene.until_serves("AB").await;
    eventually("all are counted", PATIENCE, || async {
        let count = synapse.sample("synapse_discovery_malformed_members").await;
        if count == 9.0 { Ok(()) } else { Err(count) }
    })
    .await;
    assert_eq!(synapse.sample("synapse_backends_known").await, 2.0);
    let longest = synapse.log().lines().map(str::len).max().expect("a log");
    assert!(longest < 2_000, "a line of {longest} bytes");
}
