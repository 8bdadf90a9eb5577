//! Lulls: a stream of bulk that keeps up with its source rests for a moment, so that it finds more at a time.
//!
//! Who is as fast as the source is woken for every packet; a wake costs more than moving the packet does. Interrupts of a
//! network card are moderated for the same reason and about as long. Only streams that have lasted and are fast
//! ([`super::rate`]) rest, so messages and answers of a few megabytes are not late, and the end of a long one is by a lull
//! at most. The runtime's timers count milliseconds, in which such a stream would fill its socket: so each lull has a
//! timer of the kernel.

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
use tokio::time::Instant;

/// Lulls of a worker at once, each with a descriptor. More streams find enough without: each waits for the others' turns.
pub const MOST: usize = 4;

/// The system is asked again so long after it had no timer for us, as for pipes.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// The lulls of one worker.
#[derive(Debug)]
pub(crate) struct Lulls {
    /// How long each takes; zero: there are none.
    length: Duration,
    /// The system had none; it is asked again then.
    again: Option<Instant>,
    #[expect(
        clippy::vec_box,
        reason = "lent: a pointer moves, and a relay that does not rest has no room for more"
    )]
    idle: Vec<Box<Lull>>,
    /// Timers alive, lent or idle.
    alive: Rc<Cell<usize>>,
}

impl Lulls {
    /// Of so long, see `bulk_lull` in docs/configuration.md.
    pub(crate) fn new(length: Duration) -> Self {
        Self { length, again: None, idle: Vec::new(), alive: Rc::default() }
    }

    /// How many timers there are, lent or not.
    #[cfg(test)]
    pub(crate) fn alive(&self) -> usize {
        self.alive.get()
    }

    /// How many are lent.
    #[cfg(test)]
    pub(crate) fn lent(&self) -> usize {
        self.alive.get() - self.idle.len()
    }

    /// One that has begun, if there is one.
    pub(crate) fn begin(&mut self) -> Option<Box<Lull>> {
        let is_early = self.again.is_some_and(|again| Instant::now() < again);
        if self.length.is_zero() || is_early {
            return None;
        }
        let lull = match self.idle.pop() {
            Some(lull) => Ok(lull),
            None if self.alive.get() < MOST => Lull::new(&self.alive),
            None => return None,
        };
        let begun = lull.and_then(|lull| lull.begin(self.length).map(|()| lull));
        self.again = begun.as_ref().err().map(|error| {
            tracing::debug!(%error, "no lull");
            Instant::now() + ASK_AGAIN
        });
        begun.ok()
    }

    /// Takes back what is over.
    pub(crate) fn give(&mut self, lull: Option<Box<Lull>>) {
        self.idle.extend(lull);
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
    fn new(alive: &Rc<Cell<usize>>) -> io::Result<Box<Self>> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        #[expect(deprecated, reason = "sound for an owned descriptor; what follows it is unsafe")]
        let timer = AsyncFd::with_interest(timer, Interest::READABLE)?;
        alive.set(alive.get() + 1);
        Ok(Box::new(Self { timer, alive: Rc::clone(alive) }))
    }

    fn begin(&self, length: Duration) -> io::Result<()> {
        let once = Timespec { tv_sec: 0, tv_nsec: 0 };
        let length = Timespec::try_from(length).map_err(io::Error::other)?;
        let when = Itimerspec { it_interval: once, it_value: length };
        timerfd_settime(self.timer.get_ref(), TimerfdTimerFlags::empty(), &when)?;
        Ok(())
    }

    /// Ready when it is over.
    pub(crate) fn poll(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut over = ready!(self.timer.poll_read_ready(cx))?;
        // It need not be read: setting it anew forgets what it has counted, and the reactor reports each edge.
        over.clear_ready();
        Poll::Ready(Ok(()))
    }
}
