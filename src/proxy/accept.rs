//! Accepting: limits, shortage of descriptors, and fair shares between workers.
//!
//! Every worker accepts from the same listening socket. At a limit nobody accepts: the kernel's queue holds what comes,
//! as with haproxy. Without descriptors accepting pauses for [`SHORTAGE_PAUSE`] instead of spinning. A worker that has
//! clearly more connections than another hands the new one over before it has touched it.

use std::cell::Cell;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::net::SocketFlags;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::Instant;

use super::door::{Door, DoorId};
use super::local::Local;
use super::peer::{Entrance, Peer};
use super::shared::Listener;
use super::slot::Slot;
use crate::telemetry::cells::WorkerId;

/// How long accepting rests when the process (EMFILE) or host (ENFILE) has no descriptor left: long enough not to
/// spin, short enough that a waiting client (connect timeouts are seconds) does not give up.
pub const SHORTAGE_PAUSE: Duration = Duration::from_millis(100);

/// Connections accepted before others on the same worker get their turn.
const BURST: usize = 32;

/// A limit may be raised by a new configuration while we wait for somebody to leave: look again.
const LIMIT_RECHECK: Duration = Duration::from_secs(1);

/// A client's connection that nobody has read from yet.
#[derive(Debug)]
pub(crate) struct Accepted {
    pub(crate) stream: TcpStream,
    pub(crate) peer: Peer,
    pub(crate) entrance: Entrance,
    pub(crate) slot: Slot,
}

/// A listening socket as an acceptor of the current runtime uses it.
///
/// # Errors
/// When it cannot be registered with the reactor.
pub(crate) fn register(socket: TcpListener) -> io::Result<AsyncFd<TcpListener>> {
    #[expect(
        deprecated,
        reason = "its successor is unsafe for the sake of types that lie about their descriptor; std's does not"
    )]
    AsyncFd::with_interest(socket, Interest::READABLE)
}

/// Accepts until told to stop; what waits in the queue at that moment is still taken.
pub(crate) async fn run(
    local: Rc<Local>,
    (listener, door): (Arc<Listener>, DoorId),
    socket: Rc<AsyncFd<TcpListener>>,
) {
    let stop = listener.stop_accepting.clone();
    let acceptor = Acceptor { local, listener, door, socket, stopped: Cell::new(false) };
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            end = acceptor.round() => if let Err(error) = end {
                // The reactor is gone: the runtime is shutting down.
                tracing::debug!(%error, "acceptor ends");
                return;
            },
        }
    }
    while matches!(acceptor.burst(), End::Turn) {}
}

struct Acceptor {
    local: Rc<Local>,
    listener: Arc<Listener>,
    door: DoorId,
    socket: Rc<AsyncFd<TcpListener>>,
    /// Stopped by a limit or a shortage, and not accepted since.
    stopped: Cell<bool>,
}

impl Drop for Acceptor {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.local.shared.count_panic();
            tracing::error!(service = %self.listener.service.name, worker = self.local.worker.0, "acceptor panicked");
        }
    }
}

/// Why a burst ended.
enum End {
    /// Nobody waits.
    Empty,
    /// Others should have their turn.
    Turn,
    /// So many may be open and are.
    GlobalLimit(u32),
    /// So many of this service may be open and are.
    ServiceLimit(u32),
    /// So many that came through this socket may be open and are.
    DoorLimit(u32),
    /// No descriptors.
    Shortage(io::Error),
}

impl Acceptor {
    /// Waits for connections and takes a burst of them.
    async fn round(&self) -> io::Result<()> {
        let mut ready = self.socket.readable().await?;
        match self.burst() {
            End::Empty => ready.clear_ready(),
            End::Turn => tokio::task::yield_now().await,
            End::GlobalLimit(limit) => {
                self.count_refused();
                let wait = self.local.shared.gate.wait_below(limit);
                // Elapsed is the recheck.
                drop(tokio::time::timeout(LIMIT_RECHECK, wait).await);
            }
            End::ServiceLimit(limit) => {
                self.count_refused();
                let wait = self.listener.gate.wait_below(limit);
                drop(tokio::time::timeout(LIMIT_RECHECK, wait).await);
            }
            End::DoorLimit(max) => {
                self.count_refused();
                if let Some(limit) = self.door().and_then(|door| door.limit.as_ref()) {
                    let wait = limit.gate.wait_below(max);
                    drop(tokio::time::timeout(LIMIT_RECHECK, wait).await);
                }
            }
            End::Shortage(error) => {
                self.count_refused();
                self.local.shared.count_accept_pause();
                warn_rarely(&self.listener, &error);
                tokio::time::sleep(SHORTAGE_PAUSE).await;
            }
        }
        Ok(())
    }

