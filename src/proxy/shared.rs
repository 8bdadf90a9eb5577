//! What workers, acceptors and the control thread see of each other: limits, loads, proofs of life.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Service;
use super::accept::Accepted;
use super::door::{Door, DoorId};
use super::gate::Gate;
use super::listener::Listening;
use super::pulse::ControlLife;
use super::wheel::Group;
use super::worker::WorkerSettings;
use crate::telemetry::cells::WorkerId;

/// What workers and the control thread share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) settings: WorkerSettings,
    /// All client connections, against `global maxconn`.
    pub(crate) gate: Gate,
    pub(crate) seats: Box<[Seat]>,
    panics: AtomicU64,
    accept_pauses: AtomicU64,
    started: Instant,
    pub(crate) control: ControlLife,
}

/// What others may see of a worker. A cache line of its own: every accept reads all of them.
#[derive(Debug)]
#[repr(align(64))]
pub(crate) struct Seat {
    /// Connections open or on their way to it.
    pub(crate) open: AtomicU32,
    /// Milliseconds since the start at its last tick.
    heartbeat: AtomicU64,
    pub(crate) handovers: mpsc::UnboundedSender<Accepted>,
    pub(crate) connections: TaskTracker,
}

/// One service's listening sockets, shared by all workers.
#[derive(Debug)]
pub(crate) struct Listener {
    pub(crate) service: Arc<Service>,
    /// Of its connections on each worker's wheel.
    pub(crate) group: Group,
    /// The service's connections, against its `maxconn`.
    pub(crate) gate: Gate,
    /// Requests and sessions under way, of those that are logged.
    busy: AtomicU32,
    /// Its sockets, as acceptors see them.
    doors: Box<[Door]>,
    /// Acceptors end.
    pub(crate) stop_accepting: CancellationToken,
    /// Connections end as soon as it does no harm. Cancelled after `draining` is set.
    pub(crate) drain: CancellationToken,
    draining: AtomicBool,
    pub(crate) acceptors: TaskTracker,
    /// The sockets, for a successor; empty once closed.
    sockets: Mutex<Vec<Listening>>,
    /// Told when idle connections are to make room ([`Crowd`](crate::lb::crowd::Crowd)).
    pub(crate) crowded: watch::Sender<()>,
    /// Milliseconds that connections at rest stay open in a drain.
    rest: AtomicU64,
}

impl Listener {
    pub(crate) fn new(service: Arc<Service>, sockets: Vec<Listening>) -> Self {
        static GROUPS: AtomicU32 = AtomicU32::new(0);
        Self {
            service,
            group: Group(GROUPS.fetch_add(1, Ordering::Relaxed)),
            busy: AtomicU32::new(0),
            doors: sockets.iter().map(Door::new).collect(),
            gate: Gate::default(),
            stop_accepting: CancellationToken::new(),
            drain: CancellationToken::new(),
            draining: AtomicBool::new(false),
            acceptors: TaskTracker::new(),
            sockets: Mutex::new(sockets),
            crowded: watch::Sender::default(),
            rest: AtomicU64::new(0),
        }
    }

    /// Duplicates of the sockets.
    pub(crate) fn sockets(&self) -> std::io::Result<Vec<Listening>> {
        let sockets = self.sockets.lock().unwrap_or_else(PoisonError::into_inner);
        sockets.iter().map(Listening::try_clone).collect()
    }

    /// Connections at rest are closed this long after the drain began, not at once. Call before [`Listener::close`].
    pub(crate) fn let_rest(&self, rest: Duration) {
        let rest = u64::try_from(rest.as_millis()).unwrap_or(u64::MAX);
        self.rest.store(rest, Ordering::Release);
    }

    /// See [`Listener::let_rest`].
    pub(crate) fn rest(&self) -> Duration {
        Duration::from_millis(self.rest.load(Ordering::Acquire))
    }

    /// Closes the sockets, then asks connections to end.
    pub(crate) async fn close(&self) {
        self.stop_accepting.cancel();
        self.sockets.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.acceptors.close();
        self.acceptors.wait().await;
        self.draining.store(true, Ordering::Release);
        self.drain.cancel();
    }

    /// One of its sockets.
    pub(crate) fn door(&self, id: DoorId) -> Option<&Door> {
        self.doors.get(usize::from(id.0))
    }

    /// Requests and sessions under way, of those that are logged: a service without an access log counts none.
    pub(crate) fn busy(&self) -> u32 {
        self.busy.load(Ordering::Relaxed)
    }

    /// True once connections are asked to end. One relaxed load, for every wake of every connection.
    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }
}

/// Counts a request or session that is logged until dropped.
#[derive(Debug)]
pub(crate) struct Busy(Arc<Listener>);

impl Busy {
    pub(crate) fn new(listener: &Arc<Listener>) -> Self {
        listener.busy.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(listener))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.busy.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Shared {
    /// For `count` workers, with the receiving end of each one's hand-overs.
    pub(crate) fn new(
        count: usize,
        settings: WorkerSettings,
    ) -> (Arc<Self>, Vec<mpsc::UnboundedReceiver<Accepted>>) {
        let (seats, handovers): (Vec<_>, Vec<_>) = (0..count).map(|_| seat()).unzip();
        let started = Instant::now();
        let shared = Self {
            settings,
            gate: Gate::default(),
            seats: seats.into(),
            panics: AtomicU64::new(0),
            accept_pauses: AtomicU64::new(0),
            started,
            control: ControlLife::new(started),
        };
        (Arc::new(shared), handovers)
    }

    pub(crate) fn panics(&self) -> u64 {
        self.panics.load(Ordering::Relaxed)
    }

    pub(crate) fn accept_pauses(&self) -> u64 {
        self.accept_pauses.load(Ordering::Relaxed)
    }

    /// Time since each worker's last tick.
    pub(crate) fn silent_for(&self) -> Vec<Duration> {
        let now = self.started.elapsed();
        let beat = |seat: &Seat| Duration::from_millis(seat.heartbeat.load(Ordering::Relaxed));
        let silent = |seat| now.saturating_sub(beat(seat));
        self.seats.iter().map(silent).collect()
    }

    /// Counts a connection task that panicked. The panic hook has printed where.
    pub(crate) fn count_panic(&self) {
        self.panics.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a pause for want of descriptors.
    pub(crate) fn count_accept_pause(&self) {
        self.accept_pauses.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn seat(&self, worker: WorkerId) -> Option<&Seat> {
        self.seats.get(worker.0)
    }

    /// A worker's proof of life.
    pub(crate) fn beat(&self, worker: WorkerId) {
        let now = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        if let Some(seat) = self.seat(worker) {
            let last = seat.heartbeat.swap(now, Ordering::Relaxed);
            self.control.look(Duration::from_millis(now.saturating_sub(last)));
        }
    }
}

fn seat() -> (Seat, mpsc::UnboundedReceiver<Accepted>) {
    // Unbounded, yet bounded by the connection limits: every entry is an open connection.
    let (handovers, receiver) = mpsc::unbounded_channel();
    let seat = Seat {
        open: AtomicU32::new(0),
        heartbeat: AtomicU64::new(0),
        handovers,
        connections: TaskTracker::new(),
    };
    (seat, receiver)
}
