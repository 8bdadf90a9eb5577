//! Connections to HTTP/1 backends on behalf of HTTP/2, per worker: last in, first out, within the bounds of `http::pool`.

use std::collections::HashMap;
use std::sync::Arc;

use hyper::client::conn::http1::SendRequest;

use super::upload::Reader;
use super::upstream::Key;
use crate::endpoint::ServiceName;
use crate::lb::BackendId;
use crate::lb::crowd::Crowd;
use crate::proxy::http::pool;
use crate::proxy::http::room::Unanswered;
use crate::proxy::millis::Millis;

/// One. A task of its own reads and writes it, counts it among those to its backend, and ends when this is dropped.
#[derive(Debug)]
pub(super) struct Plain {
    pub(super) sender: SendRequest<Reader>,
    /// The connections to its backend.
    pub(super) crowd: Arc<Crowd>,
    /// Somebody waits for its first answer, to see whether the backend takes it up at all.
    pub(super) unanswered: Option<Unanswered>,
}

#[derive(Debug)]
struct Idle {
    key: Key,
    plain: Plain,
    since: Millis,
}

/// Idle ones.
#[derive(Debug, Default)]
pub(super) struct Plains {
    idle: HashMap<BackendId, Vec<Idle>>,
    count: usize,
}

impl Plains {
    /// The one used last.
    pub(super) fn take(&mut self, key: &Key, now: Millis) -> Option<Plain> {
        let idle = self.idle.get_mut(&key.id)?;
        let fits = |it: &Idle| {
            it.key.fits(key) && it.plain.sender.is_ready() && now < it.since.after(pool::IDLE)
        };
        let at = idle.iter().rposition(fits)?;
        self.count -= 1;
        Some(idle.remove(at).plain)
    }

    /// Keeps one that has finished an exchange, unless it is to make room.
    pub(super) fn put(&mut self, key: Key, plain: Plain, now: Millis) {
        if plain.crowd.takes_room() {
            return;
        }
        let idle = self.idle.entry(key.id).or_default();
        if idle.len() < pool::MAX_IDLE && self.count < pool::MAX_IDLE_TOTAL {
            self.count += 1;
            idle.push(Idle { key, plain, since: now });
        }
    }

    /// Forgets what has ended or has not been used for long.
    pub(super) fn sweep(&mut self, now: Millis) {
        self.retain_all(|it| now < it.since.after(pool::IDLE) && !it.plain.sender.is_closed());
    }

    /// Keeps those whose keys `keep` is true for.
    pub(super) fn retain(&mut self, keep: impl Fn(&Key) -> bool) {
        self.retain_all(|it| keep(&it.key));
    }

    /// Closes those of a service that are to make room for new ones, the oldest of a backend first.
    pub(super) fn make_room(&mut self, service: &ServiceName) {
        self.retain_all(|it| {
            let is_crowded = it.key.service == *service && it.plain.crowd.wants_room();
            !is_crowded || !it.plain.sender.is_closed() && !it.plain.crowd.takes_room()
        });
    }

    fn retain_all(&mut self, keep: impl Fn(&Idle) -> bool) {
        let mut count = 0;
        self.idle.retain(|_, all| {
            all.retain(&keep);
            count += all.len();
            !all.is_empty()
        });
        self.count = count;
    }
}
