//! Origins and clients in one thread on one epoll: cheap enough that the proxy between them is what saturates.
//!
//! Every socket is a [`Peer`] in a slot. Events carry the slot and its generation, so that an event of a socket that
//! was closed in the same batch finds nobody. Level triggered: nothing is lost by reading once per event.

pub(crate) mod client;
pub(crate) mod http;
pub(crate) mod origin;
pub(crate) mod pace;
mod peer;
pub(crate) mod tally;

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};

use origin::Connection;
use pace::{Pace, Use};
pub(crate) use peer::{After, Peer};
use tally::{Seen, Tally};

/// One read of a bulk transfer at most; also what an origin writes at once.
const BUFFER: usize = 256 * 1024;

/// Events taken from the kernel at once.
const BATCH: usize = 256;

/// What all peers use while they are ready.
#[derive(Debug)]
pub(crate) struct Shared {
    /// Scratch space; nobody finds anything of his in it later.
    pub(crate) buffer: Box<[u8]>,
    /// What the clients count.
    pub(crate) tally: Tally,
    /// What the origins count, by their number.
    pub(crate) seen: Arc<Seen>,
    /// Accepted connections, to be registered after the batch.
    born: Vec<Peer>,
}

#[derive(Debug, Default)]
struct Slot {
    generation: u32,
    peer: Option<Peer>,
}

/// All sockets of one thread.
pub(crate) struct World {
    epoll: OwnedFd,
    events: Vec<epoll::Event>,
    slots: Vec<Slot>,
    free: Vec<usize>,
    /// Clients that could send another request, the one that was used last at the end.
    idle: VecDeque<u64>,
    /// When requests were due that found no client.
    waiting: VecDeque<Instant>,
    /// It asks for events again and again instead of sleeping: nobody pays for waking it.
    pub(crate) is_awake: bool,
    /// Counters and scratch space.
    pub(crate) shared: Shared,
}

impl World {
    /// A world without sockets.
    pub(crate) fn new(seen: Arc<Seen>) -> io::Result<Self> {
        Ok(Self {
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            events: Vec::with_capacity(BATCH),
            slots: Vec::new(),
            free: Vec::new(),
            idle: VecDeque::new(),
            waiting: VecDeque::new(),
            is_awake: false,
            shared: Shared {
                buffer: vec![b'x'; BUFFER].into_boxed_slice(),
                tally: Tally::default(),
                seen,
                born: Vec::new(),
            },
        })
    }

