//! The source against the in-memory registry, on a paused clock.

use std::sync::Mutex;

use super::*;
use crate::discovery::{Decode, GeneratorSource};
use crate::endpoint::EndpointSet;
use crate::registry::memory::{MemoryRegistry, ReadCounts};
use crate::registry::{Node, NodeRead, Watched};
use crate::telemetry::statsd::testing::Agent;

const PATH: &str = "/services/s";

struct Running {
    registry: MemoryRegistry,
    seen: watch::Receiver<Discovered>,
    _stop: tokio_util::sync::DropGuard,
}

fn settings() -> ZooKeeperSourceSettings {
    ZooKeeperSourceSettings {
        ensemble: "memory".into(),
        path: PATH.into(),
        decode: Decode::Nerve,
        generator: GeneratorSource::Parent,
        jitter: Duration::ZERO,
    }
}

fn start_with(
    registry: MemoryRegistry,
    through: Arc<dyn Registry>,
    settings: ZooKeeperSourceSettings,
) -> Running {
    let (out, seen) = watch::channel(Discovered::default());
    let stop = CancellationToken::new();
    let source = ZooKeeperDiscovery::new(through, settings, &ServiceName::new("s"));
    tokio::spawn(Box::new(source).run(out, stop.clone()));
    Running { registry, seen, _stop: stop.drop_guard() }
}

fn start(registry: &MemoryRegistry) -> Running {
    start_with(registry.clone(), Arc::new(registry.clone()), settings())
}

impl Running {
    async fn until(&mut self, wanted: impl FnMut(&Discovered) -> bool) -> Discovered {
        let found = tokio::time::timeout(Duration::from_secs(600), self.seen.wait_for(wanted))
            .await
            .map(|found| found.unwrap().clone());
        found.unwrap_or_else(|_elapsed| panic!("not seen, but {:?}", self.seen.borrow()))
    }

    async fn until_hosts(&mut self, expected: &str) -> Discovered {
        self.until(|d| hosts(d).as_deref() == Some(expected)).await
    }

