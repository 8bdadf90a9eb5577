//! `nerve` from a loaded configuration to its exit code.
//!
//! Order at start: a slot in `state_dir`, the admin address (taken: nothing is started), sessions and services, the push
//! API. Order at stop: deregister everything, `drain_delay`, close the sessions, admin last.

use std::io;
use std::net::TcpListener;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::super::cli::{say, start_log};
use super::super::sessions::Sessions;
use super::super::signal::{ReloadSignal, StopSignals};
use super::super::systemd::Notifier;
use super::desk::NerveDesk;
use super::doors::Doors;
use super::fleet::{Entries, Fleet, Parts};
use super::heartbeat;
use super::pushed::PushedStore;
use super::running::Household;
use super::slot::{Alone, Slot};
use super::stop::{Changer, Farewell, stop};
use crate::admin::nerve::NerveSite;
use crate::config::nerve::{NerveConfig, NerveLoadOptions};
use crate::health::local::LocalRunner;
use crate::registration::Kin;
use crate::telemetry::cold::ColdMetrics;
use crate::telemetry::statsd::{self, Program};

/// Commands of the push API that may wait; each is obeyed at once.
const COMMAND_QUEUE: usize = 64;

/// Runs until a signal asks for the end. `options` say how the configuration was loaded: SIGHUP does it again.
pub(super) fn run(config: NerveConfig, options: NerveLoadOptions) -> ExitCode {
    if let Err(error) = start_log(config.process.log_format) {
        say(&format!("nerve: {error}; nothing was started"));
        return ExitCode::FAILURE;
    }
    for warning in &config.warnings {
        tracing::warn!(%warning, "configuration");
    }
    for complaint in &config.refused {
        tracing::error!(%complaint, "service left out");
    }
    match start_and_run(config, options) {
        Ok(()) => {
            say("exiting nerve");
            ExitCode::SUCCESS
        }
        Err(error) => {
            tracing::error!(%error, "nerve cannot run");
            ExitCode::FAILURE
        }
    }
}

fn start_and_run(config: NerveConfig, options: NerveLoadOptions) -> io::Result<()> {
    let listen = config.process.admin_listen;
    let admin = TcpListener::bind(listen);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let ended = runtime.block_on(async {
        let ended = serve(config, options, admin).await;
        if ended.is_err() {
            statsd::nerve::aborted();
        }
        statsd::flush().await;
        ended
    });
    // Not `drop`: that would wait for a name server, or a disk, that does not answer.
    runtime.shutdown_background();
    ended
}

async fn serve(
    config: NerveConfig,
    options: NerveLoadOptions,
    admin: io::Result<TcpListener>,
) -> io::Result<()> {
    let mut signals = Signals::install()?;
    let hangup = ReloadSignal::install()?;
    let notifier = Notifier::from_env();
    let cold = ColdMetrics::install().map_err(io::Error::other)?;
    let process = config.process.clone();
    statsd::configure(Program::Nerve, process.statsd.as_ref());
    statsd::nerve::started();
    statsd::nerve::config_updated();
    let begun = Instant::now();
    let slot = slot(process.state_dir.as_deref());
    let entries = Entries::default();
    let remarks = Arc::default();
    let (commands, inbox) = mpsc::channel(COMMAND_QUEUE);
    let kin: Arc<dyn Kin> =
        slot.clone().map_or_else(|| Arc::new(Alone::default()) as _, |slot| slot as _);
    let parts = Parts {
        started_with: process.clone(),
        config,
        options: Some(options),
        household: Household {
            kin,
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
            checks: LocalRunner::default(),
        },
        slot: slot.clone(),
        pushed: PushedStore::open(process.state_dir.as_deref()),
        sessions: Sessions::default(),
        entries: Arc::clone(&entries),
        remarks: Arc::clone(&remarks),
    };
    let fleet = Fleet::start(parts)?;
    let desk = Arc::new(NerveDesk::new(entries, remarks, commands, process.state_dir.clone()));
    let site = Arc::new(NerveSite::new(Arc::clone(&desk) as _, process.admin_push, cold));
    let doors = Doors::open(&site, (process.admin_listen, admin), slot.as_deref());
    let settled = CancellationToken::new();
    let changer =
        Changer { task: tokio::spawn(fleet.run(inbox, hangup, settled.clone())), settled };
    if let Some(path) = process.heartbeat {
        tokio::spawn(heartbeat::beat(path));
    }
    tracing::info!(admin = %process.admin_listen, "watching");
    notifier.ready();
    let farewell = tokio::select! {
        farewell = signals.next() => farewell,
        () = notifier.keep_alive() => Farewell::Deregister,
    };
    notifier.stopping();
    desk.stop();
    tokio::select! {
        () = stop(changer, farewell) => {}
        _ = signals.next() => tracing::warn!("stopping at once"),
    }
    doors.close().await;
    statsd::nerve::stopped(begun.elapsed());
    Ok(())
}

/// Our place in `state_dir`. Without one nerve works, but a restart registers anew and nothing can be pushed.
fn slot(state_dir: Option<&Path>) -> Option<Arc<Slot>> {
    let Some(state_dir) = state_dir else {
        tracing::warn!("no state_dir: a restart cannot go on with the session");
        return None;
    };
    match Slot::take(state_dir) {
        Ok(slot) => {
            tracing::info!(slot = %slot.dir().display(), "state_dir");
            Some(Arc::new(slot))
        }
        Err(error) => {
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            tracing::warn!(%error, cause, "state_dir cannot be used: a restart cannot go on with the session");
            None
        }
    }
}

/// Signals to farewells.
#[derive(Debug)]
struct Signals {
    stop: StopSignals,
    leave: tokio::signal::unix::Signal,
}

impl Signals {
    fn install() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self { stop: StopSignals::install()?, leave: signal(SignalKind::user_defined2())? })
    }

    async fn next(&mut self) -> Farewell {
        tokio::select! {
            signal = self.stop.next() => {
                tracing::info!(signal, "deregistering; a second signal stops at once");
                Farewell::Deregister
            }
            _ = self.leave.recv() => {
                tracing::info!(signal = "SIGUSR2", "leaving everything registered for a successor");
                Farewell::Leave
            }
        }
    }
}
