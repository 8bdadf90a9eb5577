//! What a reload or a restart changes, and what it leaves alone.

use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};

use super::{PATH, up};
use crate::support::lab::Lab;
use crate::support::nerve::{Nerve, nodes, until_nodes};
use crate::support::wait::{always, eventually};
use crate::support::zookeeper::Zk;

/// The node is gone a moment before the line about it is written.
async fn until_swept(nerve: &Nerve) {
    eventually("a word about it", Duration::from_secs(5), || async {
        let log = nerve.log();
        if log.contains("left over from the former process") { Ok(()) } else { Err(log) }
    })
    .await;
}

#[tokio::test]
async fn a_reload_changes_what_changed_and_nothing_else() {
    let lab = Lab::new().await;
    let zk = Zk::standalone();
    let client = zk.client().await;
    let at = |name: &str, more: Value| {
        let mut all = json!({"zk_path": format!("/nerve/services/{name}")});
        for (key, value) in more.as_object().expect("a map") {
            all[key] = value.clone();
        }
        up(&zk, all)
    };
    let config = json!({"services": {
        "same": at("same", json!({})), "weight": at("weight", json!({})),
        "port": at("port", json!({})), "gone": at("gone", json!({}))
    }});
    let nerve = Nerve::start(&lab, config).await;
    let path = |name: &str| format!("/nerve/services/{name}");
    let same = until_nodes(&client, &path("same"), 1).await;
    for name in ["weight", "port", "gone"] {
        until_nodes(&client, &path(name), 1).await;
    }
    nerve.rewrite(json!({"services": {
        "same": at("same", json!({})), "weight": at("weight", json!({"weight": 7})),
        "port": at("port", json!({"port": 8081})), "new": at("new", json!({}))
    }}));
    assert!(nerve.reload().await, "{}", nerve.log());
    until_nodes(&client, &path("gone"), 0).await;
    until_nodes(&client, &path("new"), 1).await;
    for (name, text) in [("weight", "\"weight\":7"), ("port", "\"port\":8081")] {
        eventually(name, Duration::from_secs(10), || async {
            let seen = nodes(&client, &path(name)).await;
            if seen.len() == 1 && seen[0].data.contains(text) { Ok(()) } else { Err(seen) }
        })
        .await;
    }
    assert_eq!(nodes(&client, &path("same")).await, same, "untouched");
    std::fs::write(nerve.config(), "services: {web: {port: 0}}").expect("write");
    assert!(!nerve.reload().await);
    assert_eq!(nodes(&client, &path("same")).await, same, "a bad file changes nothing");
    assert!(nerve.log().contains("instance_id"), "{}", nerve.log());
}

/// A restart with another configuration: the session stays, what it registered and nobody wants any more does not.
#[tokio::test]
async fn a_restart_ends_what_the_new_configuration_does_not_know() {
    let lab = Lab::new().await;
    let zk = Zk::standalone();
    let client = zk.client().await;
    let at = |path: &str, port: u16| up(&zk, json!({"zk_path": path, "port": port}));
    let (a, b) = ("/nerve/services/a", "/nerve/services/b");
    let config = json!({"services": {"same": up(&zk, json!({})), "a": at(a, 80), "b": at(b, 90)}});
    let mut nerve = Nerve::start(&lab, config).await;
    let same = until_nodes(&client, PATH, 1).await;
    until_nodes(&client, a, 1).await;
    until_nodes(&client, b, 1).await;
    nerve.signal(Signal::USR2);
    assert_eq!(nerve.ended().await.code(), Some(0));
    nerve.rewrite(json!({"services": {"same": up(&zk, json!({})), "a": at(a, 81)}}));
    let nerve = nerve.again().until_listening().await;
    until_nodes(&client, b, 0).await;
    eventually("only the new port", Duration::from_secs(10), || async {
        let seen = nodes(&client, a).await;
        let is_new = seen.len() == 1 && seen[0].data.contains(":81,");
        if is_new { Ok(()) } else { Err(seen) }
    })
    .await;
    assert_eq!(nodes(&client, PATH).await, same);
    until_swept(&nerve).await;
}

