//! `synapse` from a loaded configuration to its exit code.
//!
//! Order at start: bind every address (all or nothing), give up privileges, start workers, then services and admin.
//! Order at stop: not ready → stop accepting → wait for connections up to `hard_stop_after` → close the rest → pools and
//! discovery → sessions → admin, last, so that it can be watched.

use std::io;
use std::process::ExitCode;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::bound::Bound;
use super::cli::{say, start_log};
use super::fleet::Fleet;
use super::process::{connection_limit, drop_privileges};
use super::registries::{Opened, Registries};
use super::service::{Context, MakeDiscovery};
use super::signal::{ReloadSignal, StopSignals};
use super::stop::{Changer, stop};
use super::supervise::supervise;
use crate::admin::{About, AdminState, server};
use crate::config::synapse::{LoadOptions, Loaded};
use crate::config::{ProcessSettings, ServiceConfig};
use crate::discovery::build;
use crate::discovery::names::{NameCache, NameSettings};
use crate::health::runner::CheckRunner;
use crate::proxy::pulse::Pulse;
use crate::proxy::worker::{TICK, WorkerSettings, Workers};
use crate::readiness::Readiness;
use crate::telemetry::cold::ColdMetrics;

/// Runs until a signal asks for the end.
///
/// `options` say how the configuration was loaded: SIGHUP does it again.
pub fn run(loaded: Loaded, options: LoadOptions) -> ExitCode {
    let registries = Registries::zookeeper(loaded.config.process.session_timeout);
    // A filter that cannot be read would leave the process without a word for the rest of its life.
    if let Err(error) = start_log(loaded.config.process.log_format) {
        say(&format!("synapse: {error}; nothing was started"));
        return ExitCode::FAILURE;
    }
    match Bound::bind(&loaded) {
        Ok(bound) => {
            let start = Start {
                loaded,
                bound,
                registries,
                options: Some(options),
            };
            run_bound(start, |_state, _stop| {})
        }
        Err(complaints) => {
            complaints.iter().for_each(|complaint| say(complaint));
            say("synapse: nothing was started");
            ExitCode::FAILURE
        }
    }
}

/// What a process is started with.
pub(super) struct Start {
    pub(super) loaded: Loaded,
    /// Its sockets.
    pub(super) bound: Bound,
    pub(super) registries: Registries,
    /// How SIGHUP loads the configuration again; `None`: SIGHUP ends the process.
    pub(super) options: Option<LoadOptions>,
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
    let ended = runtime.block_on(serve(start, observe));
    // Not `drop`: that would wait for a name server that does not answer.
    runtime.shutdown_background();
    ended
}

async fn serve(
    start: Start,
    observe: impl FnOnce(&Arc<AdminState>, &CancellationToken),
) -> io::Result<()> {
    let Start {
        loaded,
        bound,
        registries,
        options,
    } = start;
    let mut signals = StopSignals::install()?;
    let hangup = match options {
        Some(_) => ReloadSignal::install()?,
        None => ReloadSignal::never(),
    };
    let process = loaded.config.process.clone();
    let workers = start_workers(&process, bound.descriptors, bound.services.len())?;
    let admin = admin_state(workers.count())?;
    let started = admin.readiness.latch("services started");
    let admin_stop = CancellationToken::new();
    let socket = tokio::net::TcpListener::from_std(bound.admin)?;
    let admin_task = tokio::spawn(server::serve(
        socket,
        Arc::clone(&admin),
        admin_stop.clone(),
    ));
    let context = context(workers, Arc::clone(&admin));
    let make = Box::new(make_discovery);
    let fleet = Fleet::start(loaded, registries, make, Arc::clone(&context));
    let mut fleet = fleet?.reloadable(options);
    fleet.listen(bound.services).await?;
    started.release();
    tracing::info!(admin = %process.admin_listen, workers = context.workers.count(), "serving");
    observe(&admin, &context.stop);
    let settled = CancellationToken::new();
    let changer = Changer {
        task: tokio::spawn(fleet.run(hangup, settled.clone())),
        settled,
    };
    let signal = signals.next().await;
    tracing::info!(signal, "stopping softly; a second signal stops at once");
    stop(context, changer, &mut signals, process.hard_stop_after).await;
    admin_stop.cancel();
    admin_task.await.map_err(io::Error::other)
}

fn admin_state(workers: usize) -> io::Result<Arc<AdminState>> {
    let cold = ColdMetrics::install().map_err(io::Error::other)?;
    let state = AdminState::new(About::now(workers), Readiness::new(), cold);
    Ok(Arc::new(state))
}

/// What all services share; starts the task that resolves names and the control thread's signs of life.
fn context(workers: Workers, admin: Arc<AdminState>) -> Arc<Context> {
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    let names = NameCache::new(NameSettings::default());
    let (resolver, token) = (names.clone(), stop.clone());
    supervise(
        &tasks,
        ("names", "all".to_owned()),
        stop.clone(),
        move || resolver.clone().run(token.clone()),
    );
    let pulse = admin.pulse.get_or_init(|| workers.pulse()).clone();
    tasks.spawn(stop.clone().run_until_cancelled_owned(beat(pulse)));
    Arc::new(Context {
        workers: Arc::new(workers),
        names,
        checks: CheckRunner::default(),
        admin,
        tasks,
        stop,
    })
}

/// Shows that the control thread lives.
async fn beat(pulse: Pulse) {
    loop {
        pulse.control_beat();
        tokio::time::sleep(TICK).await;
    }
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

fn make_discovery(service: &ServiceConfig, registries: &Opened) -> MakeDiscovery {
    let source = service.source.clone();
    let registries = registries.only_for(&source);
    Arc::new(move || build(&source, &|ensemble| registries.of(ensemble), parse_backends))
}

/// A `file` source's text: JSON, or YAML when it is not.
fn parse_backends(text: &str) -> Result<serde_json::Value, String> {
    crate::config::yaml::parse(text, false).map_err(|error| error.to_string())
}