    /// Everything that is under way comes to rest (far below the anti-entropy interval).
    async fn settle(&self) {
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

fn hosts(discovered: &Discovered) -> Option<String> {
    match &discovered.membership {
        Membership::Known(set) => {
            let mut hosts: Vec<_> = set.as_slice().iter().map(|e| &*e.host).collect();
            hosts.sort_unstable();
            Some(hosts.join(" "))
        }
        Membership::Pending | Membership::Missing => None,
    }
}

fn record(host: &str) -> String {
    format!(r#"{{"host":"{host}","port":80}}"#)
}

fn child(name: &str) -> String {
    format!("{PATH}/{name}")
}

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
async fn a_cut_session_publishes_trouble_only_and_heals_at_once() {
    let registry = MemoryRegistry::default();
    registry.put(&child("a_0000000001"), record("a"));
    let mut running = start(&registry);
    running.until_hosts("a").await;
    for ends in [false, true] {
        if ends {
            registry.expire();
        } else {
            registry.cut();
        }
        let lost = running.until(|d| d.trouble.is_some()).await;
        assert_eq!(hosts(&lost).as_deref(), Some("a"));
        registry.put(&child("b_0000000002"), record("b"));
        tokio::time::sleep(Duration::from_secs(3600)).await;
        assert_eq!(hosts(&running.seen.borrow()).as_deref(), Some("a"));
        let healed = Instant::now();
        registry.heal();
        running.until_hosts("a b").await;
        assert!(healed.elapsed() < Duration::from_millis(50));
        running.until(|d| d.trouble.is_none()).await;
        registry.delete(&child("b_0000000002"));
        running.until_hosts("a").await;
    }
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
async fn malformed_children_are_named_and_the_others_used() {
    let registry = MemoryRegistry::default();
    for (n, data) in ["{", "[]", "", r#"{"host":"h","port":70000}"#].iter().enumerate() {
        registry.put(&child(&format!("bad_{n:010}")), *data);
    }
    registry.put(&child("ugly"), vec![0xff; 900_000]);
    registry.put(&child("base64_99_xx_"), "x");
    registry.put(&child("good_0000000009"), record("a"));
    let mut running = start(&registry);
    let seen = running.until_hosts("a").await;
    assert_eq!((seen.malformed_total, seen.malformed.len()), (6, 6));
    registry.set_data(&child("ugly"), record("mended"));
    registry.delete(&child("bad_0000000000"));
    let seen = running.until_hosts("a mended").await;
    assert_eq!(seen.malformed_total, 4);
}

#[tokio::test(start_paused = true)]
async fn an_unreadable_child_does_not_blind_the_service() {
    let registry = MemoryRegistry::default();
    registry.put(&child("a_0000000001"), record("a"));
    registry.put(&child("secret_0000000002"), record("b"));
    registry.forbid(&child("secret_0000000002"));
    let mut running = start(&registry);
    let seen = running.until_hosts("a").await;
    assert_eq!(seen.malformed[0].1, "not authorised to read");
    registry.permit(&child("secret_0000000002"));
    running.until_hosts("a b").await;
}

#[tokio::test(start_paused = true)]
async fn however_many_children_are_unreadable_the_others_serve_and_all_are_counted() {
    let registry = MemoryRegistry::default();
    registry.put(&child("a_0000000001"), record("a"));
    for n in 2..102 {
        let secret = child(&format!("secret_{n:010}"));
        registry.put(&secret, record("b"));
        registry.forbid(&secret);
    }
    let mut running = start(&registry);
    let seen = running.until_hosts("a").await;
    assert_eq!((seen.malformed_total, seen.trouble), (100, None));
}

#[tokio::test(start_paused = true)]
async fn an_unreadable_generator_node_is_told_although_the_parent_is_fine() {
    let registry = MemoryRegistry::default();
    registry.put(&child("a_0000000001"), record("a"));
    registry.put("/generator", "{}");
    registry.forbid("/generator");
    let settings = ZooKeeperSourceSettings {
        generator: GeneratorSource::Node("/generator".into()),
        ..settings()
    };
    let mut running = start_with(registry.clone(), Arc::new(registry.clone()), settings);
    running.until_hosts("a").await;
    registry.set_data(PATH, "x");
    tokio::time::sleep(Duration::from_secs(5)).await;
    let seen = running.until(|_| true).await;
    assert_eq!(seen.trouble.as_deref(), Some("not authorised to read /generator"));
}

#[tokio::test(start_paused = true)]
async fn an_unreadable_path_is_retried_slowly() {
    let registry = MemoryRegistry::default();
    registry.put(&child("a_0000000001"), record("a"));
    registry.forbid(PATH);
    let mut running = start(&registry);
    let seen = running.until(|d| d.trouble.is_some()).await;
    assert_eq!(seen.trouble.as_deref(), Some("not authorised to read /services/s"));
    tokio::time::sleep(Duration::from_secs(300)).await;
    assert!(registry.reads().lists <= 15);
    registry.permit(PATH);
    let seen = running.until_hosts("a").await;
    assert!(matches!(seen.membership, Membership::Known(_)));
    running.until(|d| d.trouble.is_none()).await;
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

/// Deletes a child between its list and its read, once.
#[derive(Debug)]
struct Snatching {
    inner: MemoryRegistry,
    victim: Mutex<Option<String>>,
}

impl Registry for Snatching {
    fn watch_children<'a>(
        &'a self,
        path: &'a str,
    ) -> BoxFuture<'a, Result<Watched<Option<Vec<String>>>, RegistryError>> {
        self.inner.watch_children(path)
    }

    fn watch_data<'a>(
        &'a self,
        path: &'a str,
    ) -> BoxFuture<'a, Result<Watched<Option<Node>>, RegistryError>> {
        self.inner.watch_data(path)
    }

    fn read_many<'a>(
        &'a self,
        paths: &'a [String],
    ) -> BoxFuture<'a, Result<Vec<NodeRead>, RegistryError>> {
        if let Some(victim) = self.victim.lock().unwrap().take() {
            self.inner.delete(&victim);
        }
        self.inner.read_many(paths)
    }

    fn session(&self) -> watch::Receiver<Session> {
        self.inner.session()
    }
}

