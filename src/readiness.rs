//! What must have happened before the process calls itself ready.
//!
//! Whoever has something to finish takes a [`Latch`] with a name and releases it when done. Ready means that every
//! latch was released and nobody has asked to stop. A latch that is dropped without release is a failure that stays
//! visible with its name: a task that died on its way must not look like one that arrived.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::watch;

/// The latches of a process. Cheap to clone; all clones are one.
#[derive(Clone, Debug)]
pub struct Readiness(Arc<watch::Sender<Latches>>);

#[derive(Debug, Default)]
struct Latches {
    held: BTreeMap<u64, Held>,
    next: u64,
    stopping: bool,
}

#[derive(Debug)]
struct Held {
    name: Arc<str>,
    failed: bool,
}

/// One thing that is missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Missing {
    /// Under way.
    Waiting(Arc<str>),
    /// Given up by its owner: it will not come.
    Failed(Arc<str>),
    /// The process is stopping.
    Stopping,
}

impl std::fmt::Display for Missing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Waiting(name) => write!(f, "waiting for {name}"),
            Self::Failed(name) => write!(f, "gave up: {name}"),
            Self::Stopping => f.write_str("stopping"),
        }
    }
}

impl Default for Readiness {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(Latches::default())))
    }
}

impl Readiness {
    /// Without latches, hence ready.
    pub fn new() -> Self {
        Self::default()
    }

    /// Not ready until the latch is released. `name` completes "waiting for …".
    #[must_use = "dropping a latch without release is a failure"]
    pub fn latch(&self, name: impl Into<Arc<str>>) -> Latch {
        let mut id = 0;
        self.0.send_modify(|latches| {
            id = latches.next;
            latches.next += 1;
            let held = Held { name: name.into(), failed: false };
            latches.held.insert(id, held);
        });
        Latch { all: self.clone(), id, released: false }
    }

    /// Not ready from now on, for good: load balancers should look elsewhere while connections drain.
    pub fn stop(&self) {
        self.0.send_modify(|latches| latches.stopping = true);
    }

    /// What is missing, oldest first; empty when ready.
    pub fn missing(&self) -> Vec<Missing> {
        let latches = self.0.borrow();
        let stopping = latches.stopping.then_some(Missing::Stopping);
        let held = latches.held.values().map(|held| {
            let name = Arc::clone(&held.name);
            if held.failed { Missing::Failed(name) } else { Missing::Waiting(name) }
        });
        stopping.into_iter().chain(held).collect()
    }

    /// True when nothing is missing.
    pub fn is_ready(&self) -> bool {
        is_ready(&self.0.borrow())
    }

    /// Completes as soon as nothing is missing; never, once the process is stopping or a latch has failed.
    pub async fn ready(&self) {
        let mut changes = self.0.subscribe();
        if changes.wait_for(is_ready).await.is_err() {
            // `self` holds the sender, so the channel cannot close under us.
            std::future::pending::<()>().await;
        }
    }
}

fn is_ready(latches: &Latches) -> bool {
    latches.held.is_empty() && !latches.stopping
}

/// One thing to wait for. Consumed by [`release`](Self::release); dropping it otherwise is a failure.
#[derive(Debug)]
#[must_use = "dropping a latch without release is a failure"]
pub struct Latch {
    all: Readiness,
    id: u64,
    released: bool,
}

impl Latch {
    /// Done.
    pub fn release(mut self) {
        self.released = true;
        self.all.0.send_modify(|latches| {
            latches.held.remove(&self.id);
        });
    }
}

impl Drop for Latch {
    fn drop(&mut self) {
        if self.released {
            return;
        }
        self.all.0.send_modify(|latches| {
            if let Some(held) = latches.held.get_mut(&self.id) {
                held.failed = true;
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_when_every_latch_is_released() {
        let readiness = Readiness::new();
        let (one, two) = (readiness.latch("one"), readiness.latch("two"));
        assert!(!readiness.is_ready());
        one.release();
        assert_eq!(readiness.missing(), [Missing::Waiting("two".into())]);
        two.release();
        assert!(readiness.is_ready());
        assert!(readiness.missing().is_empty());
    }

    #[test]
    fn a_dropped_latch_is_a_failure_with_its_name() {
        let readiness = Readiness::new();
        drop(readiness.latch("listeners"));
        assert!(!readiness.is_ready());
        assert_eq!(readiness.missing()[0].to_string(), "gave up: listeners");
    }

    #[test]
    fn stopping_is_never_ready() {
        let readiness = Readiness::new();
        readiness.stop();
        assert!(!readiness.is_ready());
        assert_eq!(readiness.missing(), [Missing::Stopping]);
    }

    #[tokio::test(start_paused = true)]
    async fn ready_completes_with_the_last_release() {
        let readiness = Readiness::new();
        let latch = readiness.latch("workers");
        let waiting = tokio::spawn({
            let readiness = readiness.clone();
            async move { readiness.ready().await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        latch.release();
        waiting.await.unwrap();
    }
}
