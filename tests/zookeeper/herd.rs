//! Many readers of one path: a burst of changes must not make each of them ask as often as something changed.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use smartstack::discovery::zookeeper::ZooKeeperDiscovery;
use smartstack::discovery::{
    Decode, Discovered, Discovery, GeneratorSource, Membership, ZooKeeperSourceSettings,
};
use smartstack::endpoint::ServiceName;
use smartstack::health::BoxFuture;
use smartstack::registry::zookeeper::ZooKeeperRegistry;
use smartstack::registry::{Node, NodeRead, Registry, RegistryError, Session, Watched};
use tokio::sync::watch;
use tokio::time::{Instant, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::common::{connected, fresh_node, shared};
use crate::zk::PERSISTENT;

const READERS: usize = 20;
const BURST: usize = 100;

/// A registry that counts lists.
#[derive(Debug)]
struct Counting {
    registry: Arc<ZooKeeperRegistry>,
    lists: AtomicUsize,
}

impl Registry for Counting {
    fn watch_children<'a>(
        &'a self,
        path: &'a str,
    ) -> BoxFuture<'a, Result<Watched<Option<Vec<String>>>, RegistryError>> {
        self.lists.fetch_add(1, Ordering::Relaxed);
        self.registry.watch_children(path)
    }

    fn watch_data<'a>(
        &'a self,
        path: &'a str,
    ) -> BoxFuture<'a, Result<Watched<Option<Node>>, RegistryError>> {
        self.registry.watch_data(path)
    }

    fn read_many<'a>(
        &'a self,
        paths: &'a [String],
    ) -> BoxFuture<'a, Result<Vec<NodeRead>, RegistryError>> {
        self.registry.read_many(paths)
    }

    fn session(&self) -> watch::Receiver<Session> {
        self.registry.session()
    }
}

/// A host's discovery of one service, with a session of its own.
struct Reader {
    registry: Arc<Counting>,
    seen: watch::Receiver<Discovered>,
    _stop: DropGuard,
}

impl Reader {
    async fn start(ensemble: &str, path: &str) -> Self {
        let registry = connected(ensemble, 10).await;
        let registry = Arc::new(Counting { registry, lists: AtomicUsize::new(0) });
        let settings = ZooKeeperSourceSettings {
            ensemble: ensemble.into(),
            path: path.into(),
            decode: Decode::Nerve,
            generator: GeneratorSource::Parent,
            jitter: Duration::ZERO,
        };
        let (out, seen) = watch::channel(Discovered::default());
        let stop = CancellationToken::new();
        let through: Arc<dyn Registry> = Arc::clone(&registry) as _;
        let source = Box::new(ZooKeeperDiscovery::new(through, settings, &ServiceName::new("web")));
        tokio::spawn(source.run(out, stop.clone()));
        Self { registry, seen, _stop: stop.drop_guard() }
    }

    /// Waits until at least `count` members are known.
    async fn until(&mut self, count: usize) {
        let known = |discovered: &Discovered| matches!(&discovered.membership, Membership::Known(set) if set.len() >= count);
        let seen = timeout(Duration::from_secs(20), self.seen.wait_for(known)).await;
        assert!(seen.is_ok(), "{count} members");
    }

    fn lists(&self) -> usize {
        self.registry.lists.load(Ordering::Relaxed)
    }
}

fn record(number: usize) -> Vec<u8> {
    format!("{{\"host\": \"10.0.0.{number}\", \"port\": 80, \"name\": \"n{number}\"}}").into_bytes()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_burst_costs_each_of_many_readers_few_lists_and_its_first_event_acts_at_once() {
    let zk = shared();
    let client = zk.client().await;
    let path = fresh_node(&client).await;
    let mut readers = Vec::new();
    for _ in 0..READERS {
        let mut reader = Reader::start(&zk.connect_string(), &path).await;
        reader.until(0).await;
        readers.push(reader);
    }
    let before: Vec<_> = readers.iter().map(Reader::lists).collect();
    let nodes: Vec<_> = (0..BURST).map(|n| (format!("{path}/i_{n:010}"), record(n))).collect();
    let begun = Instant::now();
    // A request is queued when it is made, so that all of them are under way at once.
    let creates: Vec<_> =
        nodes.iter().map(|(path, data)| client.create(path, data, &PERSISTENT)).collect();
    let mut first = Vec::new();
    for reader in &mut readers {
        let mut seen = reader.seen.clone();
        first.push(tokio::spawn(async move {
            let known =
                |d: &Discovered| matches!(&d.membership, Membership::Known(set) if !set.is_empty());
            seen.wait_for(known).await.unwrap();
            begun.elapsed()
        }));
    }
    for create in creates {
        create.await.unwrap();
    }
    let created = begun.elapsed();
    for reader in &mut readers {
        reader.until(BURST).await;
    }
    let all = begun.elapsed();
    let mut firsts = Vec::new();
    for first in first {
        firsts.push(first.await.unwrap());
    }
    firsts.sort();
    let lists = readers.iter().zip(before).map(|(reader, before)| reader.lists() - before);
    let lists: Vec<_> = lists.collect();
    println!(
        "{BURST} creates in {created:?}: {READERS} readers had the first after {:?} to {:?}, all after {all:?}, \
         with lists {lists:?}",
        firsts[0],
        firsts[READERS - 1]
    );
    assert!(lists.iter().all(|lists| *lists <= BURST / 5), "{lists:?}");
    // While the burst is written or right after it: its first event is not held back.
    assert!(firsts[READERS / 2] < created + Duration::from_millis(100), "{firsts:?}");
}
