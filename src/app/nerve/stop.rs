//! The end of nerve: deregister, give clients time to hear of it, close the sessions. Or leave everything to a successor.

use std::time::Duration;

use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use super::fleet::{Fleet, Parts};

/// A command ends at once; a fleet that does not is a defect.
const SETTLE_DEADLINE: Duration = Duration::from_secs(2);

/// How nerve ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Farewell {
    /// Nothing of this host stays registered (SIGTERM, SIGINT, SIGUSR1).
    Deregister,
    /// Everything stays registered for the next process in our slot (SIGUSR2): it has one session timeout to come.
    Leave,
}

/// The task that changes services, from outside.
#[derive(Debug)]
pub(super) struct Changer {
    pub(super) settled: CancellationToken,
    pub(super) task: JoinHandle<Fleet>,
}

impl Changer {
    /// Ends the task and gives what it owned; `None` when it hangs or has died.
    async fn settle(mut self) -> Option<Fleet> {
        self.settled.cancel();
        match timeout(SETTLE_DEADLINE, &mut self.task).await {
            Ok(Ok(fleet)) => Some(fleet),
            Ok(Err(error)) => {
                tracing::error!(%error, "the task that changes services has died");
                None
            }
            Err(_elapsed) => {
                self.task.abort();
                tracing::error!("a change of services hangs; it is given up");
                None
            }
        }
    }
}

/// Ends everything, within `stop_timeout` + `drain_delay` + 3 s.
pub(super) async fn stop(changer: Changer, farewell: Farewell) {
    let Some(fleet) = changer.settle().await else {
        return;
    };
    fleet.parts.household.stop.cancel();
    match farewell {
        Farewell::Deregister => deregister(fleet).await,
        Farewell::Leave => leave(fleet).await,
    }
}

async fn deregister(fleet: Fleet) {
    let Fleet { parts, services, mut leaving, .. } = fleet;
    let process = parts.config.process.clone();
    let begun = Instant::now();
    let deadline = begun + process.stop_timeout;
    let mut going = JoinSet::new();
    let count = services.len();
    for (running, _) in services {
        let patience = process.stop_timeout;
        going.spawn(async move { running.deregister(patience).await });
    }
    let mut gone = 0;
    while let Ok(Some(ended)) = timeout_at(deadline, going.join_next()).await {
        gone += usize::from(matches!(ended, Ok(true)));
    }
    while let Ok(Some(_ended)) = timeout_at(deadline, leaving.join_next()).await {}
    let is_complete = gone == count && leaving.is_empty();
    tracing::info!(services = count, gone, is_complete, took = ?begun.elapsed(), "deregistered");
    if gone > 0 && !process.drain_delay.is_zero() {
        tracing::info!(delay = ?process.drain_delay, "clients are given time to hear of it");
        tokio::time::sleep(process.drain_delay).await;
    }
    close(parts).await;
}

/// Closes the sessions; what was not deregistered goes with them.
async fn close(parts: Parts) {
    let names = parts.sessions.names();
    if parts.sessions.close().await
        && let Some(slot) = &parts.slot
    {
        names.iter().for_each(|name| slot.closed(name));
    }
}

async fn leave(fleet: Fleet) {
    // What is on its way from one service to another arrives first.
    let Fleet { parts, services, leaving: _leaving, .. } = fleet;
    services.iter().for_each(|(running, _)| running.release());
    for (running, _) in services {
        running.leave(None).await;
    }
    parts.sessions.detach();
    parts.sessions.close().await;
    tracing::info!("everything stays registered for the next nerve with this state_dir");
}
