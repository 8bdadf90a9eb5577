//! The file against damage of every kind, and the decorator against sources of every mood.

mod bytes;
mod directory;
mod owner;
mod restart;
mod saving;

use std::path::PathBuf;
use std::time::{Duration, UNIX_EPOCH};

use tokio::task::JoinHandle;

use super::format::{Refusal, checksum, decode, encode, millis_of};
use super::name::file_name;
use super::*;
use crate::discovery::{Decode, GeneratorSource, MembershipPolicy, ZooKeeperSourceSettings};
use crate::endpoint::Endpoint;

fn service() -> ServiceName {
    ServiceName::new("search.main")
}

fn zookeeper(path: &str) -> SourceSettings {
    SourceSettings::ZooKeeper(ZooKeeperSourceSettings {
        ensemble: "zk1:2181".into(),
        path: path.into(),
        decode: Decode::Nerve,
        generator: GeneratorSource::Parent,
        jitter: Duration::ZERO,
    })
}

fn source() -> SourceIdentity {
    SourceIdentity::of(&zookeeper("/services/search")).unwrap()
}

fn set(hosts: &[&str]) -> EndpointSet {
    hosts.iter().map(|host| Endpoint::new(*host, 80)).collect()
}

fn record(hosts: &[&str]) -> Record {
    Record {
        service: service(),
        source: source(),
        said: Said::Known,
        confirmed_at: UNIX_EPOCH + Duration::from_millis(1_795_417_906_123),
        zxid: Some(0x1_0000_002f),
        generator: None,
        endpoints: set(hosts),
    }
}

/// A directory for one test.
struct Dir(PathBuf);

impl Dir {
    fn new() -> Self {
        let name = format!("smartstack-saved-{}-{:016x}", std::process::id(), fastrand::u64(..));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn file(&self) -> PathBuf {
        self.0.join(file_name(service().as_str()))
    }

    fn put(&self, record: &Record) {
        std::fs::write(self.file(), encode(record).unwrap()).unwrap();
    }

    fn on_disk(&self) -> Option<Record> {
        let bytes = std::fs::read(self.file()).ok()?;
        Some(decode(&bytes, &service(), &source()).unwrap())
    }

    fn store(&self) -> Arc<Store> {
        let store = Store::open(self.0.clone(), None).unwrap();
        store.own();
        store
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

/// A source that says what the test says.
struct Scripted(watch::Sender<Option<Membership>>);

impl Scripted {
    fn source(&self) -> Box<dyn Discovery> {
        Box::new(ScriptedSource(self.0.subscribe()))
    }

    fn says(&self, membership: Membership) {
        self.0.send_replace(Some(membership));
    }
}

struct ScriptedSource(watch::Receiver<Option<Membership>>);

impl Discovery for ScriptedSource {
    fn run(
        mut self: Box<Self>,
        out: watch::Sender<Discovered>,
        stop: CancellationToken,
    ) -> BoxFuture<'static, ()> {
        use crate::discovery::publish::{Publisher, Reading};
        let publisher = Publisher::new(out);
        Box::pin(async move {
            loop {
                let word = self.0.borrow_and_update().clone();
                if let Some(word) = word {
                    publisher.members(Reading::new(word));
                }
                tokio::select! {
                    () = stop.cancelled() => return,
                    changed = self.0.changed() => changed.unwrap(),
                }
            }
        })
    }
}

/// A running source with a memory.
struct Bench {
    script: Scripted,
    seen: watch::Receiver<Discovered>,
    stop: CancellationToken,
    running: JoinHandle<()>,
}

impl Bench {
    async fn start(dir: &Dir, policy: MembershipPolicy) -> Self {
        Self::with(dir.store(), policy).await
    }

    async fn with(store: Arc<Store>, policy: MembershipPolicy) -> Self {
        let script = Scripted(watch::Sender::new(None));
        let settings =
            SavedSettings::new(&service(), &zookeeper("/services/search"), &policy).unwrap();
        let known = LastKnown::load(store, settings);
        let source = known.around(script.source());
        let (out, seen) = watch::channel(source.first_word());
        let stop = CancellationToken::new();
        let running = tokio::spawn(source.run(out, stop.clone()));
        Self { script, seen, stop, running }
    }

    async fn until(&mut self, wanted: impl FnMut(&Discovered) -> bool) -> Discovered {
        let found = tokio::time::timeout(Duration::from_secs(60), self.seen.wait_for(wanted)).await;
        found.unwrap().unwrap().clone()
    }

    async fn stop(self) {
        self.stop.cancel();
        self.running.await.unwrap();
    }
}

fn keeping() -> MembershipPolicy {
    MembershipPolicy { use_previous_backends: true, ..MembershipPolicy::default() }
}

async fn until_on_disk(dir: &Dir, wanted: impl Fn(&Record) -> bool) -> Record {
    loop {
        if let Some(record) = dir.on_disk().filter(&wanted) {
            return record;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn hosts(discovered: &Discovered) -> Vec<String> {
    match &discovered.membership {
        Membership::Known(set) => set.as_slice().iter().map(|e| e.host.to_string()).collect(),
        Membership::Pending | Membership::Missing => vec![format!("{:?}", discovered.membership)],
    }
}

fn known(hosts: &[&str]) -> Membership {
    Membership::Known(set(hosts))
}
