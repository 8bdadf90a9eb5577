//! DNS names in registrations, resolved off the data path and refreshed.
//!
//! The proxy dials addresses only. A pool that meets a name holds a [`TrackedName`] for as long as it uses the backend;
//! one task on the control thread resolves every tracked name now and then, and bumps a version when an answer changed.
//! IP literals never come near DNS.
//!
//! A name that stops resolving keeps its last address: a dead resolver must not take backends away (their checks will, if
//! they are dead). An address that is still among the answers is kept, so that round-robin DNS does not move traffic.
//! What nobody tracks any more is forgotten at its next turn.

mod lookup;
mod tracked;
mod turn;

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use self::lookup::system_lookup;
pub use self::lookup::{Lookup, literal};
use self::tracked::Tracked;
pub use self::tracked::TrackedName;
use self::turn::Turn;

/// Settings of the resolver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NameSettings {
    /// Time between two look-ups of a name, spread by a quarter to both sides. Default 30 s, as `check_interval` of the
    /// original's `zookeeper_dns`.
    pub refresh: Duration,
    /// Time after which a look-up counts as failed (a late answer is still used). Default 5 s, one try of a libc
    /// resolver.
    pub timeout: Duration,
}

impl Default for NameSettings {
    fn default() -> Self {
        Self { refresh: Duration::from_secs(30), timeout: Duration::from_secs(5) }
    }
}

/// Look-ups in progress at a time: each holds a thread of the blocking pool, and a dead resolver holds it for long.
const MAX_LOOKUPS: usize = 8;

/// Names tracked at a time; a registry that brings more is broken, and each costs a look-up every half minute.
const MAX_NAMES: usize = 10_000;

/// First wait after a failed look-up; it doubles up to `refresh`.
const RETRY_FIRST: Duration = Duration::from_secs(1);

/// What is known about a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resolved {
    /// Its address.
    Known(IpAddr),
    /// No answer yet.
    Pending,
    /// Never resolved so far, and why.
    Failed(String),
}

/// The table of names. Cheap to clone; clones share it. Somebody has to drive it: [`NameCache::run`].
#[derive(Clone)]
pub struct NameCache {
    shared: Arc<Shared>,
}

struct Shared {
    settings: NameSettings,
    lookup: Lookup,
    table: Mutex<Table>,
    /// There is something new to resolve.
    work: Notify,
    version: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Table {
    names: HashMap<Arc<str>, Entry>,
    /// When each name that is not being looked up has its turn.
    due: BTreeSet<(Instant, Arc<str>)>,
}

#[derive(Debug)]
struct Entry {
    resolved: Resolved,
    users: usize,
    failures: u32,
}

impl fmt::Debug for NameCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NameCache").field("settings", &self.shared.settings).finish_non_exhaustive()
    }
}

impl NameCache {
    /// A table that asks the system's resolver.
    pub fn new(settings: NameSettings) -> Self {
        Self::with_lookup(settings, Arc::new(|name| Box::pin(system_lookup(name))))
    }

    /// A table with its own resolver (tests).
    pub fn with_lookup(settings: NameSettings, lookup: Lookup) -> Self {
        Self {
            shared: Arc::new(Shared {
                settings,
                lookup,
                table: Mutex::default(),
                work: Notify::new(),
                version: watch::Sender::new(0),
            }),
        }
    }

    /// Keeps `host` resolved as long as the answer lives.
    pub fn track(&self, host: &Arc<str>) -> TrackedName {
        if let Some(addr) = literal(host) {
            return TrackedName { kind: Tracked::Literal(addr) };
        }
        let mut table = self.lock();
        if let Some(entry) = table.names.get_mut(host) {
            entry.users += 1;
        } else if table.names.len() >= MAX_NAMES {
            return TrackedName { kind: Tracked::Refused };
        } else {
            let entry = Entry { resolved: Resolved::Pending, users: 1, failures: 0 };
            table.names.insert(Arc::clone(host), entry);
            table.due.insert((Instant::now(), Arc::clone(host)));
            self.shared.work.notify_one();
        }
        TrackedName { kind: Tracked::Name(self.clone(), Arc::clone(host)) }
    }

    /// Begins with an earlier answer for `host`, unless it is known already; it is looked up again soon. Of no effect
    /// when nobody tracks the name by then.
    pub fn seed(&self, host: &Arc<str>, addr: IpAddr) {
        let mut table = self.lock();
        if literal(host).is_some()
            || table.names.contains_key(host)
            || table.names.len() >= MAX_NAMES
        {
            return;
        }
        let entry = Entry { resolved: Resolved::Known(addr), users: 0, failures: 0 };
        table.names.insert(Arc::clone(host), entry);
        let at = Instant::now() + self.shared.settings.timeout;
        table.due.insert((at, Arc::clone(host)));
        self.shared.work.notify_one();
    }

