//! Structured stop: one token that everybody watches, one tracker that knows who still runs.

use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Token and tracker of a group of tasks. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    /// Cancelled when the group is asked to stop.
    pub token: CancellationToken,
    /// Every task of the group is spawned through it.
    pub tasks: TaskTracker,
}

impl Shutdown {
    /// A group that stops when `self` does, or earlier by itself.
    pub fn child(&self) -> Self {
        Self { token: self.token.child_token(), tasks: TaskTracker::new() }
    }

    /// Asks all to stop and waits for them up to `deadline`; true when the stop was complete.
    pub async fn drain(&self, deadline: Duration) -> bool {
        self.token.cancel();
        self.tasks.close();
        tokio::time::timeout(deadline, self.tasks.wait()).await.is_ok()
    }
}
