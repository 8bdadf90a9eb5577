//! What is handed over beside the sockets, as it travels.
//!
//! Mirrors of the live types: these shapes are an interface between versions. Fields are added, never renamed; times
//! travel as ages, because two processes share no clock.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use super::wire::{WireBackend, millis};
use crate::admin::ServiceEntry;
use crate::discovery::policy::{Named, SetOrigin};
use crate::discovery::{Discovered, Membership, MembershipPolicy, Memory, SourceSettings, Stale};
use crate::endpoint::{Endpoint, EndpointSet, Labels};
use crate::lb::pool::state::PoolState;

pub(crate) use super::totals::{Report, Totals};

/// Everything the old process knows.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct State {
    /// Its services.
    pub(crate) services: Vec<ServiceState>,
}

/// One service.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct ServiceState {
    /// Key under `services`.
    pub(crate) name: String,
    /// [`source_key`] of its source: a set found elsewhere says nothing here.
    pub(crate) source: String,
    /// Discovery's last word; `None` before the first.
    pub(crate) word: Option<Word>,
    /// The set in use, when `word` is that of a source that has been replaced and the new one has not spoken yet: it
    /// stays, whatever the successor's settings make of that word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    held: Option<Vec<WireEndpoint>>,
    /// `word` is a memory, which its source last confirmed this long ago.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    stale_ms: Option<u64>,
    /// The generator config in use; what the source has found may have been refused.
    pub(crate) generator: Option<String>,
    /// The set before filters and election.
    in_force: Vec<WireEndpoint>,
    /// Whom discovery named last. `None`: from a version that knows only `in_force`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    named: Option<Vec<WireEndpoint>>,
    /// The ports in `named` are settled.
    #[serde(default)]
    named_has_ports: bool,
    /// Where `in_force` comes from: `discovered`, `default_servers`, `previous`, `nothing`.
    origin: String,
    /// The balancer's turn.
    position: usize,
    membership_changes: u64,
    health_changes: u64,
    backends: Vec<WireBackend>,
}

/// Discovery's last word.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Word {
    /// The path did not exist.
    Missing,
    /// The members.
    Known(Vec<WireEndpoint>),
}

/// A registration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct WireEndpoint {
    host: String,
    port: u16,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    id: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    weight: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    server_options: Option<String>,
    #[serde(default, skip_serializing_if = "Labels::is_empty")]
    labels: Labels,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    server_id: Option<u32>,
}

/// Where a service's members come from, as text.
pub(crate) fn source_key(source: &SourceSettings) -> String {
    match source {
        SourceSettings::Fixed => "fixed".to_owned(),
        SourceSettings::File(file) => format!("file {}", file.path.display()),
        SourceSettings::ZooKeeper(zk) => format!("zookeeper {} {}", zk.ensemble, zk.path),
    }
}

impl State {
    /// The state of all services now.
    pub(crate) async fn read(entries: &[ServiceEntry]) -> Self {
        let mut services = Vec::with_capacity(entries.len());
        for entry in entries {
            // A pool that has died has nothing to say; its service starts anew.
            let pool = entry.service.pool.export().await.unwrap_or_default();
            let discovered = entry.discovered.borrow().clone();
            services.push(ServiceState::new(entry, &discovered, pool));
        }
        Self { services }
    }

    /// What it says about a service whose members come from `source`.
    pub(crate) fn of(&self, name: &str, source: &SourceSettings) -> Option<&ServiceState> {
        let known = self.named(name)?;
        (known.source == source_key(source)).then_some(known)
    }

    fn named(&self, name: &str) -> Option<&ServiceState> {
        self.services.iter().find(|service| service.name == name)
    }

    /// What a pool goes on from whatever its source: counters belong to the service's name, and never fall.
    pub(crate) fn counted(&self, name: &str) -> Option<PoolState> {
        let known = self.named(name)?;
        Some(PoolState {
            position: known.position,
            membership_changes: known.membership_changes,
            health_changes: known.health_changes,
            ..PoolState::default()
        })
    }
}

