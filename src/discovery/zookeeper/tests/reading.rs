//! What is read, how often, and how soon it is published.

use super::*;
use crate::registry::memory::ReadCounts;
use crate::telemetry::statsd::testing::Agent;

#[tokio::test(start_paused = true)]
async fn only_new_children_are_read() {
    let registry = MemoryRegistry::default();
    for n in 0..50 {
        registry.put_sequential(&child("i_"), record(&format!("h{n:02}")), 1);
    }
    let mut running = start(&registry);
    running.until(|d| matches!(&d.membership, Membership::Known(set) if set.len() == 50)).await;
    running.settle().await;
    assert_eq!(registry.reads(), ReadCounts { lists: 1, nodes: 50 });
    registry.put_sequential(&child("i_"), record("new"), 1);
    running.until(|d| hosts(d).is_some_and(|hosts| hosts.contains("new"))).await;
    registry.delete(&child("i_0000000000"));
    running.until(|d| hosts(d).is_some_and(|hosts| !hosts.contains("h00"))).await;
    running.settle().await;
    assert_eq!(registry.reads(), ReadCounts { lists: 3, nodes: 51 });
}

#[tokio::test(start_paused = true)]
async fn a_change_that_comes_alone_is_published_without_delay() {
    let registry = MemoryRegistry::default();
    registry.put(PATH, "");
    let mut running = start(&registry);
    running.until_hosts("").await;
    for round in 0..20 {
        running.settle().await;
        let before = Instant::now();
        let path = registry.put_sequential(&child("i_"), record("a"), 1);
        running.until_hosts("a").await;
        assert!(before.elapsed() < Duration::from_millis(2), "round {round}");
        running.settle().await;
        registry.delete(&path);
        running.until_hosts("").await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_burst_shares_its_lists() {
    let registry = MemoryRegistry::default();
    registry.put(PATH, "");
    let mut running = start(&registry);
    running.until_hosts("").await;
    running.settle().await;
    let before = registry.reads().lists;
    for n in 0..100 {
        registry.put_sequential(&child("i_"), record(&format!("h{n}")), 1);
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let last = Instant::now();
    running.until(|d| matches!(&d.membership, Membership::Known(set) if set.len() == 100)).await;
    assert!(last.elapsed() <= Duration::from_millis(50));
    let lists = registry.reads().lists - before;
    assert!(lists <= 30, "{lists} lists for 100 changes");
}

#[tokio::test(start_paused = true)]
async fn discovery_jitter_delays_only_what_follows_soon() {
    let registry = MemoryRegistry::default();
    registry.put(PATH, "");
    let jittered = ZooKeeperSourceSettings { jitter: Duration::from_secs(20), ..settings() };
    let mut running = start_with(registry.clone(), Arc::new(registry.clone()), jittered);
    running.until_hosts("").await;
    tokio::time::sleep(Duration::from_secs(21)).await;
    let before = Instant::now();
    registry.put_sequential(&child("i_"), record("a"), 1);
    running.until_hosts("a").await;
    assert!(before.elapsed() < Duration::from_millis(2));
    registry.put_sequential(&child("i_"), record("b"), 1);
    running.until_hosts("a b").await;
    assert!(before.elapsed() <= Duration::from_secs(21));
}

#[tokio::test(start_paused = true)]
async fn a_new_session_does_not_read_known_children_again() {
    let registry = MemoryRegistry::default();
    registry.put(&child("a_0000000001"), record("a"));
    let mut running = start(&registry);
    running.until_hosts("a").await;
    running.settle().await;
    let before = registry.reads().nodes;
    registry.expire();
    running.until(|d| d.trouble.is_some()).await;
    registry.heal();
    running.until(|d| d.trouble.is_none()).await;
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert_eq!(registry.reads().nodes, before);
}

#[tokio::test(start_paused = true)]
async fn a_path_that_is_recreated_with_the_same_names_is_read_anew() {
    let registry = MemoryRegistry::default();
    for generator in [GeneratorSource::Parent, GeneratorSource::Disabled] {
        registry.put(&child("i_0000000000"), record("old"));
        let settings = ZooKeeperSourceSettings { generator, ..settings() };
        let mut running = start_with(registry.clone(), Arc::new(registry.clone()), settings);
        running.until_hosts("old").await;
        running.settle().await;
        // No await in between: the source never sees the path missing.
        registry.delete(PATH);
        registry.put(&child("i_0000000000"), record("new"));
        registry.put(&child("i_0000000001"), record("newer"));
        running.until_hosts("new newer").await;
        registry.delete(PATH);
        running.until(|d| matches!(d.membership, Membership::Missing)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_child_replaced_under_its_own_name_is_noticed() {
    let registry = MemoryRegistry::default();
    registry.put(&child("i_0000000000"), record("old"));
    let mut running = start(&registry);
    running.until_hosts("old").await;
    running.settle().await;
    registry.delete(&child("i_0000000000"));
    registry.put(&child("i_0000000000"), record("new"));
    running.until_hosts("new").await;
}

#[tokio::test(start_paused = true)]
async fn data_rewritten_behind_our_back_is_found_by_anti_entropy() {
    let registry = MemoryRegistry::default();
    registry.put(&child("i_0000000000"), record("a"));
    registry.put(&child("fixed"), record("b"));
    let mut running = start(&registry);
    let first = running.until_hosts("a b").await;
    registry.set_data(&child("i_0000000000"), record("c"));
    registry.set_data(&child("fixed"), record("d"));
    let later = running.until_hosts("c d").await;
    assert!(later.verified.unwrap() - first.verified.unwrap() <= Duration::from_secs(76));
}

#[tokio::test(start_paused = true)]
async fn confirmations_do_not_wake_the_pool() {
    let registry = MemoryRegistry::default();
    registry.put(&child("i_0000000000"), record("a"));
    let mut running = start(&registry);
    running.until_hosts("a").await;
    running.settle().await;
    let before = running.seen.borrow_and_update().verified;
    tokio::time::sleep(Duration::from_secs(100)).await;
    assert!(!running.seen.has_changed().unwrap());
    assert!(running.seen.borrow().verified > before);
}

#[tokio::test(start_paused = true)]
async fn the_generator_config_comes_with_the_first_word_and_follows_its_node() {
    let registry = MemoryRegistry::default();
    registry.put(PATH, r#"{"haproxy":{}}"#);
    registry.put("/config", "{}");
    let mut running = start(&registry);
    let first = running.until(|d| !matches!(d.membership, Membership::Pending)).await;
    assert_eq!(first.generator.as_deref(), Some(r#"{"haproxy":{}}"#));
    registry.set_data(PATH, b"\xff".to_vec());
    let bad = running.until(|d| d.trouble.is_some()).await;
    assert!(bad.generator.is_some(), "an unusable config keeps its predecessor");
    registry.set_data(PATH, "");
    running.until(|d| d.generator.is_none() && d.trouble.is_none()).await;

    let elsewhere = ZooKeeperSourceSettings {
        generator: GeneratorSource::Node("/config".into()),
        ..settings()
    };
    let mut running = start_with(registry.clone(), Arc::new(registry.clone()), elsewhere);
    running.until(|d| d.generator.as_deref() == Some("{}")).await;
    registry.set_data("/config", r#"{"x":1}"#);
    running.until(|d| d.generator.as_deref() == Some(r#"{"x":1}"#)).await;

    let none = ZooKeeperSourceSettings { generator: GeneratorSource::Disabled, ..settings() };
    registry.set_data(PATH, "{}");
    let mut running = start_with(registry.clone(), Arc::new(registry.clone()), none);
    let seen = running.until_hosts("").await;
    assert_eq!(seen.generator, None);
}

#[tokio::test(start_paused = true)]
async fn statsd_hears_of_a_look_and_of_what_is_wrong_with_children() {
    let agent = Agent::install(&[]);
    let registry = MemoryRegistry::default();
    registry.put_sequential(&child("i_"), record("a"), 1);
    registry.put_sequential(&child("i_"), "no record", 1);
    let mut running = start(&registry);
    running.until_hosts("a").await;
    let watcher = format!("zk_cluster:memory,zk_path:{PATH},service_name:s");
    assert_eq!(
        agent.events::<5>(),
        [
            &*format!("synapse.watcher.zk.discovery:1|c|#{watcher}"),
            "synapse.watcher.zk.children.elapsed_time:0|ms|#zk_cluster:memory,service_name:s",
            "synapse.watcher.zk.get.elapsed_time:0|ms|#zk_cluster:memory,service_name:s",
            "synapse.watcher.zk.parse_child_failed:1|c",
            &*format!("synapse.watcher.zk.discovery.elapsed_time:0|ms|#{watcher}"),
        ]
    );
}
