//! Settings of the policy of membership that change while discovery is silent, or knows nobody.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};

use super::PATIENCE;
use crate::support::client::get;
use crate::support::lab::Lab;
use crate::support::list::record;
use crate::support::load::Load;
use crate::support::origin::Origin;
use crate::support::synapse::{Synapse, config, listener};
use crate::support::wait::{always, eventually};

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

/// What each of these makes of the former word: nobody, or another server.
fn policies(other: &Origin) -> [Value; 4] {
    let filter = json!([{"label": "zone", "value": "b", "condition": "equals"}]);
    [
        json!({"leader_election": true}),
        json!({"backend_port_override": other.port()}),
        json!({"use_previous_backends": false}),
        json!({"discovery": {"label_filters": filter}}),
    ]
}

/// The service with the settings of such a policy.
fn with_policy(front: SocketAddr, discovery: &Value, policy: &Value) -> Value {
    let (mut discovery, mut policy) = (discovery.clone(), policy.clone());
    let more = policy.as_object_mut().and_then(|policy| policy.remove("discovery"));
    if let Some(more) = more {
        discovery.as_object_mut().expect("a map").extend(more.as_object().expect("a map").clone());
    }
    web(front, &discovery, &policy)
}

#[tokio::test]
async fn another_source_with_another_policy_leaves_the_set_until_it_speaks() {
    let lab = Lab::new().await;
    let (a, b) = (lab.origin("A").await, lab.origin("B").await);
    let (front, nowhere) = (lab.free_addr(), silent(&lab));
    let list = lab.write("a.json", &json!([record(&a)]).to_string());
    let file = json!({"method": "file", "path": list});
    let base = json!({"method": "base"});
    let fixed = json!({"default_servers": [record(&a)], "use_previous_backends": false});
    for (former, settings) in [(file, json!({})), (base, fixed)] {
        let synapse = lab.synapse(web(front, &former, &settings)).await;
        for policy in policies(&b) {
            serves(front, "A").await;
            synapse.rewrite(&lab, with_policy(front, &nowhere, &policy));
            assert!(synapse.reload().await);
            let still = || answers(front, "A");
            always(&policy.to_string(), Duration::from_millis(300), still).await;
            let shown = synapse.service("web").await["discovery"]["notes"].to_string();
            assert!(shown.contains("has not spoken yet"), "{shown}");
            // Back, policy included.
            synapse.rewrite(&lab, web(front, &former, &settings));
            assert!(synapse.reload().await);
            always(&policy.to_string(), Duration::from_millis(100), still).await;
        }
        synapse.stop().await;
    }
}

#[tokio::test]
async fn a_new_source_that_speaks_is_judged_by_the_new_policy_without_a_gap() {
    let lab = Lab::new().await;
    let (a, b) = (lab.origin("A").await, lab.origin("B").await);
    let front = lab.free_addr();
    let zoned = |origin: &Origin, zone: &str| {
        let mut record = record(origin);
        record["labels"] = json!({"zone": zone});
        json!([record]).to_string()
    };
    let lists = [lab.write("a.json", &zoned(&a, "a")), lab.write("b.json", &zoned(&b, "b"))];
    let service = |list: usize, zone: &str| {
        let filter = json!([{"label": "zone", "value": zone, "condition": "equals"}]);
        let source = json!({"method": "file", "path": lists[list], "label_filters": filter});
        web(front, &source, &json!({}))
    };
    let synapse = lab.synapse(service(0, "a")).await;
    serves(front, "A").await;
    let load = Load::start(front, 500);
    for _ in 0..5 {
        for (list, zone, want) in [(1, "b", "B"), (0, "a", "A")] {
            synapse.rewrite(&lab, service(list, zone));
            assert!(synapse.reload().await);
            serves(front, want).await;
        }
    }
    load.stop().await.assert_no_failure();
    // The same members, of which the new policy accepts none.
    let same = lab.write("b.json", &zoned(&a, "a"));
    assert_eq!(same, lists[1]);
    synapse.rewrite(&lab, service(1, "b"));
    assert!(synapse.reload().await);
    serves(front, "503").await;
}

#[tokio::test]
async fn a_set_that_waits_for_its_new_source_is_handed_over_as_it_is() {
    let lab = Lab::new().await;
    let (a, b) = (lab.origin("A").await, lab.origin("B").await);
    let (front, nowhere) = (lab.free_addr(), silent(&lab));
    let list = lab.write("a.json", &json!([record(&a)]).to_string());
    let file = json!({"method": "file", "path": list});
    let policy = json!({"backend_port_override": b.port()});
    let synapse = lab.synapse(web(front, &file, &json!({}))).await;
    serves(front, "A").await;
    synapse.rewrite(&lab, web(front, &nowhere, &policy));
    assert!(synapse.reload().await);
    let mut synapse = handed_over(&synapse).await;
    for _ in 0..2 {
        always("A goes on", Duration::from_millis(200), || answers(front, "A")).await;
        synapse = handed_over(&synapse).await;
    }
    synapse.rewrite(&lab, web(front, &file, &policy));
    assert!(synapse.reload().await);
    serves(front, "B").await;
}
