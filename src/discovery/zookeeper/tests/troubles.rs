//! Lost sessions, and nodes that are malformed, unreadable or gone.

use std::sync::Mutex;

use super::*;
use crate::registry::{Node, NodeRead, Watched};

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
