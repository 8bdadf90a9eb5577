//! HTTP/1 clients of a service that has HTTP/2 servers: read by hyper, asked for by the same code as streams.
//!
//! Not for services of HTTP/1 servers: their clients go through `http`, which costs a fraction.

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::header::{CONNECTION, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode, Version};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use super::ask::{Answer, Asking, ask};
use super::gauge::Gauged;
use super::head::{self, Rules};
use super::notes::Notes;
use super::outlet::{Cut, Outlet};
use super::upload::{Source, Upload};
use crate::lb::lease::Lease;
use crate::proxy::error::{self, ProxyError};
use crate::proxy::http::client::Fixed;
use crate::proxy::http::message::{HEAD_BYTES, HEADERS, Refusal};
use crate::proxy::http::{Expiry, Outcome, Phase};
use crate::proxy::millis::Millis;
use crate::proxy::tcp::Chain;
use crate::proxy::timer::Timer;
use crate::proxy::{CloseMode, ProxySettings, states};
use crate::telemetry::cells::ErrorCause;

/// What the requests of a connection share with it.
struct Front {
    fixed: Fixed,
    served: Cell<u32>,
    /// When the client must have taken more of the answer.
    untaken: Cell<Millis>,
}

/// Serves a connection to its end. `early` is what was read of it.
pub(super) async fn run<S>(fixed: Fixed, stream: S, early: Vec<u8>)
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let settings = fixed.listener.service.settings.load_full();
    let front = Rc::new(Front { fixed, served: Cell::new(0), untaken: Cell::new(Millis::NEVER) });
    let service = service_fn(|request| {
        let front = Rc::clone(&front);
        async move { Ok::<_, Infallible>(answer(&front, request).await) }
    });
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(settings.timeouts.http_request.or(settings.timeouts.client))
        .half_close(true)
        .max_headers(HEADERS)
        .max_buf_size(HEAD_BYTES + 1024);
    let io = TokioIo::new(Gauged::new(stream, early, None));
    let mut connection = pin!(builder.serve_connection(io, service));
    let mut is_draining = false;
    poll_fn(|cx| {
        if !is_draining && front.fixed.listener.is_draining() {
            is_draining = true;
            connection.as_mut().graceful_shutdown();
        }
        if let Poll::Ready(end) = connection.as_mut().poll(cx) {
            if let Err(error) = end {
                let service = &front.fixed.listener.service.name;
                tracing::debug!(%service, peer = %front.fixed.peer, %error, "connection failed");
                if error.is_parse() {
                    front.fixed.cells().error(ErrorCause::ClientProtocol);
                }
            }
            return Poll::Ready(());
        }
        if front.fixed.timer.expires(front.untaken.get()) {
            return Poll::Ready(());
        }
        Poll::Pending
    })
    .await;
}

