//! The end of the process: softly while nobody is in a hurry, at once when somebody asks a second time.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use super::fleet::Fleet;
use super::service::Context;
use super::signal::{ReloadSignal, StopSignals};
use crate::proxy::worker::REST;
use crate::telemetry::{access, cold};

/// Control tasks end at their next wait; one that does not is a defect, and must not hold up the exit.
const TASK_DEADLINE: Duration = Duration::from_secs(2);

/// The task that changes services, from outside.
#[derive(Debug)]
pub(super) struct Changer {
    /// Ends it: a drain needs the workers for itself.
    settled: CancellationToken,
    task: JoinHandle<Fleet>,
}

/// How softly.
#[derive(Debug)]
pub(super) struct Softness {
    /// How long connections may last, unless the file in force says otherwise.
    pub(super) deadline: Duration,
    /// How long HTTP connections at rest stay open, because somebody else serves their address already.
    pub(super) rest: Duration,
    /// A signal has asked for it: the next one is in a hurry. Otherwise the first one asks for what is done already.
    pub(super) is_asked: bool,
    /// A process before us that still tells what it counts.
    pub(super) following: Option<JoinHandle<()>>,
}

impl Changer {
    /// Starts the task; a reload is wanted at each `hangup` until the process ends.
    pub(super) fn start(fleet: Fleet, hangup: ReloadSignal) -> Self {
        let settled = CancellationToken::new();
        let Context { changes, stop, tasks, .. } = &*fleet.context;
        let wanted = Arc::clone(changes).want_at(hangup);
        tasks.spawn(stop.clone().run_until_cancelled_owned(wanted));
        Self { task: tokio::spawn(fleet.run(settled.clone())), settled }
    }

    /// Ends the task and gives what it owned; a change that hangs is given up.
    async fn settle(mut self) -> Option<Fleet> {
        self.settled.cancel();
        let ended = tokio::time::timeout(TASK_DEADLINE, &mut self.task).await;
        let ended = match ended {
            Ok(ended) => ended,
            Err(_elapsed) => {
                self.task.abort();
                self.task.await
            }
        };
        match ended {
            Ok(fleet) => Some(fleet),
            Err(error) => {
                cold::task_lost();
                tracing::error!(%error, "a change of configuration hangs or has died; it is given up");
                None
            }
        }
    }
}

/// Stops softly; a further signal ends that at once, whatever it is waiting for.
pub(super) async fn stop(
    context: Arc<Context>,
    changer: Changer,
    signals: &mut StopSignals,
    softness: Softness,
) {
    let is_asked = softness.is_asked;
    let hurry = async {
        if !is_asked {
            let signal = signals.next().await;
            tracing::info!(signal, "draining already; a further signal stops at once");
        }
        signals.next().await
    };
    tokio::select! {
        () = stop_softly(context, changer, softness) => {}
        signal = hurry => {
            tracing::warn!(signal, "stopping at once; open connections are cut");
        }
    }
}

/// Ends a start that came to nothing. Others may serve the same sockets: what was accepted here is finished here.
pub(super) async fn abandon(context: Arc<Context>, deadline: Duration) {
    context.stop.cancel();
    match Arc::into_inner(context).and_then(|last| Arc::into_inner(last.workers)) {
        Some(workers) => drop(workers.drain_resting(deadline, REST).await),
        None => tracing::error!("somebody still holds the workers: connections are cut"),
    }
}

/// Not ready, no more changes, then the data plane, the control tasks and the sessions, in this order.
async fn stop_softly(context: Arc<Context>, changer: Changer, softness: Softness) {
    let Softness { deadline: fallback, rest, following, .. } = softness;
    let begun = Instant::now();
    context.admin.readiness.stop();
    access::close_states();
    let fleet = changer.settle().await;
    // The file may have changed it since the start.
    let deadline = fleet.as_ref().map_or(fallback, |fleet| fleet.process().hard_stop_after);
    let registries = fleet.map(Fleet::into_registries);
    let (stop, tasks) = (context.stop.clone(), context.tasks.clone());
    let workers = Arc::into_inner(context).and_then(|last| Arc::into_inner(last.workers));
    match workers {
        Some(workers) => {
            tracing::info!(?deadline, open = workers.open_connections(), "draining connections");
            let report = workers.drain_resting(deadline, rest).await;
            tracing::info!(open = report.open, cut = report.cut, took = ?report.took, "connections drained");
        }
        None => tracing::error!("somebody still holds the workers: connections are cut"),
    }
    if let Some(following) = following
        && timeout_at(begun + deadline, following).await.is_err()
    {
        tracing::warn!(
            "the process before us drains longer than we do: its last counters are lost"
        );
    }
    stop.cancel();
    tasks.close();
    if tokio::time::timeout(TASK_DEADLINE, tasks.wait()).await.is_err() {
        tracing::error!(tasks = tasks.len(), "control tasks did not end in time");
    }
    if let Some(registries) = registries {
        registries.close().await;
    }
}
