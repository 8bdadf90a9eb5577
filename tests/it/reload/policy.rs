//! Settings of the policy of membership that change while discovery is silent, or knows nobody.

use std::net::SocketAddr;

use serde_json::{Value, json};

use super::PATIENCE;
use crate::support::client::get;
use crate::support::lab::Lab;
use crate::support::origin::Origin;
use crate::support::synapse::{Synapse, config, listener};
use crate::support::wait::eventually;

fn record(origin: &Origin) -> Value {
    json!({"name": origin.name(), "host": origin.addr().ip().to_string(), "port": origin.port()})
}

/// Where nobody listens.
fn silent(lab: &Lab) -> Value {
    json!({"method": "zookeeper", "hosts": [lab.free_addr().to_string()], "path": "/x"})
}

/// A service `web` with other settings beside its discovery and listener.
fn web(front: SocketAddr, discovery: &Value, more: &Value) -> Value {
    let mut service = json!({"discovery": discovery, "haproxy": listener(front, "http", &[])});
    let (service_map, more) = (service.as_object_mut(), more.as_object());
    service_map.expect("a map").extend(more.expect("a map").clone());
    config(json!({"web": service}))
}

async fn answers(front: SocketAddr, want: &str) -> Result<(), String> {
    let answer = get(front, "/").await?;
    let said = if answer.status == 200 { answer.text() } else { answer.status.to_string() };
    if said == want { Ok(()) } else { Err(said) }
}

async fn serves(front: SocketAddr, want: &str) {
    eventually(want, PATIENCE, || answers(front, want)).await;
}

async fn handed_over(old: &Synapse) -> Synapse {
    let new = old.successor(None);
    old.until_logged("another process has taken over").await;
    new
}

#[tokio::test]
async fn changed_default_servers_serve_at_once_while_discovery_is_silent() {
    let lab = Lab::new().await;
    let (a, b) = (lab.origin("A").await, lab.origin("B").await);
    let (front, nowhere) = (lab.free_addr(), silent(&lab));
    let file = |servers: &[Value]| web(front, &nowhere, &json!({"default_servers": servers}));
    let synapse = lab.synapse_unready(file(&[record(&a)])).await;
    serves(front, "A").await;
    synapse.rewrite(&lab, file(&[record(&b)]));
    assert!(synapse.reload().await);
    serves(front, "B").await;
    assert_eq!(synapse.service("web").await["discovery"]["origin"], "default_servers");

    synapse.rewrite(&lab, file(&[record(&a)]));
    let synapse = handed_over(&synapse).await;
    serves(front, "A").await;
    synapse.rewrite(&lab, file(&[]));
    assert!(synapse.reload().await);
    serves(front, "503").await;
}

#[tokio::test]
async fn what_is_kept_when_discovery_knows_nobody_is_discoverys_word() {
    let lab = Lab::new().await;
    let (a, b, d) = (lab.origin("A").await, lab.origin("B").await, lab.origin("D").await);
    let front = lab.free_addr();
    let list = lab.write("a.json", &json!([record(&a)]).to_string());
    let file = |more: Value| web(front, &json!({"method": "file", "path": list}), &more);
    let defaults = json!({"default_servers": [record(&d)]});
    let synapse = lab.synapse(file(defaults)).await;
    serves(front, "A").await;
    lab.write("a.json", "[]");
    serves(front, "D").await;

    // As a restart: not the server that is no default any more.
    synapse.rewrite(&lab, file(json!({})));
    assert!(synapse.reload().await);
    serves(front, "A").await;
    assert_eq!(synapse.service("web").await["discovery"]["origin"], "previous");
    let synapse = handed_over(&synapse).await;
    serves(front, "A").await;
    assert_eq!(synapse.service("web").await["discovery"]["origin"], "previous");

    synapse.rewrite(&lab, file(json!({"backend_port_override": b.port()})));
    assert!(synapse.reload().await);
    serves(front, "B").await;
}
