//! The registries that synapse discovers services with: sessions that can be read, and nothing else.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::sessions::Sessions;
use crate::config::ServiceConfig;
use crate::discovery::SourceSettings;
use crate::registry::Registry;
use crate::registry::memory::MemoryRegistry;
use crate::registry::session::SessionSettings;
use crate::registry::zookeeper::StartError;

/// Opens and closes the sessions that services are discovered with. Owned by the fleet.
#[derive(Debug)]
pub struct Registries {
    settings: SessionSettings,
    sessions: Sessions,
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
        let settings = SessionSettings { timeout: session_timeout, ..SessionSettings::default() };
        Self { settings, sessions: Sessions::default() }
    }

    /// One in-memory registry for every ensemble.
    pub fn memory(registry: Arc<MemoryRegistry>) -> Self {
        Self { settings: SessionSettings::default(), sessions: Sessions::memory(registry) }
    }

    /// The session of each ensemble that `services` name, opened if it was not. An unreachable ensemble is no error.
    ///
    /// # Errors
    /// A connect string that cannot be parsed, or no thread for it.
    pub fn open(&mut self, services: &[ServiceConfig]) -> Result<Opened, StartError> {
        let mut opened: HashMap<Arc<str>, Arc<dyn Registry>> = HashMap::new();
        for ensemble in services.iter().filter_map(|s| ensemble(&s.source)) {
            if !opened.contains_key(ensemble) {
                // From here on it can be read only.
                let registry = self.sessions.open(ensemble, || self.settings.clone())?;
                opened.insert(Arc::clone(ensemble), registry);
            }
        }
        Ok(Opened(Arc::new(opened)))
    }

    /// Closes the sessions that none of `services` names; does not wait for the end.
    pub fn retain(&mut self, services: &[ServiceConfig]) {
        let is_used = |name: &str| {
            services.iter().any(|s| ensemble(&s.source).is_some_and(|used| **used == *name))
        };
        self.sessions.retain(is_used, |_name| ());
    }

    /// Closes all sessions at once, which takes about a second.
    pub async fn close(self) {
        self.sessions.close().await;
    }
}
