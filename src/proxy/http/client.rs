//! A client connection between requests: what came and is not used yet, what goes and is not taken yet, and the head of
//! the next request.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Context;

use super::inbound::Inbound;
use super::logged::Notes;
use super::message::Refusal;
use super::message::request::Request;
use super::socket::{Glance, Socket};
use crate::dial::header::Whose;
use crate::proxy::age;
use crate::proxy::buffer::Mark;
use crate::proxy::local::Local;
use crate::proxy::millis::Millis;
use crate::proxy::peer::{Entrance, Peer, whose};
use crate::proxy::shared::Listener;
use crate::proxy::timer::Timer;
use crate::proxy::{ProxySettings, Timeouts};
use crate::telemetry::cells::{ErrorCause, ServiceCells};

/// What never changes while a connection lasts.
#[derive(Debug)]
pub(crate) struct Fixed {
    pub(crate) local: Rc<Local>,
    pub(crate) listener: Arc<Listener>,
    pub(crate) peer: Peer,
    pub(crate) entrance: Entrance,
    /// The address that the client has connected to. `None`: its socket knows.
    pub(crate) reached: Option<Arc<SocketAddr>>,
    pub(crate) timer: Timer,
}

impl Fixed {
    /// The address that the client connected to; see [`Entrance::local`].
    pub(crate) fn local_addr(&self) -> Option<SocketAddr> {
        self.entrance.local(&self.listener)
    }

    pub(crate) fn cells(&self) -> &ServiceCells {
        self.listener.service.cells.of(self.local.worker)
    }

    /// Whose its requests are, for a backend that wants to be told.
    pub(crate) fn whose(&self) -> Whose {
        whose(self.peer, self.entrance.reached(|| self.reached.as_deref().copied()))
    }

    /// The time of the last look at the clock: see [`Clock`](crate::proxy::millis::Clock).
    pub(crate) fn now(&self) -> Millis {
        self.local.clock.now()
    }

    /// Looks at the clock.
    pub(crate) fn tick(&self) -> Millis {
        self.local.clock.tick()
    }
}

/// Which patience has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expiry {
    /// The client's.
    Client,
    /// The backend's.
    Server,
}

impl Expiry {
    /// Whose time it is, and until when, while the rest of a request is to come and nothing has moved since `since`:
    /// without a time-out of the client's own the server's counts, as with haproxy.
    #[inline(always)]
    pub(crate) fn of_upload(t: &Timeouts, since: Millis) -> (Self, Millis) {
        match t.client {
            Some(_) => (Self::Client, since.after_or_never(t.client)),
            None => (Self::Server, since.after_or_never(t.server)),
        }
    }

    pub(crate) fn cause(self) -> ErrorCause {
        match self {
            Self::Client => ErrorCause::ClientTimeout,
            Self::Server => ErrorCause::BackendTimeout,
        }
    }
}

/// Why a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// Nothing is left to say.
    Silent,
    /// All has been answered, but the client may still be sending.
    Answered,
    /// It speaks HTTP/2: what came is kept.
    Http2,
    /// What came is not a request.
    Refused(Refusal),
    /// The request did not come in time.
    Late,
    /// The client has gone before a whole request had come: `partial` when a part had, else before its first.
    Left { partial: bool },
    /// The reactor did not take its socket.
    Lost,
    /// An answer could not be completed, or its client does not take it.
    Cut(ErrorCause),
}

/// A request whose head has come, and what of its body came with it.
#[derive(Debug)]
pub(crate) struct Begun {
    pub(crate) request: Request,
    /// The head for the backend, and the body so far unless it is carried.
    pub(crate) head: Vec<u8>,
    /// The body so far, where it was read.
    pub(crate) carried: Option<Mark>,
    pub(crate) body: Inbound,
    /// Bytes of body in `head` or carried.
    pub(crate) bytes: u64,
    /// For the balancer; see [`PickContext`](crate::lb::PickContext).
    pub(crate) hash: Option<u32>,
    /// For the access log.
    pub(crate) notes: Option<Box<Notes>>,
}

/// One client connection.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) socket: Socket,
    pub(crate) settings: Arc<ProxySettings>,
    /// Read and not yet used, from `used` on. A part of a head, or requests sent ahead.
    pub(crate) inbox: Vec<u8>,
    pub(super) used: usize,
    /// The inbox may hold a whole head.
    pub(super) is_untried: bool,
    /// Not yet taken by the client, from `sent` on.
    pub(crate) outbox: Vec<u8>,
    pub(super) sent: usize,
    /// Bytes taken by the client since the connection was accepted.
    pub(super) written: u64,
    /// A byte of the next request has come; before the first request, as if.
    pub(super) has_begun: bool,
    /// When the connection was accepted, or the last answer ended, or the first byte of a request came.
    pub(super) since: Millis,
    /// When the first byte came of what is in the inbox, or of the request being served.
    pub(super) first: Millis,
    /// What waits is not taken.
    pub(super) is_blocked: bool,
    /// When the client last moved.
    pub(crate) active: Millis,
    /// When a connection at rest ends in a drain that lets it rest.
    pub(super) rest_until: Millis,
    /// From then on the next answer is the last.
    pub(crate) age: Millis,
    pub(crate) is_draining: bool,
    pub(crate) is_first_request: bool,
    /// The client has finished sending; a reset can then no longer be told apart.
    half_closed: bool,
    /// Bytes wait in the kernel that belong to a later request.
    pub(crate) has_more: bool,
    /// The end of the connection has been counted.
    counted: bool,
}