/// One request's answer.
async fn answer(front: &Rc<Front>, request: Request<Incoming>) -> Response<Down> {
    let fixed = Fixed {
        local: Rc::clone(&front.fixed.local),
        listener: Arc::clone(&front.fixed.listener),
        peer: front.fixed.peer,
        // Of its own: the connection's waits for the client meanwhile.
        timer: Timer::new(&front.fixed.local).await,
    };
    fixed.tick();
    fixed.cells().requests.add(1);
    let settings = fixed.listener.service.settings.load_full();
    let (parts, body) = request.into_parts();
    let is_reused = front.served.replace(front.served.get().saturating_add(1)) > 0;
    let notes = settings.access_log.as_ref().map(|log| Notes::begin(&fixed, log, &parts, is_reused));
    let source = if body.is_end_stream() { Source::Empty } else { Source::Http1(body) };
    let upload = Upload::new(&fixed.local, source);
    let started = fixed.local.clock.instant();
    let mut turn = Turn {
        front: Rc::clone(front),
        fixed,
        settings,
        notes,
        upload,
        lease: None,
        started,
        bytes: 0,
        outcome: Outcome::Aborted,
        phase: Phase::Head,
    };
    let is_head = parts.method == Method::HEAD;
    let mut response = match turn.ask(parts).await {
        Ok(answer) => turn.hand_on(answer, is_head),
        Err(status) => turn.say(status),
    };
    let closes = response.body().turn.settings.http.close_mode == CloseMode::Close
        || front.fixed.listener.is_draining();
    if closes {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// A request from its head to the end of its answer, whatever that is; then it is counted and logged.
struct Turn {
    front: Rc<Front>,
    fixed: Fixed,
    settings: Arc<ProxySettings>,
    notes: Option<Box<Notes>>,
    upload: Rc<RefCell<Upload>>,
    lease: Option<Lease>,
    started: Instant,
    bytes: u64,
    outcome: Outcome,
    phase: Phase,
}

impl Turn {
    /// The answer, or the status of one of ours.
    async fn ask(&mut self, parts: hyper::http::request::Parts) -> Result<Answer, StatusCode> {
        let rules = Rules {
            forward_for: self.settings.http.forward_for.as_ref(),
            client: self.fixed.peer.ip(),
        };
        let head = head::judge(parts, rules).map_err(|refusal| self.refuse(refusal))?;
        let asking = Asking {
            fixed: &self.fixed,
            settings: &self.settings,
            head: &head,
            upload: Rc::clone(&self.upload),
            // hyper drops this when the client has gone.
            is_gone: &|_cx| false,
        };
        let answer = Box::pin(ask(&asking, &mut self.notes)).await;
        answer.map_err(|error| self.give_up(&error))
    }

    fn refuse(&mut self, refusal: Refusal) -> StatusCode {
        self.fixed.cells().error(ErrorCause::ClientProtocol);
        if let Some(notes) = &mut self.notes {
            notes.state = Some(states::REFUSED);
        }
        StatusCode::from_u16(refusal.status).unwrap_or(StatusCode::BAD_REQUEST)
    }

    fn give_up(&mut self, error: &ProxyError) -> StatusCode {
        let (service, peer) = (&self.fixed.listener.service.name, self.fixed.peer);
        tracing::debug!(%service, %peer, error = %Chain(error), "request failed");
        self.fixed.cells().error(error.cause());
        error.status().unwrap_or(StatusCode::BAD_GATEWAY)
    }

    /// A page of ours. Its end is told already.
    fn say(mut self, status: StatusCode) -> Response<Down> {
        self.fixed.cells().response(status.as_u16());
        if let Some(notes) = &mut self.notes {
            notes.status = Some(status.as_u16());
        }
        self.outcome = Outcome::Answered;
        let page = Bytes::from_static(error::page(status).as_bytes());
        let mut response = Response::new(Down { turn: self, outlet: Outlet::Page(page) });
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert("cache-control", HeaderValue::from_static("no-cache"));
        headers.insert("content-type", HeaderValue::from_static("text/html"));
        if status.is_client_error() {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }

    fn hand_on(mut self, answer: Answer, is_head: bool) -> Response<Down> {
        let Answer { begun, lease } = answer;
        let mut head = begun.head;
        head::strip(&mut head.headers);
        head.version = Version::HTTP_11;
        let status = head.status.as_u16();
        self.fixed.cells().response(status);
        lease.backend().cells.of(self.fixed.local.worker).response(status);
        if let Some(notes) = &mut self.notes {
            notes.answer(&head, self.fixed.now());
        }
        self.lease = Some(lease);
        self.phase = Phase::Body;
        if let Some(mut pump) = begun.pump {
            // hyper asks for the answer only as fast as the client takes it; the request goes on meanwhile.
            drop(tokio::task::spawn_local(poll_fn(move |cx| pump.poll(cx))));
        }
        let outlet = if is_head { Outlet::Empty } else { begun.outlet };
        if outlet.is_end() {
            self.outcome = Outcome::Answered;
        }
        Response::from_parts(head, Down { turn: self, outlet })
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let fixed = &self.fixed;
        fixed.tick();
        self.front.untaken.set(Millis::NEVER);
        let now = fixed.local.clock.instant();
        fixed.cells().latency.observe(now.saturating_duration_since(self.started));
        let (bytes_in, bytes_out) = (self.upload.borrow().bytes, self.bytes);
        fixed.cells().bytes_in.add(bytes_in);
        fixed.cells().bytes_out.add(bytes_out);
        let cause = match &self.outcome {
            Outcome::Aborted => Some(ErrorCause::ClientAbort),
            Outcome::Expired(expiry) => Some(expiry.cause()),
            Outcome::Cut(_) => Some(ErrorCause::Backend),
            _other => None,
        };
        if let Some(cause) = cause {
            fixed.cells().error(cause);
        }
        if let Some(lease) = self.lease.take() {
            let cells = lease.backend().cells.of(fixed.local.worker);
            cells.bytes_in.add(bytes_in);
            cells.bytes_out.add(bytes_out);
            cells.response_errors.add(u64::from(cause == Some(ErrorCause::Backend)));
        }
        if let Some(mut notes) = self.notes.take() {
            notes.bytes_in += bytes_in;
            notes.bytes_out += bytes_out;
            if notes.state.is_none() {
                let is_sent = self.upload.borrow().is_done();
                notes.state = Some(states::attempt(&self.outcome, self.phase, is_sent));
            }
            notes.write(fixed);
        }
    }
}

/// An answer's body as hyper sends it.
struct Down {
    turn: Turn,
    outlet: Outlet,
}

impl Body for Down {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        let Self { turn, outlet } = &mut *self;
        turn.front.untaken.set(Millis::NEVER);
        let Poll::Ready(came) = outlet.poll(cx) else {
            let since = turn.fixed.now().max(turn.upload.borrow().active);
            let deadline = since.after_or_never(turn.settings.timeouts.server);
            if turn.fixed.timer.expires(deadline) {
                turn.outcome = Outcome::Expired(Expiry::Server);
                return Poll::Ready(Some(Err(Cut::late())));
            }
            return Poll::Pending;
        };
        let now = turn.fixed.tick();
        match &came {
            Some(Ok(frame)) => {
                turn.bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
                turn.front.untaken.set(now.after_or_never(turn.settings.timeouts.client));
                if frame.is_trailers() || outlet.is_end() {
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
