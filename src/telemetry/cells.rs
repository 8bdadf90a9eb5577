//! Per-worker counters of the data path.
//!
//! Each cell is written by exactly one worker thread and read by the control thread at scrape, so an increment is a
//! plain load and store (`Relaxed`), not a locked read-modify-write. A [`PerWorker`] owns one slot per worker and
//! creates it on first use.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Index of a data-plane thread, 0..workers. Proof that the caller is that worker's thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct WorkerId(pub usize);

/// A counter with one writing thread and any number of readers.
#[derive(Debug, Default)]
pub struct Cell(AtomicU64);

impl Cell {
    /// Adds `n`. Only the owning worker may call this: two writers would lose counts.
    pub fn add(&self, n: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
    }

    /// The current count, from any thread.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// One lazily created `T` per worker, and one for what was counted before this process.
///
/// The last is written by the control thread alone: a former process hands its counts over (`app::handover`).
#[derive(Debug)]
pub struct PerWorker<T> {
    workers: Box<[OnceLock<Box<T>>]>,
    inherited: OnceLock<Box<T>>,
}

impl<T: Default> PerWorker<T> {
    /// Room for `workers` threads; nothing is allocated for their cells yet.
    pub fn new(workers: usize) -> Self {
        Self {
            workers: (0..workers.max(1)).map(|_| OnceLock::new()).collect(),
            inherited: OnceLock::new(),
        }
    }

    /// The cell of `worker`. A worker beyond the configured number (impossible by construction) counts with what was
    /// inherited.
    pub fn of(&self, worker: WorkerId) -> &T {
        self.workers.get(worker.0).unwrap_or(&self.inherited).get_or_init(Box::default)
    }

    /// The cells of `worker` if it has written yet; for readers, which must not create any.
    pub fn peek(&self, worker: WorkerId) -> Option<&T> {
        self.workers.get(worker.0).and_then(|slot| slot.get().map(|cells| &**cells))
    }

    /// What a former process counted. Only the control thread may add to it.
    pub fn inherited(&self) -> &T {
        self.inherited.get_or_init(Box::default)
    }

    /// Sum of `read` over all workers that have written, and what was inherited.
    pub fn sum(&self, read: impl Fn(&T) -> u64) -> u64 {
        self.iter().map(read).sum()
    }

    /// The cells that exist.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.workers
            .iter()
            .chain(std::iter::once(&self.inherited))
            .filter_map(|slot| slot.get().map(|cells| &**cells))
    }
}

/// A set of counters that can be read and added to by name, so that another version of the program understands it.
pub trait Named {
    /// Every counter: its name and its cells, whose order never changes (new ones are appended).
    fn named(&self) -> Vec<(&'static str, &[Cell])>;
}

impl Named for BackendCells {
    fn named(&self) -> Vec<(&'static str, &[Cell])> {
        use std::slice::from_ref;
        vec![
            ("requests", from_ref(&self.requests)),
            ("responses", &self.responses),
            ("connects", from_ref(&self.connects)),
            ("reuses", from_ref(&self.reuses)),
            ("connect_errors", from_ref(&self.connect_errors)),
            ("response_errors", from_ref(&self.response_errors)),
            ("retries", from_ref(&self.retries)),
            ("redispatches", from_ref(&self.redispatches)),
            ("bytes_in", from_ref(&self.bytes_in)),
            ("bytes_out", from_ref(&self.bytes_out)),
        ]
    }
}

impl Named for ServiceCells {
    fn named(&self) -> Vec<(&'static str, &[Cell])> {
        use std::slice::from_ref;
        vec![
            ("connections", from_ref(&self.connections)),
            ("connections_closed", from_ref(&self.connections_closed)),
            ("connections_refused", from_ref(&self.connections_refused)),
            ("requests", from_ref(&self.requests)),
            ("responses", &self.responses),
            ("bytes_in", from_ref(&self.bytes_in)),
            ("bytes_out", from_ref(&self.bytes_out)),
            ("retries", from_ref(&self.retries)),
            ("redispatches", from_ref(&self.redispatches)),
            ("replays", from_ref(&self.replays)),
            ("errors", &self.errors),
            ("latency", &self.latency.buckets),
            ("latency_sum_us", from_ref(&self.latency.sum_us)),
        ]
    }
}

/// Counters of one backend on one worker.
#[derive(Debug, Default)]
pub struct BackendCells {
    /// Requests (HTTP) or connections (TCP) given to it, retries included.
    pub requests: Cell,
    /// Answers by class: index 0 = other, 1..=5 = 1xx..5xx.
    pub responses: [Cell; 6],
    /// Connections opened to it.
    pub connects: Cell,
    /// Requests that went over an already open connection.
    pub reuses: Cell,
    /// Connections that could not be opened.
    pub connect_errors: Cell,
    /// Answers that were cut, late or not HTTP.
    pub response_errors: Cell,
    /// Attempts repeated on the same backend after it failed.
    pub retries: Cell,
    /// Attempts moved from it to another backend.
    pub redispatches: Cell,
    /// Bytes received from clients and sent to it.
    pub bytes_in: Cell,
    /// Bytes received from it and sent to clients.
    pub bytes_out: Cell,
}

/// Counters of one service on one worker.
#[derive(Debug, Default)]
pub struct ServiceCells {
    /// Client connections accepted.
    pub connections: Cell,
    /// Client connections closed; the difference is the number open.
    pub connections_closed: Cell,
    /// Client connections refused at `maxconn` or for want of descriptors.
    pub connections_refused: Cell,
    /// Requests (HTTP only).
    pub requests: Cell,
    /// Answers to clients by class: index 0 = other, 1..=5 = 1xx..5xx.
    pub responses: [Cell; 6],
    /// Bytes received from clients.
    pub bytes_in: Cell,
    /// Bytes sent to clients.
    pub bytes_out: Cell,
    /// Attempts repeated on the same backend.
    pub retries: Cell,
    /// Attempts moved to another backend.
    pub redispatches: Cell,
    /// Idempotent requests sent again because the backend died before the first byte.
    pub replays: Cell,
    /// Failures by cause; index = `ErrorCause as usize`.
    pub errors: [Cell; ErrorCause::COUNT],
    /// Time from the request's head to the end of the answer.
    pub latency: Histogram,
}

/// Bounded set of causes that `errors` is labelled with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorCause {
    /// No backend is eligible (none known, or none up).
    NoBackend,
    /// Every eligible backend is at its `maxconn`.
    AllFull,
    /// No backend had room within `timeout queue`.
    QueueTimeout,
    /// The connection to the backend was refused, reset or unreachable.
    Connect,
    /// `timeout connect`.
    ConnectTimeout,
    /// The backend closed or broke the protocol before or inside its answer.
    Backend,
    /// `timeout server`.
    BackendTimeout,
    /// The client went away first.
    ClientAbort,
    /// The client sent something that is not HTTP.
    ClientProtocol,
    /// `timeout client`.
    ClientTimeout,
    /// The system had no memory or watches (`fs.epoll.max_user_watches`) for a socket of ours.
    Resource,
}

