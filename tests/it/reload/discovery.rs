//! Reloads of services that discover: sources, sessions and generator configs.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};

use super::{PATIENCE, http, logged};
use crate::support::client::{get, sequence};
use crate::support::lab::Lab;
use crate::support::origin::Origin;
use crate::support::registry::Registrations;
use crate::support::synapse::{config, listener};
use crate::support::wait::{always, eventually};
use crate::support::zookeeper::Zk;

#[tokio::test]
async fn another_source_leaves_the_set_until_it_speaks() {
    let lab = Lab::new().await;
    let (a, b) = (lab.origin("A").await, lab.origin("B").await);
    let front = lab.free_addr();
    let record = |o: &Origin| json!([{"name": o.name(), "host": o.addr().ip().to_string(), "port": o.port()}]);
    let first = lab.write("a.json", &record(&a).to_string());
    let second = lab.write("b.json", &record(&b).to_string());
    let service = |discovery: Value| {
        config(json!({"web": {"discovery": discovery, "haproxy": listener(front, "http", &[])}}))
    };
    let nobody = lab.free_addr();
    let silent = json!({"method": "zookeeper", "hosts": [nobody.to_string()], "path": "/x"});
    let synapse = lab.synapse(service(json!({"method": "file", "path": first}))).await;
    eventually("A serves", PATIENCE, || get(front, "/")).await;
    synapse.rewrite(&lab, service(silent));
    assert!(synapse.reload().await);
    always("A goes on", Duration::from_millis(500), || async {
        let text = get(front, "/").await?.text();
        if text == "A" { Ok(()) } else { Err(text) }
    })
    .await;
    assert!(synapse.metrics().await.contains("synapse_registry_connected"));
    synapse.rewrite(&lab, service(json!({"method": "file", "path": second})));
    assert!(synapse.reload().await);
    eventually("B serves", PATIENCE, || async {
        let text = get(front, "/").await?.text();
        if text == "B" { Ok(()) } else { Err(text) }
    })
    .await;
    let metrics = synapse.metrics().await;
    assert!(!metrics.contains("synapse_registry_connected{"), "the session is closed: {metrics}");
}

#[tokio::test]
async fn a_reload_leaves_sessions_and_generator_configs_alone() {
    let lab = Lab::new().await;
    let zk = Zk::standalone();
    let registrations = Registrations::connect(&zk.connect_string()).await;
    let (a, b) = (lab.origin("A").await, lab.origin("B").await);
    let (front, other) = (lab.free_addr(), lab.free_addr());
    registrations.path("/a").await;
    registrations.path("/b").await;
    registrations.nerve("/a", &a).await;
    registrations.nerve("/b", &b).await;
    let generator = json!({"haproxy": listener(front, "http", &["timeout server 200ms"])});
    registrations.set("/a", generator.to_string().as_bytes()).await;
    let service = |path: &str, front| {
        json!({
            "discovery": {"method": "zookeeper", "hosts": [zk.connect_string()], "path": path},
            "haproxy": listener(front, "http", &[])
        })
    };
    let one = config(json!({"a": service("/a", front)}));
    let two = config(json!({"a": service("/a", front), "b": service("/b", other)}));
    let synapse = lab.synapse(one.clone()).await;
    let is_generated = || async {
        match get(front, "/slow/600").await?.status {
            504 => Ok(()),
            other => Err(other.to_string()),
        }
    };
    eventually("the generator config is in force", PATIENCE, is_generated).await;
    for (file, services) in [(two, 2), (one, 1)] {
        synapse.rewrite(&lab, file);
        assert!(synapse.reload().await);
        is_generated().await.expect("still in force");
        if services == 2 {
            eventually("b serves", PATIENCE, || async {
                let text = sequence(other, 2).await;
                if text == "BB" { Ok(()) } else { Err(text) }
            })
            .await;
        }
        let metrics = synapse.metrics().await;
        let sessions = metrics.lines().find(|l| l.starts_with("synapse_registry_sessions_total{"));
        assert!(sessions.is_some_and(|l| l.ends_with(" 1")), "{sessions:?}");
    }
}

#[tokio::test]
async fn a_refused_generator_config_survives_a_reload_and_the_file_wins_an_address() {
    let lab = Lab::new().await;
    let zk = Zk::standalone();
    let registrations = Registrations::connect(&zk.connect_string()).await;
    let (a, b) = (lab.origin("A").await, lab.origin("B").await);
    let (front, moved, other) = (lab.free_addr(), lab.free_addr(), lab.free_addr());
    registrations.path("/a").await;
    registrations.nerve("/a", &a).await;
    let web = json!({
        "discovery": {"method": "zookeeper", "hosts": [zk.connect_string()], "path": "/a"},
        "haproxy": listener(front, "http", &[])
    });
    let synapse = lab.synapse(config(json!({"web": web}))).await;
    let serves = |addr: SocketAddr, want: &'static str| async move {
        let text = get(addr, "/").await?.text();
        if text == want { Ok(()) } else { Err(text) }
    };
    let good = json!({"haproxy": listener(moved, "http", &[])}).to_string();
    registrations.set("/a", good.as_bytes()).await;
    eventually("the generator's address", PATIENCE, || serves(moved, "A")).await;
    registrations.set("/a", b"not json").await;
    logged(&synapse, "generator config refused").await;

    // Somebody else is added: the last good one stays in force, the refusal stays shown.
    let file = json!({"web": web, "other": http(other, &b)});
    synapse.rewrite(&lab, config(file));
    assert!(synapse.reload().await);
    serves(other, "B").await.expect("added");
    serves(moved, "A").await.expect("still in force");
    let refused = synapse.service("web").await["refused_config"].to_string();
    assert!(refused.contains("is not JSON"), "{refused}");

    // The file gives the generator's address to another service: connections there meet the other one.
    let file = json!({"web": web, "other": http(moved, &b)});
    synapse.rewrite(&lab, config(file));
    assert!(synapse.reload().await);
    eventually("the file's owner serves", PATIENCE, || serves(moved, "B")).await;
    serves(front, "A").await.expect("back to the file");
}

#[tokio::test]
async fn an_added_service_that_hears_nobody_does_not_make_the_process_unready() {
    let lab = Lab::new().await;
    let a = lab.origin("A").await;
    let (front, other) = (lab.free_addr(), lab.free_addr());
    let synapse = lab.synapse(config(json!({"web": http(front, &a)}))).await;
    let nobody = lab.free_addr();
    let silent = json!({
        "discovery": {"method": "zookeeper", "hosts": [nobody.to_string()], "path": "/x"},
        "haproxy": listener(other, "http", &[])
    });
    synapse.rewrite(&lab, config(json!({"web": http(front, &a), "silent": silent})));
    assert!(synapse.reload().await);
    assert_eq!(get(synapse.admin(), "/ready").await.expect("admin").status, 200);
    assert_eq!(get(other, "/").await.expect("it listens").status, 503);
}
