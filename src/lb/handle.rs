//! What the others hold of a pool: workers pick and report, admin looks.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use super::backend::Backend;
use super::lease::Lease;
use super::limits::{Busy, Ramp};
use super::pool::state::PoolState;
use super::queue::{Place, Queue, QueueView};
use super::snapshot::Snapshot;
use super::{BackendId, Outcome, PickContext, PickError, ServerSettings};
use crate::dial::Address;
use crate::discovery::Discovered;
pub use crate::discovery::policy::SetOrigin;
use crate::endpoint::ServiceName;
use crate::health::Health;

/// Shared end of a pool. Cheap to clone.
#[derive(Clone, Debug)]
pub struct PoolHandle {
    /// The service.
    pub name: ServiceName,
    /// The current snapshot. Written by the pool task only; held by nobody across an await.
    pub(super) snapshot: Arc<ArcSwap<Snapshot>>,
    /// See [`PoolHandle::has_http2`]. Written by the pool task only: set before a snapshot of which it is true is in force.
    pub(super) http2: Arc<AtomicBool>,
    /// Where requests wait while all are full.
    pub(super) queue: Arc<Queue>,
    /// The current view for people. Written by the pool task only.
    pub(super) view: Arc<ArcSwap<PoolView>>,
    pub(super) outcomes: mpsc::Sender<Outcome>,
    pub(super) exports: mpsc::Sender<oneshot::Sender<PoolState>>,
    /// Outcomes that found the channel full: evidence lost, not requests.
    pub(super) outcomes_dropped: Arc<AtomicU64>,
    /// Counts the views published.
    pub(super) views: watch::Receiver<u64>,
    /// Counts how often sessions were ended.
    pub(super) ends: watch::Receiver<u64>,
}

impl PoolHandle {
    /// Picks a backend and counts the use of it.
    ///
    /// # Errors
    /// [`PickError`] when nobody is eligible, all are full, or others wait already.
    pub fn acquire(&self, cx: PickContext<'_>) -> Result<Lease, PickError> {
        let snapshot = self.snapshot.load();
        if self.queue.has_line() && !snapshot.members.is_empty() {
            // Who comes now goes behind them, even where a slot is just being given out.
            return Err(PickError::AllFull { eligible: snapshot.members.len() });
        }
        snapshot.acquire(cx)
    }

    /// The use of one backend, for who has a reason to want no other; `None` when it may not be picked, is full, or
    /// others wait already.
    pub fn acquire_of(&self, backend: BackendId) -> Option<Lease> {
        if self.queue.has_line() {
            return None;
        }
        self.snapshot.load().acquire_of(backend)
    }

    /// Gets in line for a backend, for whoever [`PoolHandle::acquire`] told that all are full. The place is a future of
    /// the lease.
    ///
    /// # Errors
    /// [`PickError`] when nobody is eligible, or when the only backend it may go to has as many waiting as it may.
    pub fn line_up(&self, cx: PickContext<'_>) -> Result<Place, PickError> {
        let snapshot = self.snapshot.load();
        let members = &snapshot.members;
        if members.is_empty() {
            return Err(PickError::NoneEligible { known: snapshot.known, up: snapshot.up });
        }
        let busy = Busy::default();
        let cx = PickContext { busy: Some(&busy), ..cx };
        let wanted = snapshot.picker.wait_for(members, cx).and_then(|index| members.get(index));
        let server = wanted.map(|member| (&member.backend, member.limits.max_queue));
        let full = PickError::AllFull { eligible: members.len() };
        let place = self.queue.enter(server).ok_or(full)?;
        // Somebody may have left between the pick and now.
        self.queue.serve();
        Ok(place)
    }

    /// Who waits, and how it went.
    pub fn queue(&self) -> QueueView {
        self.queue.view()
    }

    /// See [`Queue::inherit`].
    pub fn inherit_queue(&self, totals: [u64; 3]) {
        self.queue.inherit(totals);
    }

