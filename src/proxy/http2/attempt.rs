//! One attempt: a request sent over a line, until its answer's head has come.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use h2::Reason;
use hyper::Version;
use hyper::body::Body;
use hyper::header::{CONTENT_LENGTH, HeaderValue, TRANSFER_ENCODING};
use hyper::http::response;

use super::ask::Asking;
use super::carry::{Carried, Carrier};
use super::dial::Line;
use super::fields;
use super::outlet::{Outlet, Spare};
use super::plain::Plain;
use super::upload::Reader;
use super::upstream::{InUse, Key};
use crate::lb::lease::Lease;
use crate::proxy::http::message::framing::Framing;
use crate::proxy::http::{Expiry, Outcome};
use crate::proxy::millis::Millis;
use crate::proxy::{CloseMode, Reuse};

/// An answer that has begun.
#[derive(Debug)]
pub(super) struct Begun {
    pub(super) head: response::Parts,
    pub(super) outlet: Outlet,
    /// The rest of the request on its way, if that is for us to move.
    pub(super) pump: Option<Pump>,
}

/// Sends the request over `line` and waits for an answer.
///
/// # Errors
/// [`Outcome::Unsent`]: it has not been looked at. [`Outcome::Unheard`]: the connection ended. Others are final.
pub(super) async fn attempt(
    asking: &Asking<'_>,
    lease: &Lease,
    line: Line,
) -> Result<Begun, Outcome> {
    match line {
        Line::Stream(stream) => over_stream(asking, lease, stream).await,
        Line::Http1(plain) => over_http1(asking, lease, plain).await,
    }
}

async fn over_stream(asking: &Asking<'_>, lease: &Lease, stream: InUse) -> Result<Begun, Outcome> {
    let mut sender = stream.shared.sender.clone();
    let unsent = || {
        stream.shared.retire();
        Outcome::Unsent
    };
    let begun = asking.fixed.tick();
    let wait = Waiting { asking, lease, begun };
    let ready = wait.until(|cx| sender.poll_ready(cx).map(Ok)).await?;
    ready.map_err(|_h2| unsent())?;
    let reader = Reader::new(&asking.upload);
    let is_whole = reader.is_end_stream();
    let request = asking.head.to_http2(lease.addr()).ok_or(Outcome::Malformed)?;
    let (mut response, send) = sender.send_request(request, is_whole).map_err(|_h2| unsent())?;
    let mut pump = (!is_whole).then(|| Pump { reader, carrier: Carrier::new(send) });
    let answer = wait
        .until(|cx| {
            if let Some(moving) = &mut pump
                && moving.poll(cx).is_ready()
            {
                pump = None;
            }
            Pin::new(&mut response).poll(cx).map(Ok)
        })
        .await
        .inspect_err(|outcome| {
            if matches!(outcome, Outcome::Expired(Expiry::Server) | Outcome::Ended(_)) {
                stream.shared.retire();
            }
        })?;
    let (head, body) = answer.map_err(|error| judged(error, &stream))?.into_parts();
    if fields::is_login(&head.headers) {
        stream.shared.retire();
    }
    let outlet = if body.is_end_stream() {
        Outlet::Empty
    } else {
        Outlet::Stream(body, stream, fields::length(&head.headers))
    };
    Ok(Begun { head, outlet, pump })
}

/// What the end of a stream before its answer means.
fn judged(error: h2::Error, stream: &InUse) -> Outcome {
    let is_refused = error.is_reset() && error.reason() == Some(Reason::REFUSED_STREAM);
    if error.is_remote() && error.is_go_away() {
        // Streams above the last one that the backend will look at end this way, at once.
        stream.shared.retire();
        Outcome::Unsent
    } else if error.is_remote() && is_refused {
        Outcome::Unsent
    } else if error.is_reset() {
        Outcome::HalfHeard
    } else {
        stream.shared.retire();
        Outcome::Unheard(error.into_io().unwrap_or_else(|| std::io::ErrorKind::InvalidData.into()))
    }
}