    /// Adds a peer.
    pub(crate) fn add(&mut self, peer: Peer) -> io::Result<u64> {
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot::default());
            self.slots.len() - 1
        });
        let Some(slot) = self.slots.get_mut(index) else {
            return Err(io::Error::other("no such slot"));
        };
        let token = token(index, slot.generation);
        let data = epoll::EventData::new_u64(token);
        epoll::add(&self.epoll, peer.fd(), data, peer.interest())?;
        slot.peer = Some(peer);
        Ok(token)
    }

    /// Ends all clients; origins stay, and lose their connections when the proxy notices.
    pub(crate) fn end_clients(&mut self) {
        self.idle.clear();
        self.waiting.clear();
        for index in 0..self.slots.len() {
            let is_client =
                self.slots.get(index).is_some_and(|s| matches!(s.peer, Some(Peer::Client(_))));
            if is_client {
                self.remove(index);
            }
        }
    }

    /// Clients that are connected, idle ones included.
    pub(crate) fn clients(&self) -> usize {
        let peers = self.slots.iter().filter_map(|s| s.peer.as_ref());
        peers.filter(|p| matches!(p, Peer::Client(_))).count()
    }

    /// Clients that wait for an answer.
    pub(crate) fn busy(&self) -> usize {
        self.clients() - self.idle.iter().filter(|t| self.is_alive(**t)).count()
    }

    /// Clients that have waited for an answer since before then.
    pub(crate) fn stalled(&self, since: Instant) -> usize {
        let peers = self.slots.iter().filter_map(|s| s.peer.as_ref());
        let waits = peers.filter_map(|p| match p {
            Peer::Client(client) => client.waits_since(),
            Peer::Listener(_) | Peer::Origin(_) => None,
        });
        waits.chain(self.waiting.iter().copied()).filter(|begun| *begun < since).count()
    }

    /// Handles events until `end`; with a pace, requests start when they are due.
    pub(crate) fn run(&mut self, end: Instant, mut pace: Option<&mut Pace>) -> io::Result<()> {
        loop {
            let now = Instant::now();
            if now >= end {
                return Ok(());
            }
            let mut wake = if self.is_awake { now } else { end };
            if let Some(pace) = &mut pace {
                while let Some(due) = pace.due(now) {
                    match pace.connection() {
                        Use::Any => self.waiting.push_back(due),
                        Use::Kept if self.again(due) => {}
                        how @ (Use::Kept | Use::New) => {
                            self.connect(pace, how == Use::Kept, due);
                        }
                    }
                }
                while !self.waiting.is_empty() && !self.idle.is_empty() {
                    self.idle.rotate_left(1);
                    if let Some(due) = self.waiting.pop_front()
                        && !self.again(due)
                    {
                        self.waiting.push_front(due);
                    }
                }
                // Latency is to be the proxy's: the load never sleeps.
                wake = if pace.is_open() { now } else { wake.min(pace.next()) };
            }
            self.turn(wake.saturating_duration_since(now))?;
        }
    }

    /// Waits for events, at most so long, and handles them.
    pub(crate) fn turn(&mut self, timeout: Duration) -> io::Result<()> {
        let timeout = Timespec::try_from(timeout).map_err(io::Error::other)?;
        let mut events = std::mem::take(&mut self.events);
        events.clear();
        match epoll::wait(&self.epoll, spare_capacity(&mut events), Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        for event in &events {
            let (data, flags) = (event.data.u64(), event.flags);
            self.ready(data, flags)?;
        }
        self.events = events;
        while let Some(peer) = self.shared.born.pop() {
            self.add(peer)?;
        }
        Ok(())
    }

    fn ready(&mut self, token: u64, flags: epoll::EventFlags) -> io::Result<()> {
        let (index, generation) = parts(token);
        let Some(slot) = self.slots.get_mut(index) else {
            return Ok(());
        };
        if slot.generation != generation {
            return Ok(());
        }
        let Some(peer) = &mut slot.peer else {
            return Ok(());
        };
        let data = epoll::EventData::new_u64(token);
        match peer.ready(&mut self.shared, flags) {
            After::Keep => {}
            After::Interest(flags) => epoll::modify(&self.epoll, peer.fd(), data, flags)?,
            After::Reopened => epoll::add(&self.epoll, peer.fd(), data, peer.interest())?,
            After::Idle => self.idle.push_back(token),
            After::End => self.remove(index),
        }
        Ok(())
    }

    /// Starts another request, due then, on the connection that was used last; false: none is idle.
    pub(crate) fn again(&mut self, due: Instant) -> bool {
        while let Some(token) = self.idle.pop_back() {
            let (index, generation) = parts(token);
            if let Some(slot) = self.slots.get_mut(index)
                && slot.generation == generation
                && let Some(Peer::Client(client)) = &mut slot.peer
            {
                if let Err(error) = client.again(due) {
                    self.shared.tally.fail(&format!("kept connection: {error}"));
                    self.remove(index);
                }
                return true;
            }
        }
        false
    }

    fn connect(&mut self, pace: &Pace, is_kept: bool, due: Instant) {
        let added = pace.client(is_kept, due).and_then(|client| self.add(Peer::Client(client)));
        if let Err(error) = added {
            self.shared.tally.fail(&format!("new connection: {error}"));
        }
    }

    fn is_alive(&self, token: u64) -> bool {
        let (index, generation) = parts(token);
        let slot = self.slots.get(index);
        slot.is_some_and(|s| s.generation == generation && s.peer.is_some())
    }

    /// Closing its socket also takes it from the epoll.
    fn remove(&mut self, index: usize) {
        if let Some(slot) = self.slots.get_mut(index) {
            slot.peer = None;
            slot.generation = slot.generation.wrapping_add(1);
            self.free.push(index);
        }
    }
}

impl Shared {
    /// Registers an accepted connection after the batch.
    pub(crate) fn give_birth(&mut self, connection: Connection) {
        self.born.push(Peer::Origin(connection));
    }
}

fn token(index: usize, generation: u32) -> u64 {
    let index = u32::try_from(index).unwrap_or(u32::MAX);
    (u64::from(generation) << 32) | u64::from(index)
}

fn parts(token: u64) -> (usize, u32) {
    let index = usize::try_from(token & u64::from(u32::MAX)).unwrap_or(usize::MAX);
    (index, u32::try_from(token >> 32).unwrap_or(u32::MAX))
}