#[tokio::test(start_paused = true)]
async fn a_child_that_vanishes_before_it_is_read_is_simply_not_there() {
    let registry = MemoryRegistry::default();
    registry.put(&child("a_0000000001"), record("a"));
    registry.put(&child("b_0000000002"), record("b"));
    let snatching =
        Snatching { inner: registry.clone(), victim: Mutex::new(Some(child("b_0000000002"))) };
    let mut running = start_with(registry, Arc::new(snatching), settings());
    let first = running.until(|d| !matches!(d.membership, Membership::Pending)).await;
    assert_eq!(hosts(&first).as_deref(), Some("a"));
    assert_eq!(first.malformed_total, 0);
}

/// What the tree says, by the rules of the documentation rather than of the code under test.
fn expected(registry: &MemoryRegistry) -> Option<EndpointSet> {
    registry.peek(PATH)?;
    let mut nodes: Vec<_> = registry
        .peek_children(PATH)
        .into_iter()
        .map(|name| (registry.peek(&child(&name)).unwrap(), name))
        .collect();
    nodes.sort_by_key(|(node, _)| std::cmp::Reverse(node.created_zxid));
    let endpoints = nodes.into_iter().filter_map(|(node, name)| {
        let endpoint = crate::registry::record::decode(
            &node.data,
            crate::registry::record::RecordFormat::Nerve,
        );
        Some(crate::endpoint::Endpoint { id: path::sequence(&name), ..endpoint.ok()? })
    });
    Some(endpoints.collect())
}

fn agrees(discovered: &Discovered, registry: &MemoryRegistry) -> bool {
    match (&discovered.membership, expected(registry)) {
        (Membership::Known(set), Some(expected)) => set.same_members(&expected),
        (Membership::Missing, None) => true,
        _ => false,
    }
}

async fn churn(seed: u64) {
    let mut random = fastrand::Rng::with_seed(seed);
    let registry = MemoryRegistry::default();
    let mut running = start(&registry);
    for _ in 0..400 {
        let host = format!("h{}", random.u8(0..12));
        match random.u8(0..100) {
            0..35 => drop(registry.put_sequential(&child("i_"), record(&host), 1)),
            35..65 => {
                if let Some(name) = random.choice(registry.peek_children(PATH)) {
                    registry.delete(&child(&name));
                }
            }
            65..75 => registry.put(&child(&host), record(&host)),
            75..80 => drop(registry.set_data(&child(&host), record(&format!("x{host}")))),
            80..84 => registry.put(&child(&format!("bad{host}")), "{"),
            84..88 => registry.cut(),
            88..96 => registry.heal(),
            96..98 => registry.expire(),
            _ => drop(registry.delete(PATH)),
        }
        if random.bool() {
            tokio::time::sleep(Duration::from_millis(random.u64(0..60))).await;
        }
    }
    registry.heal();
    let registry = running.registry.clone();
    running.until(|d| agrees(d, &registry) && d.trouble.is_none()).await;
    tokio::time::sleep(Duration::from_secs(300)).await;
    assert!(agrees(&running.seen.borrow(), &registry), "and it stays so");
}

#[tokio::test(start_paused = true)]
async fn after_any_churn_the_published_set_is_the_tree() {
    let base = fastrand::u64(..);
    for round in 0..40 {
        let seed = base.wrapping_add(round);
        println!("churn seed {seed}");
        churn(seed).await;
    }
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
