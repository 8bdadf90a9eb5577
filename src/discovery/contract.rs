//! What every source must do, run against each of them: pending → known → changed → source lost → recovered.
//!
//! A new source implements [`Rig`] and adds one test at the end.

use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::file::FileDiscovery;
use super::saved::{LastKnown, SavedSettings, Store};
use super::zookeeper::ZooKeeperDiscovery;
use super::{
    Decode, Discovered, Discovery, FileSourceSettings, GeneratorSource, Membership,
    MembershipPolicy, SourceSettings, ZooKeeperSourceSettings,
};
use crate::endpoint::ServiceName;
use crate::registry::memory::MemoryRegistry;

/// A source and the power over what it reads.
trait Rig {
    fn source(&self) -> Box<dyn Discovery>;
    /// Exactly these hosts (port 80) are registered now.
    fn register(&self, hosts: &[&str]);
    /// Nobody could ever have been registered: the path is gone.
    fn remove_path(&self);
    /// The source cannot be read.
    fn lose(&self);
    /// It can again.
    fn recover(&self);
}

fn hosts(discovered: &Discovered) -> Option<Vec<String>> {
    match &discovered.membership {
        Membership::Known(set) => {
            let mut hosts: Vec<_> = set.as_slice().iter().map(|e| e.host.to_string()).collect();
            hosts.sort();
            Some(hosts)
        }
        Membership::Pending | Membership::Missing => None,
    }
}

async fn until(
    seen: &mut watch::Receiver<Discovered>,
    what: &str,
    wanted: impl FnMut(&Discovered) -> bool,
) -> Discovered {
    let found = tokio::time::timeout(Duration::from_secs(30), seen.wait_for(wanted))
        .await
        .map(|found| found.unwrap().clone());
    found.unwrap_or_else(|_elapsed| panic!("never {what}, but {:?}", seen.borrow()))
}

async fn check(rig: impl Rig) {
    let (out, mut seen) = watch::channel(Discovered::default());
    let stop = CancellationToken::new();
    let running = tokio::spawn(rig.source().run(out, stop.clone()));

    let first = until(&mut seen, "missing", |d| matches!(d.membership, Membership::Missing)).await;
    assert!(first.verified.is_some(), "an absent path is a successful read");

    rig.register(&["a", "b"]);
    let is = |expected: &'static [&str]| {
        move |d: &Discovered| hosts(d).is_some_and(|hosts| hosts == expected)
    };
    until(&mut seen, "known", is(&["a", "b"])).await;
    rig.register(&["b", "c"]);
    until(&mut seen, "changed", is(&["b", "c"])).await;
    rig.register(&[]);
    until(&mut seen, "empty", is(&[])).await;
    rig.register(&["d"]);
    until(&mut seen, "back", is(&["d"])).await;

    rig.lose();
    let lost = until(&mut seen, "lost", |d| d.trouble.is_some()).await;
    assert_eq!(hosts(&lost).unwrap(), ["d"], "a lost source keeps its last word");

    rig.recover();
    rig.register(&["e"]);
    let back = until(&mut seen, "recovered", is(&["e"])).await;
    assert!(back.verified >= lost.verified);
    until(&mut seen, "healthy", |d| d.trouble.is_none()).await;

    rig.remove_path();
    until(&mut seen, "gone", |d| matches!(d.membership, Membership::Missing)).await;

    assert!(!running.is_finished(), "only a stop ends a source");
    stop.cancel();
    running.await.unwrap();
}

struct InMemory(MemoryRegistry);

impl Rig for InMemory {
    fn source(&self) -> Box<dyn Discovery> {
        let settings = ZooKeeperSourceSettings {
            ensemble: "memory".into(),
            path: "/services/s".into(),
            decode: Decode::Nerve,
            generator: GeneratorSource::Parent,
            jitter: Duration::ZERO,
        };
        let registry = std::sync::Arc::new(self.0.clone());
        Box::new(ZooKeeperDiscovery::new(registry, settings, &ServiceName::new("s")))
    }

