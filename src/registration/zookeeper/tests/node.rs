//! Our node: its name, its bytes, and what becomes of it.

use std::time::Duration;

use tokio::time::Instant;

use super::*;
use crate::registry::memory::WriteFault;
use crate::telemetry::statsd::testing::Agent;

#[tokio::test(start_paused = true)]
async fn every_kind_keeps_the_contract() {
    for kind in KINDS {
        for is_path_encoded in [false, true] {
            println!("{kind:?}, path encoded: {is_path_encoded}");
            check(InMemory::new(kind, is_path_encoded)).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_is_named_as_nerve_names_it_and_rest_is_silent() {
    for (kind, name) in [
        (NodeKind::EphemeralSequential, "i-1_0000000000"),
        (NodeKind::Ephemeral, "i-1_"),
        (NodeKind::PersistentSequential, "i-1_0000000000"),
        (NodeKind::Persistent, "i-1_"),
    ] {
        let home = Home::new(kind);
        let mut running = home.start(Wanted::Present);
        let state = running.phase(Phase::Registered).await;
        assert_eq!(state.node.as_deref(), Some(&*format!("{PATH}/{name}")));
        let owner = if kind.is_ephemeral() { home.registry.session_id() } else { 0 };
        assert_eq!(home.the_one().1, owner);
        assert_eq!(state.owner, kind.is_ephemeral().then_some(owner));
        let before = home.registry.reads();
        tokio::time::sleep(Duration::from_secs(3600)).await;
        assert_eq!(home.registry.reads(), before);
        assert_eq!(running.state.borrow().writes, 1);
    }
}

#[tokio::test(start_paused = true)]
async fn an_open_outcome_makes_no_second_node() {
    for kind in KINDS {
        for fault in [WriteFault::LostAnswer, WriteFault::LostRequest] {
            let home = Home::new(kind);
            home.registry.put(PATH, "");
            home.registry.fail_next_write(fault);
            let mut running = home.registered().await;
            home.the_one();
            home.registry.fail_next_write(fault);
            running.wanted.send_replace(Wanted::Absent);
            running.phase(Phase::Absent).await;
            assert!(home.ours().is_empty(), "{kind:?} {fault:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_persistent_node_made_by_a_killed_process_is_known_to_the_next() {
    let home = Home::new(NodeKind::PersistentSequential);
    home.registry.put(PATH, "");
    home.registry.fail_next_write(WriteFault::LostAnswer);
    let running = home.start(Wanted::Present);
    // Killed between the request and its answer.
    while home.ours().is_empty() {
        tokio::task::yield_now().await;
    }
    running.stop().await;
    let mut next = home.registered().await;
    home.the_one();
    next.wanted.send_replace(Wanted::Absent);
    next.phase(Phase::Absent).await;
    assert!(home.ours().is_empty());
    assert!(home.kin.nodes.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_changed_record_stands_before_the_former_one_goes() {
    let mut home = Home::new(NodeKind::EphemeralSequential);
    home.registered().await.stop().await;
    let (former, _) = home.the_one();
    home.record.weight = Some(7);
    home.registry.fail_next_write(WriteFault::LostRequest);
    let mut running = home.start(Wanted::Present);
    running.until("held up", |state| state.trouble.is_some()).await;
    assert!(home.registry.peek(&former).is_some(), "not before the new one stands");
    running.phase(Phase::Registered).await;
    home.the_one();
    assert_eq!(home.registry.peek_children(PATH).len(), 1);
    // A fixed name has one node: it is told the new bytes.
    let mut home = Home::new(NodeKind::Ephemeral);
    home.registered().await.stop().await;
    let created = home.registry.peek(&home.fixed()).unwrap().created_zxid;
    home.record.port = json!(9090);
    home.registered().await;
    assert_eq!(home.registry.peek(&home.fixed()).unwrap().created_zxid, created);
    home.the_one();
}

#[tokio::test(start_paused = true)]
async fn another_kind_or_encoding_leaves_nothing_behind() {
    for from in KINDS {
        for to in KINDS {
            let mut home = Home::new(from);
            home.registered().await.stop().await;
            home.place.kind = to;
            home.place.is_path_encoded = true;
            home.registered().await.stop().await;
            home.the_one();
            home.place.is_path_encoded = false;
            home.record.name = "i-2".into();
            home.registered().await;
            let left = home.registry.peek_children(PATH);
            // Another instance id is another registration; only what has no owner is remembered beyond that.
            assert_eq!(
                left.len(),
                if to.is_ephemeral() { 2 } else { 1 },
                "{from:?} {to:?} {left:?}"
            );
        }
    }
}

/// Cases 36 and 37, and whoever does not stop.
#[tokio::test(start_paused = true)]
async fn what_an_operator_does_to_our_node_is_undone_at_once_but_not_for_ever() {
    for kind in KINDS {
        let home = Home::new(kind);
        let running = home.registered().await;
        for round in 0..5 {
            let (path, _) = home.the_one();
            if round % 2 == 0 {
                home.registry.delete(&path)
            } else {
                home.registry.set_data(&path, "x")
            };
            let touched = Instant::now();
            while home.ours().is_empty() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            assert!(touched.elapsed() < Duration::from_secs(1), "{kind:?} {:?}", touched.elapsed());
        }
        let before = running.state.borrow().writes;
        let started = Instant::now();
        while started.elapsed() < Duration::from_secs(600) {
            for name in home.ours() {
                home.registry.delete(&format!("{PATH}/{name}"));
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let writes = running.state.borrow().writes - before;
        assert!(writes < 60, "{writes} writes in ten minutes");
    }
}

/// Case 46, and the path of a wiped ensemble (39).
#[tokio::test(start_paused = true)]
async fn a_missing_parent_is_made() {
    let home = Home::new(NodeKind::EphemeralSequential);
    let mut running = home.registered().await;
    home.registry.delete("/services");
    running.until("again", |state| state.writes == 2).await;
    running.phase(Phase::Registered).await;
    home.the_one();
}

#[tokio::test(start_paused = true)]
async fn a_persistent_node_is_written_again_every_ttl() {
    for kind in KINDS {
        let mut home = Home::new(kind);
        home.place.ttl = Some(Duration::from_secs(10));
        let mut running = home.registered().await;
        let (path, _) = home.the_one();
        tokio::time::sleep(Duration::from_secs(100)).await;
        let writes = home.registry.peek(&path).unwrap().version;
        let expected = if kind.is_ephemeral() { 0..=0 } else { 10..=11 };
        assert!(expected.contains(&writes), "{kind:?}: {writes}");
        running.wanted.send_replace(Wanted::Absent);
        running.phase(Phase::Absent).await;
        tokio::time::sleep(Duration::from_secs(100)).await;
        assert!(home.ours().is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn statsd_hears_of_each_renewal() {
    let mut home = Home::new(NodeKind::PersistentSequential);
    home.place.ttl = Some(Duration::from_secs(10));
    let agent = Agent::install(&[]);
    let _running = home.registered().await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    let renewed = agent.next();
    assert!(renewed.starts_with("nerve.reporter.zk.ttl.renew:1|c|#zk_cluster:"), "{renewed}");
    assert!(renewed.ends_with(",result:success"), "{renewed}");
}
