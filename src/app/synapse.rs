//! `synapse` from a loaded configuration to its exit code.
//!
//! Order at start: bind every address (all or nothing), give up privileges, start workers, then services and admin.
//! Order at stop: not ready → stop accepting → wait for connections up to `hard_stop_after` → close the rest → pools and
//! discovery → sessions → admin, last, so that it can be watched.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::bound::Bound;
use super::changes::Changes;
use super::cli::{say, start_log};
use super::fleet::Fleet;
use super::front::Front;
use super::handover::state::State;
use super::handover::successor::{Post, arrive, take_post};
use super::handover::take::{Predecessor, Taking};
use super::process::{drop_privileges, worker_settings};
use super::registries::{Opened, Registries};
use super::service::{Context, MakeDiscovery};
use super::serving::Serving;
use super::signal::{ReloadSignal, StopSignals};
use super::state;
use super::stop::{Changer, abandon};
use super::supervise::supervise;
use super::systemd::Notifier;
use crate::admin::{About, AdminState};
use crate::config::ServiceConfig;
use crate::config::synapse::{LoadOptions, Loaded};
use crate::discovery::build;
use crate::discovery::names::{NameCache, NameSettings};
use crate::discovery::saved::Store;
use crate::health::runner::CheckRunner;
use crate::proxy::listener::Listening;
use crate::proxy::pulse::Pulse;
use crate::proxy::worker::{TICK, Workers};
use crate::readiness::Readiness;
use crate::telemetry::access;
use crate::telemetry::cold::ColdMetrics;
use crate::telemetry::statsd::{self, Program};

/// Between two words to statsd about a service's discovery: the original's pause.
const PING_EVERY: Duration = Duration::from_secs(1);

/// What is left of the access log is written within this time, or lost: a pipe that nobody reads must not hold up the exit.
const LOG_DEADLINE: Duration = Duration::from_secs(2);

