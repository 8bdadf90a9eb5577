//! One stream of a client's connection: a request, and its answer handed on.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Context;

use bytes::Bytes;
use h2::RecvStream;
use h2::server::SendResponse;
use hyper::{Method, Request, Response, StatusCode, Version};

use super::ask::{Answer, Asking, ask};
use super::attempt::Begun;
use super::carry::Frames;
use super::down::Down;
use super::gauge::Talk;
use super::head::{self, Rules};
use super::notes::{self, Notes};
use super::settings::EARLY;
use super::source::Source;
use super::upload::Upload;
use crate::lb::lease::Lease;
use crate::proxy::error::{self, ProxyError};
use crate::proxy::http::client::Fixed;
use crate::proxy::http::message::Refusal;
use crate::proxy::http::{Outcome, Phase, reply};
use crate::proxy::millis::Millis;
use crate::proxy::tcp::Chain;
use crate::proxy::{ProxySettings, states};
use crate::telemetry::cells::ErrorCause;

/// What the streams of a connection share with the task that owns it.
#[derive(Debug)]
pub(super) struct Streams {
    pub(super) talk: Rc<Talk>,
    /// Streams under way.
    pub(super) open: Cell<u32>,
    /// Streams so far.
    pub(super) begun: Cell<u32>,
    /// Streams that the client has reset before their answer began.
    pub(super) early_resets: Cell<u32>,
    /// When the last one ended.
    pub(super) last: Cell<Millis>,
}

/// Counts a stream as long as it lasts, and a panic that ends it.
struct Open<'a>(&'a Streams, &'a Fixed);

impl Drop for Open<'_> {
    fn drop(&mut self) {
        let Self(streams, fixed) = self;
        if std::thread::panicking() {
            fixed.local.shared.count_panic();
            tracing::error!(service = %fixed.listener.service.name, "stream task panicked");
        }
        streams.open.set(streams.open.get().saturating_sub(1));
        streams.last.set(fixed.local.clock.now());
    }
}

/// Serves a stream to its end.
pub(super) async fn serve(
    streams: Rc<Streams>,
    fixed: Fixed,
    request: Request<RecvStream>,
    respond: SendResponse<Bytes>,
) {
    let _open = Open(&streams, &fixed);
    fixed.tick();
    fixed.cells().requests.add(1);
    let head_bytes = notes::request_bytes(request.method(), request.uri(), request.headers());
    fixed.cells().bytes_in.add(head_bytes);
    let settings = fixed.listener.service.settings.load_full();
    let started = fixed.local.clock.instant();
    let mut stream = Stream {
        fixed: &fixed,
        settings,
        streams: &streams,
        head_bytes,
        begun: fixed.now(),
        respond: RefCell::new(respond),
        notes: None,
    };
    let upload = stream.run(request).await;
    fixed.tick();
    fixed.cells().latency.observe(fixed.local.clock.instant().saturating_duration_since(started));
    let bytes_in = upload.borrow().bytes;
    // Without its stream nothing counts it, nothing bounds it.
    upload.borrow_mut().abandon();
    fixed.cells().bytes_in.add(bytes_in);
    if let Some(mut notes) = stream.notes.take() {
        notes.course.bytes_in += bytes_in;
        notes.write(&fixed);
    }
}

struct Stream<'a> {
    fixed: &'a Fixed,
    settings: Arc<ProxySettings>,
    streams: &'a Rc<Streams>,
    head_bytes: u64,
    begun: Millis,
    respond: RefCell<SendResponse<Bytes>>,
    notes: Option<Box<Notes>>,
}