    /// What is known about `host` now, without keeping it fresh: `Pending` for a name that nobody tracks.
    pub fn addr(&self, host: &str) -> Resolved {
        if let Some(addr) = literal(host) {
            return Resolved::Known(addr);
        }
        self.lock().names.get(host).map_or(Resolved::Pending, |entry| entry.resolved.clone())
    }

    /// A version that grows whenever some name's answer changed.
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.shared.version.subscribe()
    }

    /// Resolves what is tracked until `stop`. Run it once, on the control thread.
    pub async fn run(self, stop: CancellationToken) {
        let mut lookups = JoinSet::new();
        loop {
            let next = self.start_due(&mut lookups);
            let turn = async {
                match next {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.shared.work.notified() => {}
                Some(ended) = lookups.join_next() => {
                    if let Err(error) = ended {
                        warn!(%error, "a name look-up ended badly");
                    }
                }
                () = turn => {}
            }
        }
    }

    /// Starts look-ups that are due while there is room; the time of the next turn, if room is left.
    fn start_due(&self, lookups: &mut JoinSet<()>) -> Option<Instant> {
        let mut table = self.lock();
        while lookups.len() < MAX_LOOKUPS {
            let (at, _) = table.due.first()?;
            if *at > Instant::now() {
                return Some(*at);
            }
            let (_, name) = table.due.pop_first()?;
            if table.names.get(&name).is_some_and(|entry| entry.users == 0) {
                table.names.remove(&name);
                continue;
            }
            lookups.spawn(self.clone().resolve(name));
        }
        // A look-up that ends makes room and wakes the loop.
        None
    }

    /// One look-up, to its end: a resolver thread that hangs keeps its place among [`MAX_LOOKUPS`].
    async fn resolve(self, name: Arc<str>) {
        let mut turn = Turn { cache: self, name, answer: None };
        let cache = &turn.cache;
        let mut lookup = (cache.shared.lookup)(Arc::clone(&turn.name));
        let timeout = cache.shared.settings.timeout;
        let answer = match tokio::time::timeout(timeout, &mut lookup).await {
            Ok(answer) => answer,
            Err(_elapsed) => {
                cache.show_failure(&turn.name, &format!("no answer within {timeout:?}"));
                lookup.await
            }
        };
        turn.answer = Some(answer.map_err(|error| error.to_string()));
    }

    /// Takes over an answer and gives the name its next turn.
    fn settle(&self, name: &Arc<str>, answer: Result<Vec<IpAddr>, String>) {
        let mut table = self.lock();
        let Some(entry) = table.names.get_mut(name) else {
            return;
        };
        let answer = answer.and_then(|addrs| {
            let current = match entry.resolved {
                Resolved::Known(addr) => addrs.iter().find(|other| **other == addr),
                Resolved::Pending | Resolved::Failed(_) => None,
            };
            let chosen = current.or_else(|| addrs.first()).copied();
            chosen.ok_or_else(|| "no address".to_owned())
        });
        let wait = match answer {
            Ok(addr) => {
                entry.failures = 0;
                let resolved = Resolved::Known(addr);
                if entry.resolved != resolved {
                    debug!(name = %name, %addr, "name resolved");
                    entry.resolved = resolved;
                    self.shared.version.send_modify(|version| *version += 1);
                }
                self.shared.settings.refresh
            }
            Err(reason) => {
                self.fail(name, entry, &reason);
                RETRY_FIRST
                    .saturating_mul(2_u32.saturating_pow(entry.failures.saturating_sub(1)))
                    .min(self.shared.settings.refresh)
            }
        };
        let wait = wait.mul_f64(0.75 + fastrand::f64() / 2.0);
        table.due.insert((Instant::now() + wait, Arc::clone(name)));
    }

    fn show_failure(&self, name: &str, reason: &str) {
        if let Some(entry) = self.lock().names.get_mut(name) {
            self.fail(name, entry, reason);
        }
    }

    fn fail(&self, name: &str, entry: &mut Entry, reason: &str) {
        if entry.failures == 0 {
            warn!(name, reason, "name does not resolve, its last address stays");
        }
        entry.failures = entry.failures.saturating_add(1);
        let failed = Resolved::Failed(reason.to_owned());
        if !matches!(entry.resolved, Resolved::Known(_)) && entry.resolved != failed {
            entry.resolved = failed;
            self.shared.version.send_modify(|version| *version += 1);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.shared.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