impl Client {
    pub(crate) fn new(socket: Socket, settings: Arc<ProxySettings>, now: Millis) -> Self {
        let age = age::ends_at(now, settings.max_connection_age);
        Self {
            socket,
            settings,
            age,
            inbox: Vec::new(),
            used: 0,
            is_untried: false,
            outbox: Vec::new(),
            sent: 0,
            written: 0,
            is_blocked: false,
            has_begun: true,
            since: now,
            first: now,
            active: now,
            rest_until: Millis::NEVER,
            is_draining: false,
            is_first_request: true,
            half_closed: false,
            has_more: false,
            counted: false,
        }
    }

    /// Whose its requests are, for a backend that wants to be told.
    pub(crate) fn whose(&self, fixed: &Fixed) -> Whose {
        whose(fixed.peer, fixed.entrance.reached(|| self.socket.local_addr().ok()))
    }

    /// Counts what ends the connection; what follows from it is not counted again.
    pub(crate) fn count_end(&mut self, fixed: &Fixed, cause: ErrorCause) {
        if !std::mem::replace(&mut self.counted, true) {
            fixed.cells().error(cause);
        }
    }

    /// Keeps bytes for later.
    pub(crate) fn keep(&mut self, fixed: &Fixed, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        if self.inbox.capacity() == 0 {
            self.inbox = fixed.local.spares.borrow_mut().take();
        }
        if self.used > 0 {
            self.inbox.drain(..self.used);
            self.used = 0;
        }
        self.inbox.extend_from_slice(bytes);
        self.is_untried = true;
    }

    /// Bytes that came and are not used.
    pub(crate) fn unused(&self) -> u64 {
        self.inbox.len().saturating_sub(self.used) as u64
    }

    /// What came and is not used, when the connection goes on as something else.
    pub(crate) fn take_unused(&mut self) -> Vec<u8> {
        let mut unused = std::mem::take(&mut self.inbox);
        unused.drain(..std::mem::take(&mut self.used).min(unused.len()));
        unused
    }

    /// The answer is complete, as far as the backend is concerned.
    pub(crate) fn end_request(&mut self, fixed: &Fixed, now: Millis) {
        self.since = now;
        // Of a request sent ahead: it has been waiting for its turn, not for its bytes.
        self.first = now;
        self.has_begun = self.used < self.inbox.len();
        self.is_first_request = false;
        self.has_more = false;
        if self.outbox.is_empty() {
            fixed.local.spares.borrow_mut().give(std::mem::take(&mut self.outbox));
        }
    }

    /// True when the answer at hand is its last: in a drain, and when it has its age.
    pub(crate) fn is_leaving(&self, fixed: &Fixed) -> bool {
        self.is_draining || fixed.listener.is_draining() || self.age <= fixed.now()
    }

    /// True when it has finished sending, and that is taken for giving up.
    pub(crate) fn has_given_up(&self) -> bool {
        self.half_closed && self.settings.http.abort_on_close
    }

    /// True when the client may still be sending what nobody will read.
    pub(crate) fn has_unread(&self) -> bool {
        self.used < self.inbox.len() || self.has_more || self.socket.glance() == Glance::Bytes
    }

    /// True when the client reset the connection while its request is being served. A mere end of sending is a
    /// half-close: the answer is still wanted, unless `option abortonclose` says otherwise.
    ///
    /// One that ends within its request, when all that came of it has been read, has left: it can never become whole.
    pub(crate) fn is_aborted(&mut self, cx: &mut Context<'_>, is_whole: bool) -> bool {
        let abort_on_close = self.settings.http.abort_on_close;
        if self.half_closed || (self.has_more && !abort_on_close) {
            return false;
        }
        while self.socket.poll_readable(cx).is_ready() {
            match self.socket.glance() {
                Glance::Broken => return true,
                Glance::Ended => {
                    self.half_closed = true;
                    return abort_on_close || !is_whole;
                }
                Glance::Bytes => {
                    self.has_more = true;
                    self.half_closed = abort_on_close && self.socket.has_ended();
                    if !abort_on_close || self.half_closed {
                        return self.half_closed;
                    }
                    // The end may come behind them.
                    self.socket.overlook();
                }
                Glance::Empty => self.socket.forget_readiness(),
            }
        }
        false
    }
}
