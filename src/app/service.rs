//! One running service: discovery, pool, listener, and the task that applies generator configs from the registry.
//!
//! Invariant: after [`ServiceRuntime::start`] only the service's own generator task writes its settings, its listener
//! and its entry on the admin page.

mod generator;

use std::io;
use std::net::TcpListener;
use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::supervise::supervise;
use crate::admin::{AdminState, ServiceEntry};
use crate::config::{GeneratorRules, ServiceConfig};
use crate::discovery::names::NameCache;
use crate::discovery::{Discovered, Discovery};
use crate::health::runner::CheckRunner;
use crate::lb::pool::{Pool, PoolCommand, PoolInputs};
use crate::proxy::Service;
use crate::proxy::worker::{ListenerId, Workers};
use crate::telemetry::cells::PerWorker;

/// Commands that may wait for a pool; the generator task sends one at a time.
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
    /// Judges generator configs.
    pub generator: Arc<dyn GeneratorRules>,
    /// Where services are shown.
    pub admin: Arc<AdminState>,
    /// Every control task.
    pub tasks: TaskTracker,
    /// Ends discovery and pools.
    pub stop: CancellationToken,
    /// Ends reconfiguration; earlier than `stop`, because a drain needs the workers for itself.
    pub settled: CancellationToken,
    /// The generator tasks, waited for after `settled`.
    pub generators: TaskTracker,
}

/// Makes a fresh instance of a service's discovery, at start and after a panic.
pub type MakeDiscovery = Arc<dyn Fn() -> Box<dyn Discovery> + Send + Sync>;

/// The parts of a running service that its generator task owns.
#[derive(Debug)]
pub struct ServiceRuntime {
    /// Number in the process, and of its listener.
    id: ListenerId,
    /// What the file says.
    file: ServiceConfig,
    /// What is in force.
    current: ServiceConfig,
    service: Arc<Service>,
    /// What it listens on, for keeping an address that a new configuration names again.
    sockets: Vec<TcpListener>,
    pool: mpsc::Sender<PoolCommand>,
    /// Why the last generator config is not in force, for the admin page.
    refused: Vec<String>,
    /// For the admin page: discovery's last word, confirmations included.
    discovered: watch::Receiver<Discovered>,
    context: Arc<Context>,
}

impl ServiceRuntime {
    /// Starts the tasks of a service and serves it on `sockets`.
    ///
    /// # Errors
    /// When the workers cannot take the sockets (out of descriptors).
    pub async fn start(
        ((index, config), sockets): ((u64, ServiceConfig), Vec<TcpListener>),
        discovery: MakeDiscovery,
        context: Arc<Context>,
    ) -> io::Result<()> {
        let (found, discovered) = watch::channel(discovery().first_word());
        let (pool, commands) = mpsc::channel(COMMAND_QUEUE);
        let inputs = PoolInputs {
            discovered: discovered.clone(),
            names: context.names.clone(),
            commands,
            checks: context.checks.clone(),
        };
        let (handle, task) = Pool::new(
            config.name.clone(),
            config.pool.clone(),
            context.workers.count(),
            inputs,
        );
        let service = Arc::new(Service {
            name: config.name.clone(),
            settings: ArcSwap::from_pointee(config.proxy.clone()),
            pool: handle,
            cells: PerWorker::new(context.workers.count()),
        });
        let id = ListenerId(index);
        let file = config.clone();
        let seen = discovered.clone();
        let runtime = Self {
            id,
            file,
            current: config,
            service,
            sockets,
            pool,
            refused: Vec::new(),
            discovered: seen,
            context,
        };
        runtime.show();
        runtime.spawn_discovery(found, discovery);
        runtime
            .context
            .tasks
            .spawn(task.run(runtime.context.stop.clone()));
        // A client that is accepted finds what is known from before the start.
        runtime.service.pool.until(|view| view.revision > 0).await;
        runtime.listen().await?;
        let generators = runtime.context.generators.clone();
        generators.spawn(runtime.follow_generator(discovered));
        Ok(())
    }

    fn spawn_discovery(&self, found: watch::Sender<Discovered>, discovery: MakeDiscovery) {
        let stop = self.context.stop.clone();
        let name = self.file.name.to_string();
        let token = stop.clone();
        supervise(&self.context.tasks, ("discovery", name), stop, move || {
            discovery().run(found.clone(), token.clone())
        });
    }

    /// Adds or replaces the entry on the admin page.
    fn show(&self) {
        let listen: Vec<_> = self
            .sockets
            .iter()
            .filter_map(|socket| socket.local_addr().ok())
            .collect();
        let entry = ServiceEntry {
            service: Arc::clone(&self.service),
            listen,
            source: self.current.source.clone(),
            strategy: self.current.pool.strategy,
            disabled: self.current.disabled,
            refused: self.refused.clone(),
            discovered: self.discovered.clone(),
            since: Instant::now(),
        };
        self.context.admin.services.rcu(|entries| {
            let mut entries = Vec::clone(entries);
            match entries
                .iter_mut()
                .find(|known| known.service.name == entry.service.name)
            {
                Some(known) => {
                    *known = ServiceEntry {
                        since: known.since,
                        ..entry.clone()
                    }
                }
                None => entries.push(entry.clone()),
            }
            entries
        });
    }

    /// Serves what `sockets` holds instead of what was served before; the new ones accept before the old ones close.
    async fn listen(&self) -> io::Result<()> {
        if self.sockets.is_empty() {
            self.context.workers.remove_listener(self.id).await;
            return Ok(());
        }
        let sockets = self
            .sockets
            .iter()
            .map(TcpListener::try_clone)
            .collect::<io::Result<_>>()?;
        self.context
            .workers
            .add_listener(self.id, sockets, Arc::clone(&self.service))
            .await
    }
}
