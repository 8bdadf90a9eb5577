//! Idle connections to backends, per worker: last in, first out, bounded, and never kept for a backend that has gone.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;
use std::time::Duration;

use super::upstream::Upstream;
use crate::dial::{Address, Way};
use crate::endpoint::ServiceName;
use crate::lb::BackendId;
use crate::lb::snapshot::{Member, Snapshot};
use crate::proxy::millis::Millis;
use crate::proxy::wheel::Entry;

/// How long an unused connection is kept: below the 5 s after which common servers (Node, gunicorn, Apache) close
/// theirs, so that a request rarely meets a connection that is just being closed.
pub const IDLE: Duration = Duration::from_secs(4);

/// Idle connections kept per backend and worker for everybody, and as many that are kept for one client each; more are
/// closed. haproxy's `pool-max-conn` has no default limit; without one a burst would pin descriptors for [`IDLE`].
pub const MAX_IDLE: usize = 128;

/// Idle connections kept per worker over all backends: a thousand backends must not pin a hundred thousand descriptors.
pub const MAX_IDLE_TOTAL: usize = 4096;

/// Which idle connections will do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Want<'a> {
    pub(crate) id: BackendId,
    pub(crate) addr: &'a Address,
    /// One that was opened otherwise, before the settings changed, does not do.
    pub(crate) way: Option<&'a Arc<Way>>,
    /// Only one that has been reused already.
    pub(crate) proven: bool,
    /// The request cannot be repeated: the kernel is asked whether the connection still stands.
    pub(crate) surely: bool,
    /// Only one that is kept for this client; `None`: only one that is kept for anybody.
    pub(crate) owner: Option<Entry>,
}

/// Idle connections of one worker.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    #[expect(
        clippy::vec_box,
        reason = "moved between task and pool: a pointer instead of a hundred bytes"
    )]
    idle: HashMap<BackendId, Vec<Box<Upstream>>, BuildHasherDefault<Mix>>,
    count: usize,
    /// At which backend a client has logged in, for a connection of its own: it needs that one again, and few do so.
    logins: HashMap<Entry, BackendId>,
}

impl Pool {
    /// The connection used last, if one still works.
    pub(crate) fn take(&mut self, want: Want<'_>, now: Millis) -> Option<Box<Upstream>> {
        let idle = self.idle.get_mut(&want.id)?;
        loop {
            let fits = |it: &Upstream| it.owner == want.owner && (it.is_proven || !want.proven);
            let last = idle.iter().rposition(|it| fits(it))?;
            let upstream = idle.remove(last);
            self.count -= 1;
            if is_stale(&upstream, now) {
                // Most of those below are older still.
                let before = idle.len();
                idle.retain(|it| !is_stale(it, now));
                self.count -= before - idle.len();
                continue;
            }
            let fits = upstream.addr == *want.addr && upstream.way.as_ref() == want.way;
            if fits && upstream.is_usable(want.surely) {
                return Some(upstream);
            }
        }
    }

    /// Keeps a connection that has finished an exchange.
    pub(crate) fn put(&mut self, mut upstream: Box<Upstream>, now: Millis) {
        if makes_room(&upstream) {
            return;
        }
        let idle = self.idle.entry(upstream.id).or_default();
        let is_owned = upstream.owner.is_some();
        if idle.len() >= MAX_IDLE {
            // Each kind for itself: who keeps many of his own must not push out what all share.
            let mut alike =
                idle.iter().enumerate().filter(|(_, it)| it.owner.is_some() == is_owned);
            let oldest = alike.next().map(|(at, _)| at);
            if alike.count() + 1 >= MAX_IDLE {
                let Some(oldest) = oldest.filter(|_| is_owned) else {
                    return;
                };
                // The last one may be in the middle of a login.
                idle.remove(oldest);
                self.count -= 1;
            }
        }
        if self.count < MAX_IDLE_TOTAL {
            upstream.idle_since = now;
            upstream.is_proven = upstream.is_used;
            upstream.is_used = true;
            self.count += 1;
            if let (true, Some(owner)) = (upstream.is_login, upstream.owner) {
                self.logins.insert(owner, upstream.id);
            }
            idle.push(upstream);
        }
    }

    /// A client's connection that it had logged in over has gone.
    pub(crate) fn log_out(&mut self, owner: Entry) {
        self.logins.remove(&owner);
    }

    /// The backend that a client has logged in at last.
    pub(crate) fn login_of(&self, owner: Entry) -> Option<BackendId> {
        self.logins.get(&owner).copied()
    }

    /// Closes what is too old, closed by its peer, or belongs to a backend that has gone.
    pub(crate) fn sweep(&mut self, now: Millis) {
        self.retain_of(any, |upstream| {
            !is_stale(upstream, now)
                && upstream.backend.strong_count() > 0
                && upstream.is_usable(false)
        });
    }

    /// Closes those of a service to backends that may not be picked any more, or are connected to in another way by now.
    pub(crate) fn follow(&mut self, service: &ServiceName, snapshot: &Snapshot) {
        let fits = |it: &Upstream| {
            let is_its = |member: &Member| member.backend.id == it.id && member.way == it.way;
            snapshot.members.iter().any(is_its)
        };
        self.retain_of(|upstream| upstream.service == *service, fits);
    }

    /// Closes those of a service that are to make room for new ones, the oldest of a backend first. Those that have ended
    /// make none: their peers have let go of them.
    pub(crate) fn make_room(&mut self, service: &ServiceName) {
        let is_crowded = |it: &Upstream| it.service == *service && it.counted.crowd().wants_room();
        self.retain_of(is_crowded, |upstream| upstream.is_usable(false) && !makes_room(upstream));
    }

    /// Closes those that are kept for a client that has gone.
    pub(crate) fn forget(&mut self, owner: Entry) {
        self.retain_of(any, |upstream| upstream.owner != Some(owner));
        self.logins.remove(&owner);
    }

    /// Keeps of some backends' connections those that `keep` is true for. Any of a backend's tells whether it `is_meant`.
    fn retain_of(
        &mut self,
        is_meant: impl Fn(&Upstream) -> bool,
        keep: impl Fn(&Upstream) -> bool,
    ) {
        let mut count = 0;
        self.idle.retain(|_, idle| {
            if idle.first().is_some_and(|it| is_meant(it)) {
                idle.retain(|upstream| keep(upstream));
            }
            count += idle.len();
            !idle.is_empty()
        });
        self.count = count;
    }
}

/// True when it has been idle for so long that its backend may be about to close it. One that is logged in lasts as long as
/// both ends want it to, as with haproxy.
fn is_stale(upstream: &Upstream, now: Millis) -> bool {
    !upstream.is_login && upstream.idle_since.after(IDLE) <= now
}

/// True when it is to end for one that its backend does not take up. Not one that is logged in: its client needs that one again.
fn makes_room(upstream: &Upstream) -> bool {
    !upstream.is_login && upstream.counted.crowd().takes_room()
}

fn any(_: &Upstream) -> bool {
    true
}

/// Spreads consecutive numbers; nobody outside chooses them.
#[derive(Debug, Default)]
struct Mix(u64);

impl Hasher for Mix {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u64(&mut self, number: u64) {
        // 2^64 divided by the golden ratio.
        self.0 = (self.0 ^ number).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(26);
    }
}

#[cfg(test)]
mod tests;
