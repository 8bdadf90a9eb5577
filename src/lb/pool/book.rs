//! What the pool knows about each backend, and who keeps which `Backend`.
//!
//! A backend keeps its identity (and so its counters and its verdict) as long as host, port and name stay; its server
//! line, weight and address may change under it. One that left while leases are still held is remembered weakly: if it
//! comes back before they end, it is the same backend with the same counts.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use tokio::time::Instant;

use super::number;
use super::warmth::Warmth;
use crate::dial::Address;
use crate::discovery::names::{NameCache, Resolved, TrackedName};
use crate::endpoint::{Endpoint, EndpointSet};
use crate::health::checker::CheckId;
use crate::health::{CheckSettings, Health};
use crate::lb::backend::{Backend, SlotArena};
use crate::lb::ending::Mark;
use crate::lb::handle::CheckView;
use crate::lb::queue::Queue;
use crate::lb::{BackendId, PoolSettings, ServerSettings, order};
use crate::telemetry::cells::PerWorker;

/// One known backend.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) backend: Arc<Backend>,
    pub(super) settings: Arc<ServerSettings>,
    /// [`Member::number`](crate::lb::snapshot::Member::number); 0 until it is given.
    pub(super) number: u32,
    /// The check of `settings`, shared with the checker; `None` also while `disabled` ([`Line`]).
    pub(super) check: Option<Arc<CheckSettings>>,
    /// Keeps the name of its host resolved. `None`: it has none, but a socket.
    host: Option<TrackedName>,
    /// Where to connect, or why that is not known.
    pub(super) address: Result<Address, String>,
    pub(super) health: Health,
    pub(super) since: Instant,
    /// haproxy's text of the verdict (`UP 1/2`); empty before the first check.
    pub(super) standing: String,
    pub(super) last_check: Option<CheckView>,
    /// The view does not show the last check yet.
    pub(super) unseen: bool,
    /// Where it is in its slow start.
    pub(super) warmth: Warmth,
}

impl Record {
    pub(super) fn check_id(&self) -> CheckId {
        CheckId(self.backend.id.0)
    }

    /// Where the check goes: the traffic address unless `addr` or `port` say otherwise. A socket has no port that another
    /// address could have in common with it.
    pub(super) fn check_target(&self, check: &CheckSettings) -> Option<Address> {
        let address = self.address.as_ref().ok()?;
        let traffic = address.inet();
        let ip = check.addr.or_else(|| traffic.map(|it| it.ip()));
        let port = check.port.or_else(|| traffic.map(|it| it.port()));
        let elsewhere = ip.zip(port).map(|(ip, port)| SocketAddr::new(ip, port).into());
        Some(elsewhere.unwrap_or_else(|| address.clone()))
    }

    fn set_line(&mut self, line: &Line) {
        self.backend.crowd.set_max(line.settings.max_connections);
        if *self.settings == *line.settings {
            return;
        }
        // A server that comes out of maintenance starts slowly; one that was never in it does not.
        if self.settings.disabled && !line.settings.disabled {
            self.warmth.begin(Instant::now(), line.settings.slow_start);
        }
        self.settings = Arc::clone(&line.settings);
        if self.check == line.check {
            return;
        }
        self.check.clone_from(&line.check);
        if self.check.is_none() || self.health == Health::Unchecked {
            self.forget_verdict();
        }
    }

    fn forget_verdict(&mut self) {
        self.health = if self.check.is_some() { Health::Up } else { Health::Unchecked };
        self.standing.clear();
        self.last_check = None;
        self.since = Instant::now();
    }
}

/// A server line. Most servers of a service have the same: they share one.
#[derive(Clone, Debug, Default)]
struct Line {
    settings: Arc<ServerSettings>,
    /// `None` also while `disabled`: haproxy does not check servers in maintenance either.
    check: Option<Arc<CheckSettings>>,
}

impl Line {
    /// The line of `settings`, which is `self` if that says the same.
    fn or(self, settings: ServerSettings) -> Self {
        if *self.settings == settings {
            return self;
        }
        let check = settings.check.clone().filter(|_| !settings.disabled);
        let check = match self.check {
            Some(shared) if check.as_ref() == Some(&*shared) => Some(shared),
            Some(_) | None => check.map(Arc::new),
        };
        Self { settings: Arc::new(settings), check }
    }
}

/// Host, port and name: what makes a backend the same one.
pub(super) type Identity = (Arc<str>, u16, Arc<str>);

pub(super) fn identity(endpoint: &Endpoint) -> Identity {
    (Arc::clone(&endpoint.host), endpoint.port, endpoint.name.clone().unwrap_or_default())
}

/// All known backends of a service, in balancing order.
#[derive(Debug)]
pub(super) struct Book {
    pub(super) records: Vec<Record>,
    index: HashMap<BackendId, usize>,
    departed: HashMap<Identity, Weak<Backend>>,
    arena: SlotArena,
    workers: usize,
}

/// Who came and who left with a new set.
#[derive(Debug, Default)]
pub(super) struct Moves {
    pub(super) joined: Vec<Arc<Backend>>,
    pub(super) left: Vec<Arc<Backend>>,
}

