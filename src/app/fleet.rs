//! All running services, and the one task that changes them.
//!
//! Generator configs from the registry and reloads of the file come here and are obeyed one after the other, so nobody
//! has to agree with anybody about addresses or settings. A panic while one is obeyed ends that one order; it is counted
//! and the services run on as they are.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::changes::Turn;
use super::generators::BIND_RETRY;
use super::handover::state::State;
use super::registries::{Opened, Registries};
use super::service::{Beginning, Context, MakeDiscovery, ServiceRuntime};
use super::supervise::caught;
use crate::admin::RegistryEntry;
use crate::config::synapse::{LoadOptions, Loaded};
use crate::config::{GeneratorRules, ProcessSettings, ServiceConfig, SynapseConfig};
use crate::endpoint::ServiceName;
use crate::proxy::listener::Listening;
use crate::telemetry::cold;

/// Generator configs that may wait; whoever finds another waits with it.
const GENERATOR_QUEUE: usize = 64;

/// Makes the discovery of a service whose ensemble is opened.
pub type MakeSource = Box<dyn Fn(&ServiceConfig, &Opened) -> MakeDiscovery + Send + Sync>;

/// What the fleet is told.
#[derive(Debug)]
enum Order {
    /// SIGHUP, here or in the process before us.
    Reload,
    /// The source of this service has found a generator config.
    Generator(ServiceName),
    /// Addresses that were taken may be free.
    Retry,
}

/// Every running service. Owned by one task.
pub struct Fleet {
    pub(super) context: Arc<Context>,
    /// Judges generator configs.
    pub(super) rules: Arc<dyn GeneratorRules>,
    /// The file as it is in force.
    pub(super) config: SynapseConfig,
    pub(super) registries: Registries,
    pub(super) opened: Opened,
    /// In file order.
    pub(super) services: Vec<ServiceRuntime>,
    pub(super) make_source: MakeSource,
    /// How to load the file again; `None`: there is none (demo).
    pub(super) options: Option<LoadOptions>,
    next_id: u64,
    generators: mpsc::Sender<ServiceName>,
    found_generators: mpsc::Receiver<ServiceName>,
}

impl std::fmt::Debug for Fleet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fleet").field("services", &self.services.len()).finish_non_exhaustive()
    }
}

impl Fleet {
    /// Starts every service of a configuration, with what a `former` process knew; [`Fleet::listen`] comes next.
    ///
    /// # Errors
    /// No session for an ensemble.
    pub(super) fn start(
        loaded: Loaded,
        former: &State,
        mut registries: Registries,
        make_source: MakeSource,
        context: Arc<Context>,
    ) -> std::io::Result<Self> {
        let config = loaded.config;
        let opened = registries.open(&config.services).map_err(std::io::Error::other)?;
        let (generators, found_generators) = mpsc::channel(GENERATOR_QUEUE);
        let mut fleet = Self {
            context,
            rules: loaded.generator,
            services: Vec::with_capacity(config.services.len()),
            config,
            registries,
            opened,
            make_source,
            options: None,
            next_id: 0,
            generators,
            found_generators,
        };
        fleet.show_registries();
        for service in fleet.config.services.clone() {
            let inherited = former.inheritance(&service, &*fleet.rules);
            if let Some(inherited) = &inherited {
                State::seed_names(inherited, &fleet.context.names);
            }
            let beginning = inherited.map_or_else(
                || Beginning::Start(former.counted(service.name.as_str())),
                |known| Beginning::HandOver(Box::new(known)),
            );
            let runtime = fleet.start_with(service, beginning);
            fleet.services.push(runtime);
        }
        fleet.show_services();
        fleet.show_warnings(&[]);
        Ok(fleet)
    }

    /// Serves `sockets`, which are in the order of the services.
    ///
    /// # Errors
    /// When the workers cannot take them (out of descriptors).
    pub async fn listen(&mut self, sockets: Vec<Vec<Listening>>) -> std::io::Result<()> {
        for (service, sockets) in self.services.iter_mut().zip(sockets) {
            service.listen(sockets).await?;
        }
        self.show_services();
        Ok(())
    }

    /// This process is the one: its sockets are settled, and the files of those that another process has handed over are
    /// ours from now on. Files of its sockets that are `unused` here go.
    ///
    /// # Errors
    /// A file cannot be had by a process that `is_alone`; after a hand-over it is too late to go back.
    pub(super) fn settle(&mut self, unused: Vec<Listening>, is_alone: bool) -> std::io::Result<()> {
        for undone in self.services.iter_mut().flat_map(ServiceRuntime::settle) {
            if is_alone {
                return Err(std::io::Error::other(undone));
            }
            tracing::error!(undone, "a socket is out of its clients' reach");
        }
        let sockets = self.services.iter().flat_map(ServiceRuntime::sockets);
        sockets.chain(&unused).for_each(|socket| socket.own_file(true));
        Ok(())
    }

