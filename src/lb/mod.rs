//! How a backend is picked: lock-free for the many, single writer for the one.
//!
//! One pool task per service joins membership and health and publishes an immutable [`Snapshot`](snapshot::Snapshot)
//! into an `ArcSwap`; set, picker and revision change together. Health is applied when the snapshot is built, not at the
//! pick: a pick is an array index. A worker takes a [`Lease`](lease::Lease); as long as it lives the backend's in-flight
//! count includes it, and drop releases it whatever happens. Backends keep their identity (and counters) across
//! snapshots.
//!
//! ```text
//! membership ─┐                  ArcSwap<Snapshot>             Lease
//! checks ─────┤─▶ pool task ────▶ (set + picker + revision) ─▶ worker ─▶ backend
//! outcomes ───┘        ▲                                          │ refused: evidence
//!                      └──────────────────────────────────────────┘ (bounded channel)
//! ```

pub mod backend;
pub mod balancer;
mod bounded;
pub mod crowd;
pub mod ending;
pub mod first;
pub mod fixed;
pub mod handle;
pub mod hash;
pub mod lease;
pub mod least_conn;
pub mod limits;
#[cfg(test)]
pub(crate) mod made_up;
pub mod mapped;
pub mod order;
pub mod pool;
pub mod queue;
pub mod random;
pub mod ring;
pub mod round_robin;
pub mod snapshot;
mod static_rr;

use std::fmt::Debug;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use crate::dial::{Address, Said, Way};
use crate::discovery::MembershipPolicy;
use crate::endpoint::{Endpoint, Weight};
use crate::health::CheckSettings;
use crate::telemetry::access::StateLog;

/// `balance`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Strategy {
    /// haproxy's smooth weighted order (2.6's `roundrobin`).
    RoundRobin,
    /// haproxy's other order in turn, `static-rr`.
    StaticRr,
    /// Fewest in flight per weight over all workers, idle ones first; ties in turn.
    LeastConn,
    /// The lowest number with a free slot.
    First,
    /// The less loaded per weight of so many that are drawn by weight.
    Random {
        /// Default 2, as haproxy.
        draws: NonZeroU32,
        /// `hash-balance-factor`.
        factor: Option<hash::Factor>,
    },
    /// By what the request says, or from where it comes.
    Hash(Arc<hash::Hashing>),
}

impl Strategy {
    /// How requests are hashed, when each belongs to one backend and goes elsewhere only as a last resort.
    pub fn hashing(&self) -> Option<&Arc<hash::Hashing>> {
        match self {
            Self::Hash(hashing) => Some(hashing),
            Self::RoundRobin
            | Self::StaticRr
            | Self::LeastConn
            | Self::First
            | Self::Random { .. } => None,
        }
    }

    /// haproxy's word for it: `roundrobin`, `hdr`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::RoundRobin => "roundrobin",
            Self::StaticRr => "static-rr",
            Self::LeastConn => "leastconn",
            Self::First => "first",
            Self::Random { .. } => "random",
            Self::Hash(hashing) => hashing.key.name(),
        }
    }
}

/// `backend_order`: the order of servers before balancing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BackendOrder {
    /// Bytewise by server name.
    Ascending,
    /// The reverse.
    Descending,
    /// As discovered.
    AsDiscovered,
    /// Ruby's `shuffle(random: Random.new(seed))` of the discovered order; the seed as 32-bit words, least first.
    Shuffled(ShuffleSeed),
}

/// Absolute value of `server_order_seed`, up to 128 bits (Yelp's is an MD5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ShuffleSeed(pub u128);

/// Everything a pool is told about its service.
#[derive(Clone, Debug)]
pub struct PoolSettings {
    /// How to choose.
    pub strategy: Strategy,
    /// In which order servers stand.
    pub order: BackendOrder,
    /// What to make of a raw membership.
    pub membership: MembershipPolicy,
    /// Turns an endpoint into the settings of its server line.
    pub servers: Arc<dyn ServerRules>,
    /// What becomes of the sessions of a backend that discovery removes. Native keys `proxy.on_remove`,
    /// `proxy.drain_time`.
    pub removal: ending::Removal,
    /// Where haproxy's messages about its servers go. Default none.
    pub states: Option<StateLog>,
    /// `option allbackups`: use all backups together instead of the first usable. Default false.
    pub all_backups: bool,
}

