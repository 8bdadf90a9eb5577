//! A client connection's state between and within requests, and the deadlines that follow from it.
//!
//! One timer serves them all: [`Client::deadline`] says from the state what may last until when, the connection's task
//! asks it whenever it has nothing else to do.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Context;

use bytes::Bytes;
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::body::Progress;
use super::socket::{Glance, Socket};
use super::upstream::Upstream;
use crate::lb::lease::Lease;
use crate::proxy::local::Local;
use crate::proxy::{ProxySettings, Service, Timeouts};
use crate::telemetry::cells::{ErrorCause, ServiceCells};

/// Where a connection stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Waiting for the next request, none of whose bytes has come.
    Idle {
        /// Since the last answer.
        since: Instant,
    },
    /// A head is expected (the first) or has begun.
    Head {
        /// Since the connection or the first byte.
        since: Instant,
    },
    /// A request is being served; its answer's head has not come.
    Waiting,
    /// The answer is on its way.
    Answering,
}

/// Which patience has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expiry {
    /// No next request: closed silently.
    KeepAlive,
    /// The head took too long, or the client does not move.
    Client,
    /// The backend does not move.
    Server,
}

impl Expiry {
    pub(crate) fn cause(self) -> ErrorCause {
        match self {
            Self::KeepAlive | Self::Client => ErrorCause::ClientTimeout,
            Self::Server => ErrorCause::BackendTimeout,
        }
    }
}

/// A connection that has become a tunnel.
#[derive(Debug)]
pub(crate) struct Tunnel {
    pub(crate) backend: TcpStream,
    /// What the backend sent after its head.
    pub(crate) early: Bytes,
    pub(crate) lease: Lease,
    pub(crate) settings: Arc<ProxySettings>,
}

/// One client connection. Shared by its task, its current request and the body of its answer; all on one thread.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) local: Rc<Local>,
    pub(crate) service: Arc<Service>,
    pub(crate) peer: SocketAddr,
    pub(crate) socket: Rc<Socket>,
    /// The connection that serves the current request. Borrowed within one call only.
    pub(crate) upstream: RefCell<Option<Box<Upstream>>>,
    pub(crate) progress: Rc<Progress>,
    pub(crate) phase: Cell<Phase>,
    /// No request after the current one.
    pub(crate) closing: Cell<bool>,
    /// When a connection at rest ends in a drain that lets it rest.
    pub(crate) rest_until: Cell<Option<Instant>>,
    /// `timeout server` has passed before the answer's head.
    pub(crate) server_expired: Cell<bool>,
    pub(crate) tunnel: RefCell<Option<Tunnel>>,
    /// What an answer that is cut short is counted as.
    pub(crate) blame: Cell<ErrorCause>,
    /// The end of the connection has been counted.
    counted: Cell<bool>,
    timeouts: Cell<Timeouts>,
    /// Bytes received when the last request ended.
    mark: Cell<u64>,
    /// The client has finished sending; a reset can then no longer be told apart.
    half_closed: Cell<bool>,
}

impl Client {
    pub(crate) fn new(
        local: Rc<Local>,
        service: Arc<Service>,
        peer: SocketAddr,
        stream: TcpStream,
    ) -> Rc<Self> {
        let timeouts = service.settings.load().timeouts;
        let progress = Progress::default();
        progress.complete.set(true);
        Rc::new(Self {
            local,
            service,
            peer,
            socket: Socket::new(stream),
            upstream: RefCell::new(None),
            progress: Rc::new(progress),
            phase: Cell::new(Phase::Head { since: Instant::now() }),
            closing: Cell::new(false),
            rest_until: Cell::new(None),
            server_expired: Cell::new(false),
            tunnel: RefCell::new(None),
            blame: Cell::new(ErrorCause::ClientAbort),
            counted: Cell::new(false),
            timeouts: Cell::new(timeouts),
            mark: Cell::new(0),
            half_closed: Cell::new(false),
        })
    }

    pub(crate) fn cells(&self) -> &ServiceCells {
        self.service.cells.of(self.local.worker)
    }

    /// Counts what ends the connection; what follows from it is not counted again.
    pub(crate) fn count_end(&self, cause: ErrorCause) {
        if !self.counted.replace(true) {
            self.cells().error(cause);
        }
    }

