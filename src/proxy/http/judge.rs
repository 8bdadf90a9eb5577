//! What an attempt's end means for its request.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::client::{Client, Ending, Expiry, Fixed};
use super::exchange::{Exchange, Outcome, Phase};
use super::serve::{After, Tunnel};
use crate::dial::Address;
use crate::lb::ending::Reason;
use crate::lb::lease::Lease;
use crate::proxy::error::ProxyError;
use crate::proxy::states;
use crate::telemetry::access::Cause;
use crate::telemetry::cells::ErrorCause;

/// What an attempt's outcome means for the request.
pub(super) enum Judged {
    /// It is over.
    Over(After),
    /// It has failed for good.
    Failed(ProxyError),
    /// No answer from the backend that was leased: no error when nothing was sent.
    Unanswered(Lease, Option<io::Error>),
}

/// Stands where a backend should when none is leased any more.
const NOBODY: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

/// Judges, counts, and ends the exchange unless it can go on.
pub(super) fn judge(
    fixed: &Fixed,
    client: &mut Client,
    exchange: &mut Exchange,
    outcome: Outcome,
) -> Judged {
    if let Some(notes) = &mut exchange.notes {
        let is_sent = exchange.up.body.is_done();
        notes.course.state = Some(states::attempt(&outcome, exchange.down.phase, is_sent));
    }
    let to = exchange.lease.as_ref().map(|lease| lease.addr().clone());
    let addr = to.unwrap_or(Address::Inet(NOBODY));
    let has_answer = exchange.down.phase == Phase::Body;
    match outcome {
        Outcome::Answered if exchange.down.keep_client => Judged::Over(After::Next),
        Outcome::Answered => Judged::Over(After::End(Ending::Answered)),
        Outcome::Switched(early) => Judged::Over(switch(fixed, client, exchange, early)),
        Outcome::Unsent => unanswered(exchange, None),
        Outcome::Unheard(error) => unanswered(exchange, Some(error)),
        Outcome::Nonsense(why) => {
            count_broken(fixed, exchange);
            Judged::Failed(ProxyError::Backend { addr, source: why.into() })
        }
        Outcome::HalfHeard => {
            count_broken(fixed, exchange);
            let source = "the answer ended within its head".into();
            Judged::Failed(ProxyError::Backend { addr, source })
        }
        Outcome::Cut(error) => {
            count_broken(fixed, exchange);
            tracing::debug!(service = %fixed.listener.service.name, backend = %addr, %error, "answer cut");
            Judged::Over(cut(fixed, client, exchange, ErrorCause::Backend))
        }
        Outcome::Ended(_) if exchange.up.head_sent == 0 => unanswered(exchange, None),
        Outcome::Ended(reason) if !has_answer && exchange.up.body.is_done() => {
            ended(fixed, exchange, reason)
        }
        // Before the whole request it is closed without an answer, as with haproxy.
        Outcome::Ended(_) => Judged::Over(cut(fixed, client, exchange, ErrorCause::Backend)),
        Outcome::Malformed if !has_answer => {
            Judged::Failed(ProxyError::ClientProtocol("malformed body"))
        }
        Outcome::Malformed => {
            Judged::Over(cut(fixed, client, exchange, ErrorCause::ClientProtocol))
        }
        Outcome::Aborted if client.socket.is_lost() => Judged::Over(lost(fixed, client, exchange)),
        Outcome::Aborted if !has_answer && client.has_given_up() => {
            Judged::Failed(ProxyError::GivenUp)
        }
        Outcome::Aborted => Judged::Over(cut(fixed, client, exchange, ErrorCause::ClientAbort)),
        Outcome::Expired(Expiry::Server) if !has_answer => {
            count_broken(fixed, exchange);
            Judged::Failed(ProxyError::BackendTimeout { addr })
        }
        Outcome::Expired(Expiry::Client) if !has_answer && client.is_flushed() => {
            Judged::Failed(ProxyError::ClientTimeout)
        }
        Outcome::Expired(expiry) => Judged::Over(cut(fixed, client, exchange, expiry.cause())),
    }
}

fn unanswered(exchange: &mut Exchange, error: Option<io::Error>) -> Judged {
    exchange.upstream = None;
    match exchange.lease.take() {
        Some(lease) => Judged::Unanswered(lease, error),
        // There is one as long as an attempt lasts.
        None => Judged::Failed(ProxyError::ClientAbort),
    }
}

/// Nothing was answered: what may be repeated is asked of another.
fn ended(fixed: &Fixed, exchange: &mut Exchange, reason: Reason) -> Judged {
    if !exchange.down.heard {
        let aborted =
            io::Error::new(io::ErrorKind::ConnectionAborted, format!("ended: {reason:?}"));
        return unanswered(exchange, Some(aborted));
    }
    count_broken(fixed, exchange);
    match &exchange.lease {
        Some(lease) => Judged::Failed(ProxyError::ended(lease, reason)),
        // There is one as long as an attempt lasts.
        None => Judged::Failed(ProxyError::ClientAbort),
    }
}

fn count_broken(fixed: &Fixed, exchange: &Exchange) {
    if let Some(cells) = exchange.backend_cells(fixed) {
        cells.response_errors.add(1);
    }
}

/// Request or answer does not come to its end. Half an answer the client must not take for a complete one, hence the reset
/// where only the end of the connection tells; one that is whole, and came before its request was, it has time to read.
fn cut(fixed: &Fixed, client: &mut Client, exchange: &mut Exchange, cause: ErrorCause) -> After {
    // What ended it may have come without a byte.
    fixed.tick();
    // What is in a pipe goes with the exchange.
    let is_whole = exchange.is_answered() && exchange.down.pipe.is_none();
    if !is_whole && exchange.ends_by_close() {
        client.socket.reset();
    }
    exchange.finish(fixed, client);
    if !is_whole {
        return After::End(Ending::Cut(cause));
    }
    client.count_end(fixed, cause);
    After::End(Ending::Answered)
}

/// The reactor did not take the client's socket: not the client's fault, however it looked to the attempt.
#[cold]
fn lost(fixed: &Fixed, client: &mut Client, exchange: &mut Exchange) -> After {
    if let Some(notes) = &mut exchange.notes {
        notes.course.state = notes.course.state.map(|(_, stage)| (Cause::Resource, stage));
    }
    cut(fixed, client, exchange, ErrorCause::Resource)
}

fn switch(fixed: &Fixed, client: &mut Client, exchange: &mut Exchange, early: Vec<u8>) -> After {
    let (upstream, lease) = (exchange.upstream.take(), exchange.lease.take());
    exchange.finish(fixed, client);
    if let Some(lease) = &lease {
        // What the exchange would have counted, had it kept its lease.
        lease.backend().cells.of(fixed.local.worker).bytes_in.add(exchange.came());
    }
    match (upstream, lease) {
        (Some(upstream), Some(lease)) => {
            After::Tunnel(Box::new(Tunnel { upstream, early, lease, notes: None }))
        }
        _ => After::End(Ending::Silent),
    }
}