/// The same for an ensemble that the new process meets only after a reload.
#[tokio::test]
async fn what_is_left_with_an_ensemble_goes_when_a_reload_brings_it_back() {
    let lab = Lab::new().await;
    let (zk, other) = (Zk::standalone(), Zk::standalone());
    let client = other.client().await;
    let (old, new) = ("/nerve/services/old", "/nerve/services/new");
    let there = |path: &str| up(&other, json!({"zk_path": path}));
    let config = json!({"services": {"here": up(&zk, json!({})), "old": there(old)}});
    let mut nerve = Nerve::start(&lab, config).await;
    until_nodes(&client, old, 1).await;
    nerve.signal(Signal::USR2);
    assert_eq!(nerve.ended().await.code(), Some(0));
    nerve.rewrite(json!({"services": {"here": up(&zk, json!({}))}}));
    let nerve = nerve.again().until_listening().await;
    assert_eq!(nodes(&client, old).await.len(), 1);
    nerve.rewrite(json!({"services": {"here": up(&zk, json!({})), "new": there(new)}}));
    assert!(nerve.reload().await, "{}", nerve.log());
    until_nodes(&client, new, 1).await;
    until_nodes(&client, old, 0).await;
    until_swept(&nerve).await;
}

#[tokio::test]
async fn a_renamed_service_keeps_its_node_and_a_changed_one_has_one() {
    let lab = Lab::new().await;
    let zk = Zk::standalone();
    let client = zk.client().await;
    let nerve = Nerve::start(&lab, json!({"services": {"old": up(&zk, json!({}))}})).await;
    let before = until_nodes(&client, PATH, 1).await;
    nerve.rewrite(json!({"services": {"new": up(&zk, json!({}))}}));
    assert!(nerve.reload().await, "{}", nerve.log());
    always("the node stays", Duration::from_secs(1), || async {
        let now = nodes(&client, PATH).await;
        if now == before { Ok(()) } else { Err(now) }
    })
    .await;
    nerve.rewrite(json!({"services": {"new": up(&zk, json!({"weight": 5}))}}));
    assert!(nerve.reload().await, "{}", nerve.log());
    eventually("one node, with the weight", Duration::from_secs(10), || async {
        let seen = nodes(&client, PATH).await;
        let is_it = seen.len() == 1 && seen[0].data.contains("\"weight\":5");
        if is_it { Ok(()) } else { Err(seen) }
    })
    .await;
}

/// A file system that does not answer: commands and a stop go on.
#[tokio::test]
async fn a_reload_that_hangs_holds_nothing_up() {
    let lab = Lab::new().await;
    let zk = Zk::standalone();
    let client = zk.client().await;
    let dir = lab.dir().join("services.d");
    std::fs::create_dir(&dir).expect("a directory");
    let config = json!({"service_conf_dir": dir, "services": {"web": up(&zk, json!({}))}});
    let nerve = Nerve::start(&lab, config).await;
    until_nodes(&client, PATH, 1).await;
    let made = std::process::Command::new("mkfifo").arg(dir.join("x.json")).status();
    assert!(made.expect("mkfifo").success());
    nerve.signal(Signal::HUP);
    eventually("it is being read", Duration::from_secs(10), || async {
        if nerve.log().contains("reloading the configuration") { Ok(()) } else { Err(()) }
    })
    .await;
    let said = nerve.tell(&["down", "web"]).await;
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    assert!(nodes(&client, PATH).await.is_empty());
    let said = nerve.tell(&["up", "web"]).await;
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    until_nodes(&client, PATH, 1).await;
    assert_eq!(nerve.stop().await.code(), Some(0));
    until_nodes(&client, PATH, 0).await;
}
