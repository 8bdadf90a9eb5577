//! An open-loop load: requests are due on schedule, whatever became of the ones before. Either they wait for one of the
//! connections that are there, or half of them go over kept connections and half over new ones. Latency counts from when a request was due, so a stall shows in all that it delays.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::client::{Client, Task};
use super::http::{Ask, Exchange};

/// Which connection a request takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    /// The next that is idle, and waits for it.
    Any,
    /// One that is idle, or a new one that is kept.
    Kept,
    /// One of its own.
    New,
}

/// The schedule.
#[derive(Debug)]
pub(crate) struct Pace {
    to: SocketAddr,
    every: Duration,
    next: Instant,
    connection: Use,
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
            connection: Use::New,
            asks: [false, true].map(|is_last| Exchange::SMALL.ask(is_last)),
        }
    }

    /// `per_second` requests from now on, over the clients that are there already.
    pub(crate) fn over_clients(to: SocketAddr, per_second: u32) -> Self {
        Self { connection: Use::Any, ..Self::new(to, per_second) }
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

    /// Whether requests wait for clients that are there already.
    pub(super) fn is_open(&self) -> bool {
        self.connection == Use::Any
    }

    /// Where the one that is due now goes: kept connections and new ones take turns.
    pub(super) fn connection(&mut self) -> Use {
        self.connection = match self.connection {
            Use::Any => Use::Any,
            Use::Kept => Use::New,
            Use::New => Use::Kept,
        };
        self.connection
    }

    pub(super) fn client(&self, kept: bool, due: Instant) -> io::Result<Client> {
        let [keep, close] = &self.asks;
        let (task, ask) = if kept { (Task::Kept, keep) } else { (Task::Once, close) };
        Client::connect(self.to, task, ask.clone(), due)
    }
}
