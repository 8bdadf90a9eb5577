//! The head of a client's next request: when it is whole, for how long it may take.

use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use super::client::{Begun, Client, Ending, Fixed};
use super::inbound::Inbound;
use super::keyed;
use super::logged;
use super::message::Refusal;
use super::message::chunked::Keep;
use super::message::framing::Body;
use super::message::request::{self, Rules};
use super::sending::COPY_MAX;
use super::socket::Glance;
use crate::proxy::CloseMode;
use crate::proxy::http2::{self, FrontProtocol};

/// Most bytes read at once where requests begin: a head and the 16 kB body of a usual POST. More would have to be kept
/// when a client sends many requests ahead.
const HEAD_READ: usize = 32 * 1024;

/// How long a client that was not told of a drain may take for one more request, though nobody serves its address any more.
const GRACE: Duration = Duration::from_secs(1);

/// What becomes of a body that came with its head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Carry {
    /// Sent from where it was read, if it is long enough to be worth it.
    Marked,
    /// Goes behind the head: its place is needed.
    Copied,
}

impl Client {
    /// The next request.
    pub(crate) fn poll_request(
        &mut self,
        fixed: &Fixed,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Begun, Ending>> {
        loop {
            match self.poll_flush(fixed, cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(_)) if self.socket.is_lost() => {
                    return Poll::Ready(Err(Ending::Lost));
                }
                Poll::Ready(Err(_)) => return Poll::Ready(Err(Ending::Silent)),
                Poll::Pending => return self.poll_slow_reader(fixed),
            }
            if std::mem::replace(&mut self.is_untried, false) {
                if fixed.listener.service.pool.has_http2() {
                    return Poll::Ready(Err(Ending::Http2));
                }
                let inbox = std::mem::take(&mut self.inbox);
                let unused = inbox.get(self.used..).unwrap_or_default();
                let begun = self.begin(fixed, unused, Carry::Copied);
                self.inbox = inbox;
                if let Some(begun) = begun.map_err(|refusal| self.refused(refusal))? {
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
            self.active = fixed.tick();
            // Whatever was seen to wait is in hand now.
            self.has_more = false;
            if self.inbox.is_empty() {
                self.first = self.active;
            }
            if !std::mem::replace(&mut self.has_begun, true) {
                self.since = self.active;
            }
            let bytes = room.get(..n).unwrap_or_default();
            if self.inbox.is_empty() {
                if let Some(begun) = self.begin_fresh(fixed, bytes)? {
                    return Poll::Ready(Ok(begun));
                }
            } else {
                // Tried again from its beginning, whether or not it can be whole: what is no head is refused when that shows,
                // in how many packets it may come. A head is short, so each packet costs little more than its way here.
                self.keep(fixed, bytes);
            }
        }
    }

    /// A request from bytes that were just read, or what they are kept for.
    #[inline(always)]
    fn begin_fresh(&mut self, fixed: &Fixed, bytes: &[u8]) -> Result<Option<Begun>, Ending> {
        if fixed.listener.service.pool.has_http2() {
            // Since this connection began.
            self.keep(fixed, bytes);
            return Err(Ending::Http2);
        }
        let begun = self.begin(fixed, bytes, Carry::Marked).map_err(|refusal| {
            // For the access log, which says how much came, or for HTTP/2.
            self.keep(fixed, bytes);
            self.refused(refusal)
        })?;
        let Some((begun, consumed)) = begun else {
            self.keep(fixed, bytes);
            self.is_untried = false;
            return Ok(None);
        };
        self.keep(fixed, bytes.get(consumed..).unwrap_or_default());
        Ok(Some(begun))
    }

    /// Judges the head at the start of `input`. With it comes what it uses of `input`.
    fn begin(
        &mut self,
        fixed: &Fixed,
        input: &[u8],
        carry: Carry,
    ) -> Result<Option<(Begun, usize)>, Refusal> {
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
        let hash = self.settings.hash.as_ref().and_then(|hashing| {
            keyed::hash(hashing, fixed.peer.ip(), input.get(..request.len).unwrap_or_default())
        });
        let notes = self.settings.access_log.as_ref().map(|log| {
            logged::begin(fixed, self, log, input.get(..request.len).unwrap_or_default())
        });
        let body = Inbound::new(request.body, Keep::Framed);
        let mut begun = Begun { request, head, carried: None, body, bytes: 0, hash, notes };
        let mut consumed = request.len;
        if request.body != Body::Empty {
            let rest = input.get(request.len..).unwrap_or_default();
            let mut ranges = fixed.local.ranges.borrow_mut();
            ranges.0.clear();
            let malformed = Refusal { is_head: request.is_head, ..Refusal::bad("malformed body") };
            let fed = begun.body.take(rest, &mut ranges).map_err(|_| malformed)?;
            if carry == Carry::Marked && request.body != Body::Chunked && fed.data > COPY_MAX {
                let range = request.len..request.len + fed.data;
                begun.carried = Some(fixed.local.buffer.mark(range));
            } else {
                for range in &ranges.0 {
                    begun.head.extend_from_slice(rest.get(range.clone()).unwrap_or_default());
                }
                begun.head.extend_from_slice(begun.body.tail());
            }
            begun.bytes = u64::try_from(fed.data).unwrap_or(u64::MAX);
            consumed += fed.consumed;
        }
        Ok(Some((begun, consumed)))
    }

    /// What came is no request: but perhaps HTTP/2, said in advance. Looked at here alone, where it costs requests nothing.
    #[cold]
    fn refused(&self, refusal: Refusal) -> Ending {
        let may_be = self.is_first_request && self.settings.http.http2.front == FrontProtocol::Auto;
        let came = self.inbox.get(self.used..).unwrap_or_default();
        if may_be && http2::is_preface(came) { Ending::Http2 } else { Ending::Refused(refusal) }
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

    /// Waits for another request after an answer. One that did not say `Connection: close`, because the drain began behind
    /// its head, allows another request, which may be on its way.
    pub(super) fn go_on(&mut self, fixed: &Fixed) {
        if !self.is_draining && fixed.listener.is_draining() {
            self.is_draining = true;
            self.rest_until = fixed.now().after(fixed.listener.rest().max(GRACE));
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

    /// The client has closed between requests, or within a head; or its socket is lost.
    fn gone(&self) -> Ending {
        if self.socket.is_lost() {
            return Ending::Lost;
        }
        match self.inbox.is_empty() {
            false => Ending::Left { partial: true },
            true if self.is_first_request && !self.is_probe() => Ending::Left { partial: false },
            true => Ending::Silent,
        }
    }

    /// True as long as nothing has come at all, where such connections are ignored.
    fn is_probe(&self) -> bool {
        self.settings.http.ignore_probes && self.is_first_request && self.inbox.is_empty()
    }

    /// Nothing has come: for how long may that last?
    fn poll_patience(&self, fixed: &Fixed) -> Poll<Result<Begun, Ending>> {
        let t = &self.settings.timeouts;
        let (deadline, ending) = if self.has_begun {
            let ending = if self.is_probe() { Ending::Silent } else { Ending::Late };
            (t.head(self.since, self.active), ending)
        } else {
            (t.rest(self.since, self.active).min(self.rest_until), Ending::Silent)
        };
        if fixed.timer.expires(deadline) {
            return Poll::Ready(Err(ending));
        }
        Poll::Pending
    }
}
