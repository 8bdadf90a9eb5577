//! One running service: discovery, pool and listener, and what can be done with them while they run.
//!
//! Invariant: only the [`Fleet`](super::fleet::Fleet) holds a [`ServiceRuntime`]; nobody else writes a service's settings
//! or its listener.

mod beginning;
mod judgement;
mod source;

use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::beginning::remembered;
use self::source::{Source, start_source, tell_generators};
use super::changes::Changes;
use super::systemd::Notifier;
use crate::admin::{AdminState, ServiceEntry};
use crate::config::ServiceConfig;
use crate::config::diff::change;
use crate::discovery::names::NameCache;
use crate::discovery::{Discovered, Discovery, saved};
use crate::endpoint::ServiceName;
use crate::health::runner::CheckRunner;
use crate::lb::handle::PoolHandle;
use crate::lb::pool::{Pool, PoolCommand, PoolInputs};
use crate::proxy::Service;
use crate::proxy::listener::Listening;
use crate::proxy::worker::{ListenerId, Workers};
use crate::telemetry::cells::PerWorker;

pub use self::beginning::{Beginning, Inherited};

/// Commands that may wait for a pool; the fleet sends one at a time.
const COMMAND_QUEUE: usize = 4;

/// What all services of the process share.
#[derive(Debug)]
pub struct Context {
    /// The data plane.
    pub workers: Arc<Workers>,
    /// Names to addresses.
    pub names: NameCache,
    /// Makes probes and bounds those in flight over all services.
    pub checks: CheckRunner,
    /// Where services are shown.
    pub admin: Arc<AdminState>,
    /// Every control task.
    pub tasks: TaskTracker,
    /// Ends discovery and pools.
    pub stop: CancellationToken,
    /// Whose turn it is to change them.
    pub(super) changes: Arc<Changes>,
    /// Who is told about reloads.
    pub(super) notifier: Notifier,
}

/// Makes a fresh instance of a service's discovery, at start and after a panic.
pub type MakeDiscovery = Arc<dyn Fn() -> Box<dyn Discovery> + Send + Sync>;

/// A running service.
#[derive(Debug)]
pub struct ServiceRuntime {
    id: ListenerId,
    /// What the file says.
    file: ServiceConfig,
    /// What is in force: the file, or a generator config from the registry.
    current: ServiceConfig,
    /// The generator config that is in force, if one is.
    generator: Option<Arc<str>>,
    /// The last generator config that was judged.
    judged: Option<Arc<str>>,
    /// Why that is not in force, for the admin page.
    refused: Vec<String>,
    /// It may be in force later.
    try_again: bool,
    service: Arc<Service>,
    /// What it listens on, for keeping an address that a new configuration names again.
    sockets: Vec<Listening>,
    pool: mpsc::Sender<PoolCommand>,
    found: watch::Sender<Discovered>,
    source: Source,
    /// Of the source; serves if that stays silent.
    remembered: Option<Discovered>,
    /// `/ready` waits for its discovery.
    awaited: bool,
    since: Instant,
    /// Ends everything of this service.
    stop: CancellationToken,
    context: Arc<Context>,
}

impl ServiceRuntime {
    /// Starts discovery and pool; [`ServiceRuntime::listen`] comes next. `generators` is told the service's name when its
    /// source finds another generator config.
    pub fn start(
        id: u64,
        (file, beginning): (ServiceConfig, Beginning),
        discovery: MakeDiscovery,
        generators: mpsc::Sender<ServiceName>,
        context: Arc<Context>,
    ) -> Self {
        let awaited = !matches!(beginning, Beginning::Reload);
        let (config, generator, word, known, memory) = match beginning {
            Beginning::Start(counted) => {
                (file.clone(), None, remembered(&discovery), counted, None)
            }
            Beginning::Reload => (file.clone(), None, None, None, remembered(&discovery)),
            Beginning::HandOver(former) => {
                let Inherited { config, generator, word, pool } = *former;
                let memory = if word.is_heard() { None } else { remembered(&discovery) };
                (config, generator, memory.or(Some(word)), Some(pool), None)
            }
        };
        if let Some(word) = &word {
            saved::announce(&config.name, word);
        }
        let (found, discovered) = watch::channel(word.unwrap_or_default());
        let (pool, commands) = mpsc::channel(COMMAND_QUEUE);
        let inputs = PoolInputs {
            discovered: discovered.clone(),
            names: context.names.clone(),
            commands,
            checks: context.checks.clone(),
            initial: known,
        };
        let workers = context.workers.count();
        let (handle, task) = Pool::new(config.name.clone(), config.pool.clone(), workers, inputs);
        let service = Arc::new(Service {
            name: config.name.clone(),
            settings: ArcSwap::from_pointee(config.proxy.clone()),
            pool: handle,
            cells: PerWorker::new(workers),
        });
        let stop = context.stop.child_token();
        context.tasks.spawn(task.run(stop.clone()));
        let name = config.name.clone();
        context.tasks.spawn(tell_generators(discovered, name, generators, stop.clone()));
        let source = start_source(&config.name, &found, discovery, &stop, &context.tasks);
        Self {
            id: ListenerId(id),
            file,
            current: config,
            judged: generator.clone(),
            generator,
            refused: Vec::new(),
            try_again: false,
            service,
            sockets: Vec::new(),
            pool,
            found,
            source,
            remembered: memory,
            awaited,
            since: Instant::now(),
            stop,
            context,
        }
    }

