//! A client connection between requests: what came and is not used yet, what goes and is not taken yet, and the head of
//! the next request.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::inbound::Inbound;
use super::message::chunked::Keep;
use super::message::framing::Body;
use super::message::request::{self, Request, Rules};
use super::message::{HEAD_BYTES, Refusal};
use super::socket::{Glance, Socket};
use crate::proxy::local::Local;
use crate::proxy::shared::Listener;
use crate::proxy::wheel::{Entry, Millis};
use crate::proxy::{CloseMode, ProxySettings};
use crate::telemetry::cells::{ErrorCause, ServiceCells};

/// Most bytes read at once where requests begin: a head and the 16 kB body of a usual POST. More would have to be kept
/// when a client sends many requests ahead.
const HEAD_READ: usize = 32 * 1024;

/// Written together with what waits before it instead of being copied behind it: above, a second slice costs less.
const COPY_MAX: usize = 4096;

/// What never changes while a connection lasts.
#[derive(Debug)]
pub(crate) struct Fixed {
    pub(crate) local: Rc<Local>,
    pub(crate) listener: Arc<Listener>,
    pub(crate) peer: SocketAddr,
    pub(crate) timer: Timer,
}

impl Fixed {
    pub(crate) fn cells(&self) -> &ServiceCells {
        self.listener.service.cells.of(self.local.worker)
    }

    pub(crate) fn now(&self) -> Millis {
        self.local.wheel.borrow().now()
    }
}

/// The connection's entry on the wheel.
#[derive(Debug)]
pub(crate) struct Timer {
    local: Rc<Local>,
    entry: Entry,
}

impl Timer {
    pub(crate) fn new(local: &Rc<Local>, waker: std::task::Waker) -> Self {
        let entry = local.wheel.borrow_mut().add(waker);
        Self { local: Rc::clone(local), entry }
    }