/// Runs until a signal asks for the end, or another process has taken over.
///
/// `options` say how the configuration was loaded: SIGHUP does it again.
pub fn run(loaded: Loaded, options: LoadOptions) -> ExitCode {
    // A filter that cannot be read would leave the process without a word for the rest of its life.
    if let Err(error) = start_log(loaded.config.process.log_format) {
        say(&format!("synapse: {error}; nothing was started"));
        return ExitCode::FAILURE;
    }
    match Start::prepare(loaded, options) {
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
    pub(super) loaded: Loaded,
    /// Its sockets.
    pub(super) bound: Bound,
    pub(super) registries: Registries,
    /// How SIGHUP loads the configuration again; `None`: SIGHUP ends the process.
    pub(super) options: Option<LoadOptions>,
    /// The process that it takes over from.
    pub(super) former: Option<Predecessor>,
}

impl Start {
    /// Takes sockets from the process that runs and from systemd, and binds the others.
    fn prepare(loaded: Loaded, options: LoadOptions) -> Result<Self, Vec<String>> {
        let registries = Registries::zookeeper(loaded.config.process.session_timeout);
        let (bound, former) = arrive(&loaded)?;
        Ok(Self { loaded, bound, registries, options: Some(options), former })
    }
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
    let store = state::open(process);
    start.bound.place_for(process)?;
    drop_privileges(process.user.as_deref(), process.group.as_deref())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let ended = runtime.block_on(async {
        let ended = serve(start, store, observe).await;
        if ended.is_err() {
            statsd::synapse::aborted();
        }
        statsd::flush().await;
        access::finish(LOG_DEADLINE).await;
        ended
    });
    // Not `drop`: that would wait for a name server, or a disk, that does not answer.
    runtime.shutdown_background();
    ended
}

async fn serve(
    start: Start,
    store: Option<Arc<Store>>,
    observe: impl FnOnce(&Arc<AdminState>, &CancellationToken),
) -> io::Result<()> {
    let Start { loaded, bound, registries, options, former } = start;
    let mut signals = StopSignals::install()?;
    let hangup = match options {
        Some(_) => ReloadSignal::install()?,
        None => ReloadSignal::never(),
    };
    let (taking, former) = Predecessor::join(former)?;
    let process = loaded.config.process.clone();
    let deadline = process.hard_stop_after;
    let settings = worker_settings(&process, bound.descriptors, bound.services.len());
    let workers = Workers::start(process.workers.get(), settings)?;
    let admin = admin_state(workers.count())?;
    statsd::configure(Program::Synapse, process.statsd.as_ref());
    statsd::synapse::started();
    let begun = Instant::now();
    let started = admin.readiness.latch("services started");
    let mut front = Front::new(bound.admin, Arc::clone(&admin));
    if taking.is_none() {
        front.start();
        store.iter().for_each(|store| store.own());
    }
    let context = context(workers, Arc::clone(&admin));
    let opening = Opening {
        sockets: bound.services,
        former,
        state_dir: process.state_dir.clone(),
        store: store.clone(),
    };
    let kept = store.clone();
    let make = Box::new(move |service: &ServiceConfig, opened: &Opened| {
        state::remembering(kept.as_ref(), service, make_discovery(service, opened))
    });
    let shared = Arc::clone(&context);
    let fleet = Fleet::start(loaded, &opening.former, registries, make, shared);
    let opened = open(fleet, opening, taking, &mut front);
    let opened = unless_stopped(opened, &mut signals).await;
    let (fleet, post) = match opened {
        Ok(Some(opened)) => opened,
        other => {
            abandon(context, deadline).await;
            return other.map(drop);
        }
    };
    let fleet = fleet.reloadable(options);
    started.release();
    statsd::synapse::watchers_started(begun.elapsed());
    tracing::info!(admin = %process.admin_listen, workers = context.workers.count(), "serving");
    observe(&admin, &context.stop);
    let serving =
        Serving { context, changer: Changer::start(fleet, hangup), front, post, store, deadline };
    serving.until_end(&mut signals).await;
    statsd::synapse::stopped(begun.elapsed());
    Ok(())
}

/// What the services begin with.
struct Opening {
    /// In the order of the services.
    sockets: Vec<Vec<Listening>>,
    /// What a former process knew.
    former: State,
    state_dir: Option<PathBuf>,
    /// Where the last known backends are kept.
    store: Option<Arc<Store>>,
}

/// Accepts connections, then takes over from the former process if there is one.
async fn open(
    fleet: io::Result<Fleet>,
    opening: Opening,
    taking: Option<Taking>,
    front: &mut Front,
) -> io::Result<(Fleet, Post)> {
    let mut fleet = fleet?;
    // Nobody may be accepted before those whom the former process served can be served here.
    opening.former.until_ready(&fleet.services).await?;
    fleet.listen(opening.sockets).await?;
    let changes = &fleet.context.changes;
    let mut post = take_post(taking, front, opening.state_dir.as_deref(), changes).await?;
    // Nobody else writes there any more.
    opening.store.iter().for_each(|store| store.own());
    fleet.settle(std::mem::take(&mut post.unused), post.following.is_none())?;
    Ok((fleet, post))
}

/// `None`: a signal came first, and what was opened so far is closed.
async fn unless_stopped<T>(
    opened: impl Future<Output = io::Result<T>>,
    signals: &mut StopSignals,
) -> io::Result<Option<T>> {
    tokio::select! {
        opened = opened => opened.map(Some),
        signal = signals.next() => {
            tracing::info!(signal, "stopped before it served");
            Ok(None)
        }
    }
}

fn admin_state(workers: usize) -> io::Result<Arc<AdminState>> {
    let cold = ColdMetrics::install().map_err(io::Error::other)?;
    Ok(Arc::new(AdminState::new(About::now(workers), Readiness::new(), cold)))
}

/// What all services share; starts the task that resolves names and the control thread's signs of life.
fn context(workers: Workers, admin: Arc<AdminState>) -> Arc<Context> {
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    let names = NameCache::new(NameSettings::default());
    let (resolver, token) = (names.clone(), stop.clone());
    supervise(&tasks, ("names", "all".to_owned()), stop.clone(), move || {
        resolver.clone().run(token.clone())
    });
    let pulse = admin.pulse.get_or_init(|| workers.pulse()).clone();
    tasks.spawn(stop.clone().run_until_cancelled_owned(beat(pulse)));
    tasks.spawn(stop.clone().run_until_cancelled_owned(access::post_states_in_time()));
    tasks.spawn(stop.clone().run_until_cancelled_owned(pings(Arc::clone(&admin))));
    Arc::new(Context {
        workers: Arc::new(workers),
        names,
        checks: CheckRunner::default(),
        admin,
        tasks,
        stop,
        changes: Arc::new(Changes::default()),
        notifier: Notifier::from_env(),
    })
}

/// Shows that the control thread lives.
async fn beat(pulse: Pulse) {
    loop {
        pulse.control_beat();
        tokio::time::sleep(TICK).await;
    }
}

/// Tells once a second of every service whether its discovery is well.
async fn pings(admin: Arc<AdminState>) {
    loop {
        tokio::time::sleep(PING_EVERY).await;
        if statsd::is_configured() {
            for entry in admin.services.load().iter() {
                let is_well = entry.discovered.borrow().trouble.is_none();
                statsd::synapse::ping(is_well, entry.service.name.as_str());
            }
        }
    }
}

fn make_discovery(service: &ServiceConfig, registries: &Opened) -> MakeDiscovery {
    let (name, source) = (service.name.clone(), service.source.clone());
    let registries = registries.only_for(&source);
    Arc::new(move || build(&name, &source, &|ensemble| registries.of(ensemble), parse_backends))
}

/// A `file` source's text: JSON, or YAML when it is not.
fn parse_backends(text: &str) -> Result<serde_json::Value, String> {
    crate::config::yaml::parse(text, false).map_err(|error| error.to_string())
}
