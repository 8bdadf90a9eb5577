//! Hand-overs, and what is remembered and counted of a service whose discovery changes with them.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};

use super::scene::successor_with;
use super::{PATIENCE, TAKEN_OVER};
use crate::support::client::{get, sequence};
use crate::support::lab::Lab;
use crate::support::list::put;
use crate::support::origin::Origin;
use crate::support::synapse::{Synapse, config, listener};
use crate::support::wait::{always, eventually};

/// Longer than a list is not looked at and a file is not written.
const A_WHILE: Duration = Duration::from_secs(2);

/// Two backends, each in a list of its own.
async fn two(lab: &Lab) -> ([Origin; 2], [PathBuf; 2]) {
    let origins = [lab.origin("A").await, lab.origin("B").await];
    let lists = ["first.json", "second.json"].map(|name| lab.dir().join(name));
    for (list, origin) in lists.iter().zip(&origins) {
        put(list, &[origin]);
    }
    (origins, lists)
}

fn found(path: &Path, front: std::net::SocketAddr) -> Value {
    json!({"discovery": {"method": "file", "path": path}, "haproxy": listener(front, "http", &[])})
}

/// What the file of the service says: its source and the ports.
fn saved(lab: &Lab) -> (String, Vec<u64>) {
    let text = std::fs::read_to_string(lab.dir().join("state/last-known/web.json"));
    let saved: Value = serde_json::from_str(&text.unwrap_or_default()).unwrap_or_default();
    let ports = saved["endpoints"].as_array().into_iter().flatten();
    let ports = ports.filter_map(|endpoint| endpoint["port"].as_u64()).collect();
    (saved["source"]["path"].as_str().unwrap_or_default().to_owned(), ports)
}

fn is_saved(lab: &Lab, path: &Path, origins: &[&Origin]) -> Result<(), String> {
    let ports = origins.iter().map(|origin| u64::from(origin.port())).collect();
    let saved = saved(lab);
    if saved == (path.display().to_string(), ports) { Ok(()) } else { Err(format!("{saved:?}")) }
}

async fn until_saved(lab: &Lab, path: &Path, origins: &[&Origin]) {
    eventually("it is saved", PATIENCE, || async { is_saved(lab, path, origins) }).await;
}

async fn stays_saved(lab: &Lab, path: &Path, origins: &[&Origin]) {
    always("one process writes", A_WHILE, || async { is_saved(lab, path, origins) }).await;
}

async fn counted(synapse: &Synapse) -> f64 {
    synapse.metric("synapse_membership_changes_total{service=\"web\"}").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_draining_process_leaves_the_memory_to_its_successor() {
    let lab = Lab::new().await;
    let ([a, b], [first, second]) = two(&lab).await;
    let front = lab.free_addr();
    let mut old = lab.synapse(config(json!({"web": found(&first, front)}))).await;
    until_saved(&lab, &first, &[&a]).await;
    let held = tokio::spawn(get(front, "/hold"));
    eventually("it is held", PATIENCE, || async {
        if a.held() == 1 { Ok(()) } else { Err(a.held()) }
    })
    .await;
    let new = successor_with(&old, &lab, json!({"web": found(&second, front)}));
    old.until_logged(TAKEN_OVER).await;
    until_saved(&lab, &second, &[&b]).await;
    // The old one hears it, and is not to say so.
    put(&first, &[&a, &b]);
    old.until_logged("joined_total=1 left=[] left_total=0 backends=2").await;
    stays_saved(&lab, &second, &[&b]).await;
    a.release(1);
    assert_eq!(held.await.expect("no panic").expect("answer").text(), "A");
    assert_eq!(old.ended().await.code(), Some(0));
    is_saved(&lab, &second, &[&b]).expect("nor at its end");
    put(&second, &[&b, &a]);
    until_saved(&lab, &second, &[&b, &a]).await;
    assert_eq!(new.stop().await.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_successor_writes_nothing_before_it_serves() {
    let lab = Lab::new().await;
    let ([a, b], [first, second]) = two(&lab).await;
    let (front, other) = (lab.free_addr(), lab.free_addr());
    let services = json!({"web": found(&first, front), "other": found(&first, other)});
    let old = lab.synapse(config(services)).await;
    until_saved(&lab, &first, &[&a]).await;
    // It waits for what it does not hear of the other service.
    let silent = lab.write("silent.json", "[{");
    let services = json!({"web": found(&second, front), "other": found(Path::new(&silent), other)});
    let mut new = successor_with(&old, &lab, services);
    new.until_logged("backends changed").await;
    stays_saved(&lab, &first, &[&a]).await;
    new.signal(Signal::KILL);
    new.ended().await;
    // As if nothing had been.
    assert_eq!(sequence(front, 2).await, "AA");
    put(&first, &[&a, &b]);
    until_saved(&lab, &first, &[&a, &b]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn counters_go_on_where_discovery_changes_with_the_hand_over() {
    let lab = Lab::new().await;
    let ([a, b], [first, second]) = two(&lab).await;
    let front = lab.free_addr();
    let old = lab.synapse(config(json!({"web": found(&first, front)}))).await;
    for origins in [&[&a, &b][..], &[&b], &[&a, &b]] {
        put(&first, origins);
        until_saved(&lab, &first, origins).await;
    }
    let before = counted(&old).await;
    assert!(before >= 4.0, "{before}");
    let new = successor_with(&old, &lab, json!({"web": found(&second, front)}));
    old.until_logged(TAKEN_OVER).await;
    new.until_ready().await;
    let after = counted(&new).await;
    assert!(after >= before, "it fell from {before} to {after}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_called_last_known_that_does_not_serve() {
    let lab = Lab::new().await;
    let ([a, _], [first, _]) = two(&lab).await;
    let old = lab.synapse(config(json!({"web": found(&first, lab.free_addr())}))).await;
    until_saved(&lab, &first, &[&a]).await;
    let new = old.successor(None);
    old.until_logged(TAKEN_OVER).await;
    new.until_ready().await;
    assert!(!new.log().contains("serving last known backends"), "{}", new.log());
}