    /// Wakes the connection at `deadline`; true when that has come.
    pub(crate) fn expires(&self, deadline: Millis) -> bool {
        let mut wheel = self.local.wheel.borrow_mut();
        if wheel.has_fired(self.entry) && deadline <= wheel.now() {
            return true;
        }
        wheel.set(self.entry, deadline);
        false
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        self.local.wheel.borrow_mut().remove(self.entry);
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
    /// What came is not a request.
    Refused(Refusal),
    /// The request did not come in time.
    Late,
    /// An answer could not be completed, or its client does not take it.
    Cut(ErrorCause),
}

/// A request whose head has come, and what of its body came with it.
#[derive(Debug)]
pub(crate) struct Begun {
    pub(crate) request: Request,
    /// The head for the backend, and the body so far.
    pub(crate) head: Vec<u8>,
    pub(crate) body: Inbound,
    /// Bytes of body in `head`.
    pub(crate) bytes: u64,
}

/// One client connection.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) socket: Socket,
    pub(crate) settings: Arc<ProxySettings>,
    /// Read and not yet used, from `used` on. A part of a head, or requests sent ahead.
    pub(crate) inbox: Vec<u8>,
    used: usize,
    /// The inbox may hold a whole head.
    is_untried: bool,
    /// Not yet taken by the client, from `sent` on.
    pub(crate) outbox: Vec<u8>,
    sent: usize,
    /// A byte of the next request has come; before the first request, as if.
    has_begun: bool,
    /// When the connection was accepted, or the last answer ended, or the first byte of a request came.
    since: Millis,
    /// What waits is not taken.
    is_blocked: bool,
    /// When the client last moved.
    pub(crate) active: Millis,
    /// When a connection at rest ends in a drain that lets it rest.
    rest_until: Millis,
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
        Self {
            socket,
            settings,
            inbox: Vec::new(),
            used: 0,
            is_untried: false,
            outbox: Vec::new(),
            sent: 0,
            is_blocked: false,
            has_begun: true,
            since: now,
            active: now,
            rest_until: Millis::NEVER,
            is_draining: false,
            is_first_request: true,
            half_closed: false,
            has_more: false,
            counted: false,
        }
    }

    /// Counts what ends the connection; what follows from it is not counted again.
    pub(crate) fn count_end(&mut self, fixed: &Fixed, cause: ErrorCause) {
        if !std::mem::replace(&mut self.counted, true) {
            fixed.cells().error(cause);
        }
    }

    /// The next request.
    pub(crate) fn poll_request(
        &mut self,
        fixed: &Fixed,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Begun, Ending>> {
        loop {
            match self.poll_flush(fixed, cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(_)) => return Poll::Ready(Err(Ending::Silent)),
                Poll::Pending => return self.poll_slow_reader(fixed),
            }
            if std::mem::replace(&mut self.is_untried, false) {
                let inbox = std::mem::take(&mut self.inbox);
                let begun = self.begin(fixed, inbox.get(self.used..).unwrap_or_default());
                self.inbox = inbox;
                if let Some(begun) = begun.map_err(Ending::Refused)? {
                    return Poll::Ready(Ok(self.used(fixed, begun)));
                }
            }
            if self.drain(fixed) {
                return Poll::Ready(Err(Ending::Silent));
            }
            let buffer = Rc::clone(&fixed.local);
            let mut buffer = buffer.buffer.borrow_mut();
            let room = buffer.get_mut(..HEAD_READ).unwrap_or_default();
            let n = match self.socket.poll_read(cx, room) {
                Poll::Pending => return self.poll_patience(fixed),
                Poll::Ready(Ok(n)) => n,
                Poll::Ready(Err(_)) => 0,
            };
            if n == 0 {
                return Poll::Ready(Err(self.gone()));
            }
            self.active = fixed.now();
            if !std::mem::replace(&mut self.has_begun, true) {
                self.since = self.active;
            }
            let bytes = room.get(..n).unwrap_or_default();
            if self.inbox.is_empty() {
                if let Some((begun, consumed)) =
                    self.begin(fixed, bytes).map_err(Ending::Refused)?
                {
                    self.keep(fixed, bytes.get(consumed..).unwrap_or_default());
                    return Poll::Ready(Ok(begun));
                }
                self.keep(fixed, bytes);
                self.is_untried = false;
            } else {
                self.keep(fixed, bytes);
                // Without the end of a head among them there is nothing to parse again.
                self.is_untried = self.may_be_whole(n);
            }
        }
    }

    /// False when the last `new` bytes cannot have completed the head.
    fn may_be_whole(&self, new: usize) -> bool {
        let unused = self.inbox.get(self.used..).unwrap_or_default();
        // A head may end in LF CR LF, begun before.
        let tail = unused.get(unused.len().saturating_sub(new + 2)..).unwrap_or_default();
        let ends = |w: &[u8]| matches!(w, [b'\n', b'\n', ..] | [b'\n', b'\r', b'\n']);
        unused.len() > HEAD_BYTES || tail.windows(2).any(ends) || tail.windows(3).any(ends)
    }

    /// Judges the head at the start of `input`. With it comes what it uses of `input`.
    fn begin(&mut self, fixed: &Fixed, input: &[u8]) -> Result<Option<(Begun, usize)>, Refusal> {
        let service = &fixed.listener.service;
        let current = service.settings.load();
        if !Arc::ptr_eq(&current, &self.settings) {
            self.settings = Arc::clone(&current);
        }
        let http = &self.settings.http;
        let rules = Rules {
            forward_for: http.forward_for.as_ref(),
            client: fixed.peer.ip(),
            close: http.close_mode != CloseMode::KeepAlive,
        };
        let mut head = fixed.local.spares.borrow_mut().take();
        let request = match request::read(input, &rules, &mut head) {
            Ok(Some(request)) => request,
            other => {
                fixed.local.spares.borrow_mut().give(head);
                return other.map(|_none| None);
            }
        };
        let mut begun =
            Begun { request, head, body: Inbound::new(request.body, Keep::Framed), bytes: 0 };
        let mut consumed = request.len;
        if request.body != Body::Empty {
            let rest = input.get(request.len..).unwrap_or_default();
            let mut ranges = fixed.local.ranges.borrow_mut();
            ranges.0.clear();
            let malformed = Refusal::bad("malformed body");
            let fed = begun.body.take(rest, &mut ranges).map_err(|_| malformed)?;
            for range in &ranges.0 {
                begun.head.extend_from_slice(rest.get(range.clone()).unwrap_or_default());
            }
            begun.head.extend_from_slice(begun.body.tail());
            begun.bytes = u64::try_from(fed.data).unwrap_or(u64::MAX);
            consumed += fed.consumed;
        }
        Ok(Some((begun, consumed)))
    }

    /// A request begun from the inbox.
    fn used(&mut self, fixed: &Fixed, (begun, consumed): (Begun, usize)) -> Begun {
        self.used += consumed;
        self.is_untried = self.used < self.inbox.len();
        if !self.is_untried {
            self.used = 0;
            fixed.local.spares.borrow_mut().give(std::mem::take(&mut self.inbox));
        }
        begun
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

    /// What came and is not used, when the connection goes on as something else.
    pub(crate) fn take_unused(&mut self) -> Vec<u8> {
        let mut unused = std::mem::take(&mut self.inbox);
        unused.drain(..std::mem::take(&mut self.used).min(unused.len()));
        unused
    }

    /// The answer is complete, as far as the backend is concerned.
    pub(crate) fn end_request(&mut self, fixed: &Fixed, now: Millis) {
        self.since = now;
        self.has_begun = self.used < self.inbox.len();
        self.is_first_request = false;
        self.has_more = false;
        if self.outbox.is_empty() {
            fixed.local.spares.borrow_mut().give(std::mem::take(&mut self.outbox));
        }
    }

    /// Takes part in a drain; true when the connection ends now. One that has never spoken may just be about to; it keeps
    /// its first request, as with haproxy.
    fn drain(&mut self, fixed: &Fixed) -> bool {
        if self.is_draining || !fixed.listener.is_draining() {
            return false;
        }
        self.is_draining = true;
        let at_rest = !self.has_begun && self.socket.glance() != Glance::Bytes;
        let rest = fixed.listener.rest();
        if at_rest {
            self.rest_until = fixed.now().after(rest);
        }
        at_rest && rest.is_zero()
    }

    /// The client has closed between requests, or within a head.
    fn gone(&self) -> Ending {
        if self.inbox.is_empty() { Ending::Silent } else { Ending::Cut(ErrorCause::ClientAbort) }
    }

    /// Nothing has come: for how long may that last?
    fn poll_patience(&self, fixed: &Fixed) -> Poll<Result<Begun, Ending>> {
        let t = &self.settings.timeouts;
        let (deadline, ending) = if !self.has_begun {
            let limit = t.http_keep_alive.or(t.http_request).or(t.client);
            (self.since.after_or_never(limit).min(self.rest_until), Ending::Silent)
        } else if let Some(limit) = t.http_request {
            (self.since.after(limit), Ending::Late)
        } else {
            (self.active.after_or_never(t.client), Ending::Late)
        };
        if fixed.timer.expires(deadline) {
            return Poll::Ready(Err(ending));
        }
        Poll::Pending
    }

    /// An answer is not taken.
    pub(crate) fn poll_slow_reader<T>(&self, fixed: &Fixed) -> Poll<Result<T, Ending>> {
        let deadline = self.active.after_or_never(self.settings.timeouts.client);
        if fixed.timer.expires(deadline) {
            return Poll::Ready(Err(Ending::Cut(ErrorCause::ClientTimeout)));
        }
        Poll::Pending
    }

    /// Sends what waits.
    pub(crate) fn poll_flush(
        &mut self,
        fixed: &Fixed,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while self.sent < self.outbox.len() {
            let rest = self.outbox.get(self.sent..).unwrap_or_default();
            match self.socket.poll_write(cx, rest) {
                Poll::Ready(n) => self.sent += n?,
                Poll::Pending => {
                    self.block(fixed);
                    return Poll::Pending;
                }
            }
            self.is_blocked = false;
        }
        self.sent = 0;
        self.is_blocked = false;
        if self.outbox.capacity() > 0 {
            fixed.local.spares.borrow_mut().give(std::mem::take(&mut self.outbox));
        }
        Poll::Ready(Ok(()))
    }

    /// The client does not take what is sent: its patience begins now.
    fn block(&mut self, fixed: &Fixed) {
        if !std::mem::replace(&mut self.is_blocked, true) {
            self.active = fixed.now();
        }
    }

    /// True when all that was sent has been taken by the kernel.
    pub(crate) fn is_flushed(&self) -> bool {
        self.sent >= self.outbox.len()
    }

    /// A buffer for what is to be sent next, behind what waits already.
    pub(crate) fn outbox(&mut self, fixed: &Fixed) -> &mut Vec<u8> {
        if self.outbox.capacity() == 0 {
            self.outbox = fixed.local.spares.borrow_mut().take();
        }
        &mut self.outbox
    }

    /// Sends `bytes` behind what waits; what is not taken waits, too.
    pub(crate) fn send(
        &mut self,
        fixed: &Fixed,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> io::Result<()> {
        if self.is_flushed() {
            let n = match self.socket.poll_write(cx, bytes) {
                Poll::Ready(n) => n?,
                Poll::Pending => 0,
            };
            if n == bytes.len() {
                return Ok(());
            }
            return self.wait(fixed, cx, bytes.get(n..).unwrap_or_default());
        }
        if bytes.len() < COPY_MAX {
            return self.wait(fixed, cx, bytes);
        }
        let waiting = self.outbox.get(self.sent..).unwrap_or_default();
        let n = match self.socket.poll_write_two(cx, waiting, bytes) {
            Poll::Ready(n) => n?,
            Poll::Pending => 0,
        };
        let own = n.min(waiting.len());
        self.sent += own;
        self.wait(fixed, cx, bytes.get(n - own..).unwrap_or_default())
    }

    /// Sends one behind the other: neighbours in memory as one.
    pub(crate) fn send_two(
        &mut self,
        fixed: &Fixed,
        cx: &mut Context<'_>,
        (first, second): (&[u8], &[u8]),
    ) -> io::Result<()> {
        if !self.is_flushed() || second.len() < COPY_MAX {
            self.outbox(fixed).extend_from_slice(first);
            return self.send(fixed, cx, second);
        }
        let n = match self.socket.poll_write_two(cx, first, second) {
            Poll::Ready(n) => n?,
            Poll::Pending => 0,
        };
        let own = n.min(first.len());
        if own < first.len() {
            self.wait(fixed, cx, first.get(own..).unwrap_or_default())?;
        }
        self.wait(fixed, cx, second.get(n - own..).unwrap_or_default())
    }

    /// Keeps `bytes` behind what waits, and sends as far as it goes.
    fn wait(&mut self, fixed: &Fixed, cx: &mut Context<'_>, bytes: &[u8]) -> io::Result<()> {
        if !bytes.is_empty() {
            self.outbox(fixed).extend_from_slice(bytes);
        }
        match self.poll_flush(fixed, cx) {
            Poll::Ready(result) => result,
            Poll::Pending => Ok(()),
        }
    }

    /// True when the client may still be sending what nobody will read.
    pub(crate) fn has_unread(&self) -> bool {
        self.used < self.inbox.len() || self.has_more || self.socket.glance() == Glance::Bytes
    }

    /// True when the client reset the connection while its request is being served. A mere end of sending is a
    /// half-close: the answer is still wanted, unless `option abortonclose` says otherwise.
    pub(crate) fn is_aborted(&mut self, cx: &mut Context<'_>) -> bool {
        if self.half_closed || self.has_more {
            return false;
        }
        while self.socket.poll_readable(cx).is_ready() {
            match self.socket.glance() {
                Glance::Broken => return true,
                Glance::Ended => {
                    self.half_closed = true;
                    return self.settings.http.abort_on_close;
                }
                Glance::Bytes => {
                    self.has_more = true;
                    return false;
                }
                Glance::Empty => self.socket.forget_readiness(),
            }
        }
        false
    }
}
