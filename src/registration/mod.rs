//! What nerve promises about a registration.
//!
//! *Wanted* against *have*: a [`Wanted`] says what should be in the registry, and a reporter makes it so and keeps it so.
//! It is level-triggered: after every event (another wish, a session lost or found again, the node gone or changed, a
//! write of unknown outcome) it looks at what there is and does the next step, so all faults are one loop. Exactly one
//! node stands for a registration, and the session that owns it is ours.
//!
//! Who writes what: the service's watcher alone writes [`Wanted`]; its reporter alone writes [`Registration`] and the
//! node. A reporter that is told to stop leaves the node as it is: whoever wants it gone asks for [`Wanted::Absent`] first
//! and waits. That is how a reload and a restart hand a node over without a gap.
//!
//! Identity: only nodes of our own session are changed or deleted, and those of sessions that our `state_dir` remembers
//! ([`Kin`]). Foreign nodes are waited for.
mod build;
pub mod claims;
#[cfg(test)]
mod contract;
pub mod damping;
pub mod decide;
pub mod file;
pub mod rate;
mod told;
pub mod view;
pub mod watcher;
pub mod zookeeper;

pub use self::build::{build, claimant};

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use self::claims::{Claims, Spot};
use crate::endpoint::ServiceName;
use crate::health::BoxFuture;
use crate::registry::record::NerveRecord;
use crate::registry::writer::NodeKind;

/// Makes the registry say what is wanted.
///
/// To add a reporter: one file implementing this, a variant in [`Place`], one arm in `registration::build`, and the
/// shared contract test.
pub trait Reporter: Debug + Send + 'static {
    /// Runs until `stop`, which leaves the node as it is. Must not return earlier.
    fn run(
        self: Box<Self>,
        wanted: watch::Receiver<Wanted>,
        state: watch::Sender<Registration>,
        stop: CancellationToken,
    ) -> BoxFuture<'static, ()>;
}

/// What is to be registered, and where.
#[derive(Clone, Debug, PartialEq)]
pub struct RegistrationSettings {
    /// Key under `services`.
    pub service: ServiceName,
    /// What the registration says.
    pub record: NerveRecord,
    /// Where it stands.
    pub place: Place,
}

/// Where a registration stands (`reporter_type`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A node in ZooKeeper.
    ZooKeeper(ZooKeeperPlace),
    /// A line of a file that synapse's `file` discovery reads. Native, not in the original.
    File {
        /// `file_path`: absolute; shared with other nerves.
        path: PathBuf,
    },
}

/// A node in ZooKeeper.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZooKeeperPlace {
    /// `zk_hosts`, sorted and joined by `,`. Key of the shared session.
    pub ensemble: Arc<str>,
    /// `zk_path`: the parent, absolute; made when it is missing.
    pub path: Arc<str>,
    /// `node_type`. Default `ephemeral_sequential`.
    pub kind: NodeKind,
    /// `use_path_encoding`: the node's name holds the record. Default false.
    pub is_path_encoded: bool,
    /// `ttl_seconds`: a persistent node is written again this often, so that a reaper sees life. Default: never.
    pub ttl: Option<Duration>,
}

/// What the registry should say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Wanted {
    /// No verdict yet: what is there stays, nothing is created.
    #[default]
    Undecided,
    /// Registered.
    Present,
    /// Not registered.
    Absent,
}

impl Wanted {
    /// The registry has acknowledged what is wanted; never while that is undecided.
    pub fn is_met_by(self, phase: Phase) -> bool {
        matches!((self, phase), (Self::Present, Phase::Registered) | (Self::Absent, Phase::Absent))
    }
}

/// What the registry says, as far as the reporter knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registration {
    /// How far it is.
    pub phase: Phase,
    /// The node's path, or the file's; `None` while there is none.
    pub node: Option<Arc<str>>,
    /// Session that owns the node; `None` for none, and for nodes without an owner.
    pub owner: Option<i64>,
    /// The last trouble, one line; cleared by a success.
    pub trouble: Option<Arc<str>>,
    /// When `phase` was entered.
    pub since: SystemTime,
    /// Writes so far that were acknowledged.
    pub writes: u64,
}

