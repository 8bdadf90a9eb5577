//! The words that everybody shares: who a service is, where one of its instances listens, how much it can take.
//!
//! Plain immutable values without behaviour beyond parsing and comparing. Nothing here knows where a value came
//! from (ZooKeeper, a file, the config) or what will be done with it.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

/// Name of a service, the key under `services` in the config.
///
/// Any non-empty text: Yelp's names contain `.` and `:`. Escaped where it becomes a metric label. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceName(Arc<str>);

impl ServiceName {
    /// Wraps `name`; the config loader has checked that it is not empty.
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        Self(name.into())
    }

    /// The text as configured.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ServiceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ServiceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

/// Share of new traffic relative to the other backends of a service, 0..=256 as haproxy's `weight`.
///
/// 0 takes no new traffic; a set in which every weight is 0 is legal and means "nobody is eligible". Default 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Weight(u16);

impl Weight {
    /// Largest weight, haproxy's `SRV_UWGHT_MAX`.
    pub const MAX: u16 = 256;

    /// `None` above 256.
    pub fn new(weight: u16) -> Option<Self> {
        (weight <= Self::MAX).then_some(Self(weight))
    }

    /// Clamps: registrations may carry anything (nerve does not bound them).
    pub fn saturating(weight: u64) -> Self {
        Self(u16::try_from(weight).unwrap_or(Self::MAX).min(Self::MAX))
    }

    /// The number, 0..=256.
    pub fn get(self) -> u16 {
        self.0
    }

    /// True for 0: known, checked, shown, but never picked for new traffic.
    pub fn is_zero(self) -> bool {
        self.0 == 0
    }
}

impl Default for Weight {
    fn default() -> Self {
        Self(1)
    }
}

/// Labels of a registration. Values keep their JSON type: `"1"` and `1` differ, as in the original's filters.
pub type Labels = BTreeMap<String, serde_json::Value>;

/// What a registration says about one instance of a service. Immutable.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// IP address or DNS name, as registered. In the configuration also the path of a unix socket, which begins with `/`;
    /// what a registry says never does.
    pub host: Arc<str>,
    /// TCP port, 1..=65535; 0 with a socket.
    pub port: u16,
    /// nerve's instance id (or a serverset's shard); part of the identity and of the server's name.
    pub name: Option<Arc<str>>,
    /// Sequence number of the znode; leader election takes the smallest.
    pub id: Option<u64>,
    /// Weight in the registration; used only with `use_nerve_weights`.
    pub weight: Option<u64>,
    /// `haproxy_server_options` of the registration: extra words for the server line.
    pub server_options: Option<Arc<str>>,
    /// Labels, for label filters. Shared: a map takes a kilobyte, and an endpoint stands in half a dozen sets.
    pub labels: Arc<Labels>,
    /// `haproxy_server_id`: the numeric id asked for in stats (default servers and state files only).
    pub server_id: Option<u32>,
}

impl Endpoint {
    /// A bare endpoint; the other fields are set by struct update.
    pub fn new(host: impl Into<Arc<str>>, port: u16) -> Self {
        Self {
            host: host.into(),
            port,
            name: None,
            id: None,
            weight: None,
            server_options: None,
            labels: Arc::default(),
            server_id: None,
        }
    }

    /// The path of the unix socket that it listens on, if it does on one.
    pub fn socket(&self) -> Option<&Path> {
        self.host.starts_with('/').then(|| Path::new(&*self.host))
    }

    /// What makes two registrations the same backend: host, port and name, as the original's dedup key.
    pub fn identity(&self) -> (&str, u16, &str) {
        (&self.host, self.port, self.name.as_deref().unwrap_or(""))
    }

    /// haproxy's server name as Synapse >= 0.13.4 writes it: `NAME_HOST:PORT`, or `HOST:PORT` without a name. With a
    /// socket, of which Synapse knows nothing: `NAME`, or the path.
    pub fn server_name(&self) -> String {
        let name = self.name.as_deref().filter(|name| !name.is_empty());
        if self.socket().is_some() {
            return name.unwrap_or(&self.host).to_owned();
        }
        match name {
            Some(name) => format!("{name}_{}:{}", self.host, self.port),
            None => format!("{}:{}", self.host, self.port),
        }
    }
}

/// A whole set of endpoints in discovery order, unique by [`Endpoint::identity`] (the first occurrence wins).
///
/// Order matters only for `backend_order: no_shuffle` and for server ids; `same_members` ignores it.
#[derive(Clone, Debug, Default)]
pub struct EndpointSet(Arc<[Endpoint]>);

impl EndpointSet {
    /// Builds a set, dropping later duplicates.
    pub fn new(endpoints: impl IntoIterator<Item = Endpoint>) -> Self {
        let mut seen = std::collections::HashSet::new();
        let unique = endpoints
            .into_iter()
            .filter(|e| {
                seen.insert((Arc::clone(&e.host), e.port, e.name.clone().unwrap_or_default()))
            })
            .collect();
        Self(unique)
    }

    /// The endpoints in discovery order.
    pub fn as_slice(&self) -> &[Endpoint] {
        &self.0
    }

    /// Number of endpoints.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// True for the empty set.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Equal as sets of whole records (labels, ids and weights included), whatever the order.
    pub fn same_members(&self, other: &Self) -> bool {
        self.len() == other.len() && {
            let mine: std::collections::HashSet<_> = self.0.iter().collect();
            other.0.iter().all(|e| mine.contains(e))
        }
    }
}

impl FromIterator<Endpoint> for EndpointSet {
    fn from_iter<I: IntoIterator<Item = Endpoint>>(iter: I) -> Self {
        Self::new(iter)
    }
}
