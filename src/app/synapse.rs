//! `synapse` from a loaded configuration to its exit code.
//!
//! Order at start: bind every address (all or nothing), give up privileges, start workers, then services and admin.
//! Order at stop: not ready → stop accepting → wait for connections up to [`DRAIN_DEADLINE`] → close the rest → pools and
//! discovery → sessions → admin, last, so that it can be watched.

use std::io;
use std::net::TcpListener;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::bound::{Adopted, Bound};
use super::cli::{say, start_log};
use super::front::Front;
use super::handover::door::Door;
use super::handover::offer::{self, House, Successor};
use super::handover::protocol::ProtocolError;
use super::handover::state::State;
use super::handover::successor::{open_door, take_over};
use super::handover::take::{Predecessor, Taking, approach};
use super::handover::{REST, SERVICE_PATIENCE};
use super::process::{connection_limit, drop_privileges};
use super::registries::{Opened, Registries};
use super::service::{Context, MakeDiscovery, ServiceRuntime};
use super::signal::StopSignals;
use super::supervise::supervise;
use super::systemd::{self, Notifier};
use crate::admin::{About, AdminState, RegistryEntry};
use crate::config::synapse::Loaded;
use crate::config::{GeneratorRules, ProcessSettings, ServiceConfig};
use crate::discovery::names::{NameCache, NameSettings};
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

/// Runs until a signal asks for the end, or another process has taken over.
pub fn run(loaded: Loaded) -> ExitCode {
    if let Err(error) = start_log(loaded.config.process.log_format) {
        say(&format!("synapse: {error}"));
    }
    match Start::prepare(loaded) {
        Ok(start) => run_bound(start, |_state, _stop| {}),
        Err(complaints) => {
            complaints.iter().for_each(|complaint| say(complaint));
            say("synapse: nothing was started");
            ExitCode::FAILURE
        }
    }
}

/// What a process is started with.
pub(super) struct Start {
    loaded: Loaded,
    /// Its sockets.
    bound: Bound,
    registries: Registries,
    /// The process that it takes over from.
    former: Option<Predecessor>,
}

impl Start {
    /// Without a former process.
    pub(super) fn alone(loaded: Loaded, bound: Bound, registries: Registries) -> Self {
        Self {
            loaded,
            bound,
            registries,
            former: None,
        }
    }

    /// Takes sockets from the process that runs, else from systemd, and binds the others.
    fn prepare(loaded: Loaded) -> Result<Self, Vec<String>> {
        let process = &loaded.config.process;
        let registries = Registries::zookeeper(process.session_timeout);
        let state_dir = process.state_dir.as_deref();
        let former = state_dir.map_or(Ok(None), approach);
        let mut former = former.map_err(|error| vec![with_causes(&error)])?;
        let mut adopted = Adopted::default();
        if let Some(former) = &mut former {
            tracing::info!(pid = former.from.pid, version = former.from.program, "taking over from a running synapse");
            adopted.add(std::mem::take(&mut former.sockets));
        }
        adopted.add(systemd::sockets());
        let state = former.as_ref().map(|former| &former.state);
        let in_force: Vec<_> = loaded
            .config
            .services
            .iter()
            .map(|file| {
                state
                    .and_then(|state| state.inheritance(file, &*loaded.generator))
                    .map_or_else(|| file.clone(), |inherited| inherited.config)
            })
            .collect();
        let bound = Bound::bind(process.admin_listen, &in_force, &mut adopted)?;
        let unused = adopted.close();
        if !unused.is_empty() {
            tracing::info!(?unused, "addresses that were handed over and are not in the configuration are closed");
        }
        Ok(Self {
            loaded,
            bound,
            registries,
            former,
        })
    }
}

/// An error and what is behind it, one line.
fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// Runs on sockets that are bound. `observe` is called once everything is started (demo).
pub(super) fn run_bound(
    start: Start,
    observe: impl FnOnce(&Arc<AdminState>, &CancellationToken),
) -> ExitCode {
    for warning in &start.loaded.config.warnings {
        tracing::warn!(%warning, "configuration");
    }
    match start_and_serve(start, observe) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(%error, "synapse cannot run");
            ExitCode::FAILURE
        }
    }
}

fn start_and_serve(
    start: Start,
    observe: impl FnOnce(&Arc<AdminState>, &CancellationToken),
) -> io::Result<()> {
    let process = &start.loaded.config.process;
    drop_privileges(process.user.as_deref(), process.group.as_deref())?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(serve(start, observe))
}