impl Stream<'_> {
    async fn run(&mut self, request: Request<RecvStream>) -> Rc<RefCell<Upload>> {
        let (parts, body) = request.into_parts();
        if let Some(log) = &self.settings.access_log {
            let is_reused = self.streams.begun.get() > 1;
            self.notes = Some(Notes::begin(self.fixed, log, &parts, is_reused));
        }
        let source = if body.is_end_stream() { Source::Empty } else { Source::Stream(body) };
        let upload = Upload::new(&self.fixed.local, source);
        let is_head = parts.method == Method::HEAD;
        let rules = Rules {
            forward_for: self.settings.http.forward_for.as_ref(),
            client: self.fixed.peer.ip(),
        };
        let head = match head::judge(parts, rules) {
            Ok(head) => head,
            Err(refusal) => {
                self.refuse(refusal, is_head);
                return upload;
            }
        };
        if head.expects {
            let go_on = Response::builder().status(StatusCode::CONTINUE).version(Version::HTTP_2);
            // An error means that the stream has ended, which shows below.
            drop(go_on.body(()).map(|go_on| self.respond.borrow_mut().send_informational(go_on)));
        }
        let left = |cx: &mut Context<'_>| {
            let reset = self.respond.borrow_mut().poll_reset(cx);
            reset.is_ready().then_some(ProxyError::ClientAbort)
        };
        let asking = Asking {
            fixed: self.fixed,
            settings: &self.settings,
            head: &head,
            upload: Rc::clone(&upload),
            left: &left,
        };
        // Boxed: it is over when the answer begins, which may last.
        match Box::pin(ask(&asking, &mut self.notes)).await {
            Ok(answer) => self.hand_on(answer, &upload, is_head).await,
            Err(error) => self.give_up(&error, is_head),
        }
        upload
    }

    /// The request must not be forwarded.
    fn refuse(&mut self, refusal: Refusal, is_head: bool) {
        let (service, peer) = (&self.fixed.listener.service.name, self.fixed.peer);
        tracing::debug!(%service, %peer, %refusal, "bad request");
        self.fixed.cells().error(ErrorCause::ClientProtocol);
        if let Some(notes) = &mut self.notes {
            notes.course.state = Some(states::REFUSED);
        }
        let status = StatusCode::from_u16(refusal.status).unwrap_or(StatusCode::BAD_REQUEST);
        self.say(status, is_head);
    }

    /// No backend's answer will come.
    fn give_up(&mut self, error: &ProxyError, is_head: bool) {
        let (service, peer) = (&self.fixed.listener.service.name, self.fixed.peer);
        tracing::debug!(%service, %peer, error = %Chain(error), "request failed");
        self.fixed.cells().error(error.cause());
        match error.status() {
            Some(status) => self.say(status, is_head),
            None if self.fixed.now() >= self.begun.after(EARLY) => {}
            None => {
                let resets = &self.streams.early_resets;
                resets.set(resets.get().saturating_add(1));
            }
        }
    }

    /// Answers with a page of ours.
    fn say(&mut self, status: StatusCode, is_head: bool) {
        let page = error::page(status);
        let head = Response::builder()
            .status(status)
            .header("content-length", page.len())
            .header("cache-control", "no-cache")
            .header("content-type", "text/html");
        self.fixed.cells().response(status.as_u16());
        self.fixed.cells().bytes_out.add(reply::length(status, is_head));
        if let Some(notes) = &mut self.notes {
            notes.course.status = Some(status.as_u16());
            notes.bytes_out = reply::length(status, is_head);
        }
        let Ok(head) = head.body(()) else {
            return;
        };
        let is_short = is_head || page.is_empty();
        let sent = self.respond.borrow_mut().send_response(head, is_short);
        if let (Ok(mut send), false) = (sent, is_short) {
            // Small enough to wait in the connection's own buffer; an error means that the client has gone.
            drop(send.send_data(Bytes::from_static(page.as_bytes()), true));
        }
    }

    /// Hands an answer on.
    async fn hand_on(&mut self, mut answer: Answer, upload: &Rc<RefCell<Upload>>, is_head: bool) {
        answer.settle((self.fixed, &mut self.notes), Version::HTTP_2);
        let Answer { begun: Begun { head, mut outlet, pump }, lease } = answer;
        let is_short = is_head || outlet.is_end();
        let sent =
            self.respond.borrow_mut().send_response(Response::from_parts(head, ()), is_short);
        let outcome = match sent {
            Err(_) => Outcome::Aborted,
            Ok(_) if is_short => {
                if upload.borrow().is_done() {
                    outlet.complete(&self.fixed.local);
                }
                self.count(&lease, upload, 0);
                Outcome::Answered
            }
            Ok(send) => {
                let moving = (outlet, pump, send);
                let with = (&*self.streams.talk, &lease);
                let mut down = Down::new((self.fixed, &self.settings), with, upload, moving);
                let outcome = poll_fn(|cx| down.poll(cx)).await;
                let bytes = down.bytes;
                down.end(&outcome);
                self.count(&lease, upload, bytes);
                outcome
            }
        };
        self.judge(&lease, outcome, upload.borrow().is_done());
    }

    fn count(&mut self, lease: &Lease, upload: &Rc<RefCell<Upload>>, bytes: u64) {
        let cells = lease.backend().cells.of(self.fixed.local.worker);
        cells.bytes_out.add(bytes);
        cells.bytes_in.add(self.head_bytes + upload.borrow().bytes);
        self.fixed.cells().bytes_out.add(bytes);
        if let Some(notes) = &mut self.notes {
            notes.bytes_out += bytes;
        }
    }

    fn judge(&mut self, lease: &Lease, outcome: Outcome, is_sent: bool) {
        if let Some(notes) = &mut self.notes {
            notes.course.state = Some(states::attempt(&outcome, Phase::Body, is_sent));
        }
        let cause = match outcome {
            Outcome::Aborted => ErrorCause::ClientAbort,
            Outcome::Expired(expiry) => expiry.cause(),
            Outcome::Cut(error) => {
                let backend = lease.addr();
                tracing::debug!(%backend, %error, "answer cut");
                lease.backend().cells.of(self.fixed.local.worker).response_errors.add(1);
                ErrorCause::Backend
            }
            Outcome::Ended(_) => {
                lease.backend().cells.of(self.fixed.local.worker).response_errors.add(1);
                ErrorCause::Backend
            }
            Outcome::Answered
            | Outcome::Switched(_)
            | Outcome::Unsent
            | Outcome::Unheard(_)
            | Outcome::HalfHeard
            | Outcome::Nonsense(_)
            | Outcome::Malformed => return,
        };
        self.fixed.cells().error(cause);
    }
}