/// Turns what a registration says into the settings of its server (`server_options` with its templates, then the
/// registration's own `haproxy_server_options`, then nerve weights). Implemented by `config`, called by the pool.
///
/// `Debug` must show everything that decides an answer: a reload takes rules that look the same for the same.
pub trait ServerRules: Debug + Send + Sync {
    /// Never fails: words that cannot be used are skipped and named in [`ServerSettings::complaints`], because they
    /// come from a registry.
    fn server(&self, endpoint: &Endpoint) -> ServerSettings;
}

/// What a server speaks: `proto`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// HTTP/1.1, and whatever `mode tcp` carries. haproxy's default.
    #[default]
    Http1,
    /// `proto h2`: HTTP/2 without TLS, known in advance.
    Http2,
}

/// The settings of one server line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerSettings {
    /// `weight`. Default 1.
    pub weight: Weight,
    /// `backup`: used only when no active server is usable.
    pub backup: bool,
    /// `disabled`: known and shown, never used (MAINT).
    pub disabled: bool,
    /// `maxconn`: concurrent requests (HTTP) or connections (TCP); what comes on top waits. Unset: no limit.
    pub max_connections: Option<NonZeroU32>,
    /// `on-marked-down shutdown-sessions`: when its checks take it down its sessions are ended. Default false: they go on.
    pub shutdown_sessions: bool,
    /// `minconn` with the service's `fullconn`. Default none: `maxconn` is the limit at any load.
    pub elastic: Option<limits::Elastic>,
    /// `maxqueue`: requests that may wait for this server and no other. Unset or 0: any number.
    pub max_queue: Option<NonZeroU32>,
    /// `slowstart`: how long a server that came back takes to its full share. Default none: it has it at once.
    pub slow_start: Option<Duration>,
    /// `check` and its schedule; `None` = always considered up.
    pub check: Option<CheckSettings>,
    /// `id N`.
    pub id: Option<u32>,
    /// `cookie V`.
    pub cookie: Option<String>,
    /// `proto`. Default HTTP/1.
    pub protocol: Protocol,
    /// `send-proxy`, `source`, `tcp-ut`, … `None`: the usual way.
    pub way: Option<Arc<Way>>,
    /// What of `way` was said for this server or its service, none included: defaults leave that alone.
    pub said: Said,
    /// Words of a registration's options that were skipped, with the reason.
    pub complaints: Vec<String>,
}

/// What a worker knows when it asks for a backend.
#[derive(Clone, Copy, Debug, Default)]
pub struct PickContext<'a> {
    /// Backends that already failed this request; taken again only if nobody else is eligible.
    pub avoid: &'a [BackendId],
    /// The number of what the request is balanced by ([`hash::Hashing`]). `None`: there is none, or nobody asks.
    pub hash: Option<u32>,
    /// The load of the service, shared by all who ask for it during this pick. `None`: looked up by each.
    pub busy: Option<&'a limits::Busy>,
}

/// Identity of a backend in this process; never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BackendId(pub u64);

/// Why no backend was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PickError {
    /// Nobody is eligible.
    #[error("no eligible backend ({known} known, {up} up)")]
    NoneEligible {
        /// Backends in the set.
        known: usize,
        /// Of them healthy.
        up: usize,
    },
    /// All eligible backends are at their `maxconn`.
    #[error("all {eligible} eligible backends are at their maxconn")]
    AllFull {
        /// Backends that would be eligible.
        eligible: usize,
    },
}

/// What the data plane reports about a live attempt; sent over a bounded channel, dropped when it is full.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Who.
    pub backend: BackendId,
    /// Where.
    pub addr: Address,
    /// What happened.
    pub kind: OutcomeKind,
}

/// Evidence from live traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutcomeKind {
    /// The connection was refused: nobody listens.
    Refused,
    /// The connection was reset or timed out.
    ConnectFailed,
}