    /// True when HTTP/2 may be spoken to one of those that are picked from now on. One load, for every request.
    pub fn has_http2(&self) -> bool {
        self.http2.load(Ordering::Acquire)
    }

    /// Number of backends that may be picked now.
    pub fn eligible(&self) -> usize {
        self.snapshot.load().members.len()
    }

    /// Tells the pool what live traffic saw. Never blocks; a full channel drops and counts.
    pub fn report(&self, outcome: Outcome) {
        if self.outcomes.try_send(outcome).is_err() {
            self.outcomes_dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The current snapshot (tests, benches, admin).
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }

    /// Everything known about the service's backends, for people and metrics.
    pub fn view(&self) -> Arc<PoolView> {
        self.view.load_full()
    }

    /// Waits until `claim` holds for the published view; false when the pool has ended before.
    pub async fn until(&self, claim: impl Fn(&PoolView) -> bool) -> bool {
        let mut views = self.views.clone();
        loop {
            views.mark_unchanged();
            if claim(&self.view.load()) {
                return true;
            }
            if views.changed().await.is_err() {
                return claim(&self.view.load());
            }
        }
    }

    /// Told whenever sessions are to end ([`Lease::ended`]).
    pub fn ends(&self) -> watch::Receiver<u64> {
        self.ends.clone()
    }

    /// Waits until discovery has been heard (a set, or that there is none) and the snapshot says so; false when the
    /// pool has ended before.
    pub async fn wait_ready(&self) -> bool {
        self.until(PoolView::is_ready).await
    }

    /// What the pool knows, for another process to go on from; `None` when the pool has ended.
    pub async fn export(&self) -> Option<PoolState> {
        let (ask, answer) = oneshot::channel();
        self.exports.send(ask).await.ok()?;
        answer.await.ok()
    }

    /// Outcomes dropped because the pool was busy.
    pub fn outcomes_dropped(&self) -> u64 {
        self.outcomes_dropped.load(Ordering::Relaxed)
    }
}

/// Everything known about the backends of a service. Rebuilt with each snapshot and each change of a verdict.
#[derive(Clone, Debug)]
pub struct PoolView {
    /// Revision of the snapshot that goes with it.
    pub revision: u64,
    /// Where the set in use comes from.
    pub origin: SetOrigin,
    /// Why the set is not simply what discovery says, one line each; usually none.
    pub notes: Vec<String>,
    /// Every known backend, in balancing order. Those about which nothing new is known are shared with the view before.
    pub backends: Vec<Arc<BackendView>>,
    /// The source's last word as it came.
    pub discovered: Discovered,
    /// How often the set of backends has changed.
    pub membership_changes: u64,
    /// How often a verdict has changed.
    pub health_changes: u64,
}

impl PoolView {
    /// True once discovery has been heard.
    pub fn is_ready(&self) -> bool {
        self.discovered.is_heard()
    }
}

/// One backend, for people.
#[derive(Clone, Debug)]
pub struct BackendView {
    /// The backend with its counters.
    pub backend: Arc<Backend>,
    /// Address in use; `None` while its name does not resolve.
    pub addr: Option<Address>,
    /// Its server line, shared by all servers that have the same.
    pub settings: Arc<ServerSettings>,
    /// The verdict.
    pub health: Health,
    /// True when it is among the snapshot's members.
    pub eligible: bool,
    /// Why it is (not) picked, one line: "up", "down: L4CON: connection refused", "weight 0", "backup, actives are up".
    pub reason: String,
    /// How far it is in its slow start.
    pub ramp: Ramp,
    /// When the verdict last changed.
    pub since: Instant,
    /// Result of the last check.
    pub last_check: Option<CheckView>,
}

/// Result of a check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckView {
    /// haproxy's code, `L4OK` and so on.
    pub code: &'static str,
    /// HTTP status.
    pub status: Option<u16>,
    /// One line.
    pub detail: String,
    /// How long it took.
    pub took: Duration,
    /// When it ended.
    pub at: Instant,
    /// Passes or failures in a row.
    pub streak: u32,
}
