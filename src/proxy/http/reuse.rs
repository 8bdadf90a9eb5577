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
use crate::proxy::millis::Millis;

/// The backend that the client has logged in at: no other knows its user.
pub(super) fn login(fixed: &Fixed) -> Option<BackendId> {
    if !fixed.timer.is_owner() {
        return None;
    }
    fixed.local.upstreams.borrow().login_of(fixed.timer.entry())
}

/// What decides about a request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wish {
    reuse: Reuse,
    is_first: bool,
    /// It may be sent again, should the connection be dead.
    is_repeatable: bool,
    /// All of it has come.
    pub(super) is_whole: bool,
}

impl Wish {
    pub(super) fn of(client: &Client, exchange: &Exchange) -> Self {
        Self {
            reuse: client.settings.http.reuse,
            is_first: client.is_first_request,
            is_repeatable: client.settings.retries > 0
                && exchange.is_repeatable(client)
                && !exchange.is_replayed,
            is_whole: exchange.up.body.is_done(),
        }
    }

    /// An idle connection to the leased backend, if the request may go over one.
    pub(super) fn idle(self, fixed: &Fixed, lease: &Lease, now: Millis) -> Option<Box<Upstream>> {
        let own = fixed.timer.entry();
        let (id, addr, way) = (lease.backend().id, lease.addr(), lease.way());
        let surely = !self.is_repeatable;
        let mut want = Want { id, addr, way, proven: false, surely, owner: Some(own) };
        let mut pool = fixed.local.upstreams.borrow_mut();
        if self.reuse == Reuse::Never || lease.header().is_some() {
            return pool.take(want, now);
        }
        if fixed.timer.is_owner() {
            if let Some(upstream) = pool.take(want, now) {
                return Some(upstream);
            }
            pool.log_out(own);
        }
        if self.reuse == Reuse::Safe && self.is_first && !self.is_repeatable {
            return None;
        }
        want.owner = None;
        want.proven = self.reuse == Reuse::Aggressive && self.is_first;
        pool.take(want, now)
    }
}