    fn burst(&self) -> End {
        let global = self.local.shared.settings.max_connections;
        let own = self.listener.service.settings.load().max_connections;
        let Some(door) = self.door() else {
            return End::Empty;
        };
        for _ in 0..BURST {
            if !self.local.shared.gate.try_enter(global) {
                return End::GlobalLimit(global.unwrap_or(u32::MAX));
            }
            if !self.listener.gate.try_enter(own) {
                self.local.shared.gate.leave();
                return End::ServiceLimit(own.unwrap_or(u32::MAX));
            }
            if let Err(max) = door.try_enter() {
                self.listener.gate.leave();
                self.local.shared.gate.leave();
                return End::DoorLimit(max);
            }
            match accept(self.socket.get_ref(), door.is_unix()) {
                Ok((stream, peer)) => self.place(stream, peer),
                Err(error) => {
                    door.leave();
                    self.listener.gate.leave();
                    self.local.shared.gate.leave();
                    if error.kind() == io::ErrorKind::WouldBlock {
                        return End::Empty;
                    }
                    if is_shortage(&error) {
                        return End::Shortage(error);
                    }
                    // The connection died in the queue (ECONNABORTED and its like): the next one may be fine.
                    tracing::debug!(%error, "accept");
                }
            }
        }
        End::Turn
    }

    /// Serves here, or where clearly less is to do.
    fn place(&self, stream: TcpStream, peer: Peer) {
        let shared = &self.local.shared;
        let worker = self.least_loaded().unwrap_or(self.local.worker);
        let slot = Slot::take(shared, (&self.listener, self.door), worker);
        let entrance = Entrance::from(self.door);
        let accepted = Accepted { stream, peer, entrance, slot };
        self.stopped.set(false);
        if worker == self.local.worker {
            self.local.start(accepted);
        } else if let Some(seat) = shared.seat(worker) {
            // A worker that has ended: the process is stopping, the connection closes with the message.
            drop(seat.handovers.send(accepted));
        }
    }

    /// Another worker, if taking the connection here would leave it clearly behind.
    fn least_loaded(&self) -> Option<WorkerId> {
        let seats = &self.local.shared.seats;
        let loads = seats.iter().map(|seat| seat.open.load(Ordering::SeqCst));
        let (index, least) = loads.enumerate().min_by_key(|(_, open)| *open)?;
        let mine = self.local.shared.seat(self.local.worker)?;
        let mine = mine.open.load(Ordering::SeqCst);
        (mine + 1 > least + tolerance(least)).then_some(WorkerId(index))
    }

    /// Once per stop, however long it lasts: those who wait are in the kernel's queue, where nobody counts them.
    fn count_refused(&self) {
        if !self.stopped.replace(true) {
            self.cells().connections_refused.add(1);
        }
    }

    fn door(&self) -> Option<&Door> {
        self.listener.door(self.door)
    }

    fn cells(&self) -> &crate::telemetry::cells::ServiceCells {
        self.listener.service.cells.of(self.local.worker)
    }
}

/// How many connections more than the least loaded worker one may have before it hands over: 1 where each counts
/// (8 long connections on 2 workers end 4/4), an eighth where there are many, because a hand-over costs a wake-up of
/// another thread.
fn tolerance(least: u32) -> u32 {
    (least / 8).max(1)
}

/// A unix socket's descriptor is carried by TCP's type: reading and writing are the same.
fn accept(socket: &TcpListener, is_unix: bool) -> io::Result<(TcpStream, Peer)> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    if is_unix {
        let fd = rustix::net::accept_with(socket.as_fd(), flags)?;
        return Ok((TcpStream::from(fd), Peer::UNIX));
    }
    let (fd, peer) = rustix::net::acceptfrom_with(socket.as_fd(), flags)?;
    let stream = TcpStream::from(fd);
    let peer = match peer.and_then(|any| SocketAddr::try_from(any).ok()) {
        Some(peer) => peer,
        None => stream.peer_addr()?,
    };
    Ok((stream, peer.into()))
}

pub(crate) fn is_shortage(error: &io::Error) -> bool {
    use rustix::io::Errno;
    [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM]
        .iter()
        .any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

/// One line a second over all workers: a shortage hits every listener at once.
fn warn_rarely(listener: &Listener, error: &io::Error) {
    static SECOND: AtomicU64 = AtomicU64::new(u64::MAX);
    static START: std::sync::LazyLock<Instant> = std::sync::LazyLock::new(Instant::now);
    let now = START.elapsed().as_secs();
    if SECOND.swap(now, Ordering::Relaxed) != now {
        tracing::warn!(
            service = %listener.service.name, %error, pause = ?SHORTAGE_PAUSE, "accepting pauses: raise the limit on descriptors",
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_connections_are_shared_exactly_and_many_roughly() {
        assert_eq!(tolerance(0), 1);
        assert_eq!(tolerance(15), 1);
        assert_eq!(tolerance(80), 10);
    }

    #[test]
    fn only_want_of_resources_pauses() {
        let errno = |e: rustix::io::Errno| io::Error::from_raw_os_error(e.raw_os_error());
        assert!(is_shortage(&errno(rustix::io::Errno::MFILE)));
        assert!(is_shortage(&errno(rustix::io::Errno::NFILE)));
        assert!(!is_shortage(&errno(rustix::io::Errno::CONNABORTED)));
    }
}
