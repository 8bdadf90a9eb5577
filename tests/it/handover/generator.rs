//! Generator configs at a hand-over: the one in force goes on, whatever the registry holds by then.

use std::net::SocketAddr;

use serde_json::{Value, json};

use super::{PATIENCE, TAKEN_OVER};
use crate::support::client::get;
use crate::support::scene::Scene;
use crate::support::synapse::{Synapse, listener};
use crate::support::wait::eventually;

/// The page of the service says so.
async fn shown(synapse: &Synapse, what: &str, says: impl Fn(&Value) -> bool) {
    eventually(what, PATIENCE, || async {
        let web = synapse.service("web").await;
        if says(&web) { Ok(()) } else { Err(web) }
    })
    .await;
}

/// A new process takes over while the registry holds `found`; `refusal` is what is wrong with that.
async fn in_force_goes_on(scene: &Scene, former: SocketAddr, found: &str, refusal: Option<&str>) {
    let generator = json!({"haproxy": listener(former, "http", &[])}).to_string();
    scene.registrations.set(Scene::PATH, generator.as_bytes()).await;
    let mut old = scene.synapse(|_| ()).await;
    let is_there = |web: &Value| web["listen"] == json!([former.to_string()]);
    shown(&old, "the generator config is in force", is_there).await;
    scene.registrations.set(Scene::PATH, found.as_bytes()).await;
    let is_refused = |web: &Value| match refusal {
        Some(why) => web["refused_config"].to_string().contains(why),
        None => web["refused_config"] == json!([]),
    };
    shown(&old, "it is refused", is_refused).await;
    assert_eq!(get(former, "/").await.expect("an answer").text(), "A");
    let new = old.successor(None);
    old.until_logged(TAKEN_OVER).await;
    new.until_logged("serving").await;
    // Refused again and shown, once its own session has heard it.
    shown(&new, "it is refused there, too", |web| is_there(web) && is_refused(web)).await;
    assert!(!new.log().contains("are closed"), "{}", new.log());
    assert_eq!(get(former, "/").await.expect("an answer").text(), "A");
    assert_eq!(old.ended().await.code(), Some(0));
    assert_eq!(get(former, "/").await.expect("an answer").text(), "A");
    assert_eq!(new.stop().await.code(), Some(0));
    std::fs::remove_dir_all(scene.lab.dir().join("state")).expect("nothing is remembered");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_generator_config_in_use_is_handed_over_not_the_one_that_was_refused() {
    let scene = Scene::new().await;
    scene.nerve("A").await;
    let former = scene.lab.free_addr();
    in_force_goes_on(&scene, former, r#"{"haproxy": {"port": "nonsense"}}"#, Some("port")).await;
    let taken = scene.lab.origin("X").await.addr();
    let elsewhere = json!({"haproxy": listener(taken, "http", &[])}).to_string();
    in_force_goes_on(&scene, former, &elsewhere, Some("address already in use")).await;
    // Withdrawn: as for the old one, the last word holds.
    in_force_goes_on(&scene, former, "", None).await;
}