    /// Lets SIGHUP load the configuration again.
    #[must_use]
    pub fn reloadable(mut self, options: Option<LoadOptions>) -> Self {
        self.options = options;
        self
    }

    /// What the file says about the process.
    pub fn process(&self) -> &ProcessSettings {
        &self.config.process
    }

    /// Obeys until `settled`, then gives itself back.
    pub async fn run(mut self, settled: CancellationToken) -> Self {
        loop {
            let is_due = self.services.iter().any(ServiceRuntime::is_to_be_tried_again);
            let order = tokio::select! {
                () = settled.cancelled() => return self,
                () = self.context.changes.reload_wanted() => Order::Reload,
                Some(name) = self.found_generators.recv() => Order::Generator(name),
                () = tokio::time::sleep(BIND_RETRY), if is_due => Order::Retry,
            };
            let Some(mut turn) = settled.run_until_cancelled(self.turn(&order)).await else {
                return self;
            };
            if self.context.changes.is_closed() {
                drop(turn);
                settled.cancelled().await;
                return self;
            }
            let is_reload = matches!(order, Order::Reload);
            if is_reload && !turn.take_reload() {
                continue;
            }
            let obeyed = caught(Box::pin(self.obey(&order))).await;
            if let Err(panic) = obeyed {
                cold::task_restarts("fleet").increment(1);
                tracing::error!(
                    panic,
                    ?order,
                    "a change of configuration panicked: it may be in force in part"
                );
            }
            if is_reload {
                turn.reload_ended();
            }
        }
    }

    /// Waits while another process is about to take over: it has been told what runs here, and would not know of a change.
    async fn turn(&self, order: &Order) -> Turn {
        let changes = &self.context.changes;
        if let Some(turn) = changes.free_turn() {
            return turn;
        }
        if matches!(order, Order::Reload) {
            tracing::info!("a hand-over is under way: the file is read again when it is over");
        }
        changes.turn().await
    }

    async fn obey(&mut self, order: &Order) {
        match order {
            Order::Reload => {
                self.context.notifier.reloading();
                self.reload().await;
                self.context.notifier.ready();
            }
            Order::Generator(name) => self.take_generator(name).await,
            Order::Retry => {
                self.retry_generators(ServiceRuntime::is_to_be_tried_again).await;
            }
        }
    }

    /// Lets go of everything but the sessions: discovery ends before they do.
    pub fn into_registries(self) -> Registries {
        self.registries
    }

    /// Discovery and pool of a service that a reload adds; nobody listens for it yet.
    pub(super) fn start_service(&mut self, config: ServiceConfig) -> ServiceRuntime {
        self.start_with(config, Beginning::Reload)
    }

    fn start_with(&mut self, config: ServiceConfig, beginning: Beginning) -> ServiceRuntime {
        let id = self.next_id;
        self.next_id += 1;
        let discovery = (self.make_source)(&config, &self.opened);
        let context = Arc::clone(&self.context);
        let generators = self.generators.clone();
        ServiceRuntime::start(id, (config, beginning), discovery, generators, context)
    }

    /// Shows every service as it is now.
    pub(super) fn show_services(&self) {
        let entries = self.services.iter().map(ServiceRuntime::entry).collect();
        self.context.admin.services.store(Arc::new(entries));
    }

    /// Shows every session in use.
    pub(super) fn show_registries(&self) {
        let mut entries: Vec<_> = self
            .opened
            .iter()
            .map(|(ensemble, registry)| RegistryEntry {
                ensemble: Arc::clone(ensemble),
                session: registry.session(),
            })
            .collect();
        entries.sort_by(|a, b| a.ensemble.cmp(&b.ensemble));
        self.context.admin.registries.store(Arc::new(entries));
    }

    /// Shows whether what runs is what the file says.
    pub(super) fn show_differs(&self, differs: bool) {
        let shown = &self.context.admin.config_on_disk_differs;
        shown.store(differs, Ordering::Relaxed);
    }

    /// Shows the remarks of the file in force, and `more`.
    pub(super) fn show_warnings(&self, more: &[String]) {
        let warnings = self.config.warnings.iter().map(ToString::to_string);
        let warnings = warnings.chain(more.iter().cloned()).collect();
        self.context.admin.config_warnings.store(Arc::new(warnings));
    }
}
