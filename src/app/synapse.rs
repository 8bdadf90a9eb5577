//! `synapse` from a loaded configuration to its exit code.
//!
//! Order at start: bind every address (all or nothing), give up privileges, start workers, then services and admin.
//! Order at stop: not ready → stop accepting → wait for connections up to [`DRAIN_DEADLINE`] → close the rest → pools and
//! discovery → sessions → admin, last, so that it can be watched.

use std::io;
use std::net::TcpListener;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::bound::Bound;
use super::cli::{say, start_log};
use super::process::{connection_limit, drop_privileges};
use super::registries::{Opened, Registries};
use super::service::{Context, MakeDiscovery, ServiceRuntime};
use super::signal::StopSignals;
use super::state;
use super::supervise::supervise;
use crate::admin::{About, AdminState, RegistryEntry, server};
use crate::config::synapse::Loaded;
use crate::config::{GeneratorRules, ProcessSettings, ServiceConfig};
use crate::discovery::names::{NameCache, NameSettings};
use crate::discovery::saved::Store;
use crate::discovery::{SourceSettings, build};
use crate::health::runner::CheckRunner;
use crate::proxy::worker::{WorkerSettings, Workers};
use crate::readiness::Readiness;
use crate::telemetry::cold::ColdMetrics;

/// How long a soft stop waits for connections under way. haproxy waits for ever unless `hard-stop-after` is set; a
/// supervisor's patience (systemd: 90 s) must not run out first. A second signal ends the wait at once.
pub const DRAIN_DEADLINE: Duration = Duration::from_secs(30);

/// Control tasks end at their next wait; one that does not is a defect, and must not hold up the exit.
const TASK_DEADLINE: Duration = Duration::from_secs(2);

/// Runs until a signal asks for the end.
pub fn run(loaded: Loaded) -> ExitCode {
    let registries = Registries::zookeeper(loaded.config.process.session_timeout);
    // A filter that cannot be read would leave the process without a word for the rest of its life.
    if let Err(error) = start_log(loaded.config.process.log_format) {
        say(&format!("synapse: {error}; nothing was started"));
        return ExitCode::FAILURE;
    }
    match Bound::bind(&loaded) {
        Ok(bound) => run_bound(loaded, bound, registries, |_state, _stop| {}),
        Err(complaints) => {
            complaints.iter().for_each(|complaint| say(complaint));
            say("synapse: nothing was started");
            ExitCode::FAILURE
        }
    }
}

/// Runs on sockets that are bound. `observe` is called once everything is started (demo).
pub(super) fn run_bound(
    loaded: Loaded,
    bound: Bound,
    registries: Registries,
    observe: impl FnOnce(&Arc<AdminState>, &CancellationToken),
) -> ExitCode {
    for warning in &loaded.config.warnings {
        tracing::warn!(%warning, "configuration");
    }
    match start_and_serve(loaded, bound, registries, observe) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(%error, "synapse cannot run");
            ExitCode::FAILURE
        }
    }
}

fn start_and_serve(
    loaded: Loaded,
    bound: Bound,
    registries: Registries,
    observe: impl FnOnce(&Arc<AdminState>, &CancellationToken),
) -> io::Result<()> {
    let process = &loaded.config.process;
    let store = state::open(process);
    drop_privileges(process.user.as_deref(), process.group.as_deref())?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let ended = runtime.block_on(serve(loaded, bound, (registries, store), observe));
    // Not `drop`: that would wait for a name server, or a disk, that does not answer.
    runtime.shutdown_background();
    ended
}

async fn serve(
    loaded: Loaded,
    bound: Bound,
    (mut registries, store): (Registries, Option<Arc<Store>>),
    observe: impl FnOnce(&Arc<AdminState>, &CancellationToken),
) -> io::Result<()> {
    let mut signals = StopSignals::install()?;
    let process = loaded.config.process.clone();
    let workers = start_workers(&process, bound.descriptors, bound.services.len())?;
    let admin = admin_state(&loaded, workers.count())?;
    let started = admin.readiness.latch("services started");
    let admin_stop = CancellationToken::new();
    let socket = tokio::net::TcpListener::from_std(bound.admin)?;
    let admin_task = tokio::spawn(server::serve(
        socket,
        Arc::clone(&admin),
        admin_stop.clone(),
    ));
    let opened = registries
        .open(&loaded.config.services)
        .map_err(io::Error::other)?;
    show_registries(&admin, &opened);
    let context = context(workers, loaded.generator, Arc::clone(&admin));
    for service in loaded
        .config
        .services
        .into_iter()
        .zip(bound.services)
        .enumerate()
        .map(number)
    {
        let ((_, config), _) = &service;
        let discovery = make_discovery(config.source.clone(), opened.clone());
        let discovery = state::remembering(store.as_ref(), config, discovery).await;
        ServiceRuntime::start(service, discovery, Arc::clone(&context)).await?;
    }
    started.release();
    tracing::info!(admin = %process.admin_listen, workers = context.workers.count(), "serving");
    observe(&admin, &context.stop);
    let signal = signals.next().await;
    tracing::info!(signal, deadline = ?DRAIN_DEADLINE, "stopping softly; a second signal stops at once");
    drain(context, &mut signals).await;
    registries.close().await;
    admin_stop.cancel();
    admin_task.await.map_err(io::Error::other)
}