impl ServiceState {
    fn new(entry: &ServiceEntry, discovered: &Discovered, pool: PoolState) -> Self {
        Self {
            name: entry.service.name.to_string(),
            source: source_key(&entry.source),
            word: match &discovered.membership {
                Membership::Pending => None,
                Membership::Missing => Some(Word::Missing),
                Membership::Known(set) => Some(Word::Known(wire_set(set))),
            },
            stale_ms: discovered.stale.as_ref().map(|it| millis(it.age(SystemTime::now()))),
            generator: entry.generator.as_deref().map(str::to_owned),
            held: discovered.former.as_ref().map(|_| wire_set(&pool.set)),
            in_force: wire_set(&pool.in_force),
            named: Some(wire_set(&pool.named.set)),
            named_has_ports: pool.named.has_ports,
            origin: origin_word(pool.origin).to_owned(),
            position: pool.position,
            membership_changes: pool.membership_changes,
            health_changes: pool.health_changes,
            backends: pool.backends.into_iter().map(WireBackend::from).collect(),
        }
    }

    /// The first word for the new process, until its own source has spoken.
    pub(crate) fn discovered(&self) -> Discovered {
        Discovered {
            membership: match (&self.word, &self.held) {
                (None, _) => Membership::Pending,
                (Some(_), Some(held)) => Membership::Known(live_set(held)),
                (Some(Word::Missing), None) => Membership::Missing,
                (Some(Word::Known(set)), None) => Membership::Known(live_set(set)),
            },
            former: self.held.as_deref().map(|held| Arc::new(holding(held))),
            stale: self.stale_ms.map(stale),
            generator: self.generator.as_deref().map(Arc::from),
            trouble: Some(Arc::from("handed over by the former process, not confirmed yet")),
            ..Discovered::default()
        }
    }

    /// What the new pool goes on from.
    pub(crate) fn pool(&self) -> PoolState {
        PoolState {
            position: self.position,
            set: live_set(self.held.as_deref().unwrap_or_default()),
            in_force: live_set(&self.in_force),
            named: self.named(),
            origin: origin(&self.origin),
            membership_changes: self.membership_changes,
            health_changes: self.health_changes,
            backends: self.backends.iter().map(WireBackend::live).collect(),
        }
    }

    /// An older version tells only the set that was made of it; default servers alone are nobody's word.
    fn named(&self) -> Named {
        if let Some(named) = &self.named {
            return Named { set: live_set(named), has_ports: self.named_has_ports };
        }
        match origin(&self.origin) {
            SetOrigin::Discovered | SetOrigin::Previous => {
                Named { set: live_set(&self.in_force), has_ports: true }
            }
            SetOrigin::DefaultServers | SetOrigin::Nothing => Named::default(),
        }
    }
}

/// The policy under which a set that is held stays as it is, whether somebody has spoken or not.
fn holding(held: &[WireEndpoint]) -> MembershipPolicy {
    MembershipPolicy {
        default_servers: held.iter().map(WireEndpoint::live).collect(),
        ..MembershipPolicy::default()
    }
}

fn wire_set(set: &EndpointSet) -> Vec<WireEndpoint> {
    set.as_slice().iter().map(WireEndpoint::from).collect()
}

fn live_set(set: &[WireEndpoint]) -> EndpointSet {
    set.iter().map(WireEndpoint::live).collect()
}

fn origin_word(origin: SetOrigin) -> &'static str {
    match origin {
        SetOrigin::Nothing => "nothing",
        SetOrigin::Discovered => "discovered",
        SetOrigin::DefaultServers => "default_servers",
        SetOrigin::Previous => "previous",
    }
}

fn stale(age_ms: u64) -> Stale {
    let confirmed_at = SystemTime::now().checked_sub(Duration::from_millis(age_ms));
    Stale { confirmed_at: confirmed_at.unwrap_or(SystemTime::UNIX_EPOCH), memory: Memory::Own }
}

fn origin(word: &str) -> SetOrigin {
    let all = [SetOrigin::Discovered, SetOrigin::DefaultServers, SetOrigin::Previous];
    all.into_iter().find(|origin| origin_word(*origin) == word).unwrap_or_default()
}

impl From<&Endpoint> for WireEndpoint {
    fn from(endpoint: &Endpoint) -> Self {
        Self {
            host: endpoint.host.to_string(),
            port: endpoint.port,
            name: endpoint.name.as_deref().map(str::to_owned),
            id: endpoint.id,
            weight: endpoint.weight,
            server_options: endpoint.server_options.as_deref().map(str::to_owned),
            labels: Labels::clone(&endpoint.labels),
            server_id: endpoint.server_id,
        }
    }
}

impl WireEndpoint {
    pub(super) fn live(&self) -> Endpoint {
        Endpoint {
            host: Arc::from(self.host.as_str()),
            port: self.port,
            name: self.name.as_deref().map(Arc::from),
            id: self.id,
            weight: self.weight,
            server_options: self.server_options.as_deref().map(Arc::from),
            labels: self.labels.clone().into(),
            server_id: self.server_id,
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
