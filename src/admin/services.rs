//! `/services` and `/services/NAME` as JSON. The shapes here are an interface: fields are added, never renamed.

use std::num::NonZeroU32;
use std::time::SystemTime;

use serde::Serialize;

use crate::discovery::SourceSettings;
use crate::lb::handle::{BackendView, CheckView, PoolView};
use crate::proxy::Mode;

use super::queue::{QueueDetail, ServerQueue, queue, server_queue};
use super::traffic::{BackendTraffic, Traffic, backend_traffic, traffic};
use super::when::{Now, millis, rfc3339};
use super::{ServiceEntry, diagnosis};

/// One service in the list.
#[derive(Debug, Serialize)]
pub struct Summary {
    /// Key under `services`.
    pub name: String,
    /// `UP`, `DOWN` or `DISABLED`.
    pub state: &'static str,
    /// Why, one line.
    pub reason: String,
    /// `http` or `tcp`.
    pub mode: &'static str,
    /// `roundrobin` or `leastconn`.
    pub balance: &'static str,
    /// Bound addresses.
    pub listen: Vec<String>,
    /// Numbers of backends.
    pub backends: BackendCounts,
    /// The set was remembered from before the start and discovery has not confirmed it yet; `null` otherwise.
    pub stale: Option<StaleDetail>,
    /// Client side.
    pub traffic: Traffic,
    /// Who waits because all backends are at their `maxconn`.
    pub queue: QueueDetail,
}

/// Numbers of backends.
#[derive(Debug, Serialize)]
pub struct BackendCounts {
    /// In the set in use.
    pub known: usize,
    /// Up or not checked.
    pub up: usize,
    /// New traffic may go there.
    pub eligible: usize,
}

/// A set that was remembered from before the start.
#[derive(Debug, Serialize)]
pub struct StaleDetail {
    /// Seconds since discovery last confirmed it.
    pub age_s: f64,
    /// When that was, RFC 3339.
    pub confirmed_at: String,
    /// Whose memory: `state_dir`, or `state_file_path` for the original's.
    pub from: &'static str,
}

/// One service in full.
#[derive(Debug, Serialize)]
pub struct Detail {
    /// The same as in the list.
    #[serde(flatten)]
    pub summary: Summary,
    /// Revision of the snapshot.
    pub revision: u64,
    /// How often the set has changed.
    pub membership_changes: u64,
    /// How often a verdict has changed.
    pub health_changes: u64,
    /// What is wrong with the last generator config, if it was refused; the former is in force.
    pub refused_config: Vec<String>,
    /// Where the members come from.
    pub discovery: DiscoveryDetail,
    /// Every known backend in balancing order.
    pub servers: Vec<BackendDetail>,
}

/// What is known about the source of a service.
#[derive(Debug, Serialize)]
pub struct DiscoveryDetail {
    /// `fixed`, `file` or `zookeeper`.
    pub method: &'static str,
    /// Path of the file or the node.
    pub path: Option<String>,
    /// Connect string.
    pub ensemble: Option<String>,
    /// Where the set in use comes from: `discovered`, `default_servers`, `previous`, `nothing`.
    pub origin: &'static str,
    /// Why the set in use is not simply what the source says, one line each.
    pub notes: Vec<String>,
    /// The source's last word: `pending`, `known`, `missing`.
    pub membership: &'static str,
    /// Members in that last word, before filters and policy.
    pub registered: Option<usize>,
    /// Seconds since the source last confirmed its word.
    pub verified_age_s: Option<f64>,
    /// When that was, RFC 3339.
    pub verified_at: Option<String>,
    /// The newest change among the members (zxid), as far as known.
    pub zxid: Option<i64>,
    /// Trouble with the source now.
    pub trouble: Option<String>,
    /// Registrations that cannot be used, all of them counted.
    pub malformed_total: usize,
    /// The first of them.
    pub malformed: Vec<Malformed>,
}

/// A registration that cannot be used.
#[derive(Debug, Serialize)]
pub struct Malformed {
    /// Its node or place.
    pub name: String,
    /// What is wrong with it.
    pub reason: String,
}

/// One backend in full.
#[derive(Debug, Serialize)]
pub struct BackendDetail {
    /// haproxy's server name.
    pub name: String,
    /// `host:port` as registered.
    pub registered: String,
    /// Address in use.
    pub address: Option<String>,
    /// haproxy's word: `UP`, `DOWN`, `MAINT`, `MAINT (resolution)`, `DRAIN`, `no check`.
    pub state: &'static str,
    /// True when new traffic may go there.
    pub eligible: bool,
    /// Why it is (not) picked.
    pub reason: String,
    /// Seconds since the verdict changed.
    pub since_s: f64,
    /// When that was, RFC 3339.
    pub since: String,
    /// Share of traffic, 0 to 256.
    pub weight: u16,
    /// True for `backup`.
    pub backup: bool,
    /// `maxconn`.
    pub maxconn: Option<u32>,
    /// Requests or connections in progress.
    pub in_flight: u32,
    /// Its other limits, and who waits for it.
    #[serde(flatten)]
    pub queue: ServerQueue,
    /// Counters since it is known here.
    pub counters: BackendTraffic,
    /// The last check.
    pub last_check: Option<Check>,
    /// Words of its registration that were skipped.
    pub complaints: Vec<String>,
}

