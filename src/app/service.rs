//! One running service: discovery, pool and listener, and what can be done with them while they run.
//!
//! Invariant: only the [`Fleet`](super::fleet::Fleet) holds a [`ServiceRuntime`]; nobody else writes a service's settings
//! or its listener.

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::supervise::supervise;
use crate::admin::{AdminState, ServiceEntry};
use crate::config::ServiceConfig;
use crate::config::diff::change;
use crate::discovery::names::NameCache;
use crate::discovery::{Discovered, Discovery};
use crate::endpoint::ServiceName;
use crate::health::runner::CheckRunner;
use crate::lb::handle::PoolHandle;
use crate::lb::pool::{Pool, PoolCommand, PoolInputs};
use crate::proxy::Service;
use crate::proxy::worker::{ListenerId, Workers};
use crate::telemetry::cells::PerWorker;
use crate::telemetry::cold;

/// Commands that may wait for a pool; the fleet sends one at a time.
const COMMAND_QUEUE: usize = 4;

/// A source ends at its next wait; one that does not is ended by force before its successor starts.
const SOURCE_DEADLINE: Duration = Duration::from_secs(1);

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
    sockets: Vec<TcpListener>,
    pool: mpsc::Sender<PoolCommand>,
    found: watch::Sender<Discovered>,
    source: Source,
    /// `/ready` waits for its discovery.
    awaited: bool,
    since: Instant,
    /// Ends everything of this service.
    stop: CancellationToken,
    context: Arc<Context>,
}

