//! Edge cases of a registration (`spec/zookeeper.md`, section 5) on a server that behaves; the numbers are theirs.

mod sessions;

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use smartstack::registration::{Phase, Relation, Wanted};
use smartstack::registry::writer::NodeKind;
use smartstack::registry::{Registry, SessionState};
use tokio::time::{Instant, sleep, timeout};
use zookeeper_client::{Acls, Client, CreateMode};

use crate::common::{connected, fresh_path, shared};
use crate::nerves::{Spec, session};

/// Waits until the service has exactly one node, which says what it should.
async fn one(spec: &Spec, client: &Client, limit: Duration) -> (String, i64) {
    let started = Instant::now();
    loop {
        let children = spec.children(client).await;
        if let [(name, data, owner)] = &children[..]
            && data.as_bytes() == spec.record.encode()
        {
            return (format!("{}/{name}", spec.place.path), *owner);
        }
        assert!(started.elapsed() < limit, "not within {limit:?}: {children:?}");
        sleep(Duration::from_millis(2)).await;
    }
}

async fn fresh(client: &Client, kind: NodeKind) -> Spec {
    Spec::new(&format!("{}/web", fresh_path(client).await), kind)
}

/// Waits until the node is gone.
async fn gone(client: &Client, node: &str, limit: Duration) {
    let wait = async {
        loop {
            let (stat, watch) = client.check_and_watch_stat(node).await.unwrap();
            if stat.is_none() {
                return;
            }
            watch.changed().await;
        }
    };
    timeout(limit, wait).await.unwrap_or_else(|_| panic!("{node} is not gone within {limit:?}"));
}

/// Case 9: what a stop asks for.
#[tokio::test]
async fn a_deregistration_takes_less_than_100_milliseconds() {
    let zk = shared();
    let client = zk.client().await;
    let registry = connected(&zk.connect_string(), 4).await;
    for kind in [NodeKind::EphemeralSequential, NodeKind::Ephemeral, NodeKind::Persistent] {
        let spec = fresh(&client, kind).await;
        let mut running = spec.start(&registry, Wanted::Present);
        running.phase(Phase::Registered, 5).await;
        let (node, _) = spec.the_one(&client).await;
        let started = Instant::now();
        running.wanted.send_replace(Wanted::Absent);
        running.phase(Phase::Absent, 2).await;
        println!("{kind:?}: {:?}", started.elapsed());
        assert!(started.elapsed() < Duration::from_millis(100), "{:?}", started.elapsed());
        assert!(client.check_stat(&node).await.unwrap().is_none());
    }
}

/// Case 6.
#[tokio::test]
async fn case_06_a_numbered_ghost_goes_when_ours_stands_and_strangers_stay() {
    let zk = shared();
    let client = zk.client().await;
    let spec = fresh(&client, NodeKind::EphemeralSequential).await;
    let former = connected(&zk.connect_string(), 4).await;
    let stranger = connected(&zk.connect_string(), 4).await;
    for session in [&former, &stranger] {
        let mut running = spec.start(session, Wanted::Present);
        running.phase(Phase::Registered, 5).await;
        // They are other processes: here nobody has their nodes.
        running.stop().await;
    }
    former.detach();
    former.closed().await;
    spec.kin.tell(session(&former), Relation::Former);
    let registry = connected(&zk.connect_string(), 4).await;
    let mut running = spec.start(&registry, Wanted::Present);
    running.phase(Phase::Registered, 2).await;
    let owners: Vec<_> = spec.children(&client).await.into_iter().map(|child| child.2).collect();
    assert_eq!(owners, [session(&stranger), session(&registry)]);
}

/// Case 13.
#[tokio::test]
async fn case_13_a_path_that_is_deleted_again_and_again_has_the_node_in_the_end() {
    let zk = shared();
    let client = zk.client().await;
    let registry = connected(&zk.connect_string(), 4).await;
    let spec = fresh(&client, NodeKind::EphemeralSequential).await;
    let mut running = spec.start(&registry, Wanted::Present);
    running.phase(Phase::Registered, 5).await;
    for round in 0..20_u64 {
        for (name, ..) in spec.children(&client).await {
            // Whoever is faster.
            client.delete(&format!("{}/{name}", spec.place.path), None).await.ok();
        }
        client.delete(&spec.place.path, None).await.ok();
        // An operator in no hurry: whatever step it is at.
        sleep(Duration::from_millis(round % 7)).await;
    }
    let (_, owner) = one(&spec, &client, Duration::from_secs(35)).await;
    assert_eq!(owner, session(&registry));
}

/// Case 17.
#[tokio::test]
async fn case_17_two_megabytes_are_refused_here() {
    let zk = shared();
    let client = zk.client().await;
    let registry = connected(&zk.connect_string(), 4).await;
    let spec = fresh(&client, NodeKind::EphemeralSequential).await;
    let spec = spec.labels(&json!({"big": "x".repeat(2_000_000)}));
    let since = registry.session().borrow().since;
    let mut running = spec.start(&registry, Wanted::Present);
    let state = running.until(5, |state| state.trouble.is_some()).await;
    assert!(state.trouble.unwrap().contains("at most 1000000 are sent"));
    assert_eq!(state.phase, Phase::Changing);
    let session = registry.session().borrow().clone();
    assert_eq!((session.since, session.state), (since, SessionState::Connected));
}

