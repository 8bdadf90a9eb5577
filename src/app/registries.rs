//! The registries that synapse discovers services with: sessions that can be read, and nothing else.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use super::sessions::Sessions;
use crate::config::ServiceConfig;
use crate::discovery::SourceSettings;
use crate::endpoint::ServiceName;
use crate::registry::Registry;
use crate::registry::memory::MemoryRegistry;
use crate::registry::session::SessionSettings;
use crate::registry::zookeeper::StartError;
use crate::telemetry::statsd::synapse::Watcher;

/// Opens and closes the sessions that services are discovered with. Owned by the fleet.
#[derive(Debug)]
pub struct Registries {
    settings: SessionSettings,
    sessions: Sessions,
    /// Services whose use of a session was told to statsd.
    told: HashSet<ServiceName>,
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
        Self { settings, sessions: Sessions::default(), told: HashSet::new() }
    }

    /// One in-memory registry for every ensemble.
    pub fn memory(registry: Arc<MemoryRegistry>) -> Self {
        let (settings, sessions) = (SessionSettings::default(), Sessions::memory(registry));
        Self { settings, sessions, told: HashSet::new() }
    }

    /// The session of each ensemble that `services` name, opened if it was not. An unreachable ensemble is no error.
    ///
    /// # Errors
    /// A connect string that cannot be parsed, or no thread for it.
    pub fn open(&mut self, services: &[ServiceConfig]) -> Result<Opened, StartError> {
        let mut opened: HashMap<Arc<str>, Arc<dyn Registry>> = HashMap::new();
        for service in services {
            let SourceSettings::ZooKeeper(source) = &service.source else {
                continue;
            };
            let mut is_new = false;
            if !opened.contains_key(&source.ensemble) {
                // From here on it can be read only.
                let registry = self.sessions.open(&source.ensemble, || {
                    is_new = true;
                    self.settings.clone()
                })?;
                opened.insert(Arc::clone(&source.ensemble), registry);
            }
            if self.told.insert(service.name.clone()) {
                let (ensemble, path) = (Arc::clone(&source.ensemble), Arc::clone(&source.path));
                Watcher::new(ensemble, path, service.name.as_str()).client(is_new);
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
        let names: HashSet<_> = services.iter().map(|service| &service.name).collect();
        self.told.retain(|name| names.contains(name));
    }

    /// Closes all sessions at once, which takes about a second.
    pub async fn close(self) {
        self.sessions.close().await;
    }
}
