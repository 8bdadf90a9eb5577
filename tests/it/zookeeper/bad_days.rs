//! Servers that die, hang, or speak something else.

use std::time::Duration;

use serde_json::json;

use super::PATH;
use crate::support::client::get;
use crate::support::load::Load;
use crate::support::oracle::need;
use crate::support::registry::Registrations;
use crate::support::scene::Scene;
use crate::support::synapse::listener;
use crate::support::zookeeper::Zk;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_zookeeper_costs_no_request_and_afterwards_changes_are_seen() {
    let scene = Scene::new().await;
    let b = scene.lab.origin("B").await;
    // A persistent node: it must survive the restart whatever becomes of our own session.
    scene.keep("A").await;
    let _synapse = scene.synapse(|_| ()).await;
    scene.until_serves("A").await;
    let load = Load::start(scene.front, 100);
    scene.zk.kill9();
    scene.always_serves("A", Duration::from_secs(2)).await;
    // The load goes on meanwhile.
    tokio::task::block_in_place(|| scene.zk.restart());
    let registrations = Registrations::connect(&scene.zk.connect_string()).await;
    registrations.keep(PATH, &b).await;
    scene.until_serves("AB").await;
    registrations.delete(&format!("{PATH}/A")).await;
    scene.until_serves("B").await;
    load.stop().await.assert_no_failure();
}

#[tokio::test]
async fn cut_sockets_lose_no_change() {
    let scene = Scene::new().await;
    scene.keep("A").await;
    let _synapse = scene.synapse(|_| ()).await;
    scene.until_serves("A").await;
    for _ in 0..5 {
        cut_sockets(&scene);
        let b = scene.lab.origin("B").await;
        let registrations = Registrations::connect(&scene.zk.connect_string()).await;
        let node = registrations.nerve(PATH, &b).await;
        scene.until_serves("AB").await;
        cut_sockets(&scene);
        let registrations = Registrations::connect(&scene.zk.connect_string()).await;
        if registrations.children(PATH).await.expect("exists").len() > 1 {
            registrations.delete(&node).await;
        }
        scene.until_serves("A").await;
    }
}

/// Destroys every socket to the server, as a firewall that forgets would.
fn cut_sockets(scene: &Scene) {
    need("ss", "iproute2");
    scene.zk.member(0).cut_sockets();
}

#[tokio::test]
async fn a_hostile_ensemble_does_not_touch_another_service() {
    let scene = Scene::new().await;
    scene.nerve("A").await;
    let mut config = scene.config(|_| ());
    let words: [(&str, &[u8]); 4] = [
        ("mute", b""),
        ("chatty", b"HTTP/1.1 400 Bad Request\r\n\r\n"),
        ("huge", b"\x7f\xff\xff\xff"),
        ("negative", b"\xff\xff\xff\xff\xff\xff\xff\xff"),
    ];
    for (name, answer) in words {
        let addr = scene.lab.free_addr();
        let socket = tokio::net::TcpListener::bind(addr).await.expect("bind");
        tokio::spawn(hostile(socket, answer));
        config["services"][name] = json!({
            "discovery": {"method": "zookeeper", "hosts": [addr.to_string()], "path": "/x"},
            "haproxy": listener(scene.lab.free_addr(), "http", &[])
        });
    }
    let synapse = scene.lab.synapse_unready(config).await;
    scene.until_serves("A").await;
    scene.nerve("B").await;
    scene.until_serves("AB").await;
    let ready = get(synapse.admin(), "/ready").await.expect("answer");
    assert_eq!(ready.status, 503);
    for (name, _) in words {
        assert!(ready.text().contains(name), "{name} in {}", ready.text());
    }
    assert!(!synapse.log().contains("panicked"), "{}", synapse.log());
    assert_eq!(synapse.stop().await.code(), Some(0));
}

/// Says `answer` to whoever connects, and nothing more; keeps the connections.
async fn hostile(listener: tokio::net::TcpListener, answer: &'static [u8]) {
    let mut kept = Vec::new();
    while let Ok((mut stream, _)) = listener.accept().await {
        if tokio::io::AsyncWriteExt::write_all(&mut stream, answer).await.is_ok() {
            kept.push(stream);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_a_server_that_hangs_longer_than_the_session_loses_no_change() {
    let scene = Scene::new().await;
    let b = scene.lab.origin("B").await;
    scene.keep("A").await;
    let _synapse = scene.synapse_for_session(2).await;
    scene.until_serves("A").await;
    let load = Load::start(scene.front, 100);
    scene.zk.member(0).stop();
    scene.always_serves("A", Duration::from_secs(6)).await;
    scene.zk.member(0).cont();
    let registrations = Registrations::connect(&scene.zk.connect_string()).await;
    registrations.keep(PATH, &b).await;
    scene.until_serves("AB").await;
    load.stop().await.assert_no_failure();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_each_member_of_an_ensemble_may_die_in_turn() {
    let scene = Scene::of(|| Zk::ensemble(3)).await;
    let b = scene.lab.origin("B").await;
    scene.keep("A").await;
    let _synapse = scene.synapse(|_| ()).await;
    scene.until_serves("A").await;
    let load = Load::start(scene.front, 100);
    for index in 0..3 {
        scene.zk.member(index).kill9();
        let registrations = Registrations::connect(&scene.zk.connect_string()).await;
        registrations.keep(PATH, &b).await;
        scene.until_serves("AB").await;
        registrations.delete(&format!("{PATH}/B")).await;
        scene.until_serves("A").await;
        tokio::task::block_in_place(|| scene.zk.restart());
    }
    load.stop().await.assert_no_failure();
}
