//! One session per ensemble, shared by all services that name it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::config::ServiceConfig;
use crate::discovery::SourceSettings;
use crate::registry::Registry;
use crate::registry::memory::MemoryRegistry;
use crate::registry::session::SessionSettings;
use crate::registry::zookeeper::{StartError, ZooKeeperRegistry};

/// Bound on the end of all registry threads: each gives its goodbye a second.
const CLOSE_DEADLINE: Duration = Duration::from_secs(3);

/// Opens sessions. Owned by the composition root.
#[derive(Debug)]
pub struct Registries {
    settings: SessionSettings,
    /// Ends every session.
    stop: CancellationToken,
    zookeeper: Vec<Arc<ZooKeeperRegistry>>,
    /// Stands in for every ensemble (demo).
    memory: Option<Arc<MemoryRegistry>>,
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
        Arc::clone(
            self.0
                .get(ensemble)
                .expect("the ensemble was opened at start"),
        )
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &Arc<dyn Registry>)> {
        self.0.iter()
    }
}

impl Registries {
    /// Real sessions.
    pub fn zookeeper(session_timeout: Duration) -> Self {
        Self {
            settings: SessionSettings {
                timeout: session_timeout,
            },
            stop: CancellationToken::new(),
            zookeeper: Vec::new(),
            memory: None,
        }
    }

    /// One in-memory registry for every ensemble.
    pub fn memory(registry: Arc<MemoryRegistry>) -> Self {
        Self {
            memory: Some(registry),
            ..Self::zookeeper(Duration::from_secs(30))
        }
    }

    /// One session for each ensemble that `services` name. An unreachable ensemble is no error.
    ///
    /// # Errors
    /// A connect string that cannot be parsed, or no thread for it.
    pub fn open(&mut self, services: &[ServiceConfig]) -> Result<Opened, StartError> {
        let mut opened: HashMap<Arc<str>, Arc<dyn Registry>> = HashMap::new();
        for service in services {
            let SourceSettings::ZooKeeper(source) = &service.source else {
                continue;
            };
            if !opened.contains_key(&source.ensemble) {
                opened.insert(
                    Arc::clone(&source.ensemble),
                    self.open_one(&source.ensemble)?,
                );
            }
        }
        Ok(Opened(Arc::new(opened)))
    }

    fn open_one(&mut self, ensemble: &str) -> Result<Arc<dyn Registry>, StartError> {
        if let Some(memory) = &self.memory {
            return Ok(Arc::clone(memory) as Arc<dyn Registry>);
        }
        let started = ZooKeeperRegistry::start(ensemble, self.settings, self.stop.clone())?;
        self.zookeeper.push(Arc::clone(&started));
        Ok(started)
    }

    /// Closes all sessions at once, which takes about a second; a registry thread that hangs is left behind.
    pub async fn close(self) {
        self.stop.cancel();
        let closed = async {
            for registry in &self.zookeeper {
                registry.closed().await;
            }
        };
        if tokio::time::timeout(CLOSE_DEADLINE, closed).await.is_err() {
            tracing::error!("a registry thread did not end in time; its session will expire");
        }
    }
}