fn admin_state(loaded: &Loaded, workers: usize) -> io::Result<Arc<AdminState>> {
    let cold = ColdMetrics::install().map_err(io::Error::other)?;
    let state = AdminState::new(About::now(workers), Readiness::new(), cold);
    let warnings = loaded
        .config
        .warnings
        .iter()
        .map(ToString::to_string)
        .collect();
    state.config_warnings.store(Arc::new(warnings));
    Ok(Arc::new(state))
}

/// What all services share; starts the task that resolves names.
fn context(
    workers: Workers,
    generator: Arc<dyn GeneratorRules>,
    admin: Arc<AdminState>,
) -> Arc<Context> {
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    let names = NameCache::new(NameSettings::default());
    let (resolver, token) = (names.clone(), stop.clone());
    supervise(
        &tasks,
        ("names", "all".to_owned()),
        stop.clone(),
        move || resolver.clone().run(token.clone()),
    );
    Arc::new(Context {
        workers: Arc::new(workers),
        names,
        checks: CheckRunner::default(),
        generator,
        admin,
        tasks,
        stop,
        settled: CancellationToken::new(),
        generators: TaskTracker::new(),
    })
}

/// A service with its number in the process and its sockets.
fn number(
    (index, (service, sockets)): (usize, (ServiceConfig, Vec<TcpListener>)),
) -> ((u64, ServiceConfig), Vec<TcpListener>) {
    ((index as u64, service), sockets)
}

fn start_workers(
    process: &ProcessSettings,
    descriptors: u64,
    services: usize,
) -> io::Result<Workers> {
    let count = process.workers.get();
    // Each worker accepts from its own descriptor of every listener; two addresses (v4, v6) are the usual case.
    let listeners = services
        .saturating_mul(2)
        .saturating_mul(count.saturating_add(1));
    let limit = connection_limit(process.max_connections, descriptors, listeners as u64);
    Workers::start(
        count,
        WorkerSettings {
            max_connections: Some(limit),
        },
    )
}

fn make_discovery(source: SourceSettings, registries: Opened) -> MakeDiscovery {
    Arc::new(move || build(&source, &|ensemble| registries.of(ensemble), parse_backends))
}

/// A `file` source's text: JSON, or YAML when it is not.
fn parse_backends(text: &str) -> Result<serde_json::Value, String> {
    crate::config::yaml::parse(text, false).map_err(|error| error.to_string())
}

fn show_registries(admin: &AdminState, registries: &Opened) {
    let mut entries: Vec<_> = registries
        .iter()
        .map(|(ensemble, registry)| RegistryEntry {
            ensemble: Arc::clone(ensemble),
            session: registry.session(),
        })
        .collect();
    entries.sort_by(|a, b| a.ensemble.cmp(&b.ensemble));
    admin.registries.store(Arc::new(entries));
}

/// Stops the data plane softly, then the control tasks.
async fn drain(context: Arc<Context>, signals: &mut StopSignals) {
    context.admin.readiness.stop();
    context.settled.cancel();
    context.generators.close();
    if tokio::time::timeout(TASK_DEADLINE, context.generators.wait())
        .await
        .is_err()
    {
        tracing::error!("a generator config is still being applied; stopping without a soft drain");
    }
    let stop = context.stop.clone();
    let tasks = context.tasks.clone();
    if let Some(workers) =
        Arc::into_inner(context).and_then(|context| Arc::into_inner(context.workers))
    {
        tokio::select! {
            report = workers.drain(DRAIN_DEADLINE) => {
                tracing::info!(open = report.open, cut = report.cut, took = ?report.took, "connections drained");
            }
            signal = signals.next() => tracing::warn!(signal, "stopping at once; open connections are cut"),
        }
    }
    stop.cancel();
    tasks.close();
    if tokio::time::timeout(TASK_DEADLINE, tasks.wait())
        .await
        .is_err()
    {
        tracing::error!(tasks = tasks.len(), "control tasks did not end in time");
    }
}
