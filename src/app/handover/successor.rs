//! The new process, from the offer to the moment when it is alone.

use std::io;
use std::path::Path;
use std::sync::Arc;

use tokio::time::{Instant, timeout_at};

use super::door::Door;
use super::protocol::ProtocolError;
use super::state::State;
use super::take::Taking;
use super::SERVICE_PATIENCE;
use crate::admin::AdminState;
use crate::app::front::Front;
use crate::app::service::Inherited;
use crate::config::{GeneratorRules, ServiceConfig};
use crate::discovery::names::NameCache;
use crate::lb::handle::PoolHandle;

impl State {
    /// What is known about the service that `file` describes; `None`: it starts from nothing.
    pub(crate) fn inheritance(
        &self,
        file: &ServiceConfig,
        rules: &dyn GeneratorRules,
    ) -> Option<Inherited> {
        let known = self.of(file.name.as_str(), &file.source)?;
        // A generator config that is refused now will be judged again, and named, when the service runs.
        let generated = known.generator.as_deref();
        let generated = generated.and_then(|json| rules.resolve(&file.name, json).ok().flatten());
        Some(Inherited {
            config: generated.unwrap_or_else(|| file.clone()),
            word: known.discovered(),
            pool: known.pool(),
        })
    }

    /// Gives the resolver the addresses that were in use, so that no backend waits for DNS.
    pub(crate) fn seed_names(inherited: &Inherited, names: &NameCache) {
        for backend in &inherited.pool.backends {
            if let Some(addr) = backend.addr {
                names.seed(&backend.endpoint.host, addr.ip());
            }
        }
    }

    /// Waits until a service that the former process served can be served here: it must not accept before.
    pub(crate) async fn until_ready(&self, pool: &PoolHandle, by: Instant) -> io::Result<()> {
        let name = pool.name.as_str();
        let was_served = |known: &super::state::ServiceState| known.name == name && known.word.is_some();
        if !self.services.iter().any(was_served) {
            return Ok(());
        }
        match timeout_at(by, pool.wait_ready()).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(io::Error::other(format!("service {name:?}: its pool has ended"))),
            Err(_elapsed) => Err(io::Error::other(format!(
                "service {name:?} is not ready after {SERVICE_PATIENCE:?}: its discovery was not heard; the running synapse keeps serving"
            ))),
        }
    }
}

/// The last steps: counters, the admin server, the door. `Ok` when this process is the one that serves.
pub(crate) async fn take_over(
    taking: &mut Taking,
    admin: &Arc<AdminState>,
    front: &mut Front,
    state_dir: Option<&Path>,
) -> Result<Option<Door>, ProtocolError> {
    let totals = taking.ready().await?;
    totals.add_to(&admin.services.load_full());
    front.start();
    let door = open_door(state_dir);
    taking.taken().await?;
    Ok(door)
}

/// Opens the door to the next successor; without one the process serves all the same.
pub(crate) fn open_door(state_dir: Option<&Path>) -> Option<Door> {
    let Some(dir) = state_dir else {
        tracing::info!("no state_dir: a new process cannot take over from this one");
        return None;
    };
    match Door::open(dir) {
        Ok(door) => Some(door),
        Err(error) => {
            tracing::warn!(%error, dir = %dir.display(), "no new process can take over from this one");
            None
        }
    }
}
