//! Whom to ask, over which connection, and what may be asked again.
//!
//! Before a byte of the request was sent anything may be tried elsewhere. After that only what is idempotent and has no
//! body is repeated, and only while no byte of an answer has come; nothing else is ever sent twice.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use super::client::{Begun, Client, Ending, Fixed};
use super::exchange::Exchange;
use super::judge::{Judged, judge};
use super::logged::{self, Notes};
use super::message::Version;
use super::repeat::{died, may_repeat, unanswered};
use super::reply::Form;
use super::reuse::{self, Wish};
use super::room;
use super::upstream::Upstream;
use crate::lb::lease::Lease;
use crate::lb::{PickContext, PickError, Protocol};
use crate::proxy::connect::{Dialer, Found};
use crate::proxy::error::ProxyError;
use crate::proxy::tcp::Chain;
use crate::proxy::{CloseMode, ProxySettings};

/// What a connection does after a request.
#[derive(Debug)]
pub(super) enum After {
    /// Takes the next.
    Next,
    /// Ends.
    End(Ending),
    /// Becomes a tunnel.
    Tunnel(Box<Tunnel>),
}

/// Both ends of a tunnel but the client's.
#[derive(Debug)]
pub(super) struct Tunnel {
    pub(super) upstream: Box<Upstream>,
    /// What the backend sent after its head.
    pub(super) early: Vec<u8>,
    pub(super) lease: Lease,
    /// For the line in the access log.
    pub(super) notes: Option<Box<Notes>>,
}

/// Serves one request.
pub(super) async fn serve(fixed: &Fixed, client: &mut Client, begun: Begun) -> After {
    fixed.cells().requests.add(1);
    let mut exchange = Exchange::new(begun, fixed);
    let mut after = match ask(fixed, client, &mut exchange).await {
        Ok(after) => after,
        Err(error) => give_up(fixed, client, &mut exchange, &error),
    };
    if let Some(notes) = exchange.notes.take()
        && let Some(notes) = logged::settle(fixed, client, notes, &mut after)
    {
        // Boxed: rare, and not to be paid for by idle connections.
        return Box::pin(logged::settle_later(fixed, client, notes, after)).await;
    }
    after
}

/// Asks over an idle connection, which is the usual way; everything else is [`persist`]'s.
async fn ask(
    fixed: &Fixed,
    client: &mut Client,
    exchange: &mut Exchange,
) -> Result<After, ProxyError> {
    let cx = PickContext { avoid: &[], hash: exchange.hash, busy: None };
    let lease = match pick(fixed, cx) {
        // Boxed: rare beside requests, and large.
        Err(PickError::AllFull { .. }) => Box::pin(wait(fixed, client, exchange)).await?,
        picked => picked?,
    };
    speaks_http1(&lease)?;
    let cells = lease.backend().cells.of(fixed.local.worker);
    cells.requests.add(1);
    let wish = Wish::of(client, exchange);
    let start = if let Some(upstream) = wish.idle(fixed, &lease, exchange.up.sent_at) {
        cells.reuses.add(1);
        exchange.attempt(lease, upstream, fixed.now());
        let outcome = poll_fn(|cx| exchange.poll(fixed, client, cx)).await;
        match judge(fixed, client, exchange, outcome) {
            Judged::Over(after) => return Ok(after),
            Judged::Failed(error) => return Err(error),
            Judged::Unanswered(failed, error) => Start::Failed(failed, error),
        }
    } else if exchange.save(fixed) {
        Start::Fresh(lease)
    } else {
        return Err(ProxyError::ClientAbort);
    };
    // Boxed: rare beside requests, and large.
    let rest = async {
        let settings = Arc::clone(&client.settings);
        let dialer = Dialer::new(&fixed.listener.service, &settings, &fixed.timer);
        let mut dialer = dialer.hashed(exchange.hash);
        if let Some(notes) = &mut exchange.notes {
            dialer.trail = std::mem::take(&mut notes.course.trail);
        }
        let after = persist(fixed, client, exchange, (&mut dialer, start)).await;
        if let Some(notes) = &mut exchange.notes {
            notes.course.trail = dialer.trail;
        }
        after
    };
    Box::pin(rest).await
}

/// A backend to ask: the one that knows the client, if there is one and it may be picked.
fn pick(fixed: &Fixed, cx: PickContext<'_>) -> Result<Lease, PickError> {
    let pool = &fixed.listener.service.pool;
    let known = reuse::login(fixed).and_then(|backend| pool.acquire_of(backend));
    known.map_or_else(|| pool.acquire(cx), Ok)
}

/// Where [`persist`] begins.
enum Start {
    /// With a new connection.
    Fresh(Lease),
    /// After an idle connection failed; `None` when nothing was sent over it.
    Failed(Lease, Option<io::Error>),
}

