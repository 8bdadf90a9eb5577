//! The source of a running service: started, watched, replaced by another.

use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::beginning::remembered;
use super::{MakeDiscovery, ServiceRuntime};
use crate::app::supervise::supervise;
use crate::discovery::Discovered;
use crate::endpoint::ServiceName;
use crate::telemetry::statsd;

/// A source ends at its next wait; one that does not is ended by force before its successor starts.
const SOURCE_DEADLINE: Duration = Duration::from_secs(1);

/// The running discovery of a service.
#[derive(Debug)]
pub(super) struct Source {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl ServiceRuntime {
    /// Another source will take over; the pool keeps its set until that one speaks, whatever the new settings make of the
    /// former one's word. Its generator config goes with it. The new settings are applied next, then
    /// [`ServiceRuntime::begin_source`].
    pub async fn leave_source(&mut self) {
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
        self.found.send_modify(|found| found.leave_source(&self.current.pool.membership));
    }

    /// The source of the settings in force begins. While nothing is known, [`ServiceRuntime::recall`] comes later.
    pub fn begin_source(&mut self, discovery: MakeDiscovery) {
        let is_heard = self.found.borrow().is_heard();
        self.remembered = if is_heard { None } else { remembered(&discovery) };
        let tasks = &self.context.tasks;
        self.source = start_source(&self.file.name, &self.found, discovery, &self.stop, tasks);
    }
}

/// Starts a source; it publishes through `found`.
pub(super) fn start_source(
    name: &ServiceName,
    found: &watch::Sender<Discovered>,
    discovery: MakeDiscovery,
    stop: &CancellationToken,
    tasks: &TaskTracker,
) -> Source {
    let stop = stop.child_token();
    let (found, token, name) = (found.clone(), stop.clone(), name.clone());
    let watched = ("discovery", name.to_string());
    let task = supervise(tasks, watched, stop.clone(), move || {
        let run = discovery().run(found.clone(), token.clone());
        let name = name.clone();
        async move {
            statsd::synapse::watcher_started(name.as_str());
            run.await;
            statsd::synapse::watcher_stopped(name.as_str());
        }
    });
    Source { stop, task }
}

/// Passes on that there is another generator config. One that is gone changes nothing, as in the original: the last word
/// stays until the next, or until a restart goes back to the file.
pub(super) async fn tell_generators(
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