/// Result of a check.
#[derive(Debug, Serialize)]
pub struct Check {
    /// haproxy's code.
    pub code: &'static str,
    /// HTTP status.
    pub status: Option<u16>,
    /// One line.
    pub detail: String,
    /// How long it took, in milliseconds.
    pub took_ms: f64,
    /// Seconds since it ended.
    pub age_s: f64,
    /// Passes or failures in a row.
    pub streak: u32,
}

/// The service in a few numbers.
pub fn summary(entry: &ServiceEntry) -> Summary {
    summary_of(entry, &entry.service.pool.view())
}

fn summary_of(entry: &ServiceEntry, view: &PoolView) -> Summary {
    let counts = diagnosis::counts(view);
    Summary {
        name: entry.service.name.as_str().to_owned(),
        state: diagnosis::service_state(entry, counts),
        reason: diagnosis::service_reason(entry, view, counts),
        mode: match entry.service.settings.load().mode {
            Mode::Http => "http",
            Mode::Tcp => "tcp",
        },
        balance: entry.strategy.name(),
        listen: entry.listen.iter().map(ToString::to_string).collect(),
        backends: BackendCounts { known: counts.known, up: counts.up, eligible: counts.eligible },
        stale: stale(view),
        traffic: traffic(entry),
        queue: queue(entry),
    }
}

fn stale(view: &PoolView) -> Option<StaleDetail> {
    let stale = view.discovered.stale.as_ref()?;
    Some(StaleDetail {
        age_s: millis(stale.age(SystemTime::now())),
        confirmed_at: rfc3339(stale.confirmed_at),
        from: diagnosis::memory(stale.memory),
    })
}

/// The service in full.
pub fn detail(entry: &ServiceEntry) -> Detail {
    let now = Now::read();
    let view = entry.service.pool.view();
    Detail {
        summary: summary_of(entry, &view),
        revision: view.revision,
        membership_changes: view.membership_changes,
        health_changes: view.health_changes,
        refused_config: entry.refused.clone(),
        discovery: discovery(entry, &view, now),
        servers: view.backends.iter().map(|b| backend(b, now)).collect(),
    }
}

fn discovery(entry: &ServiceEntry, view: &PoolView, now: Now) -> DiscoveryDetail {
    let (method, path, ensemble) = match &entry.source {
        SourceSettings::Fixed => ("fixed", None, None),
        SourceSettings::File(file) => ("file", Some(file.path.display().to_string()), None),
        SourceSettings::ZooKeeper(zk) => {
            ("zookeeper", Some(zk.path.to_string()), Some(zk.ensemble.to_string()))
        }
    };
    let found = &view.discovered;
    let verified = entry.verified();
    DiscoveryDetail {
        method,
        path,
        ensemble,
        origin: diagnosis::origin(view.origin),
        notes: view.notes.clone(),
        membership: diagnosis::membership(&found.membership),
        registered: diagnosis::registered(&found.membership),
        verified_age_s: verified.map(|at| now.age_s(at)),
        verified_at: verified.map(|at| now.date(at)),
        zxid: found.zxid,
        trouble: found.trouble.as_deref().map(str::to_owned),
        malformed_total: found.malformed_total,
        malformed: found
            .malformed
            .iter()
            .map(|(name, reason)| Malformed { name: name.clone(), reason: reason.clone() })
            .collect(),
    }
}

fn backend(b: &BackendView, now: Now) -> BackendDetail {
    let endpoint = &b.backend.endpoint;
    BackendDetail {
        name: b.backend.server_name.to_string(),
        registered: match endpoint.socket() {
            Some(_) => endpoint.host.to_string(),
            None => format!("{}:{}", endpoint.host, endpoint.port),
        },
        address: b.addr.as_ref().map(ToString::to_string),
        state: diagnosis::backend_state(b),
        eligible: b.eligible,
        reason: b.reason.clone(),
        since_s: now.age_s(b.since),
        since: now.date(b.since),
        weight: b.settings.weight.get(),
        backup: b.settings.backup,
        maxconn: b.settings.max_connections.map(NonZeroU32::get),
        in_flight: b.backend.in_flight.get(),
        queue: server_queue(b),
        counters: backend_traffic(b),
        last_check: b.last_check.as_ref().map(|c| check(c, now)),
        complaints: b.settings.complaints.clone(),
    }
}

fn check(check: &CheckView, now: Now) -> Check {
    Check {
        code: check.code,
        status: check.status,
        detail: check.detail.clone(),
        took_ms: millis(check.took * 1000),
        age_s: now.age_s(check.at),
        streak: check.streak,
    }
}