impl Default for Registration {
    fn default() -> Self {
        Self {
            phase: Phase::Unknown,
            node: None,
            owner: None,
            trouble: None,
            since: SystemTime::now(),
            writes: 0,
        }
    }
}

/// How far a registration is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Nobody has looked yet.
    Unknown,
    /// Not there, as acknowledged by the registry.
    Absent,
    /// There and ours, as acknowledged by the registry.
    Registered,
    /// There and ours when we last looked; the registry cannot be reached now.
    Unconfirmed,
    /// On the way from one to the other, or waiting for the registry to be there.
    Changing,
    /// Somebody else's node stands in its place; it is taken as soon as that goes.
    Blocked,
}

/// Whose a session is, and what of ours outlives one: what `state_dir` remembers.
///
/// Asked by reporters, implemented by `app`.
pub trait Kin: Debug + Send + Sync {
    /// Which reporter of this process has which node.
    fn claims(&self) -> &Claims;

    /// Whose `session` is; never asked about the current one.
    fn relation(&self, session: i64) -> Relation;

    /// The persistent nodes that this host has made for a service at `spot` (there are several while one replaces
    /// another); and what was asked for and not acknowledged yet: the path without its number, and `?`.
    fn remembered(&self, spot: &Spot) -> BTreeSet<String>;

    /// Remembers those that were `made`, forgets those that are `gone`, before the write is acknowledged to anybody.
    fn remember(&self, spot: &Spot, made: &BTreeSet<String>, gone: &BTreeSet<String>);

    /// Whether a nerve with our `state_dir` that started after us, and runs, has this persistent node of `ensemble` as its own: no
    /// session says so. It has the right of way; who ends first must not take the node along.
    fn is_of_younger(&self, ensemble: &str, node: &str) -> bool;
}

/// Whose a session is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Relation {
    /// Of a nerve with our `state_dir` that does not run any more: its nodes may be taken over and deleted.
    Former,
    /// Of a nerve with our `state_dir` that started before us and runs: its fixed-name nodes may be taken over.
    Elder,
    /// Of a nerve with our `state_dir` that started after us and runs: it has the right of way.
    Younger,
    /// Anybody else's: never touched.
    Foreign,
}

/// How often a registration may change.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LimitSettings {
    /// `rate_limiting`: nerve's token bucket.
    pub rate: RateSettings,
    /// `flap_damping`; `None` when it is switched off (`false`).
    pub damping: Option<DampingSettings>,
}

/// `rate_limiting`: a token for each change that is reported, up or down.
#[derive(Clone, Debug, PartialEq)]
pub struct RateSettings {
    /// `average_rate`: tokens a second, from 0. Default: unlimited. The bucket starts with this many.
    pub average_rate: f64,
    /// `max_burst`: most tokens, from 1. Default: unlimited.
    pub max_burst: f64,
    /// `shadow_mode`: only count and log what would be held back. Default true.
    pub is_shadow: bool,
}

impl Default for RateSettings {
    fn default() -> Self {
        Self { average_rate: f64::INFINITY, max_burst: f64::INFINITY, is_shadow: true }
    }
}

/// `flap_damping` (after RFC 2439): each time that the checks go from up to down adds 1 to a penalty that halves every
/// `half_life`, held back or not (an announced downtime is no flap); from `suppress` on the service stays unregistered
/// until the penalty is down to `reuse`. Delays re-registration only, never a first registration and never a
/// deregistration.
#[derive(Clone, Debug, PartialEq)]
pub struct DampingSettings {
    /// `flaps`: nothing is held back before more than this many of them within `window`. Default 5.
    pub flaps: u32,
    /// `window`. Default 60 s.
    pub window: Duration,
    /// `half_life` of the penalty. Default 15 s.
    pub half_life: Duration,
    /// `suppress`: penalty from which on a return is held back. Default 3.
    pub suppress: f64,
    /// `reuse`: penalty at which it is let through again. Default 1.
    pub reuse: f64,
    /// `max_suppress`: longest time that a return is held back. Default 60 s.
    pub max_suppress: Duration,
}
