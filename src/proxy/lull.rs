//! Lulls: a stream of bulk that keeps up with its source rests for a moment, so that it finds more at a time.
//!
//! Who is as fast as the source is woken for every packet; a wake costs more than moving the packet does. Interrupts of a
//! network card are moderated for the same reason and about as long. Only streams that have lasted and are fast
//! ([`super::rate`]) rest, so messages and answers of a few megabytes are not late, and the end of a long one is by a lull
//! at most. The runtime's timers count milliseconds, in which such a stream would fill its socket: so each lull has a
//! timer of the kernel.

use std::io;
use std::os::fd::OwnedFd;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::keeper::{Keeper, Place};

/// Lulls of a worker at once, each with a descriptor; all are kept. More streams find enough without: each waits for the
/// others' turns.
pub const MOST: u32 = 4;

/// The lulls of one worker.
#[derive(Debug)]
pub(crate) struct Lulls {
    /// How long each takes; zero: there are none.
    length: Duration,
    /// Boxed: lent. A pointer moves, and a relay that does not rest has no room for more.
    timers: Keeper<Box<Lull>>,
}

impl Lulls {
    /// Of so long, see `bulk_lull` in docs/configuration.md.
    pub(crate) fn new(length: Duration) -> Self {
        Self { length, timers: Keeper::new(MOST, MOST as usize) }
    }

    /// How many timers there are, lent or not.
    #[cfg(test)]
    pub(crate) fn alive(&self) -> u32 {
        self.timers.alive()
    }

    /// How many are lent.
    #[cfg(test)]
    pub(crate) fn lent(&self) -> u32 {
        self.timers.lent()
    }

    /// One that has begun, if there is one.
    pub(crate) fn begin(&mut self) -> Option<Box<Lull>> {
        if self.length.is_zero() {
            return None;
        }
        let lull = self.timers.take(Lull::new)?;
        match lull.begin(self.length) {
            Ok(()) => Some(lull),
            Err(error) => {
                self.timers.refused(&error);
                None
            }
        }
    }

    /// Takes back what is over.
    pub(crate) fn give(&mut self, lull: Option<Box<Lull>>) {
        if let Some(lull) = lull {
            self.timers.give(lull);
        }
    }
}

/// A moment's rest.
#[derive(Debug)]
pub(crate) struct Lull {
    timer: AsyncFd<OwnedFd>,
    #[expect(dead_code, reason = "held: it counts as long as the timer lives")]
    place: Place,
}

impl Lull {
    fn new(place: Place) -> io::Result<Box<Self>> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        #[expect(deprecated, reason = "sound for an owned descriptor; what follows it is unsafe")]
        let timer = AsyncFd::with_interest(timer, Interest::READABLE)?;
        Ok(Box::new(Self { timer, place }))
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
