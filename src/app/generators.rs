//! Generator configs from the registry, applied to a running service.
//!
//! A config is in force as a whole or not at all; one that is not is shown with its reasons, and what was in force stays.
//! One whose address is taken is tried again.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::fleet::Fleet;
use super::inventory::Inventory;
use super::service::ServiceRuntime;
use crate::config::ServiceConfig;
use crate::endpoint::ServiceName;
use crate::proxy::listener::{self, Listening};
use crate::telemetry::statsd;

/// Between two tries of a generator config whose address is taken.
pub(super) const BIND_RETRY: Duration = Duration::from_secs(5);

/// The sockets of a generator config cannot be had.
struct CannotListen {
    error: String,
    /// Not to be tried again when each try interrupts the service.
    try_again: bool,
}

impl Fleet {
    /// Judges what the service's source has found, once.
    pub(super) async fn take_generator(&mut self, name: &ServiceName) {
        let service = self.services.iter_mut().find(|s| s.name() == name);
        // Removed since, or judged already.
        if let Some(service) = service
            && let Some(json) = service.take_generator()
        {
            regenerate(service, self.rules.as_ref(), json).await;
            self.show_services();
        }
    }

    /// Judges the last generator configs again, of services that `wait` for it.
    pub(super) async fn retry_generators(&mut self, wait: impl Fn(&ServiceRuntime) -> bool) {
        for service in &mut self.services {
            if wait(service)
                && let Some(json) = service.judged().cloned()
            {
                regenerate(service, self.rules.as_ref(), json).await;
            }
        }
        self.show_services();
    }
}

/// A bad one changes nothing and says everything that is wrong with it.
async fn regenerate(
    service: &mut ServiceRuntime,
    rules: &dyn crate::config::GeneratorRules,
    json: Arc<str>,
) {
    let (config, in_force) = match rules.resolve(service.name(), &json) {
        Ok(Some(config)) => (config, Some(json)),
        Ok(None) => (service.file().clone(), None),
        Err(complaints) => {
            let texts = complaints.iter().map(ToString::to_string).collect();
            statsd::synapse::config_refused();
            return service.refuse(texts, false);
        }
    };
    match sockets(service, &config).await {
        Ok(sockets) => {
            service.accept();
            statsd::synapse::config_updated();
            if let Err(error) = service.apply(config, in_force, sockets).await {
                tracing::error!(service = %service.name(), %error, "the new listener is not served");
            }
        }
        Err(CannotListen { error, try_again }) => {
            service.refuse(vec![format!("cannot listen: {error}")], try_again);
        }
    }
}

/// Sockets for a new configuration; `None` when nothing about them changes. Addresses named again keep theirs.
async fn sockets(
    service: &mut ServiceRuntime,
    config: &ServiceConfig,
) -> Result<Option<Vec<Listening>>, CannotListen> {
    let mut own = Inventory::default();
    own.offer(service.sockets());
    match own.take_for(service, config) {
        Ok(sockets) => Ok(sockets),
        Err(refused) if own.overlaps(&refused) => rebind(service, config).await.map(Some),
        Err(refused) => Err(CannotListen { error: refused.to_string(), try_again: true }),
    }
}

/// Gives the old sockets up first; connections are refused for a moment. If the new ones cannot be had the old ones
/// come back.
async fn rebind(
    service: &mut ServiceRuntime,
    config: &ServiceConfig,
) -> Result<Vec<Listening>, CannotListen> {
    let lost = |error: io::Error| CannotListen { error: error.to_string(), try_again: true };
    drop(service.listen(Vec::new()).await.map_err(lost)?);
    let error = match config.listener.as_ref().map(listener::bind) {
        None => return Ok(Vec::new()),
        Some(Ok(sockets)) => return Ok(sockets),
        Some(Err(error)) => error,
    };
    if let Some(former) = &service.current().listener {
        let sockets = listener::bind(former).map_err(|e| lost(io::Error::other(e)))?;
        service.listen(sockets).await.map_err(lost)?;
    }
    Err(CannotListen { error: error.to_string(), try_again: false })
}
