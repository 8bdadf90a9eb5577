//! One session per ensemble, shared by all services that name it; closed when the last of them is gone.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::ServiceConfig;
use crate::discovery::SourceSettings;
use crate::registry::Registry;
use crate::registry::memory::MemoryRegistry;
use crate::registry::session::SessionSettings;
use crate::registry::zookeeper::{StartError, ZooKeeperRegistry};

/// Bound on the end of all registry threads: each gives its goodbye a second.
const CLOSE_DEADLINE: Duration = Duration::from_secs(3);

/// Opens and closes sessions. Owned by the fleet.
#[derive(Debug)]
pub struct Registries {
    settings: SessionSettings,
    /// By connect string.
    running: HashMap<Arc<str>, Running>,
    /// Sessions that are being closed.
    closing: TaskTracker,
    /// Stands in for every ensemble (demo).
    memory: Option<Arc<MemoryRegistry>>,
}

#[derive(Debug)]
struct Running {
    registry: Arc<ZooKeeperRegistry>,
    /// Ends the session.
    stop: CancellationToken,
}

/// The opened registries by connect string. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Opened(Arc<HashMap<Arc<str>, Arc<dyn Registry>>>);

impl Opened {
    /// The registry of an ensemble that was opened.
    #[expect(
        clippy::expect_used,
        reason = "every ensemble of the configuration is opened before its services start"
    )]
    pub fn of(&self, ensemble: &str) -> Arc<dyn Registry> {
        Arc::clone(self.0.get(ensemble).expect("the ensemble was opened at start"))
    }

    /// Nothing but what `source` needs: whoever keeps this keeps no other session alive.
    #[must_use]
    pub fn only_for(&self, source: &SourceSettings) -> Self {
        let wanted = ensemble(source).and_then(|name| self.0.get_key_value(name));
        let wanted = wanted.map(|(name, registry)| (Arc::clone(name), Arc::clone(registry)));
        Self(Arc::new(wanted.into_iter().collect()))
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &Arc<dyn Registry>)> {
        self.0.iter()
    }
}

fn ensemble(source: &SourceSettings) -> Option<&Arc<str>> {
    match source {
        SourceSettings::ZooKeeper(settings) => Some(&settings.ensemble),
        SourceSettings::Fixed | SourceSettings::File(_) => None,
    }
}

impl Registries {
    /// Real sessions.
    pub fn zookeeper(session_timeout: Duration) -> Self {
        Self {
            settings: SessionSettings { timeout: session_timeout, heir: None },
            running: HashMap::new(),
            closing: TaskTracker::new(),
            memory: None,
        }
    }

    /// One in-memory registry for every ensemble.
    pub fn memory(registry: Arc<MemoryRegistry>) -> Self {
        Self { memory: Some(registry), ..Self::zookeeper(Duration::from_secs(30)) }
    }

    /// The session of each ensemble that `services` name, opened if it was not. An unreachable ensemble is no error.
    ///
    /// # Errors
    /// A connect string that cannot be parsed, or no thread for it.
    pub fn open(&mut self, services: &[ServiceConfig]) -> Result<Opened, StartError> {
        let mut opened: HashMap<Arc<str>, Arc<dyn Registry>> = HashMap::new();
        for ensemble in services.iter().filter_map(|s| ensemble(&s.source)) {
            if !opened.contains_key(ensemble) {
                opened.insert(Arc::clone(ensemble), self.open_one(ensemble)?);
            }
        }
        Ok(Opened(Arc::new(opened)))
    }

    fn open_one(&mut self, ensemble: &Arc<str>) -> Result<Arc<dyn Registry>, StartError> {
        if let Some(memory) = &self.memory {
            return Ok(Arc::clone(memory) as Arc<dyn Registry>);
        }
        if let Some(running) = self.running.get(ensemble) {
            return Ok(Arc::clone(&running.registry) as Arc<dyn Registry>);
        }
        let stop = CancellationToken::new();
        let registry = ZooKeeperRegistry::start(ensemble, self.settings.clone(), stop.clone())?;
        let running = Running { registry: Arc::clone(&registry), stop };
        self.running.insert(Arc::clone(ensemble), running);
        Ok(registry)
    }

    /// Closes the sessions that none of `services` names; does not wait for the end.
    pub fn retain(&mut self, services: &[ServiceConfig]) {
        let closing = &self.closing;
        self.running.retain(|name, running| {
            let used = services.iter().any(|s| ensemble(&s.source) == Some(name));
            if !used {
                tracing::info!(ensemble = %name, "no service uses the ensemble any more: its session is closed");
                running.stop.cancel();
                let registry = Arc::clone(&running.registry);
                closing.spawn(async move { registry.closed().await });
            }
            used
        });
    }

    /// Closes all sessions at once, which takes about a second; a registry thread that hangs is left behind.
    pub async fn close(self) {
        for running in self.running.values() {
            running.stop.cancel();
        }
        self.closing.close();
        let closed = async {
            for running in self.running.values() {
                running.registry.closed().await;
            }
            self.closing.wait().await;
        };
        if tokio::time::timeout(CLOSE_DEADLINE, closed).await.is_err() {
            tracing::error!("a registry thread did not end in time; its session will expire");
        }
    }
}
