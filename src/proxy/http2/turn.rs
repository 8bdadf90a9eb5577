//! One request of an HTTP/1 client that hyper reads, from its head to the end of its answer.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use hyper::header::{CONNECTION, HeaderValue};
use hyper::{Response, StatusCode, Version};
use tokio::time::Instant;

use super::ask::{Answer, Asking, ask};
use super::attempt::{Begun, Pump};
use super::carry::Frames;
use super::fields;
use super::front1::Front;
use super::head::{self, Rules};
use super::notes::Notes;
use super::outlet::{Cut, Outlet};
use super::upload::Upload;
use crate::lb::lease::Lease;
use crate::proxy::error::{self, ProxyError};
use crate::proxy::http::client::Fixed;
use crate::proxy::http::message::Refusal;
use crate::proxy::http::{Expiry, Outcome, Phase, reply};
use crate::proxy::millis::Millis;
use crate::proxy::tcp::Chain;
use crate::proxy::timer::Timer;
use crate::proxy::{ProxySettings, states};
use crate::telemetry::cells::ErrorCause;

/// A request from its head to the end of its answer, whatever that is; then it is counted and logged.
pub(super) struct Turn {
    pub(super) front: Rc<Front>,
    pub(super) fixed: Fixed,
    pub(super) settings: Arc<ProxySettings>,
    pub(super) notes: Option<Box<Notes>>,
    pub(super) upload: Rc<RefCell<Upload>>,
    pub(super) started: Instant,
    pub(super) head_bytes: u64,
    pub(super) bytes: u64,
    pub(super) outcome: Outcome,
    pub(super) phase: Phase,
}

impl Turn {
    /// The answer, or the status of one of ours; none when nobody is left to read it.
    pub(super) async fn ask(
        &mut self,
        parts: hyper::http::request::Parts,
    ) -> Result<Answer, Option<StatusCode>> {
        let rules = Rules {
            forward_for: self.settings.http.forward_for.as_ref(),
            client: self.fixed.peer.ip(),
        };
        let head = head::judge(parts, rules).map_err(|refusal| Some(self.refuse(refusal)))?;
        let asking = Asking {
            fixed: &self.fixed,
            settings: &self.settings,
            head: &head,
            upload: Rc::clone(&self.upload),
            left: &|_cx| self.front.vigil.left(self.settings.http.abort_on_close),
        };
        let answer = Box::pin(ask(&asking, &mut self.notes)).await;
        answer.map_err(|error| self.give_up(&error))
    }

    fn refuse(&mut self, refusal: Refusal) -> StatusCode {
        self.fixed.cells().error(ErrorCause::ClientProtocol);
        if let Some(notes) = &mut self.notes {
            notes.course.state = Some(states::REFUSED);
        }
        StatusCode::from_u16(refusal.status).unwrap_or(StatusCode::BAD_REQUEST)
    }

    fn give_up(&self, error: &ProxyError) -> Option<StatusCode> {
        tracing::debug!(service = %self.fixed.listener.service.name, peer = %self.fixed.peer, error = %Chain(error), "request failed");
        if self.front.vigil.is_broken() {
            // Counted when it ends.
            return None;
        }
        self.fixed.cells().error(error.cause());
        // Without one when the client has broken off its body.
        Some(error.status().unwrap_or(StatusCode::BAD_REQUEST))
    }