async fn over_http1(
    asking: &Asking<'_>,
    lease: &Lease,
    mut plain: Plain,
) -> Result<Begun, Outcome> {
    let http = &asking.settings.http;
    let closes = http.close_mode != CloseMode::KeepAlive;
    let reader = Reader::new(&asking.upload);
    let has_body = !reader.is_end_stream();
    let mut request = asking.head.to_http1(lease.addr(), (reader, closes));
    if has_body && !request.headers().contains_key(CONTENT_LENGTH) {
        // hyper would take it that a GET has none.
        request.headers_mut().insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
    let mut sending = Box::pin(plain.sender.try_send_request(request));
    let begun = asking.fixed.tick();
    let wait = Waiting { asking, lease, begun };
    let answer = wait.until(|cx| sending.as_mut().poll(cx).map(Ok)).await?;
    drop(sending);
    plain.unanswered = None;
    let (mut head, body) = answer
        .map_err(|mut failed| match failed.take_message() {
            Some(_request) => Outcome::Unsent,
            None => broken(failed.into_error()),
        })?
        .into_parts();
    if head.status.as_u16() < 200 {
        return Err(Outcome::Nonsense("protocol switched unasked"));
    }
    if fields::values(&head.headers, &CONTENT_LENGTH).nth(1).is_some() {
        // hyper has found them equal.
        if let Some(one) = head.headers.get(CONTENT_LENGTH).cloned() {
            head.headers.insert(CONTENT_LENGTH, one);
        }
    }
    let mut framing = Framing::default();
    for coding in fields::values(&head.headers, &TRANSFER_ENCODING) {
        framing.add_coding(coding.as_bytes()).map_err(|error| Outcome::Nonsense(error.0))?;
    }
    if framing.chunked {
        // It has not been heeded (RFC 9112 6.3), and would be a lie about what is handed on.
        head.headers.remove(CONTENT_LENGTH);
    }
    // A backend that authenticates connections would take the next client for this one.
    let is_login = || asking.head.is_login() || fields::is_login(&head.headers);
    // To a backend that has answered in HTTP/1.0 hyper speaks HTTP/1.0 from then on, and loses bodies of no known length.
    let is_old = head.version == Version::HTTP_10;
    let keeps = !closes && !is_old && http.reuse != Reuse::Never && !is_login();
    let fixed = asking.fixed;
    let key = Key::of(lease, &fixed.listener.service.name, fixed.whose());
    let spare = keeps.then_some(Spare { key, plain });
    Ok(Begun { head, outlet: Outlet::Http1(body, spare), pump: None })
}

/// What hyper says about an answer that did not begin.
fn broken(error: hyper::Error) -> Outcome {
    if error.is_parse() {
        return Outcome::Nonsense("not an HTTP/1.x answer");
    }
    Outcome::Unheard(std::io::Error::other(error))
}

/// Waiting for an answer's head.
struct Waiting<'a> {
    asking: &'a Asking<'a>,
    lease: &'a Lease,
    begun: Millis,
}

impl Waiting<'_> {
    /// Until `poll` is ready, time is up, or the backend's sessions are to end.
    async fn until<T>(
        &self,
        mut poll: impl FnMut(&mut Context<'_>) -> Poll<Result<T, Outcome>>,
    ) -> Result<T, Outcome> {
        poll_fn(|cx| {
            if let Poll::Ready(done) = poll(cx) {
                return Poll::Ready(done);
            }
            if let Some(reason) = self.lease.ended() {
                return Poll::Ready(Err(Outcome::Ended(reason)));
            }
            let (expiry, deadline) = self.deadline();
            if self.asking.fixed.timer.expires(deadline) {
                return Poll::Ready(Err(Outcome::Expired(expiry)));
            }
            self.look_again(deadline);
            Poll::Pending
        })
        .await
    }

    /// hyper reads the body in a task of its own: that it is the client's turn by now is not said here. Hence a look when
    /// the client's time would be up, if that is before `deadline`.
    fn look_again(&self, deadline: Millis) {
        let asking = self.asking;
        let upload = asking.upload.borrow();
        let since = upload.active.max(self.begun);
        let clients = since.after_or_never(asking.settings.timeouts.client);
        if !upload.is_done() && clients < deadline && asking.fixed.now() < clients {
            // Not yet: this only sets it.
            let _is_up = asking.fixed.timer.expires(clients);
        }
    }

    /// Whose turn it is, and until when: as with HTTP/1.
    fn deadline(&self) -> (Expiry, Millis) {
        let t = &self.asking.settings.timeouts;
        let upload = self.asking.upload.borrow();
        let since = upload.active.max(self.begun);
        if !upload.is_done() && upload.awaits_client {
            Expiry::of_upload(t, since)
        } else {
            (Expiry::Server, since.after_or_never(t.server))
        }
    }
}

/// Moves a request's body into a stream, as fast as the backend takes it.
#[derive(Debug)]
pub(super) struct Pump {
    reader: Reader,
    carrier: Carrier,
}

impl Pump {
    /// Ready when nothing more is to be moved: all has gone, or one side has ended.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match ready!(self.carrier.poll(&mut self.reader, |_moved| {}, cx)) {
            Carried::Whole | Carried::Nowhere => {}
            Carried::Broken(_) => self.carrier.reset(Reason::CANCEL),
        }
        Poll::Ready(())
    }
}
