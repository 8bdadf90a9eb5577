//! What is registered, and the nodes of strangers beside it.

use serde_json::{Value, json};
use zookeeper_client::{Acls, Client, CreateMode};

use super::super::witness::{Place, Sight};
use super::super::{one_of_each, path, up};
use crate::support::lab::Lab;
use crate::support::nerve::INSTANCE;

/// The nodes of strangers: none of them is ours to touch.
pub(super) async fn strangers(client: &Client, places: &[Place]) -> Vec<Sight> {
    let mut paths: Vec<&String> = places.iter().map(|place| &place.path).collect();
    paths.sort();
    paths.dedup();
    let create = async |path: String, data: &str, mode: CreateMode| {
        let options = mode.with_acls(Acls::anyone_all());
        let (stat, number) =
            client.create(&path, data.as_bytes(), &options).await.expect("a stranger's node");
        let is_sequential =
            matches!(mode, CreateMode::EphemeralSequential | CreateMode::PersistentSequential);
        let path = if is_sequential { format!("{path}{number}") } else { path };
        let (data, owner) = (data.to_owned(), stat.ephemeral_owner);
        Sight { path, data, owner, czxid: stat.czxid }
    };
    let mut foreign = Vec::new();
    let other = r#"{"host":"10.0.0.2","port":8080,"name":"i-other"}"#;
    let namesake = format!(r#"{{"host":"10.0.0.3","port":8080,"name":"{INSTANCE}"}}"#);
    for path in paths {
        client
            .mkdir(path, &CreateMode::Persistent.with_acls(Acls::anyone_all()))
            .await
            .expect("path");
        for (name, mode) in [
            ("i-other_", CreateMode::Ephemeral),
            ("i-other_", CreateMode::EphemeralSequential),
            ("i-another_", CreateMode::Persistent),
            ("i-another_", CreateMode::PersistentSequential),
        ] {
            foreign.push(create(format!("{path}/{name}"), other, mode).await);
        }
        for mode in [CreateMode::EphemeralSequential, CreateMode::PersistentSequential] {
            foreign.push(create(format!("{path}/{INSTANCE}_"), &namesake, mode).await);
        }
    }
    // Says what ours says, and is owned by somebody who is not of our house.
    let twin = &places[0];
    let path = format!("{}/{INSTANCE}_", twin.path);
    foreign.push(create(path, &twin.data, CreateMode::EphemeralSequential).await);
    foreign
}

/// One service of each kind, two of them at one path, and one whose check asks somebody.
pub(super) async fn services(lab: &Lab, hosts: &str) -> (Value, Vec<Place>) {
    let (mut services, mut places) = one_of_each(hosts);
    let (second, mut place) = up(hosts, "second", 8_090, json!({"zk_path": path("sequential")}));
    services["second"] = second;
    place.path = path("sequential");
    places.push(place);
    let origin = lab.origin("A").await.addr();
    let checked = json!({
        "host": origin.ip().to_string(), "port": origin.port(),
        "checks": [{"type": "http", "uri": "/", "timeout": 1.0, "rise": 1, "fall": 2}]
    });
    let (checked, mut place) = up(hosts, "checked", 1, checked);
    let (ip, port) = (origin.ip(), origin.port());
    place.data = format!(r#"{{"host":"{ip}","port":{port},"name":"{INSTANCE}"}}"#);
    services["checked"] = checked;
    places.push(place);
    (services, places)
}