impl Book {
    pub(super) fn new(workers: usize, queue: &Arc<Queue>) -> Self {
        Self {
            records: Vec::new(),
            index: HashMap::new(),
            departed: HashMap::new(),
            arena: SlotArena::new(Arc::clone(queue)),
            workers,
        }
    }

    /// Empty, but `former` backends that come back are the same ones, with their counters.
    pub(super) fn after(workers: usize, queue: &Arc<Queue>, former: &[Arc<Backend>]) -> Self {
        let departed = former
            .iter()
            .map(|backend| (identity(&backend.endpoint), Arc::downgrade(backend)))
            .collect();
        Self { departed, ..Self::new(workers, queue) }
    }

    pub(super) fn get_mut(&mut self, id: BackendId) -> Option<&mut Record> {
        self.records.get_mut(*self.index.get(&id)?)
    }

    /// Makes the book hold exactly `set`, with the server lines and the order of `settings`.
    pub(super) fn replace(
        &mut self,
        set: &EndpointSet,
        settings: &PoolSettings,
        host_names: &NameCache,
    ) -> Moves {
        let mut moves = Moves::default();
        let mut old: HashMap<Identity, Record> = self
            .records
            .drain(..)
            .map(|record| (identity(&record.backend.endpoint), record))
            .collect();
        let mut names: HashSet<Arc<str>> =
            old.values().map(|record| Arc::clone(&record.backend.server_name)).collect();
        // In balancing order already when backends are made, so that their counters lie in scan order.
        let mut endpoints: Vec<(String, &Endpoint)> =
            set.as_slice().iter().map(|endpoint| (endpoint.server_name(), endpoint)).collect();
        order::arrange(settings.order, &mut endpoints, |(name, _)| name);
        self.records = Vec::with_capacity(endpoints.len());
        let mut line = Line::default();
        for (name, endpoint) in endpoints {
            line = line.or(settings.servers.server(endpoint));
            let record = match old.remove(&identity(endpoint)) {
                Some(mut record) => {
                    record.set_line(&line);
                    record
                }
                None => {
                    let backend = self.backend(endpoint, name, &mut names);
                    moves.joined.push(Arc::clone(&backend));
                    record(backend, &line, host_names)
                }
            };
            self.records.push(record);
        }
        for (identity, record) in old {
            self.departed.insert(identity, Arc::downgrade(&record.backend));
            moves.left.push(record.backend);
        }
        number::give(&mut self.records);
        self.departed.retain(|_, backend| backend.strong_count() > 0);
        self.index = self.records.iter().map(|record| record.backend.id).zip(0..).collect();
        moves
    }

    /// Looks all names up again; true when an address has changed.
    pub(super) fn refresh_addresses(&mut self) -> bool {
        let mut changed = false;
        for record in &mut self.records {
            let Some(host) = &record.host else {
                continue;
            };
            let now = address(host, record.backend.endpoint.port);
            if record.address != now {
                record.address = now;
                changed = true;
            }
        }
        changed
    }

    /// The backend of an identity that is not in the book: the one that left, if somebody still uses it.
    fn backend(
        &mut self,
        endpoint: &Endpoint,
        name: String,
        names: &mut HashSet<Arc<str>>,
    ) -> Arc<Backend> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        if let Some(backend) =
            self.departed.remove(&identity(endpoint)).and_then(|weak| weak.upgrade())
        {
            return backend;
        }
        Arc::new(Backend {
            id: BackendId(NEXT.fetch_add(1, Ordering::Relaxed)),
            endpoint: endpoint.clone(),
            server_name: unique(name, names),
            in_flight: self.arena.take(),
            crowd: Arc::default(),
            ended: Mark::default(),
            cells: PerWorker::new(self.workers),
        })
    }
}

fn record(backend: Arc<Backend>, line: &Line, host_names: &NameCache) -> Record {
    let endpoint = &backend.endpoint;
    let (host, address) = match endpoint.socket() {
        Some(path) => (None, Ok(Address::Unix(path.into()))),
        None => {
            let host = host_names.track(&endpoint.host);
            let address = address(&host, endpoint.port);
            (Some(host), address)
        }
    };
    let mut record = Record {
        address,
        host,
        backend,
        settings: Arc::default(),
        number: 0,
        check: None,
        health: Health::Unchecked,
        since: Instant::now(),
        standing: String::new(),
        last_check: None,
        unseen: false,
        warmth: Warmth::default(),
    };
    record.set_line(line);
    record
}

/// `a_b:1` may be name `a` on host `b`, or host `a_b`: the second gets a number, because metrics and people tell servers
/// apart by name.
fn unique(name: String, taken: &mut HashSet<Arc<str>>) -> Arc<str> {
    let mut candidate: Arc<str> = name.as_str().into();
    let mut n = 2;
    while !taken.insert(Arc::clone(&candidate)) {
        candidate = format!("{name}#{n}").into();
        n += 1;
    }
    candidate
}

fn address(host: &TrackedName, port: u16) -> Result<Address, String> {
    match host.addr() {
        Resolved::Known(ip) => Ok(SocketAddr::new(ip, port).into()),
        Resolved::Pending => Err("its name is being resolved".to_owned()),
        Resolved::Failed(reason) => Err(format!("its name does not resolve: {reason}")),
    }
}