impl ErrorCause {
    /// Number of causes.
    pub const COUNT: usize = 11;

    /// Every cause, in the order of the cells.
    pub const ALL: [Self; Self::COUNT] = [
        Self::NoBackend,
        Self::AllFull,
        Self::QueueTimeout,
        Self::Connect,
        Self::ConnectTimeout,
        Self::Backend,
        Self::BackendTimeout,
        Self::ClientAbort,
        Self::ClientProtocol,
        Self::ClientTimeout,
        Self::Resource,
    ];

    /// The label's value.
    pub fn label(self) -> &'static str {
        match self {
            Self::NoBackend => "no_backend",
            Self::AllFull => "all_full",
            Self::QueueTimeout => "queue_timeout",
            Self::Connect => "connect",
            Self::ConnectTimeout => "connect_timeout",
            Self::Backend => "backend",
            Self::BackendTimeout => "backend_timeout",
            Self::ClientAbort => "client_abort",
            Self::ClientProtocol => "client_protocol",
            Self::ClientTimeout => "client_timeout",
            Self::Resource => "resource",
        }
    }
}

impl ServiceCells {
    /// Counts a failure.
    pub fn error(&self, cause: ErrorCause) {
        if let Some(cell) = self.errors.get(cause as usize) {
            cell.add(1);
        }
    }

    /// Counts an answer by its class.
    pub fn response(&self, status: u16) {
        count_class(&self.responses, status);
    }
}

impl BackendCells {
    /// Counts an answer by its class.
    pub fn response(&self, status: u16) {
        count_class(&self.responses, status);
    }
}

fn count_class(cells: &[Cell; 6], status: u16) {
    let class = usize::from(status / 100);
    let index = if (1..=5).contains(&class) { class } else { 0 };
    if let Some(cell) = cells.get(index) {
        cell.add(1);
    }
}

/// Upper bounds of the latency buckets in microseconds; the last bucket is open.
pub const LATENCY_BOUNDS_US: [u64; 15] = [
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000,
    1_000_000, 5_000_000, 10_000_000,
];

/// A latency histogram with fixed buckets.
#[derive(Debug, Default)]
pub struct Histogram {
    /// One count per bound of [`LATENCY_BOUNDS_US`] (not cumulative), then the rest.
    pub buckets: [Cell; LATENCY_BOUNDS_US.len() + 1],
    /// Sum in microseconds.
    pub sum_us: Cell,
}

impl Histogram {
    /// Counts one observation.
    pub fn observe(&self, latency: Duration) {
        let us = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        let index = LATENCY_BOUNDS_US.partition_point(|bound| *bound < us);
        if let Some(cell) = self.buckets.get(index) {
            cell.add(1);
        }
        self.sum_us.add(us);
    }
}
