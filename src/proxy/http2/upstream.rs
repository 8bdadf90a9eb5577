//! Connections to backends on behalf of HTTP/2, per worker: shared ones to HTTP/2 backends, idle ones to HTTP/1 backends.
//!
//! To an HTTP/2 backend there is one connection until its streams are used up, then another. Who finds none opens one; those
//! who come meanwhile wait for it instead of opening their own.

use std::cell::Cell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use h2::client::SendRequest;
use tokio::sync::Notify;

use super::plain::Plains;
use super::settings::IDLE;
use crate::dial::header::Whose;
use crate::dial::{Address, Way};
use crate::endpoint::ServiceName;
use crate::lb::BackendId;
use crate::lb::lease::Lease;
use crate::lb::snapshot::{Member, Snapshot};
use crate::proxy::http::pool;
use crate::proxy::local::Local;
use crate::proxy::millis::Millis;

/// To whom a connection goes.
#[derive(Clone, Debug)]
pub(super) struct Key {
    pub(super) id: BackendId,
    pub(super) addr: Address,
    way: Option<Arc<Way>>,
    /// Whose, where the connection says so when it begins: only that client's requests go over it.
    whose: Option<Whose>,
    pub(super) service: ServiceName,
}

impl Key {
    /// For a request of the client that `whose` tells about.
    pub(super) fn of(lease: &Lease, service: &ServiceName, whose: Whose) -> Self {
        Self {
            id: lease.backend().id,
            addr: lease.addr().clone(),
            way: lease.way().cloned(),
            whose: lease.header().map(|_| whose),
            service: service.clone(),
        }
    }

    /// What those who want the same wait for.
    fn opened(&self) -> Opened {
        (self.id, self.whose)
    }

    /// True when a connection that was opened for `self` will do for `other`.
    pub(super) fn fits(&self, other: &Self) -> bool {
        // Who has no address is not the same as another who has none.
        let is_nobody = self.whose == Some(Whose::Unknown);
        self.addr == other.addr && self.whose == other.whose && !is_nobody && self.way == other.way
    }
}

/// What is being opened: to whom, and for whom if that is said.
type Opened = (BackendId, Option<Whose>);

/// A connection to an HTTP/2 backend.
#[derive(Debug)]
pub(super) struct Shared {
    key: Key,
    pub(super) sender: SendRequest<Bytes>,
    streams: Cell<usize>,
    /// The backend takes no more streams, or the connection has ended.
    is_over: Rc<Cell<bool>>,
    idle_since: Cell<Millis>,
}

impl Shared {
    /// `is_over` is also set by whoever runs the connection.
    pub(super) fn new(key: Key, sender: SendRequest<Bytes>, is_over: &Rc<Cell<bool>>) -> Rc<Self> {
        let idle_since = Cell::new(Millis::NEVER);
        Rc::new(Self {
            key,
            sender,
            streams: Cell::new(0),
            is_over: Rc::clone(is_over),
            idle_since,
        })
    }

    /// No stream may be begun over it any more.
    pub(super) fn retire(&self) {
        self.is_over.set(true);
    }

    fn has_room(&self, max: usize) -> bool {
        if self.is_over.get() || self.has_ended() {
            self.retire();
            return false;
        }
        self.streams.get() < max.min(self.sender.current_max_send_streams())
    }

    /// True when the backend has gone or said that it goes: what is under way may end, but nothing begins.
    fn has_ended(&self) -> bool {
        // A fresh handle has nothing pending: it is ready, or will never be.
        let mut cx = Context::from_waker(Waker::noop());
        matches!(self.sender.clone().poll_ready(&mut cx), Poll::Ready(Err(_)))
    }
}

/// One stream of a shared connection: counted until dropped.
#[derive(Debug)]
pub(super) struct InUse {
    pub(super) shared: Rc<Shared>,
    local: Rc<Local>,
}

impl InUse {
    fn new(shared: &Rc<Shared>, local: &Rc<Local>) -> Self {
        shared.streams.set(shared.streams.get() + 1);
        Self { shared: Rc::clone(shared), local: Rc::clone(local) }
    }
}

impl Drop for InUse {
    fn drop(&mut self) {
        let left = self.shared.streams.get().saturating_sub(1);
        self.shared.streams.set(left);
        self.shared.idle_since.set(self.local.clock.now());
    }
}

