//! One session per ensemble, shared by all services that name it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::registry::Registry;
use crate::registry::memory::MemoryRegistry;
use crate::registry::session::SessionSettings;
use crate::registry::zookeeper::{StartError, ZooKeeperRegistry};

/// The sessions of the process by connect string. Owned by the composition root.
#[derive(Debug)]
pub struct Registries {
    settings: SessionSettings,
    /// Ends every session.
    stop: CancellationToken,
    zookeeper: HashMap<Arc<str>, Arc<ZooKeeperRegistry>>,
    /// Stands in for every ensemble (demo).
    memory: Option<Arc<MemoryRegistry>>,
}

impl Registries {
    /// Real sessions, opened on first use.
    pub fn zookeeper(session_timeout: Duration) -> Self {
        Self {
            settings: SessionSettings {
                timeout: session_timeout,
            },
            stop: CancellationToken::new(),
            zookeeper: HashMap::new(),
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

    /// The registry of `ensemble`; opens its session the first time. An unreachable ensemble is no error.
    ///
    /// # Errors
    /// A connect string that cannot be parsed, or no thread for it.
    pub fn open(&mut self, ensemble: &Arc<str>) -> Result<Arc<dyn Registry>, StartError> {
        if let Some(memory) = &self.memory {
            return Ok(Arc::clone(memory) as Arc<dyn Registry>);
        }
        if let Some(known) = self.zookeeper.get(ensemble) {
            return Ok(Arc::clone(known) as Arc<dyn Registry>);
        }
        let opened = ZooKeeperRegistry::start(ensemble, self.settings.clone(), self.stop.clone())?;
        self.zookeeper
            .insert(Arc::clone(ensemble), Arc::clone(&opened));
        Ok(opened)
    }

    /// Closes all sessions; each takes about a second at most.
    pub async fn close(self) {
        self.stop.cancel();
        for registry in self.zookeeper.values() {
            registry.closed().await;
        }
    }
}
