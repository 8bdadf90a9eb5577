//! What a service's settings make of the registrations: filters, leaders, defaults, ports, weights.

use std::time::Duration;

use serde_json::json;

use super::{PATH, PATIENCE};
use crate::support::client::sequence;
use crate::support::scene::Scene;
use crate::support::wait::eventually;

#[tokio::test]
async fn the_last_backend_is_kept_or_dropped_as_configured() {
    for keep in [true, false] {
        let scene = Scene::new().await;
        let (_, node) = scene.nerve("A").await;
        let _synapse = scene.synapse(|s| s["use_previous_backends"] = json!(keep)).await;
        scene.until_serves("A").await;
        scene.registrations.delete(&node).await;
        if keep {
            scene.always_serves("A", Duration::from_secs(1)).await;
            scene.nerve("B").await;
            scene.until_serves("B").await;
        } else {
            scene.until_unavailable().await;
        }
    }
}

#[tokio::test]
async fn default_servers_answer_when_nothing_is_registered() {
    let scene = Scene::new().await;
    let (a, d) = (scene.lab.origin("A").await, scene.lab.origin("D").await);
    let default = json!([{"name": "D", "host": d.addr().ip().to_string(), "port": d.port()}]);
    let _synapse = scene.synapse(|s| s["default_servers"] = default).await;
    scene.until_serves("D").await;
    let node = scene.registrations.nerve(PATH, &a).await;
    scene.until_serves("A").await;
    scene.registrations.delete(&node).await;
    scene.until_serves("D").await;
}

#[tokio::test]
async fn keep_default_servers_adds_them() {
    let scene = Scene::new().await;
    let (a, d) = (scene.lab.origin("A").await, scene.lab.origin("D").await);
    scene.registrations.nerve(PATH, &a).await;
    let default = json!([{"name": "D", "host": d.addr().ip().to_string(), "port": d.port()}]);
    let _synapse = scene
        .synapse(|s| {
            s["default_servers"] = default;
            s["keep_default_servers"] = json!(true);
        })
        .await;
    scene.until_serves("AD").await;
}

#[tokio::test]
async fn label_filters_let_through_what_they_say() {
    let scene = Scene::new().await;
    for (name, labels) in [
        ("A", json!({"az": "a", "n": 1})),
        ("B", json!({"az": "b", "n": 1})),
        ("C", json!({"az": "a", "n": "1"})),
        ("D", json!({"az": "a"})),
    ] {
        let origin = scene.lab.origin(name).await;
        // The task of an origin lives on without its handle.
        scene.registrations.nerve_with(PATH, &origin, json!({"labels": labels})).await;
    }
    let filters = json!([
        {"label": "az", "value": "a", "condition": "equals"},
        {"label": "n", "value": "1", "condition": "not-equals"}
    ]);
    let _synapse = scene.synapse(|s| s["discovery"]["label_filters"] = filters).await;
    scene.until_serves("AD").await;
}

#[tokio::test]
async fn the_leader_is_the_smallest_id_and_nobody_when_one_has_none() {
    let scene = Scene::new().await;
    let (a, b) = (scene.lab.origin("A").await, scene.lab.origin("B").await);
    let first = scene.registrations.nerve(PATH, &a).await;
    scene.registrations.nerve(PATH, &b).await;
    let _synapse = scene
        .synapse(|s| {
            s["leader_election"] = json!(true);
            s["use_previous_backends"] = json!(false);
        })
        .await;
    scene.until_serves("A").await;
    scene.registrations.delete(&first).await;
    scene.until_serves("B").await;
    let idless = json!({"host": a.addr().ip().to_string(), "port": a.port(), "name": "A"});
    let named = format!("{PATH}/without-a-number");
    scene.registrations.create_named(&named, idless.to_string().as_bytes()).await;
    scene.until_unavailable().await;
    scene.registrations.delete(&named).await;
    scene.until_serves("B").await;
}

#[tokio::test]
async fn the_port_can_be_overridden() {
    let scene = Scene::new().await;
    let a = scene.lab.origin("A").await;
    let data = json!({"host": a.addr().ip().to_string(), "port": 1, "name": "A"});
    scene.registrations.create(PATH, "A_", data.to_string().as_bytes()).await;
    let port = a.port();
    let _synapse = scene.synapse(|s| s["backend_port_override"] = json!(port.to_string())).await;
    scene.until_serves("A").await;
}

#[tokio::test]
async fn nerve_weights_are_used_when_asked_for() {
    let scene = Scene::new().await;
    for (name, weight) in [("A", 5), ("B", 1), ("C", 1)] {
        let origin = scene.lab.origin(name).await;
        scene.registrations.nerve_with(PATH, &origin, json!({"weight": weight})).await;
    }
    let mut config = scene.config(|_| ());
    config["haproxy"]["use_nerve_weights"] = json!(true);
    config["workers"] = json!(1);
    let _synapse = scene.lab.synapse(config).await;
    eventually("the weights' order", PATIENCE, || async {
        let seen = sequence(scene.front, 7).await;
        if seen.matches('A').count() == 5 { Ok(()) } else { Err(seen) }
    })
    .await;
}
