//! Time that passes differently: a server in fits and starts, a clock that jumps, a process that stands still.

use std::path::PathBuf;
use std::time::Duration;

use rustix::process::Signal;
use tokio::process::Command;
use tokio::task::block_in_place;
use tokio::time::{Instant, timeout};

use super::{CONVERGENCE, PATIENCE};
use crate::support::client::get;
use crate::support::oracle::need;
use crate::support::scene::Scene;
use crate::support::wait::eventually;

/// Stopped and running in turn: first it is always heard in time, then it is lost in every turn.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_a_stuttering_zookeeper_changes_no_backend() {
    let scene = Scene::new().await;
    scene.keep("A").await;
    scene.keep("B").await;
    let synapse = scene.synapse_for_session(5).await;
    scene.until_serves("AB").await;
    let changes = synapse.changes().await;
    for (stopped, running) in [[(1_500, 300); 5], [(2_300, 200); 5]].concat() {
        scene.zk.stop();
        scene.always_serves("AB", Duration::from_millis(stopped)).await;
        scene.zk.cont();
        scene.always_serves("AB", Duration::from_millis(running)).await;
    }
    assert_eq!(synapse.changes().await, changes, "the set is what it was");
    let healed = Instant::now();
    scene.keep("C").await;
    scene.until_serves("ABC").await;
    let lost = synapse.log().matches("disconnected").count();
    println!("stuttering: lost {lost} times, a change is seen {:?} afterwards", healed.elapsed());
    assert!(healed.elapsed() < CONVERGENCE, "{:?}", healed.elapsed());
    assert_eq!(synapse.sessions().await, 1.0, "the session is kept");
}

/// Where Debian keeps the library that lies about the time.
pub(crate) fn faketime() -> PathBuf {
    need("faketime", "faketime");
    let libraries = std::fs::read_dir("/usr/lib").expect("libraries");
    libraries
        .map(|entry| entry.expect("readable").path().join("faketime/libfaketimeMT.so.1"))
        .find(|library| library.exists())
        .expect("libfaketimeMT.so.1 is part of the package libfaketime")
}

/// The date that a clock shows which is wrong by this much, as logs write it.
async fn date(offset: &str) -> String {
    let words = ["-u", "+%Y-%m-%dT%H", "-d", offset];
    let output = Command::new("date").args(words).output().await.expect("date");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_jumps_by_a_day_changes_nothing() {
    let scene = Scene::new().await;
    scene.keep("A").await;
    let clock = scene.lab.write("clock", "+0");
    let (library, clock) = (faketime(), clock.display().to_string());
    let env = [
        ("LD_PRELOAD", library.to_str().expect("a path")),
        ("FAKETIME_TIMESTAMP_FILE", &clock),
        ("FAKETIME_NO_CACHE", "1"),
        // The kernel's monotonic clock does not jump.
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
    ];
    let synapse = scene.lab.synapse_in(scene.config_for_session(2), &env).await;
    scene.until_serves("A").await;
    let warnings = || synapse.log().matches(" WARN ").count();
    let (before, mut want) = (warnings(), "A".to_owned());
    for (offset, meaning, name) in
        [("+1d", "1 day", "B"), ("-1d", "-1 day", "C"), ("+0", "0 day", "D")]
    {
        let changes = synapse.changes().await;
        std::fs::write(&clock, offset).expect("our own clock");
        // Longer than the session: whoever counts by the wrong clock ends it.
        scene.always_serves(&want, Duration::from_secs(3)).await;
        assert_eq!(synapse.changes().await, changes, "the set is what it was");
        scene.keep(name).await;
        let registered = Instant::now();
        want.push_str(name);
        scene.until_serves(&want).await;
        println!("clock {offset}: a change is seen after {:?}", registered.elapsed());
        assert!(registered.elapsed() < Duration::from_secs(1), "{:?}", registered.elapsed());
        let log = synapse.log();
        let told = log.lines().last().expect("the change is logged");
        assert!(told.starts_with(&date(meaning).await), "the clock has not jumped: {told}");
    }
    assert_eq!(warnings(), before, "{}", synapse.log());
    assert_eq!(synapse.sessions().await, 1.0, "the session is kept");
    let verified = synapse.sample("synapse_discovery_last_verified_age_seconds").await;
    assert!(verified < 60.0, "{verified}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_frozen_for_longer_than_its_session_forwards_at_once_and_catches_up() {
    let scene = Scene::new().await;
    scene.keep("A").await;
    scene.keep("B").await;
    let synapse = scene.synapse_for_session(2).await;
    scene.until_serves("AB").await;
    let zk = scene.zk.member(0);
    let ours = format!("{:#x}", scene.registrations.session());
    let clients = block_in_place(|| zk.clients());
    let [session] = clients.iter().filter(|it| it.session != ours).collect::<Vec<_>>()[..] else {
        panic!("not one session besides {ours}: {clients:?}");
    };
    let changes = synapse.changes().await;
    synapse.signal(Signal::STOP);
    scene.keep("C").await;
    eventually("the server ends its session", PATIENCE, || async {
        match block_in_place(|| zk.has_session(&session.session)) {
            Ok(false) => Ok(()),
            other => Err(other),
        }
    })
    .await;
    synapse.signal(Signal::CONT);
    let thawed = Instant::now();
    let first = timeout(PATIENCE, get(scene.front, "/")).await.expect("in time").expect("served");
    let forwarded = thawed.elapsed();
    assert!(["A", "B", "C"].contains(&&*first.text()), "{}", first.text());
    scene.until_serves("ABC").await;
    let caught_up = thawed.elapsed();
    println!("thawed: forwards after {forwarded:?}, the newest set after {caught_up:?}");
    assert!(forwarded < Duration::from_millis(500), "{forwarded:?}");
    assert!(caught_up < CONVERGENCE, "{caught_up:?}");
    assert_eq!(synapse.sessions().await, 2.0, "a fresh session");
    assert_eq!(synapse.changes().await, changes + 1.0, "nothing but the new one");
}
