//! Reloads, and what is remembered from long ago.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::{PATIENCE, logged};
use crate::support::client::{get, sequence};
use crate::support::lab::Lab;
use crate::support::list;
use crate::support::load::Load;
use crate::support::origin::Origin;
use crate::support::synapse::{Synapse, config, listener};
use crate::support::wait::eventually;

const SERVING: &str = "serving last known backends";

fn named(name: &str, front: SocketAddr, path: &Path) -> Value {
    config(json!({name: {
        "discovery": {"method": "file", "path": path}, "haproxy": listener(front, "http", &[])
    }}))
}

async fn until_served(front: SocketAddr, name: &str) {
    eventually(name, PATIENCE, || async {
        let seen = sequence(front, 3).await;
        if seen == name.repeat(3) { Ok(()) } else { Err(seen) }
    })
    .await;
}

/// A running process which has `web` with this origin in its memory, and serves another service.
async fn remembered(lab: &Lab, front: SocketAddr, origin: &Origin) -> (Synapse, PathBuf) {
    let path = lab.dir().join("backends.json");
    list::put(&path, &[origin]);
    let synapse = lab.synapse(named("web", front, &path)).await;
    until_served(front, origin.name()).await;
    let file = lab.dir().join("state/last-known/web.json");
    eventually("it is saved", PATIENCE, || async {
        let saved = std::fs::read_to_string(&file).map_err(|e| e.to_string())?;
        if saved.contains(&format!("\"port\":{}", origin.port())) { Ok(()) } else { Err(saved) }
    })
    .await;
    synapse.rewrite(lab, named("other", front, &path));
    assert!(synapse.reload().await);
    (synapse, path)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_added_service_does_not_begin_with_what_was_true_long_ago() {
    let lab = Lab::new().await;
    let (a, b) = (lab.origin("A").await, lab.origin("B").await);
    let front = lab.free_addr();
    let (synapse, path) = remembered(&lab, front, &a).await;
    list::put(&path, &[&b]);
    until_served(front, "B").await;
    let (before, load) = (a.requests(), Load::start(front, 2_000));
    synapse.rewrite(&lab, named("web", front, &path));
    assert!(synapse.reload().await);
    until_served(front, "B").await;
    load.stop().await.assert_no_failure();
    assert_eq!(a.requests(), before, "A is somebody else by now");
    assert!(!synapse.log().contains(SERVING), "{}", synapse.log());
}

#[tokio::test]
async fn what_is_remembered_serves_an_added_service_whose_source_is_silent() {
    let lab = Lab::new().await;
    let (a, b) = (lab.origin("A").await, lab.origin("B").await);
    let front = lab.free_addr();
    let (synapse, path) = remembered(&lab, front, &a).await;
    list::replace(&path, "[{");
    synapse.rewrite(&lab, named("web", front, &path));
    assert!(synapse.reload().await);
    assert_eq!(get(front, "/").await.expect("it listens").text(), "A", "from the first client on");
    assert_eq!(synapse.service("web").await["stale"]["from"], "state_dir");
    logged(&synapse, SERVING).await;
    list::put(&path, &[&b]);
    until_served(front, "B").await;
    assert_eq!(synapse.service("web").await["stale"], Value::Null);
}

#[tokio::test]
async fn so_it_does_where_nothing_was_known_and_the_source_is_put_right() {
    let lab = Lab::new().await;
    let a = lab.origin("A").await;
    let front = lab.free_addr();
    let (synapse, path) = remembered(&lab, front, &a).await;
    synapse.stop().await;
    list::replace(&path, "[{");
    let wrong = lab.write("wrong.json", "[{");
    let synapse = lab.synapse_unready(named("web", front, &wrong)).await;
    assert_eq!(get(front, "/").await.expect("it listens").status, 503);
    synapse.rewrite(&lab, named("web", front, &path));
    assert!(synapse.reload().await);
    assert_eq!(get(front, "/").await.expect("as after a restart").text(), "A");
    assert_eq!(synapse.service("web").await["stale"]["from"], "state_dir");
}
