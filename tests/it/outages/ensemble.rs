//! An ensemble that answers, but not as it did: an older one, one without our chroot, one that only reads.

use std::time::Duration;

use serde_json::json;
use tokio::task::block_in_place;
use tokio::time::Instant;

use super::{CONVERGENCE, FLOOD, PATH, PATIENCE, PER_SECOND};
use crate::support::client::get;
use crate::support::load::Load;
use crate::support::registry::Registrations;
use crate::support::scene::Scene;
use crate::support::synapse::Synapse;
use crate::support::wait::{always, eventually};
use crate::support::zookeeper::{Setup, Zk};

/// Waits until so many sessions were opened and the last one is usable.
async fn until_session(synapse: &Synapse, number: f64) {
    eventually("a fresh session", PATIENCE, || async {
        let now = (synapse.sessions().await, synapse.is_connected().await);
        if now == (number, true) { Ok(()) } else { Err(now) }
    })
    .await;
}

/// An older state is a state: what is gone in it is deleted, the last set stays when nothing is left.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_zookeeper_restored_from_a_backup_is_followed_with_a_fresh_session() {
    let scene = Scene::new().await;
    let empty = scene.zk.back_up();
    scene.keep("A").await;
    let early = scene.zk.back_up();
    scene.keep("B").await;
    let synapse = scene.synapse_for_session(4).await;
    scene.until_serves("AB").await;
    let load = Load::start(scene.front, PER_SECOND / 5);

    block_in_place(|| scene.zk.restore(&early));
    let restored = Instant::now();
    scene.until_serves("A").await;
    until_session(&synapse, 2.0).await;
    let followed = restored.elapsed();
    let registrations = Registrations::connect(&scene.zk.connect_string()).await;
    registrations.keep(PATH, &scene.lab.origin("C").await).await;
    scene.until_serves("AC").await;

    block_in_place(|| scene.zk.restore(&empty));
    until_session(&synapse, 3.0).await;
    eventually("the kept set is explained", PATIENCE, || async {
        let reason = synapse.service("web").await["reason"].to_string();
        let kept = "discovery says nobody, the previous set is kept";
        if reason.contains(kept) { Ok(()) } else { Err(reason) }
    })
    .await;
    scene.serves("AC").await.expect("the last set");
    println!("restored: followed with a fresh session after {followed:?}");
    assert!(followed < CONVERGENCE, "{followed:?}");
    load.stop().await.assert_no_failure();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_chroot_is_waited_for_and_never_created() {
    let mut scene = Scene::new().await;
    scene.hosts = vec![format!("{}/later", scene.zk.connect_string())];
    let synapse = scene.lab.synapse(scene.config_for_session(2)).await;
    assert_eq!(get(scene.front, "/").await.expect("an answer").status, 503);
    let reason = synapse.service("web").await["reason"].to_string();
    assert!(reason.contains("does not exist"), "{reason}");
    scene.until_unavailable().await;
    // Waiting is no trouble for the session.
    scene.zk.outlast_a_session(Duration::from_secs(2)).await;
    assert!(synapse.is_connected().await);
    let lines = synapse.log().lines().count();
    assert!(lines < FLOOD, "{lines} lines:\n{}", synapse.log());
    assert_eq!(scene.registrations.children("/later").await, None, "readers never write");

    let path = format!("/later{PATH}");
    scene.registrations.path(&path).await;
    let origin = scene.lab.origin("A").await;
    scene.registrations.keep(&path, &origin).await;
    let created = Instant::now();
    scene.until_serves("A").await;
    println!("chroot: used {:?} after its creation", created.elapsed());
    assert!(created.elapsed() < CONVERGENCE, "{:?}", created.elapsed());
}

/// The rest of an ensemble that answers readers without a quorum (section "Read-only" of its manual) may be behind by
/// any amount of time, so it is not asked.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_only_zookeeper_is_not_used_and_does_no_harm() {
    let scene = Scene::of(|| {
        Zk::with(&Setup {
            size: 3,
            config: "localSessionsEnabled=true",
            jvm: &["-Dreadonlymode.enabled=true"],
            ..Setup::default()
        })
    })
    .await;
    scene.keep("A").await;
    scene.keep("B").await;
    let synapse = scene.synapse_for_session(2).await;
    scene.until_serves("AB").await;
    let changes = synapse.changes().await;
    scene.zk.members().iter().take(2).for_each(|member| member.kill9());
    eventually("the last member is read-only", PATIENCE, || async {
        let mode = block_in_place(|| scene.zk.member(2).mode());
        if mode.as_deref() == Some("read-only") { Ok(()) } else { Err(mode) }
    })
    .await;
    synapse.until_logged("session expired").await;
    scene.always_serves("AB", Duration::from_secs(2)).await;
    assert!(!synapse.is_connected().await);
    assert_eq!(synapse.changes().await, changes, "the set is what it was");
    // Somebody who starts now knows nobody, and says so.
    let other = scene.lab.free_addr();
    let mut config = scene.config_for_session(2);
    config["services"]["web"]["haproxy"]["port"] = json!(other.port());
    config["state_dir"] = json!(scene.lab.dir().join("other"));
    let fresh = scene.lab.synapse_unready(config).await;
    fresh.until_logged("no session").await;
    assert_eq!(get(fresh.admin(), "/ready").await.expect("admin").status, 503);

    block_in_place(|| scene.zk.restart());
    let healed = Instant::now();
    let registrations = Registrations::connect(&scene.zk.connect_string()).await;
    registrations.keep(PATH, &scene.lab.origin("C").await).await;
    scene.until_serves("ABC").await;
    fresh.until_ready().await;
    println!("read-only: used again {:?} after the quorum's return", healed.elapsed());
    assert!(healed.elapsed() < CONVERGENCE, "{:?}", healed.elapsed());
}

/// A reader has nothing to prove itself with: only the operator of the ensemble can help, so that haste is useless.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_ensemble_that_demands_credentials_is_said_and_asked_slowly() {
    let mut scene = Scene::new().await;
    let strict = block_in_place(|| {
        Zk::standalone_with(
            "authProvider.1=org.apache.zookeeper.server.auth.SASLAuthenticationProvider\n\
             sessionRequireClientSASLAuth=true",
        )
    });
    scene.hosts = vec![strict.connect_string()];
    let synapse = scene.lab.synapse_unready(scene.config_for_session(2)).await;
    let told = "the ensemble refuses our credentials";
    synapse.until_logged(told).await;
    let ready = get(synapse.admin(), "/ready").await.expect("admin");
    assert_eq!(ready.status, 503, "{}", ready.text());
    eventually("the reason is shown", PATIENCE, || async {
        let shown = synapse.service("web").await["reason"].to_string();
        if shown.contains("credentials refused by") { Ok(()) } else { Err(shown) }
    })
    .await;
    always("nobody hurries", Duration::from_secs(4), || async {
        let log = synapse.log();
        if log.matches(told).count() == 1 { Ok(()) } else { Err(log) }
    })
    .await;
}
