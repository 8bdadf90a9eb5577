//! The data plane's threads: who they are, how they are told what to serve, how they stop.
//!
//! Each worker is one thread with one runtime of its own: a connection lives and dies on the thread that serves it, so
//! upstream pools and buffers need no locks. The control thread holds [`Workers`]; it sends listeners, waits for the
//! acknowledgement, and drains. Open connections are counted per worker in shared atomics, so that an acceptor can see
//! that another worker has less to do and hand a connection over.

use std::collections::HashMap;
use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::Service;
use super::listener::Listening;
use super::pulse::Pulse;
use super::shared::{Listener, Shared};
use super::thread::{Command, Thread, worker_gone};
use crate::telemetry::cells::WorkerId;

/// How often a worker proves that it is alive and drops idle upstream connections.
pub const TICK: Duration = Duration::from_secs(1);

/// What all workers are told at start.
#[derive(Clone, Copy, Debug, Default)]
pub struct WorkerSettings {
    /// `global maxconn`: client connections over all services. Unset: no limit but the descriptors.
    pub max_connections: Option<u32>,
    /// Pipes that each worker may have for bulk TCP; 0: bytes are always copied (`nosplice`). Unset:
    /// [`MAX_PIPES`](super::pipe::MAX_PIPES).
    pub max_pipes: Option<u32>,
    /// A worker offers its core to others before it sleeps (module `give_way`).
    pub gives_way: bool,
    /// How long a fast stream of bulk rests when it finds little (module `lull`); zero: never.
    pub lull: Duration,
    /// Bytes in a millisecond from which a stream of bulk is fast ([`FAST`](super::rate::FAST)); zero: all are.
    pub fast: u32,
}

/// Identity of an added listener, chosen by the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ListenerId(pub u64);

/// How a drain went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DrainReport {
    /// Connections open when the drain began.
    pub open: u32,
    /// Connections that the deadline cut.
    pub cut: u32,
    /// How long it took.
    pub took: Duration,
}

impl DrainReport {
    /// True when nothing was cut.
    pub fn is_complete(&self) -> bool {
        self.cut == 0
    }
}

/// How long HTTP connections at rest may stay when their address goes on to be served, here or by another process: their
/// next request is answered with `Connection: close`. Long enough for a client in use to come by, so that no request
/// meets a close on its way.
pub const REST: Duration = Duration::from_secs(5);

/// The data plane, seen from the control thread. Dropping it ends the threads at once, connections included.
#[derive(Debug)]
pub struct Workers {
    shared: Arc<Shared>,
    threads: Vec<Thread>,
    listeners: Mutex<HashMap<ListenerId, Arc<Listener>>>,
}

impl Workers {
    /// Starts `count` (at least 1) threads named `worker-N`.
    ///
    /// # Errors
    /// When a thread or its runtime cannot be had; those already started are ended.
    pub fn start(count: usize, settings: WorkerSettings) -> io::Result<Self> {
        let (shared, handovers) = Shared::new(count.max(1), settings);
        let threads = handovers
            .into_iter()
            .enumerate()
            .map(|(index, handovers)| Thread::start(WorkerId(index), &shared, handovers))
            .collect::<io::Result<_>>()?;
        Ok(Self { shared, threads, listeners: Mutex::default() })
    }

    /// Serves `service` on already listening `sockets`; returns when every worker accepts.
    ///
    /// # Errors
    /// When a socket cannot be shared or registered: nothing is left behind then.
    pub async fn add_listener(
        &self,
        id: ListenerId,
        sockets: Vec<Listening>,
        service: Arc<Service>,
    ) -> io::Result<()> {
        let kept = duplicate(&sockets)?;
        let listener = Arc::new(Listener::new(service, kept));
        // Known before the first worker accepts: a stop in between must close it, too.
        let old = self.lock().insert(id, Arc::clone(&listener));
        let spread = self.spread(&listener, &sockets).await;
        if spread.is_err() {
            let former = old.map(|old| (id, old));
            {
                let mut listeners = self.lock();
                listeners.remove(&id);
                listeners.extend(former);
            }
            listener.close().await;
        } else if let Some(old) = old {
            old.let_rest(REST);
            old.close().await;
        }
        spread
    }

