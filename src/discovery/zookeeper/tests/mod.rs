//! The source against the in-memory registry, on a paused clock.

mod churn;
mod reading;
mod troubles;

use super::*;
use crate::discovery::{Decode, GeneratorSource};
use crate::registry::memory::MemoryRegistry;

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
