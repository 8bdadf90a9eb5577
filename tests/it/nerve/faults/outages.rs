//! ZooKeeper itself: absent, away in turn, older than it was, at a wrong time.

use std::time::Duration;

use serde_json::json;
use tokio::task::block_in_place;
use tokio::time::{Instant, sleep};

use super::{
    BACK_WITHIN, id, one_of_each, path, registered, session_is, shows, until_over, up, watch,
};
use crate::outages::time::faketime;
use crate::scale::cpu_seconds;
use crate::support::client::get;
use crate::support::lab::Lab;
use crate::support::nerve::{Nerve, nodes, until_nodes};
use crate::support::zookeeper::Zk;

/// The promise, for a server that comes.
const AFTER_START: Duration = Duration::from_secs(2);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_zookeeper_at_start_nerve_waits_without_cpu_and_registers_when_it_comes() {
    let lab = Lab::alone().await;
    let zk = block_in_place(Zk::standalone);
    zk.kill9();
    let (mut services, places) = one_of_each(&zk.connect_string());
    services["web"] = up(&zk.connect_string(), "web", 9_000, json!({})).0;
    let config = json!({"zk_session_timeout": 2, "services": services});
    let nerve = Nerve::start(&lab, config).await;
    let shown = shows(&nerve, "why", |shown| {
        shown["registration"]["trouble"].as_str().is_some_and(|text| text.contains("refused"))
    })
    .await;
    assert_eq!((&shown["state"], &shown["session"]["state"]), (&json!("UP"), &json!("connecting")));
    let ready = get(nerve.admin(), "/ready").await.expect("admin");
    let (begun, before) = (Instant::now(), cpu_seconds(nerve.pid()));
    // What is measured.
    sleep(Duration::from_secs(3)).await;
    let busy = (cpu_seconds(nerve.pid()) - before) / begun.elapsed().as_secs_f64();
    block_in_place(|| zk.restart());
    let healed = Instant::now();
    let client = zk.client().await;
    for place in &places {
        until_nodes(&client, &place.path, 1).await;
    }
    println!(
        "absent at start: {:.2} % CPU, registered {:?} after it came; /ready said {} {}",
        busy * 100.0,
        healed.elapsed(),
        ready.status,
        ready.text()
    );
    assert!(busy < 0.05, "{busy}");
    assert!(healed.elapsed() < AFTER_START, "{:?}", healed.elapsed());
    nerve.until_ready().await;
}

/// A killed nerve that nobody starts again: its nodes go with its session, and not earlier.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_node_of_a_killed_nerve_goes_with_its_session() {
    const SESSION: Duration = Duration::from_secs(2);
    let lab = Lab::new().await;
    let zk = block_in_place(Zk::standalone);
    let client = zk.client().await;
    let (services, _) = one_of_each(&zk.connect_string());
    let mut nerve = registered(&lab, services, 2, &client).await;
    nerve.kill9().await;
    let killed = Instant::now();
    for kind in ["sequential", "fixed", "encoded"] {
        until_nodes(&client, &path(kind), 0).await;
    }
    let gone = killed.elapsed();
    println!("killed: gone after {gone:?}");
    // Counted from the last ping, a third of the session ago at most; the server looks at every tick of 500 ms.
    assert!(gone > SESSION / 2 && gone < SESSION + Duration::from_millis(1_500), "{gone:?}");
    for kind in ["persistent", "numbered"] {
        assert_eq!(nodes(&client, &path(kind)).await.len(), 1, "nobody removes those");
    }
}

/// Every member in turn, so the session moves twice and the leader changes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_restart_of_the_ensemble_costs_no_node() {
    let lab = Lab::new().await;
    let zk = block_in_place(|| Zk::ensemble(3));
    let client = zk.client().await;
    let (mut services, places) = one_of_each(&zk.connect_string());
    services["web"] = up(&zk.connect_string(), "web", 9_000, json!({})).0;
    let nerve = registered(&lab, services, 5, &client).await;
    let before = nerve.service("web").await["session"]["id"].clone();
    let witness = watch(&zk, places);
    witness.looks(1).await;
    for (index, member) in zk.members().iter().enumerate() {
        witness.set_healthy(index, false);
        member.kill9();
        super::eventually("another member has the session", super::PATIENCE, || async {
            let has_it = block_in_place(|| zk.is_used_by(id(&before)));
            if has_it { Ok(()) } else { Err(nerve.service("web").await) }
        })
        .await;
        block_in_place(|| zk.restart());
        witness.set_healthy(index, true);
        witness.looks(20).await;
    }
    let after = shows(&nerve, "connected", session_is("connected")).await;
    assert_eq!(after["session"]["id"], before, "the session is kept");
    witness.end().assert_never_absent(60);
}