/// A connection being opened, for those who wait for it.
#[derive(Debug, Default)]
pub(super) struct Opening {
    over: Cell<bool>,
    succeeded: Cell<bool>,
    notify: Notify,
}

impl Opening {
    /// Waits until it is over; true when there is a connection.
    pub(super) async fn wait(&self) -> bool {
        let notified = self.notify.notified();
        if !self.over.get() {
            notified.await;
        }
        self.succeeded.get()
    }

    fn end(&self, succeeded: bool) {
        self.succeeded.set(succeeded);
        self.over.set(true);
        self.notify.notify_waiters();
    }
}

/// The right to open a connection while others wait. Dropping it tells them that there is none.
#[derive(Debug)]
pub(super) struct Opener {
    key: Opened,
    opening: Rc<Opening>,
    local: Rc<Local>,
}

impl Opener {
    /// True when it is this backend's connection that others wait for.
    pub(super) fn is_for(&self, key: &Key) -> bool {
        self.key == key.opened()
    }

    /// It stands.
    pub(super) fn succeed(self) {
        self.opening.succeeded.set(true);
    }
}

impl Drop for Opener {
    fn drop(&mut self) {
        self.local.upstreams2.borrow_mut().openings.remove(&self.key);
        self.opening.end(self.opening.succeeded.get());
    }
}

/// What [`Upstreams::share`] finds.
pub(super) enum Found {
    /// Room on a connection.
    Room(InUse),
    /// Somebody opens one.
    Opening(Rc<Opening>),
    /// Nothing: whoever asked opens one.
    Nothing(Opener),
}

/// All of a worker's. Borrowed within one call, never across an await.
#[derive(Debug, Default)]
pub(crate) struct Upstreams {
    shared: HashMap<BackendId, Vec<Rc<Shared>>>,
    openings: HashMap<Opened, Rc<Opening>>,
    /// Idle ones to HTTP/1 backends.
    pub(super) plain: Plains,
}

impl Upstreams {
    /// A stream to an HTTP/2 backend over a connection of at most `max`.
    pub(super) fn share(&mut self, local: &Rc<Local>, key: &Key, max: u32) -> Found {
        let max = usize::try_from(max).unwrap_or(usize::MAX);
        let all = self.shared.entry(key.id).or_default();
        if let Some(shared) = all.iter().find(|it| it.key.fits(key) && it.has_room(max)) {
            return Found::Room(InUse::new(shared, local));
        }
        if let Some(opening) = self.openings.get(&key.opened()) {
            return Found::Opening(Rc::clone(opening));
        }
        let opening = Rc::new(Opening::default());
        self.openings.insert(key.opened(), Rc::clone(&opening));
        Found::Nothing(Opener { key: key.opened(), opening, local: Rc::clone(local) })
    }

    /// Takes a new connection in, with its first stream.
    pub(super) fn add(&mut self, local: &Rc<Local>, shared: Rc<Shared>) -> InUse {
        let first = InUse::new(&shared, local);
        self.shared.entry(shared.key.id).or_default().push(shared);
        first
    }

    /// Forgets what has ended or has not been used for long.
    pub(crate) fn sweep(&mut self, now: Millis) {
        self.retain(|it| {
            // That of one client is of no use to others, and nobody tells when it has gone.
            let kept = if it.key.whose.is_some() { pool::IDLE } else { IDLE };
            !it.is_over.get() && (it.streams.get() > 0 || now < it.idle_since.get().after(kept))
        });
        self.plain.sweep(now);
    }

    /// Forgets those of a service to backends that may not be picked any more. Streams under way come to their end.
    pub(crate) fn follow(&mut self, service: &ServiceName, snapshot: &Snapshot) {
        let stays = |key: &Key| {
            let is_it =
                |it: &Member| it.backend.id == key.id && it.addr == key.addr && it.way == key.way;
            key.service != *service || snapshot.members.iter().any(is_it)
        };
        self.retain(|it| stays(&it.key));
        self.plain.retain(stays);
    }

    /// Closes those to HTTP/1 backends of a service that are to make room for new ones.
    pub(crate) fn make_room(&mut self, service: &ServiceName) {
        self.plain.make_room(service);
    }

    fn retain(&mut self, keep: impl Fn(&Shared) -> bool) {
        self.shared.retain(|_, all| {
            all.retain(|it| keep(it));
            !all.is_empty()
        });
    }
}

#[cfg(test)]
mod tests;
