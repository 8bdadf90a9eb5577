//! Generator configs in the parent's data.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::json;

use super::{PATH, PATIENCE};
use crate::support::client::get;
use crate::support::scene::Scene;
use crate::support::synapse::listener;
use crate::support::wait::eventually;

#[tokio::test]
async fn a_generator_config_in_the_parents_data_is_followed_live() {
    let scene = Scene::new().await;
    scene.nerve("A").await;
    let _synapse = scene.synapse(|_| ()).await;
    scene.until_serves("A").await;
    assert_eq!(get(scene.front, "/slow/700").await.expect("answer").status, 200);
    let generator =
        |line: &str| json!({"haproxy": listener(scene.front, "http", &[line])}).to_string();
    let slow_answers = |status: u16| async move {
        let answer = get(scene.front, "/slow/700").await?;
        if answer.status == status { Ok(()) } else { Err(answer.status.to_string()) }
    };
    scene.registrations.set(PATH, generator("timeout server 200ms").as_bytes()).await;
    eventually("the shorter timeout holds", PATIENCE, || slow_answers(504)).await;
    for bad in [generator("balance telepathy"), "not json".into(), "[]".into()] {
        scene.registrations.set(PATH, bad.as_bytes()).await;
        scene.always_serves("A", Duration::from_millis(500)).await;
        slow_answers(504).await.expect("the last good one still holds");
    }
    scene.registrations.set(PATH, generator("timeout server 5s").as_bytes()).await;
    eventually("the longer timeout holds", PATIENCE, || slow_answers(200)).await;
}

#[tokio::test]
async fn a_generator_config_may_widen_the_address_on_the_same_port() {
    let scene = Scene::new().await;
    scene.nerve("A").await;
    let synapse = scene.synapse(|_| ()).await;
    scene.until_serves("A").await;
    // Other tests use the lab's ports on other addresses.
    let everywhere = std::net::TcpListener::bind("0.0.0.0:0").expect("a port");
    let port = everywhere.local_addr().expect("its address").port();
    drop(everywhere);
    for host in ["127.0.0.1", "0.0.0.0", "127.0.0.1"] {
        let wanted = format!("{host}:{port}");
        let addr = wanted.parse().expect("an address");
        let generator = json!({"haproxy": listener(addr, "http", &[])}).to_string();
        scene.registrations.set(PATH, generator.as_bytes()).await;
        eventually("it listens there", PATIENCE, || async {
            let web = synapse.service("web").await;
            (web["listen"] == json!([wanted])).then_some(()).ok_or_else(|| web.to_string())
        })
        .await;
        let local = SocketAddr::from(([127, 0, 0, 1], port));
        let answer = get(local, "/").await.expect("an answer");
        assert_eq!(answer.text(), "A");
    }
}

#[tokio::test]
async fn a_generator_config_whose_address_is_taken_is_shown_and_tried_again() {
    let scene = Scene::new().await;
    scene.nerve("A").await;
    let synapse = scene.synapse(|_| ()).await;
    scene.until_serves("A").await;
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let addr = taken.local_addr().expect("its address");
    let generator = json!({"haproxy": listener(addr, "http", &[])}).to_string();
    scene.registrations.set(PATH, generator.as_bytes()).await;
    let refused = format!("cannot listen: {addr}: address already in use");
    eventually("the refusal is shown", PATIENCE, || async {
        let web = synapse.service("web").await;
        (web["refused_config"] == json!([refused])).then_some(()).ok_or_else(|| web.to_string())
    })
    .await;
    scene.serves("A").await.expect("the former stays");
    drop(taken);
    eventually("it listens there", PATIENCE, || async {
        let web = synapse.service("web").await;
        (web["listen"] == json!([addr.to_string()]) && web["refused_config"] == json!([]))
            .then_some(())
            .ok_or_else(|| web.to_string())
    })
    .await;
}

#[tokio::test]
async fn a_generator_config_changes_the_mode_live() {
    let scene = Scene::new().await;
    let db = scene.lab.tcp_origin("T").await;
    scene.registrations.nerve(PATH, &db).await;
    let _synapse = scene.synapse(|_| ()).await;
    let generator = json!({"haproxy": listener(scene.front, "tcp", &[])}).to_string();
    scene.registrations.set(PATH, generator.as_bytes()).await;
    eventually("it speaks TCP now", PATIENCE, || async {
        let mut conn = crate::support::client::Conn::open(scene.front).await?;
        let line = tokio::time::timeout(Duration::from_secs(1), conn.line()).await;
        match line {
            Ok(Ok(line)) if line == "T" => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
}
