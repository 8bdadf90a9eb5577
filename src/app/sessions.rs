//! One session per ensemble, shared by all that name it; closed when the last of them is gone.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::registry::memory::MemoryRegistry;
use crate::registry::session::SessionSettings;
use crate::registry::writer::RegistryWriter;
use crate::registry::zookeeper::{StartError, ZooKeeperRegistry};

/// Bound on the end of all registry threads: each gives its goodbye a second.
const CLOSE_DEADLINE: Duration = Duration::from_secs(3);

/// The sessions of a process, by connect string. One owner opens and closes them.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
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

impl Sessions {
    /// One in-memory registry for every ensemble.
    pub(crate) fn memory(registry: Arc<MemoryRegistry>) -> Self {
        Self { memory: Some(registry), ..Self::default() }
    }

    /// The session with `ensemble`, opened with `settings` if there is none. An unreachable ensemble is no error.
    ///
    /// # Errors
    /// A connect string that cannot be parsed, or no thread for it.
    pub(crate) fn open(
        &mut self,
        ensemble: &Arc<str>,
        settings: impl FnOnce() -> SessionSettings,
    ) -> Result<Arc<dyn RegistryWriter>, StartError> {
        if let Some(memory) = &self.memory {
            return Ok(Arc::clone(memory) as Arc<dyn RegistryWriter>);
        }
        if let Some(running) = self.running.get(ensemble) {
            return Ok(Arc::clone(&running.registry) as Arc<dyn RegistryWriter>);
        }
        let stop = CancellationToken::new();
        let registry = ZooKeeperRegistry::start(ensemble, settings(), stop.clone())?;
        let running = Running { registry: Arc::clone(&registry), stop };
        self.running.insert(Arc::clone(ensemble), running);
        Ok(registry)
    }

    /// Closes the sessions that are not used any more; `closed` is called for each when it has ended. Waits for nothing.
    pub(crate) fn retain(
        &mut self,
        is_used: impl Fn(&str) -> bool,
        closed: impl Fn(&str) + Clone + Send + 'static,
    ) {
        let closing = &self.closing;
        self.running.retain(|name, running| {
            let used = is_used(name);
            if !used {
                tracing::info!(ensemble = %name, "no service uses the ensemble any more: its session is closed");
                running.stop.cancel();
                let registry = Arc::clone(&running.registry);
                let (name, closed) = (Arc::clone(name), closed.clone());
                closing.spawn(async move {
                    registry.closed().await;
                    closed(&name);
                });
            }
            used
        });
    }

    /// The connect strings of all sessions.
    pub(crate) fn names(&self) -> Vec<Arc<str>> {
        self.running.keys().map(Arc::clone).collect()
    }

    /// Leaves all sessions to whoever goes on with them: nothing is closed at the server.
    pub(crate) fn detach(&self) {
        for running in self.running.values() {
            running.registry.detach();
        }
    }

    /// Closes all sessions at once, which takes about a second; a registry thread that hangs is left behind. True when
    /// all of them have ended.
    pub(crate) async fn close(self) -> bool {
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
        let in_time = tokio::time::timeout(CLOSE_DEADLINE, closed).await.is_ok();
        if !in_time {
            tracing::error!("a registry thread did not end in time; its session will expire");
        }
        in_time
    }
}