#[derive(Debug)]
struct Source {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl ServiceRuntime {
    /// Starts discovery and pool; [`ServiceRuntime::listen`] comes next. `generators` is told the service's name when its
    /// source finds another generator config.
    pub fn start(
        id: u64,
        config: ServiceConfig,
        discovery: MakeDiscovery,
        generators: mpsc::Sender<ServiceName>,
        context: Arc<Context>,
    ) -> Self {
        let (found, discovered) = watch::channel(Discovered::default());
        let (pool, commands) = mpsc::channel(COMMAND_QUEUE);
        let inputs = PoolInputs {
            discovered: discovered.clone(),
            names: context.names.clone(),
            commands,
            checks: context.checks.clone(),
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
        context
            .tasks
            .spawn(tell_generators(discovered, name, generators, stop.clone()));
        let source = start_source(&config.name, &found, discovery, &stop, &context.tasks);
        Self {
            id: ListenerId(id),
            file: config.clone(),
            current: config,
            generator: None,
            judged: None,
            refused: Vec::new(),
            try_again: false,
            service,
            sockets: Vec::new(),
            pool,
            found,
            source,
            awaited: true,
            since: Instant::now(),
            stop,
            context,
        }
    }

    /// Of a service that joins a process which serves already: `/ready` does not wait for it.
    #[must_use]
    pub fn not_awaited(mut self) -> Self {
        self.awaited = false;
        self
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
    pub fn sockets(&self) -> &[TcpListener] {
        &self.sockets
    }

    /// Its pool.
    pub fn pool(&self) -> &PoolHandle {
        &self.service.pool
    }

    /// The last generator config that was judged.
    pub fn judged(&self) -> Option<&Arc<str>> {
        self.judged.as_ref()
    }

    /// True when that is not in force.
    pub fn is_refused(&self) -> bool {
        !self.refused.is_empty()
    }

    /// True when that could be in force later.
    pub fn is_to_be_tried_again(&self) -> bool {
        self.try_again
    }

    /// The last generator config is in force now.
    pub fn accept(&mut self) {
        self.try_again = false;
        self.refused.clear();
    }

    /// The last generator config is not in force; a repeated refusal is logged once.
    pub fn refuse(&mut self, complaints: Vec<String>, try_again: bool) {
        self.try_again = try_again;
        if self.refused == complaints {
            return;
        }
        cold::config_rejected();
        for complaint in &complaints {
            tracing::error!(service = %self.file.name, complaint, "generator config refused; the former stays");
        }
        self.refused = complaints;
    }

    /// The generator config that is in force.
    pub fn generator(&self) -> Option<&Arc<str>> {
        self.generator.as_ref()
    }

    /// A generator config that was found and not judged yet; from now on it counts as judged.
    pub fn take_generator(&mut self) -> Option<Arc<str>> {
        let found = self.found.borrow().generator.clone();
        let new = found.filter(|json| self.judged.as_ref() != Some(json))?;
        self.judged = Some(Arc::clone(&new));
        Some(new)
    }

    /// The file says something else now, which is not yet in force.
    pub fn set_file(&mut self, file: ServiceConfig) {
        self.file = file;
    }

    /// Its entry on the admin page.
    pub fn entry(&self) -> ServiceEntry {
        let addrs = self.sockets.iter().map(TcpListener::local_addr);
        ServiceEntry {
            service: Arc::clone(&self.service),
            listen: addrs.filter_map(Result::ok).collect(),
            source: self.current.source.clone(),
            strategy: self.current.pool.strategy,
            disabled: self.current.disabled,
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
        sockets: Option<Vec<TcpListener>>,
    ) -> std::io::Result<()> {
        let name = self.file.name.clone();
        self.generator = generator;
        let what = change(&self.current, &config);
        if what.proxy {
            self.service.settings.store(Arc::new(config.proxy.clone()));
        }
        if what.pool {
            let settings = PoolCommand::Settings(Box::new(config.pool.clone()));
            if self.pool.send(settings).await.is_err() {
                tracing::error!(service = %name, "pool task is gone: its settings stay");
            }
        }
        let former = std::mem::replace(&mut self.current, config);
        tracing::info!(service = %name, changed = %what, "settings applied");
        let listening = match sockets {
            Some(sockets) => self.listen(sockets).await,
            None => Ok(()),
        };
        if listening.is_err() {
            // Still the difference between what is and what should be: the next reload tries again.
            self.current.listener = former.listener;
        }
        listening
    }

    /// Serves `sockets` instead of what was served before; the new ones accept before the old ones close.
    ///
    /// # Errors
    /// When the workers cannot take them (out of descriptors): the former ones are still served.
    pub async fn listen(&mut self, sockets: Vec<TcpListener>) -> std::io::Result<()> {
        let workers = &self.context.workers;
        if sockets.is_empty() {
            workers.remove_listener(self.id).await;
        } else {
            let shared = sockets
                .iter()
                .map(TcpListener::try_clone)
                .collect::<std::io::Result<_>>()?;
            let service = Arc::clone(&self.service);
            workers.add_listener(self.id, shared, service).await?;
        }
        self.sockets = sockets;
        Ok(())
    }

    /// Another source takes over; the pool keeps its set until that one speaks. The former source's generator config goes
    /// with it.
    pub async fn replace_source(&mut self, discovery: MakeDiscovery) {
        self.source.stop.cancel();
        let ended = tokio::time::timeout(SOURCE_DEADLINE, &mut self.source.task).await;
        if ended.is_err() {
            tracing::error!(service = %self.file.name, "the former source does not end; it is aborted");
            self.source.task.abort();
        }
        self.generator = None;
        self.judged = None;
        self.refused.clear();
        self.try_again = false;
        self.found.send_modify(|found| {
            found.generator = None;
            found.trouble = None;
            found.verified = None;
        });
        let tasks = &self.context.tasks;
        self.source = start_source(&self.file.name, &self.found, discovery, &self.stop, tasks);
    }

    /// Stops accepting, discovery and pool. Connections under way finish by themselves.
    pub async fn end(self) {
        self.context.workers.remove_listener(self.id).await;
        self.stop.cancel();
    }
}

fn start_source(
    name: &ServiceName,
    found: &watch::Sender<Discovered>,
    discovery: MakeDiscovery,
    stop: &CancellationToken,
    tasks: &TaskTracker,
) -> Source {
    let stop = stop.child_token();
    let (found, token) = (found.clone(), stop.clone());
    let watched = ("discovery", name.to_string());
    let task = supervise(tasks, watched, stop.clone(), move || {
        discovery().run(found.clone(), token.clone())
    });
    Source { stop, task }
}

/// Passes on that there is another generator config. One that is gone changes nothing, as in the original: the last word
/// stays until the next, or until a restart goes back to the file.
async fn tell_generators(
    mut discovered: watch::Receiver<Discovered>,
    name: ServiceName,
    generators: mpsc::Sender<ServiceName>,
    stop: CancellationToken,
) {
    let mut seen = None;
    loop {
        let generator = discovered.borrow_and_update().generator.clone();
        if generator != seen {
            seen = generator;
            if seen.is_some() && generators.send(name.clone()).await.is_err() {
                return;
            }
        }
        tokio::select! {
            () = stop.cancelled() => return,
            changed = discovered.changed() => if changed.is_err() { return },
        }
    }
}
