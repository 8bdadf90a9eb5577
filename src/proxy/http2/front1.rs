//! HTTP/1 clients of a service that has HTTP/2 servers: read by hyper, asked for by the same code as streams.
//!
//! Not for services of HTTP/1 servers: their clients go through `http`, which costs a fraction.

mod last;
mod patience;

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::future::{Future, pending, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;

use hyper::body::{Body, Incoming};
use hyper::header::{CONNECTION, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

use self::last::Last;
use self::patience::{Over, Wait};
use super::gauge::{Gauged, Progress, Talk};
use super::notes::{self, Notes};
use super::source::Source;
use super::turn::{Down, Turn};
use super::upload::Upload;
use super::vetted::{ADDED, Vetted};
use super::vigil::Vigil;
use crate::lb::ending::Reason;
use crate::lb::lease::Lease;
use crate::proxy::CloseMode;
use crate::proxy::age;
use crate::proxy::http::client::Fixed;
use crate::proxy::http::message::{HEAD_BYTES, HEADERS};
use crate::proxy::http::{Outcome, Phase};
use crate::proxy::millis::Millis;
use crate::proxy::timer::Timer;
use crate::telemetry::cells::ErrorCause;

/// What the requests of a connection share with it.
pub(super) struct Front {
    pub(super) fixed: Fixed,
    served: Cell<u32>,
    /// When the client must have taken more of the answer.
    pub(super) untaken: Cell<Millis>,
    /// It has not.
    pub(super) is_untaken: Cell<bool>,
    /// Of the answer under way.
    pub(super) lease: RefCell<Option<Lease>>,
    /// From then on the next answer is the last.
    age: Millis,
    talk: Rc<Talk>,
    pub(super) vigil: Rc<Vigil>,
    /// When the client has taken something, or said something.
    moved: (Progress, Progress),
    wait: Cell<Option<Wait>>,
    /// Nobody wants the answer under way.
    is_left: Cell<bool>,
    /// The last request's body, when its answer ended before it: it is bounded elsewhere.
    unread: RefCell<Option<Rc<RefCell<Upload>>>>,
}

impl Front {
    /// Why the answer under way is to end, if it is.
    pub(super) fn ended(&self) -> Option<Reason> {
        self.lease.borrow().as_ref().and_then(Lease::ended)
    }
}

/// Serves a connection to its end. `early` is what was read of it since it `begun`.
pub(super) async fn run<S>(fixed: Fixed, stream: S, (early, begun): (Vec<u8>, Millis))
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let settings = fixed.listener.service.settings.load_full();
    let now = fixed.tick();
    let (talk, vigil) = (Rc::new(Talk::default()), Rc::new(Vigil::default()));
    let front = Rc::new(Front {
        age: age::ends_at(now, settings.max_connection_age),
        fixed,
        served: Cell::new(0),
        untaken: Cell::new(Millis::NEVER),
        is_untaken: Cell::new(false),
        lease: RefCell::new(None),
        talk: Rc::clone(&talk),
        vigil: Rc::clone(&vigil),
        moved: (Progress::new(now), Progress::new(now)),
        unread: RefCell::new(None),
        is_left: Cell::new(false),
        wait: Cell::new(Some(Wait { since: begun, heard: 0, has_begun: true })),
    });
    let service = service_fn(|request| {
        let front = Rc::clone(&front);
        async move { Ok::<_, Infallible>(answer(&front, request).await) }
    });
    let mut builder = http1::Builder::new();
    builder
        // Time is kept here.
        .header_read_timeout(None)
        // What a server has not said is not said for it, as in the other engine.
        .auto_date_header(false)
        // Such that it looks: what it may see of that is not its own to judge.
        .half_close(false)
        // The judge adds a few.
        .max_headers(HEADERS + ADDED)
        .max_buf_size(HEAD_BYTES + 1024);
    let io = TokioIo::new(Vetted::new(Gauged::bytes(stream, early, &talk), &vigil));
    let mut connection = builder.serve_connection(io, service);
    let mut is_draining = false;
    let over = poll_fn(|cx| {
        let mut connection = Pin::new(&mut connection);
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
            return Poll::Ready(None);
        }
        // Its client may take nothing: then nobody asks for the rest of the answer.
        front.is_over().map_or(Poll::Pending, |over| Poll::Ready(Some(over)))
    })
    .await;
    let (io, refusal) = connection.into_parts().io.into_inner().into_parts();
    let last = match (over, refusal) {
        (Some(Over::Silent), _) => return,
        (Some(Over::Late), _) => Some(Last::LATE),
        (None, Some(refusal)) => Some(Last::refused(refusal)),
        (None, None) => front.left(),
    };
    front.farewell(io, last).await;
}

/// One request's answer.
async fn answer(front: &Rc<Front>, request: Request<Incoming>) -> Response<Down> {
    front.wait.set(None);
    front.unread.take();
    let fixed = Fixed {
        local: Rc::clone(&front.fixed.local),
        listener: Arc::clone(&front.fixed.listener),
        peer: front.fixed.peer,
        entrance: front.fixed.entrance.clone(),
        reached: front.fixed.reached.clone(),
        // Of its own: the connection's waits for the client meanwhile.
        timer: Timer::new(&front.fixed.local, front.fixed.listener.group).await,
    };
    fixed.tick();
    let settings = fixed.listener.service.settings.load_full();
    let (parts, body) = request.into_parts();
    fixed.cells().requests.add(1);
    let head_bytes = notes::request_bytes(&parts.method, &parts.uri, &parts.headers);
    fixed.cells().bytes_in.add(head_bytes);
    let is_reused = front.served.replace(front.served.get().saturating_add(1)) > 0;
    let notes =
        settings.access_log.as_ref().map(|log| Notes::begin(&fixed, log, &parts, is_reused));
    let source = if body.is_end_stream() { Source::Empty } else { Source::Http1(body) };
    let upload = Upload::new(&fixed.local, source);
    let started = fixed.local.clock.instant();
    let mut turn = Turn {
        front: Rc::clone(front),
        fixed,
        settings,
        notes,
        upload,
        started,
        head_bytes,
        bytes: 0,
        outcome: Outcome::Aborted,
        phase: Phase::Head,
    };
    let is_head = parts.method == Method::HEAD;
    let mut response = match turn.ask(parts).await {
        Ok(answer) => turn.hand_on(answer, is_head),
        Err(Some(status)) => turn.say(status),
        Err(None) => {
            front.is_left.set(true);
            pending().await
        }
    };
    let closes = response.body().turn.settings.http.close_mode == CloseMode::Close
        || front.age <= front.fixed.tick()
        || front.fixed.listener.is_draining();
    if closes || response.headers().contains_key(CONNECTION) {
        front.vigil.close();
    }
    if closes {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}
