//! Which idle connection a request may go over.
//!
//! Invariant: a connection that one client has made its own, by a PROXY header or a login, never serves another.

use super::client::{Client, Fixed};
use super::exchange::Exchange;
use super::pool::Want;
use super::upstream::Upstream;
use crate::lb::BackendId;
use crate::lb::lease::Lease;
use crate::proxy::Reuse;

/// The backend that the client has logged in at: no other knows its user.
pub(super) fn login(fixed: &Fixed) -> Option<BackendId> {
    if !fixed.timer.is_owner() {
        return None;
    }
    fixed.local.upstreams.borrow().login_of(fixed.timer.entry())
}

/// An idle connection to the leased backend, if the request may go over one.
pub(super) fn idle(
    fixed: &Fixed,
    client: &Client,
    exchange: &Exchange,
    lease: &Lease,
) -> Option<Box<Upstream>> {
    let own = fixed.timer.entry();
    let is_repeatable = client.settings.retries > 0 && exchange.is_repeatable(client);
    let (id, addr, way) = (lease.backend().id, lease.addr(), lease.way());
    let surely = !is_repeatable;
    let mut want = Want { id, addr, way, proven: false, surely, owner: Some(own) };
    let (mut pool, now) = (fixed.local.upstreams.borrow_mut(), exchange.up.sent_at);
    let reuse = client.settings.http.reuse;
    if reuse == Reuse::Never || lease.header().is_some() {
        return pool.take(want, now);
    }
    if fixed.timer.is_owner() {
        if let Some(upstream) = pool.take(want, now) {
            return Some(upstream);
        }
        pool.log_out(own);
    }
    let is_first = client.is_first_request;
    if reuse == Reuse::Safe && is_first && !is_repeatable {
        return None;
    }
    want.owner = None;
    want.proven = reuse == Reuse::Aggressive && is_first;
    pool.take(want, now)
}
