//! What may be asked again, and what an end without an answer is otherwise.

use std::io;

use super::client::{Client, Fixed};
use super::exchange::Exchange;
use crate::lb::lease::Lease;
use crate::proxy::connect::Dialer;
use crate::proxy::error::ProxyError;

/// Judges an attempt that ended without an answer, and counts it. What was sent is repeated once: a request that kills
/// its backend must not be carried from one to the next.
pub(super) fn may_repeat(
    fixed: &Fixed,
    client: &Client,
    exchange: &mut Exchange,
    (failed, error): (&Lease, &Option<io::Error>),
    dialer: &mut Dialer<'_>,
) -> bool {
    let was_sent = error.is_some();
    if was_sent {
        failed.backend().cells.of(fixed.local.worker).response_errors.add(1);
    }
    let may = !was_sent || (exchange.is_repeatable(client) && !exchange.is_replayed);
    if !may || !dialer.retry.spend(failed.backend().id) {
        return false;
    }
    if was_sent {
        exchange.is_replayed = true;
        dialer.cells().replays.add(1);
    }
    true
}

/// A reused connection has died under a request that is not repeated. A client expects that of its own connection, too,
/// but for the first request on it: that one is answered, as haproxy does.
pub(super) fn died(client: &Client, failed: &Lease, error: Option<io::Error>) -> ProxyError {
    if client.is_first_request {
        return unanswered(failed, error);
    }
    ProxyError::Unrepeatable { addr: failed.addr().clone() }
}

pub(super) fn unanswered(failed: &Lease, error: Option<io::Error>) -> ProxyError {
    let source = error.unwrap_or_else(|| io::ErrorKind::NotConnected.into()).into();
    ProxyError::Backend { addr: failed.addr().clone(), source }
}