    /// A request's head has been read.
    pub(crate) fn begin(&self, settings: &ProxySettings, body_ended: bool) {
        self.timeouts.set(settings.timeouts);
        self.phase.set(Phase::Waiting);
        self.server_expired.set(false);
        self.progress.complete.set(body_ended);
        self.progress.bytes.set(0);
        self.progress.fault.set(None);
    }

    /// The answer is complete, as far as the backend is concerned.
    pub(crate) fn end(&self, now: Instant) {
        self.phase.set(Phase::Idle { since: now });
        self.mark.set(self.socket.received());
    }

    /// True while a request is being served.
    pub(crate) fn is_busy(&self) -> bool {
        matches!(self.phase.get(), Phase::Waiting | Phase::Answering)
    }

    /// Lets the current backend connection move.
    pub(crate) fn drive(&self, cx: &mut Context<'_>) {
        if let Some(upstream) = self.upstream.borrow_mut().as_mut() {
            upstream.drive(cx);
        }
    }

    /// True when the client reset the connection while its request is being served. A mere end of sending is a
    /// half-close: the answer is still wanted.
    pub(crate) fn is_aborted(&self, cx: &mut Context<'_>) -> bool {
        if !self.is_busy() || !self.progress.complete.get() || self.half_closed.get() {
            return false;
        }
        while self.socket.poll_readable(cx).is_ready() {
            match self.socket.glance() {
                Glance::Broken => return true,
                Glance::Ended => {
                    self.half_closed.set(true);
                    return false;
                }
                Glance::Bytes => return false,
                Glance::Empty => self.socket.forget_readiness(),
            }
        }
        false
    }

    /// True when a request has been answered and no byte of a next one has come: closing loses nothing. A connection
    /// that has never spoken may just be about to; it keeps its first request, as with haproxy.
    pub(crate) fn is_at_rest(&self) -> bool {
        matches!(self.phase.get(), Phase::Idle { .. })
            && self.socket.received() == self.mark.get()
            && self.socket.glance() != Glance::Bytes
    }

    /// What ends next if nothing moves until then; `None` = nothing.
    pub(crate) fn deadline(&self) -> Option<(Expiry, Instant)> {
        let t = self.timeouts.get();
        let (expiry, since, limit) = if self.socket.is_write_blocked() {
            (Expiry::Client, self.socket.last_active(), t.client)
        } else {
            match self.phase.get() {
                Phase::Idle { since } if self.socket.received() == self.mark.get() => {
                    let limit = t.http_keep_alive.or(t.http_request).or(t.client);
                    let usual = limit.map(|limit| since + limit);
                    let ends = [usual, self.rest_until.get()];
                    return Some((Expiry::KeepAlive, ends.into_iter().flatten().min()?));
                }
                Phase::Idle { .. } => {
                    // The first byte of the next head has come.
                    let since = self.socket.last_active();
                    self.phase.set(Phase::Head { since });
                    (Expiry::Client, since, t.http_request.or(t.client))
                }
                Phase::Head { since } => match t.http_request {
                    Some(limit) => (Expiry::Client, since, Some(limit)),
                    None => (Expiry::Client, self.socket.last_active(), t.client),
                },
                Phase::Waiting | Phase::Answering => self.exchange_deadline(&t)?,
            }
        };
        Some((expiry, since + limit?))
    }

    /// Whose turn it is within a request.
    fn exchange_deadline(
        &self,
        t: &Timeouts,
    ) -> Option<(Expiry, Instant, Option<std::time::Duration>)> {
        let upstream = self.upstream.borrow();
        // Connecting has its own limit.
        let backend = &upstream.as_ref()?.socket;
        Some(if self.progress.complete.get() || backend.is_write_blocked() {
            let since = match self.phase.get() {
                // The head must come whole in time, as haproxy wants it: one byte now and then does not extend it.
                Phase::Waiting => backend.last_sent(),
                Phase::Idle { .. } | Phase::Head { .. } | Phase::Answering => backend.last_active(),
            };
            (Expiry::Server, since, t.server)
        } else {
            let since = self.socket.last_active().max(backend.last_active());
            (Expiry::Client, since, t.client)
        })
    }
}