/// Case 35.
#[tokio::test]
async fn case_35_two_nerves_with_one_name_make_no_war() {
    let zk = shared();
    let client = zk.client().await;
    let spec = fresh(&client, NodeKind::Ephemeral).await;
    let other = Spec { kin: Arc::default(), ..spec.clone() };
    let first = connected(&zk.connect_string(), 4).await;
    let second = connected(&zk.connect_string(), 4).await;
    let mut holds = spec.start(&first, Wanted::Present);
    holds.phase(Phase::Registered, 5).await;
    let mut waits = other.start(&second, Wanted::Present);
    let state = waits.phase(Phase::Blocked, 5).await;
    assert!(state.trouble.unwrap().contains("belongs to somebody else"));
    // Both hear of this, and of its repair; only the owner writes.
    let (node, _) = spec.the_one(&client).await;
    client.set_data(&node, b"scribble", None).await.unwrap();
    one(&spec, &client, Duration::from_secs(1)).await;
    holds.until(1, |state| state.phase == Phase::Registered && state.writes == 2).await;
    first.stop();
    first.closed().await;
    // What the other one hears next, so that all its writes are counted, and those that it made the owner do.
    let state = waits.phase(Phase::Registered, 1).await;
    assert_eq!((holds.state.borrow().writes, state.writes), (2, 1));
    assert_eq!(spec.the_one(&client).await.1, session(&second));
}

/// Case 36.
#[tokio::test]
async fn case_36_a_node_that_an_operator_deletes_is_back_within_a_second() {
    let zk = shared();
    let client = zk.client().await;
    let registry = connected(&zk.connect_string(), 4).await;
    for kind in [NodeKind::EphemeralSequential, NodeKind::Ephemeral, NodeKind::PersistentSequential]
    {
        let spec = fresh(&client, kind).await;
        let mut running = spec.start(&registry, Wanted::Present);
        running.phase(Phase::Registered, 5).await;
        for _ in 0..3 {
            let (node, _) = one(&spec, &client, Duration::from_secs(1)).await;
            client.delete(&node, None).await.unwrap();
            let deleted = Instant::now();
            one(&spec, &client, Duration::from_secs(1)).await;
            println!("{kind:?}: back after {:?}", deleted.elapsed());
        }
        // Unless it is to be away.
        running.wanted.send_replace(Wanted::Absent);
        running.phase(Phase::Absent, 2).await;
        assert!(spec.children(&client).await.is_empty());
    }
}

/// Case 37.
#[tokio::test]
async fn case_37_data_that_somebody_changes_are_restored() {
    let zk = shared();
    let client = zk.client().await;
    let registry = connected(&zk.connect_string(), 4).await;
    for kind in [NodeKind::EphemeralSequential, NodeKind::Ephemeral, NodeKind::Persistent] {
        let spec = fresh(&client, kind).await;
        spec.start(&registry, Wanted::Present).phase(Phase::Registered, 5).await;
        let (node, _) = spec.the_one(&client).await;
        client.set_data(&node, b"scribble", None).await.unwrap();
        one(&spec, &client, Duration::from_secs(1)).await;
    }
}

/// Case 40.
#[tokio::test]
async fn case_40_a_missing_chroot_is_made() {
    let zk = shared();
    let client = zk.client().await;
    let chroot = fresh_path(&client).await;
    let registry = connected(&format!("{}{chroot}/x", zk.connect_string()), 4).await;
    let spec = Spec::new("/services/web", NodeKind::EphemeralSequential);
    spec.start(&registry, Wanted::Present).phase(Phase::Registered, 5).await;
    let seen = Spec::new(&format!("{chroot}/x/services/web"), NodeKind::EphemeralSequential);
    assert_eq!(seen.the_one(&client).await.1, session(&registry));
}

/// Case 45, a reload: other bytes, and at no moment nobody.
#[tokio::test]
async fn case_45_a_changed_record_overlaps_its_predecessor() {
    let zk = shared();
    let client = zk.client().await;
    let registry = connected(&zk.connect_string(), 4).await;
    for is_path_encoded in [false, true] {
        let mut spec = fresh(&client, NodeKind::EphemeralSequential).await;
        spec.place.is_path_encoded = is_path_encoded;
        let mut running = spec.start(&registry, Wanted::Present);
        running.phase(Phase::Registered, 5).await;
        let path = spec.place.path.to_string();
        let watcher = zk.client().await;
        let watching = tokio::spawn(async move {
            let mut least = usize::MAX;
            loop {
                let (names, watch) = watcher.list_and_watch_children(&path).await.unwrap();
                least = least.min(names.len());
                if timeout(Duration::from_secs(1), watch.changed()).await.is_err() {
                    return least;
                }
            }
        });
        for weight in 1..=5 {
            running.stop().await;
            spec.record.weight = Some(weight);
            running = spec.start(&registry, Wanted::Present);
            running.phase(Phase::Registered, 5).await;
            spec.the_one(&client).await;
        }
        assert_eq!(watching.await.unwrap(), 1);
    }
}

/// Case 46.
#[tokio::test]
async fn case_46_a_parent_that_was_removed_while_empty_is_made_again() {
    let zk = shared();
    let client = zk.client().await;
    let registry = connected(&zk.connect_string(), 4).await;
    let spec = fresh(&client, NodeKind::EphemeralSequential).await;
    let container = CreateMode::Container.with_acls(Acls::anyone_all());
    client.create(spec.place.path.rsplit_once('/').unwrap().0, b"", &container).await.unwrap();
    let mut running = spec.start(&registry, Wanted::Present);
    running.phase(Phase::Registered, 5).await;
    running.wanted.send_replace(Wanted::Absent);
    running.phase(Phase::Absent, 5).await;
    client.delete(&spec.place.path, None).await.unwrap();
    client.delete(spec.place.path.rsplit_once('/').unwrap().0, None).await.unwrap();
    running.wanted.send_replace(Wanted::Present);
    running.phase(Phase::Registered, 5).await;
    spec.the_one(&client).await;
}