/// The server comes back as it was before it knew us: no session of ours, and a node of a session that nobody has.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_zookeeper_restored_from_a_backup_gets_exactly_one_node_of_each_again() {
    let lab = Lab::new().await;
    let zk = block_in_place(Zk::standalone);
    let client = zk.client().await;
    let (services, places) = one_of_each(&zk.connect_string());
    let mut nerve = registered(&lab, services, 2, &client).await;
    let former = nerve.service("fixed").await["session"]["id"].clone();
    let is_known = block_in_place(|| zk.leader().has_session(id(&former)));
    assert_eq!(is_known, Ok(true), "{former}");
    let backup = zk.back_up();
    // Then another session, and other nodes: the backup has those of the former one.
    nerve.signal(rustix::process::Signal::STOP);
    until_nodes(&client, &path("fixed"), 0).await;
    nerve.signal(rustix::process::Signal::CONT);
    for place in &places {
        until_nodes(&client, &place.path, 1).await;
    }
    for round in 0..2 {
        block_in_place(|| zk.restore(&backup));
        let restored = Instant::now();
        let client = zk.client().await;
        let connected = |shown: &serde_json::Value| session_is("connected")(shown);
        super::eventually("a session of the restored server", super::PATIENCE, || async {
            let shown = nerve.service("fixed").await;
            let is_settled = shown["registration"]["phase"] == "registered" && connected(&shown);
            if is_settled { Ok(()) } else { Err(shown) }
        })
        .await;
        println!("{round}: restored: settled after {:?}", restored.elapsed());
        // Past the end of the session that the backup knew.
        until_over(&zk, &former).await;
        for place in &places {
            let seen = until_nodes(&client, &place.path, 1).await;
            let session = nerve.service("fixed").await["session"]["id"].clone();
            let is_live = seen[0].owner == 0 || session == json!(format!("{:#x}", seen[0].owner));
            assert!(is_live, "{seen:?} is not of {session}");
        }
        // Once more, with a nerve that was started meanwhile.
        nerve.kill9().await;
        nerve = nerve.again().until_listening().await;
        nerve.until_settled(&[]).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nerves_clock_may_jump_by_a_day() {
    let lab = Lab::new().await;
    let zk = block_in_place(Zk::standalone);
    let client = zk.client().await;
    let (mut services, places) = one_of_each(&zk.connect_string());
    services["web"] = up(&zk.connect_string(), "web", 9_000, json!({})).0;
    let mut nerve = registered(&lab, services, 2, &client).await;
    let clock = lab.write("clock", "+0");
    let (library, file) = (faketime(), clock.display().to_string());
    let env = [
        ("LD_PRELOAD", library.to_str().expect("a path")),
        ("FAKETIME_TIMESTAMP_FILE", &file),
        ("FAKETIME_NO_CACHE", "1"),
        // The kernel's monotonic clock does not jump.
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
    ];
    nerve.kill9().await;
    let nerve = Nerve::spawn(nerve.admin(), nerve.config(), nerve.state_dir(), &env);
    let nerve = nerve.until_listening().await;
    nerve.until_settled(&[]).await;
    let before = nerve.service("web").await["session"]["id"].clone();
    let witness = watch(&zk, places);
    for offset in ["+1d", "-1d", "+0"] {
        std::fs::write(&clock, offset).expect("our own clock");
        // Whoever counts by the wrong clock ends it meanwhile.
        zk.outlast_a_session(Duration::from_secs(2)).await;
        witness.looks(34).await;
        let node = nodes(&client, &path("web")).await;
        client.delete(&node[0].path, None).await.expect("as an operator does");
        let deleted = Instant::now();
        until_nodes(&client, &path("web"), 1).await;
        assert!(deleted.elapsed() < BACK_WITHIN, "{:?}", deleted.elapsed());
    }
    assert_eq!(nerve.service("web").await["session"]["id"], before, "the session is kept");
    witness.end().assert_never_absent(100);
}
