//! HTTP/1 clients of a service that has HTTP/2 servers: read by hyper, asked for by the same code as streams.
//!
//! Not for services of HTTP/1 servers: their clients go through `http`, which costs a fraction.

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;

use hyper::body::{Body, Incoming};
use hyper::header::{CONNECTION, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};

use super::gauge::Gauged;
use super::notes::Notes;
use super::turn::{Down, Turn};
use super::upload::{Source, Upload};
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
    /// Of the answer under way.
    pub(super) lease: RefCell<Option<Lease>>,
    /// From then on the next answer is the last.
    age: Millis,
}

impl Front {
    /// Why the answer under way is to end, if it is.
    pub(super) fn ended(&self) -> Option<Reason> {
        self.lease.borrow().as_ref().and_then(Lease::ended)
    }
}

/// Serves a connection to its end. `early` is what was read of it.
pub(super) async fn run<S>(fixed: Fixed, stream: S, early: Vec<u8>)
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let settings = fixed.listener.service.settings.load_full();
    let age = age::ends_at(fixed.tick(), settings.max_connection_age);
    let front = Rc::new(Front {
        fixed,
        served: Cell::new(0),
        untaken: Cell::new(Millis::NEVER),
        lease: RefCell::new(None),
        age,
    });
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
        // Its client may take nothing: then nobody asks for the rest of the answer.
        if front.ended().is_some() || front.fixed.timer.expires(front.untaken.get()) {
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
        entrance: front.fixed.entrance.clone(),
        reached: front.fixed.reached.clone(),
        // Of its own: the connection's waits for the client meanwhile.
        timer: Timer::new(&front.fixed.local, front.fixed.listener.group).await,
    };
    fixed.tick();
    fixed.cells().requests.add(1);
    let settings = fixed.listener.service.settings.load_full();
    let (parts, body) = request.into_parts();
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
        || front.age <= front.fixed.tick()
        || front.fixed.listener.is_draining();
    if closes {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}
