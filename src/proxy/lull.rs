//! Lulls: a stream of bulk that keeps up with its source rests for a moment, so that it finds more at a time.
//!
//! Who is as fast as the source is woken for every packet; a wake costs more than moving the packet does. Interrupts of a
//! network card are moderated for the same reason and about as long. Only streams that have lasted and are fast
//! ([`super::rate`]) rest, so an answer of a few megabytes is never late; a message never is. The runtime's timers count
//! milliseconds, in which such a stream would fill its socket: so each lull has a timer of the kernel.

use std::cell::Cell;
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// How long. Measured (CPU ms per GB of one stream on loopback): none 135, 30 us 116, 100 us 120. At 40 Gbit/s 100 us are 500 kB, a
/// tenth of what a socket may hold by default (`net.ipv4.tcp_rmem`). What others call this time: `rx-usecs` of ethtool.
pub(crate) const LENGTH: Duration = Duration::from_micros(80);

/// Lulls of a worker at once, each with a descriptor. More streams find enough without: each waits for the others' turns.
const MOST: usize = 4;

/// The lulls of one worker.
#[derive(Debug, Default)]
pub(crate) struct Lulls {
    idle: Vec<Lull>,
    /// Timers alive, lent or idle.
    alive: Rc<Cell<usize>>,
}

impl Lulls {
    /// One that has begun, if there is one.
    pub(crate) fn begin(&mut self) -> Option<Lull> {
        let begun = match self.idle.pop() {
            Some(lull) => lull.begin().map(|()| lull),
            None if self.alive.get() < MOST => {
                Lull::new(&self.alive).and_then(|lull| lull.begin().map(|()| lull))
            }
            None => return None,
        };
        begun.inspect_err(|error| tracing::debug!(%error, "no lull")).ok()
    }

    /// Takes back, over or not.
    pub(crate) fn give(&mut self, lull: Lull) {
        self.idle.push(lull);
    }
}

/// A moment's rest.
#[derive(Debug)]
pub(crate) struct Lull {
    timer: AsyncFd<OwnedFd>,
    alive: Rc<Cell<usize>>,
}

impl Drop for Lull {
    fn drop(&mut self) {
        self.alive.set(self.alive.get().saturating_sub(1));
    }
}

impl Lull {
    fn new(alive: &Rc<Cell<usize>>) -> io::Result<Self> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        #[expect(deprecated, reason = "sound for an owned descriptor; what follows it is unsafe")]
        let timer = AsyncFd::with_interest(timer, Interest::READABLE)?;
        alive.set(alive.get() + 1);
        Ok(Self { timer, alive: Rc::clone(alive) })
    }

    fn begin(&self) -> io::Result<()> {
        let once = Timespec { tv_sec: 0, tv_nsec: 0 };
        let length = Timespec::try_from(LENGTH).map_err(io::Error::other)?;
        let when = Itimerspec { it_interval: once, it_value: length };
        timerfd_settime(self.timer.get_ref(), TimerfdTimerFlags::empty(), &when)?;
        Ok(())
    }

    /// Ready when it is over; that may be early, if a former one was not waited for.
    pub(crate) fn poll(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut over = ready!(self.timer.poll_read_ready(cx))?;
        // It need not be read: setting it anew forgets what it has counted, and the reactor reports each edge.
        over.clear_ready();
        Poll::Ready(Ok(()))
    }
}