async fn serve(
    start: Start,
    observe: impl FnOnce(&Arc<AdminState>, &CancellationToken),
) -> io::Result<()> {
    let Start {
        loaded,
        bound,
        mut registries,
        former,
    } = start;
    let mut signals = StopSignals::install()?;
    let process = loaded.config.process.clone();
    let state_dir = process.state_dir.as_deref();
    let (taking, inherited) = match former {
        Some(former) => former.join().map(|(taking, state)| (Some(taking), state))?,
        None => (None, State::default()),
    };
    let workers = start_workers(&process, bound.descriptors, bound.services.len())?;
    let admin = admin_state(&loaded, workers.count())?;
    let started = admin.readiness.latch("services started");
    let mut front = Front::new(bound.admin, Arc::clone(&admin));
    if taking.is_none() {
        front.start();
    }
    let opened = registries
        .open(&loaded.config.services)
        .map_err(io::Error::other)?;
    show_registries(&admin, &opened);
    let context = context(workers, Arc::clone(&loaded.generator), Arc::clone(&admin));
    let mut runtimes = Vec::new();
    for service in loaded
        .config
        .services
        .into_iter()
        .zip(bound.services)
        .enumerate()
        .map(number)
    {
        let ((_, file), _) = &service;
        let discovery = make_discovery(file.source.clone(), opened.clone());
        let inherited = inherited.inheritance(file, &*loaded.generator);
        if let Some(inherited) = &inherited {
            State::seed_names(inherited, &context.names);
        }
        runtimes.push(ServiceRuntime::start(
            service,
            discovery,
            Arc::clone(&context),
            inherited,
        ));
    }
    let opening = async {
        let by = Instant::now() + SERVICE_PATIENCE;
        for runtime in &runtimes {
            inherited.until_ready(runtime.pool(), by).await?;
        }
        for runtime in runtimes {
            runtime.open().await?;
        }
        started.release();
        match taking {
            Some(taking) => arrive(taking, &admin, &mut front, state_dir).await,
            None => Ok(open_door(state_dir)),
        }
    };
    let opened = tokio::select! {
        opened = opening => opened.map_err(Some),
        signal = signals.next() => {
            tracing::info!(signal, "stopped before it served");
            Err(None)
        }
    };
    let mut door = match opened {
        Ok(door) => door,
        Err(error) => {
            // Others may serve the same sockets: what was accepted here is finished here.
            drain(context, &mut signals, REST).await;
            registries.close().await;
            return error.map_or(Ok(()), Err);
        }
    };
    let notifier = Notifier::from_env();
    notifier.ready();
    tracing::info!(admin = %process.admin_listen, workers = context.workers.count(), "serving");
    observe(&admin, &context.stop);
    let house = House {
        workers: &context.workers,
        admin: &admin,
        front: &mut front,
    };
    let successor = tokio::select! {
        signal = signals.next() => {
            tracing::info!(signal, deadline = ?DRAIN_DEADLINE, "stopping softly; a second signal stops at once");
            None
        }
        successor = successor(door.as_mut(), house) => Some(successor),
        () = notifier.keep_alive(context.stop.clone()) => None,
    };
    drop(door);
    match successor {
        None => {
            notifier.stopping();
            front.start();
            drain(context, &mut signals, Duration::ZERO).await;
            registries.close().await;
            front.stop().await;
        }
        Some(successor) => {
            tracing::info!(pid = successor.pid, deadline = ?DRAIN_DEADLINE, "another process has taken over; draining");
            drop(front);
            let drained = drain(context, &mut signals, REST);
            successor.report_until(&admin, drained).await;
            registries.close().await;
        }
    }
    Ok(())
}

/// Waits for another process that takes over; for ever without a door.
async fn successor(door: Option<&mut Door>, house: House<'_>) -> Successor {
    match door {
        Some(door) => offer::wait(door, house).await,
        None => std::future::pending().await,
    }
}

/// Takes over. A former process that has died leaves us alone, which is as good.
async fn arrive(
    mut taking: Taking,
    admin: &Arc<AdminState>,
    front: &mut Front,
    state_dir: Option<&Path>,
) -> io::Result<Option<Door>> {
    match take_over(&mut taking, admin, front, state_dir).await {
        Ok(door) => {
            tokio::spawn(taking.follow(Arc::clone(admin)));
            Ok(door)
        }
        Err(ProtocolError::Gone) => {
            tracing::warn!("the former process has gone before it was asked to: its last counters are lost");
            front.start();
            Ok(open_door(state_dir))
        }
        Err(error) => Err(io::Error::other(format!(
            "hand-over: {}; the running synapse goes on",
            with_causes(&error)
        ))),
    }
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
async fn drain(context: Arc<Context>, signals: &mut StopSignals, rest: Duration) {
    context.admin.readiness.stop();
    context.settled.cancel();
    context.generators.close();
    context.generators.wait().await;
    let stop = context.stop.clone();
    let tasks = context.tasks.clone();
    if let Some(workers) =
        Arc::into_inner(context).and_then(|context| Arc::into_inner(context.workers))
    {
        tokio::select! {
            report = workers.drain_resting(DRAIN_DEADLINE, rest) => {
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
