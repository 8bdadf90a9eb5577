//! The new process, from the offer to the moment when it is alone.

use std::collections::HashSet;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

use super::door::Door;
use super::protocol::{Greeting, ProtocolError};
use super::state::State;
use super::take::{Met, Predecessor, Taking, approach};
use super::{SERVICE_PATIENCE, with_causes};
use crate::app::bound::{Bound, Unbound};
use crate::app::changes::Changes;
use crate::app::front::Front;
use crate::app::service::{Inherited, ServiceRuntime};
use crate::app::systemd;
use crate::config::synapse::Loaded;
use crate::config::{GeneratorRules, ServiceConfig};
use crate::discovery::names::NameCache;
use crate::lb::handle::PoolHandle;
use crate::proxy::listener::{Held, Listening};

impl State {
    /// What is known about the service that `file` describes; `None`: it starts from nothing.
    pub(crate) fn inheritance(
        &self,
        file: &ServiceConfig,
        rules: &dyn GeneratorRules,
    ) -> Option<Inherited> {
        let known = self.of(file.name.as_str(), &file.source)?;
        // A generator config that is refused now will be judged again, and named, when the service runs.
        let generated = known.generator.as_deref().and_then(|json| {
            let config = rules.resolve(&file.name, json).ok().flatten()?;
            Some((config, Arc::from(json)))
        });
        let (config, generator) = generated.unzip();
        Some(Inherited {
            config: config.unwrap_or_else(|| file.clone()),
            generator,
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

    /// Waits until the services that the former process served can be served here: nobody may accept before.
    pub(crate) async fn until_ready(&self, services: &[ServiceRuntime]) -> io::Result<()> {
        let by = Instant::now() + SERVICE_PATIENCE;
        let served: HashSet<&str> = self
            .services
            .iter()
            .filter(|known| known.word.is_some())
            .map(|known| known.name.as_str())
            .collect();
        for service in services {
            if served.contains(service.name().as_str()) {
                until_ready(service.pool(), by).await?;
            }
        }
        Ok(())
    }
}

async fn until_ready(pool: &PoolHandle, by: Instant) -> io::Result<()> {
    let name = pool.name.as_str();
    match timeout_at(by, pool.wait_ready()).await {
        Ok(true) => Ok(()),
        Ok(false) => Err(io::Error::other(format!("service {name:?}: its pool has ended"))),
        Err(_elapsed) => Err(io::Error::other(format!(
            "service {name:?} is not ready after {SERVICE_PATIENCE:?}: its discovery was not heard; the running synapse keeps serving"
        ))),
    }
}

/// Between attempts to have every address while another process may be about to let go of one: it stops, or its own reload has
/// just bound what is new. Twice as long each time; after the last it is somebody else's.
const AGAIN: [Duration; 4] = [
    Duration::from_millis(100),
    Duration::from_millis(200),
    Duration::from_millis(400),
    Duration::from_millis(800),
];

/// Sockets for a configuration: from the process that runs, from systemd, and the others bound.
///
/// # Errors
/// Lines that say why this process must not start.
#[expect(clippy::disallowed_methods, reason = "there is no runtime yet")]
pub(crate) fn arrive(loaded: &Loaded) -> Result<(Bound, Option<Predecessor>), Vec<String>> {
    let mut pauses = AGAIN.iter();
    let mut was_alone = true;
    loop {
        let state_dir = loaded.config.process.state_dir.as_deref();
        let met = state_dir.map_or(Ok(Met::Nobody), |dir| approach(dir, loaded.read));
        let met = met.map_err(|error| vec![with_causes(&error)])?;
        was_alone &= matches!(met, Met::Nobody);
        let unbound = match bind(loaded, met) {
            Ok(arrived) => return Ok(arrived),
            Err(unbound) => unbound,
        };
        let again = unbound.is_in_use && !was_alone;
        let Some(pause) = pauses.next().filter(|_| again) else {
            return Err(unbound.complaints);
        };
        tracing::info!(complaints = ?unbound.complaints, ?pause, "trying again");
        std::thread::sleep(*pause);
    }
}

/// One attempt.
fn bind(loaded: &Loaded, met: Met) -> Result<(Bound, Option<Predecessor>), Unbound> {
    let process = &loaded.config.process;
    let mut former = match met {
        Met::Willing(former) => Some(*former),
        Met::Nobody | Met::Gone => None,
    };
    let mut adopted = Held::default();
    if let Some(former) = &mut former {
        let Greeting { pid, program, .. } = &former.from;
        tracing::info!(pid, version = program, "taking over from a running synapse");
        former.sockets.drain(..).for_each(|socket| adopted.add(socket));
    }
    systemd::sockets().into_iter().for_each(|socket| adopted.add(socket));
    let state = former.as_ref().map(|former| &former.state);
    let in_force = |file: &ServiceConfig| {
        let inherited = state?.inheritance(file, &*loaded.generator)?;
        Some(inherited.config)
    };
    let configs: Vec<_> = loaded
        .config
        .services
        .iter()
        .map(|file| in_force(file).unwrap_or_else(|| file.clone()))
        .collect();
    let bound = Bound::bind(process.admin_listen, &configs, &mut adopted)?;
    let unused: Vec<_> = adopted.addrs().map(ToString::to_string).collect();
    if !unused.is_empty() {
        tracing::info!(?unused, "sockets that were passed on but are not configured are closed");
    }
    if let Some(former) = &mut former {
        // Their files go when the former process has let go of them.
        former.sockets = adopted.into_rest();
    }
    Ok((bound, former))
}

/// The place of the process that serves.
#[derive(Debug)]
pub(crate) struct Post {
    /// Where a successor may come.
    pub(crate) door: Option<Door>,
    /// Adds what the former process still counts.
    pub(crate) following: Option<JoinHandle<()>>,
    /// What the former process has handed over and this one does not serve; only their files matter.
    pub(crate) unused: Vec<Listening>,
}

/// Takes over from the former process, if there is one: counters, the admin server, the door. One that has died
/// meanwhile leaves us alone, which is as good; a reload that it may have been asked for is wanted here then.
///
/// # Errors
/// The former process does not let go: this one must end.
pub(crate) async fn take_post(
    taking: Option<Taking>,
    front: &mut Front,
    state_dir: Option<&Path>,
    changes: &Arc<Changes>,
) -> io::Result<Post> {
    let alone = |door, unused| Post { door, following: None, unused };
    let Some(mut taking) = taking else {
        return Ok(alone(open_door(state_dir), Vec::new()));
    };
    let unused = std::mem::take(&mut taking.unused);
    match take_over(&mut taking, front, state_dir).await {
        Ok(door) => {
            let following = taking.follow(Arc::clone(front.state()), Arc::clone(changes));
            let following = tokio::spawn(following);
            Ok(Post { door, following: Some(following), unused })
        }
        Err(error) if taking.is_alone(&error).await => {
            tracing::warn!(
                "the former process has gone before it was relieved: its last counters are lost"
            );
            changes.want_reload();
            front.start();
            Ok(alone(open_door(state_dir), unused))
        }
        Err(error) => Err(io::Error::other(format!(
            "hand-over: {}; the running synapse goes on",
            with_causes(&error)
        ))),
    }
}

async fn take_over(
    taking: &mut Taking,
    front: &mut Front,
    state_dir: Option<&Path>,
) -> Result<Option<Door>, ProtocolError> {
    let report = taking.ready().await?;
    report.totals.add_to(&front.state().services.load_full());
    front.start();
    let door = open_door(state_dir);
    taking.taken().await?;
    Ok(door)
}

/// Opens the door to the next successor; without one the process serves all the same.
fn open_door(state_dir: Option<&Path>) -> Option<Door> {
    let Some(dir) = state_dir else {
        tracing::info!("no state_dir: a new process cannot take over from this one");
        return None;
    };
    match Door::open(dir) {
        Ok(door) => Some(door),
        Err(error) => {
            let dir = dir.display();
            tracing::warn!(%error, %dir, "a new process cannot take over from this one");
            None
        }
    }
}