    /// The service's name.
    pub fn name(&self) -> &ServiceName {
        &self.file.name
    }

    /// What is in force.
    pub fn current(&self) -> &ServiceConfig {
        &self.current
    }

    /// What the file says.
    pub fn file(&self) -> &ServiceConfig {
        &self.file
    }

    /// What it listens on.
    pub fn sockets(&self) -> &[Listening] {
        &self.sockets
    }

    /// False when sockets have been lost: in a move that failed, or because somebody has removed or replaced a file.
    pub fn is_served(&self) -> bool {
        self.current.listener.is_some() != self.sockets.is_empty()
            && !self.sockets.iter().any(Listening::is_lost)
    }

    /// Puts in force what is new about its sockets, now that nothing can be refused any more. Gives what could not be done.
    pub fn settle(&mut self) -> Vec<String> {
        let settled = self.sockets.iter_mut().map(Listening::settle);
        let undone = settled.filter_map(Result::err);
        undone.map(|error| format!("services.{}: {error}", self.file.name)).collect()
    }

    /// Its pool.
    pub fn pool(&self) -> &PoolHandle {
        &self.service.pool
    }

    /// The file says something else now, which is not yet in force.
    pub fn set_file(&mut self, file: ServiceConfig) {
        self.file = file;
    }

    /// Its entry on the admin page.
    pub fn entry(&self) -> ServiceEntry {
        ServiceEntry {
            service: Arc::clone(&self.service),
            listen: self.sockets.iter().map(|socket| socket.addr.clone()).collect(),
            source: self.current.source.clone(),
            strategy: self.current.pool.strategy.clone(),
            disabled: self.current.disabled,
            generator: self.generator.clone(),
            refused: self.refused.clone(),
            awaited: self.awaited,
            discovered: self.found.subscribe(),
            since: self.since,
        }
    }

    /// Puts `config` in force, which comes from `generator` or from the file, without touching what is under way.
    /// `sockets`: what it listens on from now on, `None` when nothing about that changes.
    ///
    /// # Errors
    /// When the workers cannot take the sockets (out of descriptors): the former ones are still served.
    pub async fn apply(
        &mut self,
        config: ServiceConfig,
        generator: Option<Arc<str>>,
        sockets: Option<Vec<Listening>>,
    ) -> std::io::Result<()> {
        let name = self.file.name.clone();
        self.generator = generator;
        let what = change(&self.current, &config);
        if what.proxy {
            self.service.settings.store(Arc::new(config.proxy.clone()));
        }
        if what.pool || what.source {
            let settings = Box::new(config.pool.clone());
            let command = match what.source {
                true => PoolCommand::Source(settings),
                false => PoolCommand::Settings(settings),
            };
            if self.pool.send(command).await.is_err() {
                tracing::error!(service = %name, "pool task is gone: its settings stay");
            }
            // The pool has been told what is in force instead.
            self.found.send_if_modified(|found| found.take_defaults(&config.pool.membership));
        }
        let former = std::mem::replace(&mut self.current, config);
        tracing::info!(service = %name, changed = %what, "settings applied");
        let Some(sockets) = sockets else {
            return Ok(());
        };
        match self.listen(sockets).await {
            Ok(former) => {
                let undone = self.settle();
                // Not before: a file of the same name would be gone for a moment.
                drop(former);
                undone.into_iter().next().map_or(Ok(()), |error| Err(std::io::Error::other(error)))
            }
            Err(error) => {
                // Still the difference between what is and what should be: the next reload tries again.
                self.current.listener = former.listener;
                Err(error)
            }
        }
    }

    /// Serves `sockets` instead of what was served before, which it gives; the new ones accept before the old ones close.
    /// They are to be settled.
    ///
    /// # Errors
    /// When the workers cannot take them (out of descriptors): the former ones are still served.
    pub async fn listen(&mut self, sockets: Vec<Listening>) -> std::io::Result<Vec<Listening>> {
        let workers = &self.context.workers;
        if sockets.is_empty() {
            workers.remove_listener(self.id).await;
        } else {
            let shared =
                sockets.iter().map(Listening::try_clone).collect::<std::io::Result<_>>()?;
            let service = Arc::clone(&self.service);
            // A client that is accepted finds what is known from before the start.
            service.pool.until(|view| view.revision > 0).await;
            workers.add_listener(self.id, shared, service).await?;
        }
        Ok(std::mem::replace(&mut self.sockets, sockets))
    }

    /// Stops accepting, discovery and pool. Connections under way finish by themselves.
    pub async fn end(self) {
        self.context.workers.remove_listener(self.id).await;
        self.stop.cancel();
    }
}
