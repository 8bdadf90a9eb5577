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
        upstream.unanswered = None;
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
        self.retain(|upstream| {
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
        self.retain(|upstream| upstream.service != *service || fits(upstream));
    }

    /// Closes those of a service that are to make room for new ones, the oldest first.
    pub(crate) fn make_room(&mut self, service: &ServiceName) {
        self.retain(|upstream| upstream.service != *service || !makes_room(upstream));
    }

    /// Closes those that are kept for a client that has gone.
    pub(crate) fn forget(&mut self, owner: Entry) {
        self.retain(|upstream| upstream.owner != Some(owner));
        self.logins.remove(&owner);
    }

    fn retain(&mut self, keep: impl Fn(&Upstream) -> bool) {
        let mut count = 0;
        self.idle.retain(|_, idle| {
            idle.retain(|upstream| keep(upstream));
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
    !upstream.is_login && upstream.standing.makes_room()
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
mod tests {
    use std::task::Waker;

    use tokio::net::{TcpListener, TcpStream};

    use super::*;
    use crate::proxy::http::socket::Socket;
    use crate::proxy::wheel::{Group, Wheel};

    #[tokio::test]
    async fn a_connection_that_was_opened_otherwise_is_not_taken() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let way = |seconds| {
            let user_timeout = Some(Duration::from_secs(seconds));
            Way { user_timeout, ..Way::default() }.settled()
        };
        // Put back after the settings have changed, `follow` has come too early for it.
        for (opened, wanted, fits) in [
            (None, None, true),
            (way(1), way(1), true),
            (None, way(1), false),
            (way(1), way(2), false),
            (way(1), None, false),
        ] {
            let mut pool = Pool::default();
            let socket = Socket::Watched(TcpStream::connect(at).await.unwrap());
            let upstream = Upstream::sample(socket, at.into());
            pool.put(Box::new(Upstream { way: opened.clone(), ..*upstream }), Millis(0));
            let addr = at.into();
            let want = Want {
                id: BackendId(1),
                addr: &addr,
                way: wanted.as_ref(),
                proven: false,
                surely: true,
                owner: None,
            };
            assert_eq!(pool.take(want, Millis(1)).is_some(), fits, "{opened:?} {wanted:?}");
            assert_eq!(pool.count, 0, "it is closed");
        }
    }

    /// As many owners as there is room for, and more: those that all share stay, and the last login.
    #[tokio::test]
    async fn each_kind_has_room_of_its_own() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let mut wheel = Wheel::new();
        let mut owner = || wheel.add(Waker::noop().clone(), Group(0));
        let mut pool = Pool::default();
        let put = async |pool: &mut Pool, owner: Option<Entry>| {
            let (stream, accepted) = tokio::join!(TcpStream::connect(at), listener.accept());
            let upstream = Upstream::sample(Socket::Watched(stream.unwrap()), at.into());
            let is_login = owner.is_some();
            pool.put(Box::new(Upstream { owner, is_login, ..*upstream }), Millis(0));
            accepted.unwrap().0
        };
        let mut peers = Vec::new();
        let (first, last) = (owner(), owner());
        peers.push(put(&mut pool, Some(first)).await);
        for _ in 0..MAX_IDLE + 2 {
            peers.push(put(&mut pool, None).await);
        }
        for _ in 0..MAX_IDLE - 1 {
            peers.push(put(&mut pool, Some(owner())).await);
        }
        assert_eq!(pool.count, 2 * MAX_IDLE);
        peers.push(put(&mut pool, Some(last)).await);
        assert_eq!(pool.count, 2 * MAX_IDLE);
        let addr = at.into();
        let want = |owner| Want {
            id: BackendId(1),
            addr: &addr,
            way: None,
            proven: false,
            surely: true,
            owner,
        };
        // Logins do not grow old.
        let now = Millis(0).after(10 * IDLE);
        assert!(pool.take(want(Some(first)), now).is_none(), "the oldest made room");
        assert!(pool.take(want(Some(last)), now).is_some());
        assert!(pool.take(want(None), now).is_none(), "too old");
        assert_eq!(pool.count, MAX_IDLE - 1);
    }
}