/// Asks until there is an answer or no further attempt is allowed, over new connections; elsewhere perhaps over idle ones.
async fn persist(
    fixed: &Fixed,
    client: &mut Client,
    exchange: &mut Exchange,
    (dialer, start): (&mut Dialer<'_>, Start),
) -> Result<After, ProxyError> {
    let mut lease = match start {
        Start::Fresh(lease) => lease,
        Start::Failed(failed, error) => {
            let again = may_repeat(fixed, client, exchange, (&failed, &error), dialer);
            if !again {
                return Err(died(client, &failed, error));
            }
            watched((client, exchange.up.body.is_done()), dialer.begin_anew(failed)).await?
        }
    };
    loop {
        let (upstream, is_reused);
        let wish = Wish::of(client, exchange);
        (lease, upstream, is_reused) = connect(fixed, client, dialer, (lease, wish)).await?;
        speaks_http1(&lease)?;
        exchange.attempt(lease, upstream, fixed.tick());
        let outcome = poll_fn(|cx| exchange.poll(fixed, client, cx)).await;
        let (failed, error) = match judge(fixed, client, exchange, outcome) {
            Judged::Over(after) => return Ok(after),
            Judged::Failed(error) => return Err(error),
            Judged::Unanswered(failed, error) => (failed, error),
        };
        let again = may_repeat(fixed, client, exchange, (&failed, &error), dialer);
        if !again {
            let end =
                if is_reused { died(client, &failed, error) } else { unanswered(&failed, error) };
            return Err(end);
        }
        lease = watched((client, exchange.up.body.is_done()), dialer.begin_anew(failed)).await?;
    }
}

/// An error for a backend that has just changed what it speaks: the client's next connection is served by `http2`.
fn speaks_http1(lease: &Lease) -> Result<(), ProxyError> {
    match lease.protocol() {
        Protocol::Http1 => Ok(()),
        Protocol::Http2 => Err(ProxyError::Unrepeatable { addr: lease.addr().clone() }),
    }
}

/// A new connection; to another backend perhaps an idle one, which the last part says. A client that goes meanwhile cancels it.
async fn connect(
    fixed: &Fixed,
    client: &mut Client,
    dialer: &mut Dialer<'_>,
    (lease, wish): (Lease, Wish),
) -> Result<(Lease, Box<Upstream>, bool), ProxyError> {
    let known = |lease: &Lease| wish.idle(fixed, lease, fixed.now());
    let work = dialer.connect_or(lease, known);
    let (lease, found) = watched((client, wish.is_whole), work).await?;
    let stream = match found {
        Found::Fresh(stream) => stream,
        Found::Known(upstream) => {
            lease.backend().cells.of(fixed.local.worker).reuses.add(1);
            return Ok((lease, upstream, true));
        }
    };
    let name = &fixed.listener.service.name;
    let mut upstream = Upstream::new(&lease, name, stream, || client.whose(fixed));
    upstream.unanswered = room::see_to(fixed, &upstream.counted);
    Ok((lease, upstream, false))
}

/// Waits in the queue, before the first attempt.
async fn wait(
    fixed: &Fixed,
    client: &mut Client,
    exchange: &mut Exchange,
) -> Result<Lease, ProxyError> {
    if !exchange.save(fixed) {
        return Err(ProxyError::ClientAbort);
    }
    let settings = Arc::clone(&client.settings);
    let dialer = Dialer::new(&fixed.listener.service, &settings, &fixed.timer);
    let mut dialer = dialer.hashed(exchange.hash);
    let waited = watched((client, exchange.up.body.is_done()), dialer.wait()).await;
    exchange.up.sent_at = fixed.tick();
    if let Some(notes) = &mut exchange.notes {
        notes.course.trail = dialer.trail;
    }
    waited
}

/// What `work` comes to, unless the client goes meanwhile.
async fn watched<T>(
    (client, is_whole): (&mut Client, bool),
    work: impl Future<Output = Result<T, ProxyError>>,
) -> Result<T, ProxyError> {
    client.socket.watch().map_err(ProxyError::Resource)?;
    let mut work = pin!(work);
    poll_fn(|cx| {
        if let Poll::Ready(end) = work.as_mut().poll(cx) {
            return Poll::Ready(end);
        }
        if client.is_aborted(cx, is_whole) {
            return Poll::Ready(Err(ProxyError::ClientAbort));
        }
        Poll::Pending
    })
    .await
}

/// The answer that we give ourselves, if any.
fn give_up(
    fixed: &Fixed,
    client: &mut Client,
    exchange: &mut Exchange,
    error: &ProxyError,
) -> After {
    fixed.tick();
    fixed.cells().error(error.cause());
    if let Some(notes) = &mut exchange.notes {
        notes.fail(error);
    }
    tracing::debug!(service = %fixed.listener.service.name, peer = %fixed.peer, error = %Chain(error), "request failed");
    exchange.upstream = None;
    exchange.lease = None;
    let is_complete = exchange.up.body.is_done();
    exchange.finish(fixed, client);
    let Some(status) = error.status() else {
        return After::End(Ending::Silent);
    };
    let keep = is_complete
        && exchange.request.keep_alive
        && exchange.request.version != Version::V10
        && !status.is_client_error()
        && stays(fixed, client, &client.settings);
    if let Some(notes) = &mut exchange.notes {
        notes.course.status = Some(status.as_u16());
    }
    let form = Form { keep, is_head: exchange.request.is_head };
    client.answer(fixed, status, form);
    if keep { After::Next } else { After::End(Ending::Answered) }
}

fn stays(fixed: &Fixed, client: &Client, settings: &ProxySettings) -> bool {
    settings.http.close_mode != CloseMode::Close && !client.is_leaving(fixed)
}
