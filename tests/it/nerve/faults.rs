//! Whatever becomes of ZooKeeper, the network, and nerve itself: one node per service, ours, and never absent for longer
//! than somebody keeps it away.
//!
//! What the reporter alone has to endure (`tests/zookeeper/registrar*.rs`) is not repeated here: these tests drive the
//! binary. `docs/nerve.md`, "What happens when", lists all of them.

mod network;
mod outages;
mod refusals;
mod restarts;
mod storm;
mod witness;

use std::time::Duration;

use serde_json::{Value, json};
use tokio::task::block_in_place;

use crate::support::lab::Lab;
use crate::support::nerve::{INSTANCE, Nerve, service, until_nodes};
use crate::support::wait::eventually;

use witness::{Place, Witness};

/// How long anything may take on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(30);
/// The promise: after whatever kept it away, a node is back within this.
const BACK_WITHIN: Duration = Duration::from_secs(1);
/// The four kinds of nodes, and one that holds its record in its name.
const KINDS: [(&str, &str, bool); 5] = [
    ("sequential", "ephemeral_sequential", false),
    ("fixed", "ephemeral", false),
    ("persistent", "persistent", false),
    ("numbered", "persistent_sequential", false),
    ("encoded", "ephemeral_sequential", true),
];

/// Where a service of these tests is registered.
fn path(name: &str) -> String {
    format!("/nerve/services/{name}")
}

/// A service whose checks pass, with further keys, and where it stands.
fn up(hosts: &str, name: &str, port: u16, more: Value) -> (Value, Place) {
    let mut all = json!({"checks": [{"type": "noop"}], "check_interval": 0.5});
    for (key, value) in more.as_object().expect("a map") {
        all[key] = value.clone();
    }
    let data = format!(r#"{{"host":"10.0.0.1","port":{port},"name":"{INSTANCE}"}}"#);
    let service = service(hosts, &path(name), ([10, 0, 0, 1], port).into(), all);
    (service, Place { path: path(name), data })
}

/// One service of each kind, by its name.
fn one_of_each(hosts: &str) -> (Value, Vec<Place>) {
    let (mut services, mut places) = (json!({}), Vec::new());
    for ((name, kind, is_encoded), port) in KINDS.into_iter().zip(8_080..) {
        let more = json!({"node_type": kind, "use_path_encoding": is_encoded});
        let (service, place) = up(hosts, name, port, more);
        services[name] = service;
        places.push(place);
    }
    (services, places)
}

/// A nerve that has registered these services, for a session of so many seconds.
async fn registered(lab: &Lab, services: Value, session: u32, zk: &super::Independent) -> Nerve {
    let paths: Vec<String> = services
        .as_object()
        .expect("a map")
        .values()
        .map(|service| service["zk_path"].as_str().expect("a path").to_owned())
        .collect();
    let config = json!({"zk_session_timeout": session, "services": services});
    let nerve = Nerve::start(lab, config).await;
    for path in paths {
        until_nodes(zk, &path, 1).await;
    }
    nerve.until_settled(&[]).await;
    nerve
}

/// Waits until nerve shows for `web` what `holds` wants to see.
async fn shows(nerve: &Nerve, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
    eventually(what, PATIENCE, || async {
        let shown = nerve.service("web").await;
        if holds(&shown) { Ok(shown) } else { Err(shown) }
    })
    .await
}

/// Whether the session is in this state.
fn session_is(state: &'static str) -> impl Fn(&Value) -> bool {
    move |shown| shown["session"]["state"] == state
}

/// A session as nerve shows it.
fn id(session: &Value) -> &str {
    session.as_str().expect("an id")
}

/// Waits until the server has ended the session that nerve shows as this one.
async fn until_over(zk: &crate::support::zookeeper::Zk, session: &Value) {
    let session = id(session);
    eventually("the former session ends", PATIENCE, || async {
        match block_in_place(|| zk.leader().has_session(session)) {
            Ok(false) => Ok(()),
            known => Err(known),
        }
    })
    .await;
}

/// Starts to look at the places from outside, every 5 ms.
fn watch(zk: &crate::support::zookeeper::Zk, places: Vec<Place>) -> Witness {
    let members = zk.members().iter().map(|member| member.connect_string()).collect();
    Witness::start(members, places, Vec::new())
}
