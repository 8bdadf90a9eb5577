//! An open-loop load: requests are due on schedule, whatever became of the ones before. Half of them go over kept
//! connections, half over new ones. Latency counts from when a request was due, so a stall shows in all that it delays.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::client::{Client, Task};
use super::http::{Ask, Exchange};

/// The schedule.
#[derive(Debug)]
pub(crate) struct Pace {
    to: SocketAddr,
    every: Duration,
    next: Instant,
    kept: bool,
    /// For a connection that is kept, and for one of its own.
    asks: [Ask; 2],
}

impl Pace {
    /// `per_second` requests from now on.
    pub(crate) fn new(to: SocketAddr, per_second: u32) -> Self {
        Self {
            to,
            every: Duration::from_secs(1) / per_second.max(1),
            next: Instant::now(),
            kept: false,
            asks: [false, true].map(|is_last| Exchange::SMALL.ask(is_last)),
        }
    }

    /// The next request that is due by now.
    pub(super) fn due(&mut self, now: Instant) -> Option<Instant> {
        let due = self.next;
        (due <= now).then(|| {
            self.next += self.every;
            due
        })
    }

    /// When the next one is due.
    pub(super) fn next(&self) -> Instant {
        self.next
    }

    /// Whether the one that is due now goes over a kept connection.
    pub(super) fn is_kept(&mut self) -> bool {
        self.kept = !self.kept;
        self.kept
    }

    pub(super) fn client(&self, kept: bool, due: Instant) -> io::Result<Client> {
        let [keep, close] = &self.asks;
        let (task, ask) = if kept { (Task::Kept, keep) } else { (Task::Once, close) };
        Client::connect(self.to, task, ask.clone(), due)
    }
}