    /// A page of ours. Its end is told already.
    pub(super) fn say(mut self, status: StatusCode) -> Response<Down> {
        self.fixed.cells().response(status.as_u16());
        let page = error::page(status);
        let head = reply::length(status, true);
        self.fixed.cells().bytes_out.add(head);
        if let Some(notes) = &mut self.notes {
            notes.course.status = Some(status.as_u16());
            notes.bytes_out += head;
        }
        self.outcome = Outcome::Answered;
        // Nobody reads on: hyper closes if much is to come.
        self.upload.borrow_mut().abandon();
        let page = Bytes::from_static(page.as_bytes());
        let mut response = Response::new(Down::new(self, Outlet::Page(page)));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert("cache-control", HeaderValue::from_static("no-cache"));
        headers.insert("content-type", HeaderValue::from_static("text/html"));
        if status.is_client_error() {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }

    pub(super) fn hand_on(mut self, mut answer: Answer, is_head: bool) -> Response<Down> {
        answer.settle((&self.fixed, &mut self.notes), Version::HTTP_11);
        let Answer { begun: Begun { head, mut outlet, pump }, lease } = answer;
        *self.front.lease.borrow_mut() = Some(lease);
        self.phase = Phase::Body;
        if !self.upload.borrow().is_over() {
            // hyper asks for the answer only as fast as the client takes it; the request goes on meanwhile.
            drop(tokio::task::spawn_local(self.remainder(pump)));
        }
        let length = fields::length(&head.headers);
        // hyper does not ask for what it knows not to come.
        let has_none = length == Some(0) || matches!(head.status.as_u16(), 204 | 304);
        if is_head || has_none || outlet.is_end() {
            self.outcome = Outcome::Answered;
            if self.upload.borrow().is_done() {
                outlet.complete(&self.fixed.local);
            }
        }
        let outlet = if is_head { Outlet::Empty } else { outlet };
        Response::from_parts(head, Down { left: length, ..Down::new(self, outlet) })
    }

    /// Moves the rest of the request, if that is for us to move. Once its answer has ended it has `timeout client` for each
    /// step, whoever is slow: longer nobody is kept by it.
    fn remainder(&self, mut pump: Option<Pump>) -> impl Future<Output = ()> + 'static {
        let local = Rc::clone(&self.fixed.local);
        let group = self.fixed.listener.group;
        let upload = Rc::clone(&self.upload);
        let limit = self.settings.timeouts.client;
        let front = Rc::clone(&self.front);
        async move {
            let timer = Timer::new(&local, group).await;
            poll_fn(|cx| {
                if let Some(moving) = &mut pump
                    && moving.poll(cx).is_ready()
                {
                    pump = None;
                }
                let mut upload = upload.borrow_mut();
                if pump.is_none() && (upload.is_over() || limit.is_none()) {
                    return Poll::Ready(());
                }
                let ended = upload.answered.unwrap_or_else(|| local.clock.tick());
                if timer.expires(ended.max(upload.active).after_or_never(limit)) {
                    upload.abandon();
                    return Poll::Ready(());
                }
                Poll::Pending
            })
            .await;
            front.look();
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let fixed = &self.fixed;
        let now = fixed.tick();
        self.upload.borrow_mut().answered = Some(now);
        self.front.untaken.set(Millis::NEVER);
        self.front.rest(now, &self.upload);
        let lease = self.front.lease.take();
        // The connection was left while the client took nothing: its backend's end, or the client's fault.
        if let (Outcome::Aborted, Some(reason)) =
            (&self.outcome, lease.as_ref().and_then(Lease::ended))
        {
            self.outcome = Outcome::Ended(reason);
        } else if let (Outcome::Aborted, true) = (&self.outcome, self.front.is_untaken.get()) {
            self.outcome = Outcome::Expired(Expiry::Client);
        }
        let now = fixed.local.clock.instant();
        fixed.cells().latency.observe(now.saturating_duration_since(self.started));
        let (bytes_in, bytes_out) = (self.upload.borrow().bytes, self.bytes);
        fixed.cells().bytes_in.add(bytes_in);
        fixed.cells().bytes_out.add(bytes_out);
        let cause = match &self.outcome {
            Outcome::Aborted => Some(ErrorCause::ClientAbort),
            Outcome::Expired(expiry) => Some(expiry.cause()),
            Outcome::Cut(_) | Outcome::Ended(_) => Some(ErrorCause::Backend),
            Outcome::Answered
            | Outcome::Switched(_)
            | Outcome::Unsent
            | Outcome::Unheard(_)
            | Outcome::HalfHeard
            | Outcome::Nonsense(_)
            | Outcome::Malformed => None,
        };
        if let Some(cause) = cause {
            fixed.cells().error(cause);
        }
        if let Some(lease) = lease {
            let cells = lease.backend().cells.of(fixed.local.worker);
            cells.bytes_in.add(self.head_bytes + bytes_in);
            cells.bytes_out.add(bytes_out);
            cells.response_errors.add(u64::from(cause == Some(ErrorCause::Backend)));
        }
        if let Some(mut notes) = self.notes.take() {
            notes.course.bytes_in += bytes_in;
            notes.bytes_out += bytes_out;
            if notes.course.state.is_none() {
                let is_sent = self.upload.borrow().is_done();
                notes.course.state = Some(states::attempt(&self.outcome, self.phase, is_sent));
            }
            notes.write(fixed);
        }
    }
}

/// An answer's body as hyper sends it.
pub(super) struct Down {
    pub(super) turn: Turn,
    outlet: Outlet,
    /// Since when the backend has owed the next part.
    owed_since: Option<Millis>,
    /// Bytes to come, if its head says how many. Nobody asks for more once the last has come.
    left: Option<u64>,
}

impl Down {
    fn new(turn: Turn, outlet: Outlet) -> Self {
        Self { turn, outlet, owed_since: None, left: None }
    }
}

impl Body for Down {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        let Self { turn, outlet, owed_since, left } = &mut *self;
        turn.front.untaken.set(Millis::NEVER);
        let Poll::Ready(came) = outlet.poll_next(cx) else {
            if let Some(reason) = turn.front.ended() {
                turn.outcome = Outcome::Ended(reason);
                return Poll::Ready(Some(Err(Cut::ended())));
            }
            let owed_since = *owed_since.get_or_insert_with(|| turn.fixed.tick());
            let since = owed_since.max(turn.upload.borrow().active);
            let deadline = since.after_or_never(turn.settings.timeouts.server);
            if turn.fixed.timer.expires(deadline) {
                turn.outcome = Outcome::Expired(Expiry::Server);
                return Poll::Ready(Some(Err(Cut::late())));
            }
            return Poll::Pending;
        };
        *owed_since = None;
        let now = turn.fixed.tick();
        match &came {
            Some(Ok(frame)) => {
                let bytes = frame.data_ref().map_or(0, |data| data.len() as u64);
                turn.bytes += bytes;
                *left = left.map(|left| left.saturating_sub(bytes));
                turn.front.untaken.set(now.after_or_never(turn.settings.timeouts.client));
                if frame.is_trailers() || outlet.is_end() || *left == Some(0) {
                    turn.outcome = Outcome::Answered;
                }
            }
            None => turn.outcome = Outcome::Answered,
            Some(Err(_)) => {
                turn.outcome = Outcome::Cut(std::io::ErrorKind::UnexpectedEof.into());
            }
        }
        if matches!(turn.outcome, Outcome::Answered) && turn.upload.borrow().is_done() {
            outlet.complete(&turn.fixed.local);
        }
        Poll::Ready(came)
    }

    fn is_end_stream(&self) -> bool {
        self.outlet.is_end()
    }

    fn size_hint(&self) -> SizeHint {
        match &self.outlet {
            Outlet::Empty => SizeHint::with_exact(0),
            Outlet::Page(page) => SizeHint::with_exact(page.len() as u64),
            // The head says how long it is, if anybody knows.
            Outlet::Stream(..) | Outlet::Http1(..) => SizeHint::default(),
        }
    }
}