    fn register(&self, hosts: &[&str]) {
        if hosts.is_empty() && self.0.peek("/services/s").is_none() {
            self.0.put("/services/s", "");
        }
        for name in self.0.peek_children("/services/s") {
            if !hosts.iter().any(|host| name.starts_with(host)) {
                self.0.delete(&format!("/services/s/{name}"));
            }
        }
        let there = self.0.peek_children("/services/s");
        for host in hosts {
            if !there.iter().any(|name| name.starts_with(host)) {
                let record = format!(r#"{{"host":"{host}","port":80}}"#);
                self.0.put_sequential(&format!("/services/s/{host}_"), record, 7);
            }
        }
    }

    fn remove_path(&self) {
        self.0.delete("/services");
    }

    fn lose(&self) {
        self.0.cut();
    }

    fn recover(&self) {
        self.0.heal();
    }
}

#[tokio::test(start_paused = true)]
async fn zookeeper_keeps_the_contract() {
    check(InMemory(MemoryRegistry::default())).await;
}

/// A source with a memory of its own is a source like any other.
struct Remembered {
    inner: InMemory,
    known: LastKnown,
}

impl Rig for Remembered {
    fn source(&self) -> Box<dyn Discovery> {
        self.known.around(self.inner.source())
    }

    fn register(&self, hosts: &[&str]) {
        self.inner.register(hosts);
    }

    fn remove_path(&self) {
        self.inner.remove_path();
    }

    fn lose(&self) {
        self.inner.lose();
    }

    fn recover(&self) {
        self.inner.recover();
    }
}

#[tokio::test(start_paused = true)]
async fn a_source_with_a_memory_keeps_the_contract() {
    let directory = fresh_directory();
    let file = InFile(directory.clone());
    let settings = SourceSettings::File(FileSourceSettings {
        path: file.path(),
        poll_interval: Duration::ZERO,
    });
    let policy = MembershipPolicy::default();
    let settings = SavedSettings::new(&ServiceName::new("s"), &settings, &policy).unwrap();
    let store = Store::open(directory, None).unwrap();
    check(Remembered {
        inner: InMemory(MemoryRegistry::default()),
        known: LastKnown::load(store, settings),
    })
    .await;
}

struct InFile(std::path::PathBuf);

impl InFile {
    fn path(&self) -> std::path::PathBuf {
        self.0.join("backends.json")
    }

    fn replace(&self, text: &str) {
        let new = self.0.join("new");
        std::fs::write(&new, text).unwrap();
        std::fs::rename(new, self.path()).unwrap();
    }
}

impl Rig for InFile {
    fn source(&self) -> Box<dyn Discovery> {
        let settings =
            FileSourceSettings { path: self.path(), poll_interval: Duration::from_millis(10) };
        let parse = |text: &str| serde_json::from_str(text).map_err(|error| error.to_string());
        Box::new(FileDiscovery::new(settings, parse))
    }

    fn register(&self, hosts: &[&str]) {
        let items: Vec<_> =
            hosts.iter().map(|host| serde_json::json!({"host": host, "port": 80})).collect();
        self.replace(&serde_json::Value::from(items).to_string());
    }

    fn remove_path(&self) {
        std::fs::remove_file(self.path()).unwrap();
    }

    fn lose(&self) {
        self.replace("[{\"host\":");
    }

    /// The next registration mends it.
    fn recover(&self) {}
}

impl Drop for InFile {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

#[tokio::test]
async fn file_keeps_the_contract() {
    check(InFile(fresh_directory())).await;
}

fn fresh_directory() -> std::path::PathBuf {
    let name = format!("smartstack-contract-{}-{}", std::process::id(), fastrand::u64(..));
    let directory = std::env::temp_dir().join(name);
    std::fs::create_dir(&directory).unwrap();
    directory
}