    async fn spread(&self, listener: &Arc<Listener>, sockets: &[Listening]) -> io::Result<()> {
        for thread in &self.threads {
            let sockets = duplicate(sockets)?;
            let (done, added) = oneshot::channel();
            let listener = Arc::clone(listener);
            thread
                .commands
                .send(Command::Add { listener, sockets, done })
                .map_err(|_closed| worker_gone())?;
            added.await.map_err(|_closed| worker_gone())??;
        }
        Ok(())
    }

    /// Stops accepting for `id`; returns when its sockets are closed. Connections under way finish: HTTP closes after
    /// the next answer, or [`REST`], TCP lasts until either side ends it. False when there is no such listener.
    pub async fn remove_listener(&self, id: ListenerId) -> bool {
        let removed = self.lock().remove(&id);
        match removed {
            Some(listener) => {
                listener.let_rest(REST);
                listener.close().await;
                true
            }
            None => false,
        }
    }

    /// Soft stop: accepts no more, lets requests finish (`Connection: close` on the last answer, idle connections
    /// closed at once) and TCP connections run until `deadline`, then closes what is left and ends the threads.
    pub async fn drain(self, deadline: Duration) -> DrainReport {
        self.drain_resting(deadline, Duration::ZERO).await
    }

    /// As [`Workers::drain`], but HTTP connections at rest have `rest` for one more request (answered with
    /// `Connection: close`) before they are closed. For a hand-over: a client may be writing its next request at the
    /// very moment of the close, and would be reset although somebody serves its address.
    pub async fn drain_resting(self, deadline: Duration, rest: Duration) -> DrainReport {
        let start = Instant::now();
        let open = self.open_connections();
        let listeners: Vec<_> = self.lock().drain().map(|(_, listener)| listener).collect();
        for listener in &listeners {
            listener.let_rest(rest);
            listener.close().await;
        }
        let all_done = async {
            // Also those that are on their way from one worker to another and in no task yet.
            while self.shared.gate.open() > 0 {
                self.shared.gate.wait_below(1).await;
            }
            for seat in &self.shared.seats {
                seat.connections.close();
                seat.connections.wait().await;
            }
        };
        let complete = tokio::time::timeout(deadline, all_done).await.is_ok();
        let cut = if complete { 0 } else { self.open_connections() };
        for Thread { commands, handle, gone } in self.threads {
            drop(commands);
            // An error means that the thread is gone already.
            drop(gone.await);
            if handle.join().is_err() {
                tracing::error!("worker thread panicked");
            }
        }
        DrainReport { open, cut, took: start.elapsed() }
    }

    /// Duplicates of every listening socket.
    ///
    /// # Errors
    /// When there is no descriptor for one.
    pub fn listening(&self) -> io::Result<Vec<Listening>> {
        let mut all = Vec::new();
        for listener in self.lock().values() {
            all.append(&mut listener.sockets()?);
        }
        Ok(all)
    }

    /// Number of threads.
    pub fn count(&self) -> usize {
        self.threads.len()
    }

    /// Client connections open now, over all workers and services.
    pub fn open_connections(&self) -> u32 {
        self.open_per_worker().iter().sum()
    }

    /// Client connections open (or on their way) per worker.
    pub fn open_per_worker(&self) -> Vec<u32> {
        let seats = self.shared.seats.iter();
        seats.map(|s| s.open.load(Ordering::SeqCst)).collect()
    }

    /// Connection tasks that panicked; each ended its own connection only.
    pub fn panics(&self) -> u64 {
        self.shared.panics()
    }

    /// How often accepting paused because the process or the host had no descriptor left.
    pub fn accept_pauses(&self) -> u64 {
        self.shared.accept_pauses()
    }

    /// Signs of life of all threads, for whoever shows them.
    pub fn pulse(&self) -> Pulse {
        Pulse(Arc::clone(&self.shared))
    }

    /// Time since each worker's last tick; more than a few [`TICK`]s means that its thread is stuck.
    pub fn silent_for(&self) -> Vec<Duration> {
        self.shared.silent_for()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<ListenerId, Arc<Listener>>> {
        self.listeners.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn duplicate(sockets: &[Listening]) -> io::Result<Vec<Listening>> {
    sockets.iter().map(Listening::try_clone).collect()
}
