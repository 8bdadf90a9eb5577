//! Discovery in a real ZooKeeper, in good days and bad.

mod bad_days;
mod generator;
mod settings;

use std::time::Duration;

use serde_json::json;

use crate::support::client::{get, sequence};
use crate::support::origin::Origin;
use crate::support::scene::Scene;
use crate::support::wait::eventually;

const PATIENCE: Duration = Duration::from_secs(15);
const PATH: &str = Scene::PATH;

#[tokio::test]
async fn creates_and_deletes_are_seen() {
    let scene = Scene::new().await;
    let (a, b) = (scene.lab.origin("A").await, scene.lab.origin("B").await);
    scene.registrations.nerve(PATH, &a).await;
    let _synapse = scene.synapse(|_| ()).await;
    scene.until_serves("A").await;
    let node = scene.registrations.nerve(PATH, &b).await;
    scene.until_serves("AB").await;
    scene.registrations.delete(&node).await;
    scene.until_serves("A").await;
}

#[tokio::test]
async fn all_three_formats_are_read() {
    let scene = Scene::new().await;
    let (a, b) = (scene.lab.origin("A").await, scene.lab.origin("B").await);
    scene.registrations.nerve(PATH, &a).await;
    scene.registrations.path_encoded(PATH, &b).await;
    let _synapse = scene.synapse(|_| ()).await;
    scene.until_serves("AB").await;

    let scene = Scene::new().await;
    let c = scene.lab.origin("C").await;
    scene.registrations.server_set(PATH, &c, "http").await;
    let _synapse = scene
        .synapse(|s| {
            s["discovery"]["decode"] = json!({"method": "serverset", "endpoint_name": "http"});
        })
        .await;
    scene.until_serves("C").await;
}

#[tokio::test]
async fn malformed_children_are_shown_and_the_others_used() {
    let scene = Scene::new().await;
    scene.nerve("A").await;
    for (name, data) in [
        ("torn", "{\"host\": \"10."),
        ("list", "[1, 2]"),
        ("portless", "{\"host\": \"10.0.0.1\"}"),
        ("hostless", "{\"port\": 80}"),
        ("far", "{\"host\": \"10.0.0.1\", \"port\": 99999}"),
        ("empty", ""),
        ("binary", "\u{0}\u{1}\u{2}"),
        ("base64_999_e30=_0000000001", ""),
    ] {
        scene.registrations.create_named(&format!("{PATH}/{name}"), data.as_bytes()).await;
    }
    let synapse = scene.synapse(|_| ()).await;
    scene.until_serves("A").await;
    let shown = synapse.service("web").await.to_string();
    for name in ["torn", "list", "portless", "hostless", "far", "empty", "binary"] {
        assert!(shown.contains(name), "{name} in {shown}");
    }
    scene.registrations.set(&format!("{PATH}/torn"), b"{}").await;
    scene.nerve("B").await;
    scene.until_serves("AB").await;
    let named = synapse.log().matches("portless").count();
    assert_eq!(named, 1, "named once, not at each read:\n{}", synapse.log());
}

#[tokio::test]
async fn a_name_in_a_registration_is_resolved() {
    let scene = Scene::new().await;
    let local = Origin::everywhere("L").await;
    let data = json!({"host": "localhost", "port": local.port(), "name": "L"});
    scene.registrations.create(PATH, "L_", data.to_string().as_bytes()).await;
    let unknown = json!({"host": "does-not-exist.invalid", "port": 80, "name": "U"});
    scene.registrations.create(PATH, "U_", unknown.to_string().as_bytes()).await;
    let _synapse = scene.synapse(|_| ()).await;
    eventually("the named one answers", PATIENCE, || async {
        let answer = get(scene.front, "/").await?;
        if answer.text() == "L" { Ok(()) } else { Err(answer.text()) }
    })
    .await;
}

#[tokio::test]
async fn two_thousand_children_are_read_and_followed() {
    let scene = Scene::new().await;
    let a = scene.lab.origin("A").await;
    // Two thousand registrations, all answered by one origin on as many addresses.
    let host = |i: u32| format!("127.0.{}.{}", 100 + i / 250, 1 + i % 250);
    let wide = Origin::everywhere("W").await;
    for i in 0..2_000 {
        let data = json!({"host": host(i), "port": wide.port(), "name": format!("w{i}")});
        scene.registrations.create(PATH, "w_", data.to_string().as_bytes()).await;
    }
    let synapse = scene.synapse(|_| ()).await;
    let known = || async {
        let shown = synapse.service("web").await.to_string();
        Ok::<_, String>(shown.matches(&format!(":{}\"", wide.port())).count())
    };
    eventually("all are known", PATIENCE, || async {
        let n = known().await?;
        if n >= 2_000 { Ok(()) } else { Err(n.to_string()) }
    })
    .await;
    assert_eq!(sequence(scene.front, 100).await, "W".repeat(100));
    let node = scene.registrations.nerve(PATH, &a).await;
    eventually("one more is seen", PATIENCE, || async {
        let shown = synapse.service("web").await.to_string();
        if shown.contains(&format!("A_{}", a.addr())) { Ok(()) } else { Err(shown.len()) }
    })
    .await;
    scene.registrations.delete(&node).await;
    eventually("and gone", PATIENCE, || async {
        let shown = synapse.service("web").await.to_string();
        if shown.contains(&format!("A_{}", a.addr())) { Err(shown.len()) } else { Ok(()) }
    })
    .await;
}

#[tokio::test]
async fn a_path_that_appears_later_is_found_and_never_created_by_us() {
    let scene = Scene::bare().await;
    let synapse = scene.synapse(|_| ()).await;
    assert_eq!(get(scene.front, "/").await.expect("an answer").status, 503);
    assert_eq!(scene.registrations.children("/nerve").await, None, "readers never write");
    scene.registrations.path(PATH).await;
    scene.nerve("A").await;
    scene.until_serves("A").await;
    drop(synapse);
}
