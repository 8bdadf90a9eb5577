//! Who exists: sources of [`Membership`] and the policy applied to what they say.
//!
//! A source publishes whole sets, never deltas: a burst of changes costs one rebuild, and a slow reader cannot miss a
//! removal. *A lost source keeps its last word*: on failure it publishes nothing, counts, backs off and retries; what to
//! do with silence is policy. Readers never write to the registry.

#[cfg(test)]
mod contract;
pub mod file;
pub mod fixed;
pub mod names;
pub mod policy;
mod publish;
pub mod saved;
pub mod zookeeper;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::endpoint::{EndpointSet, ServiceName};
use crate::health::BoxFuture;
use crate::registry::Registry;

/// What a source knows about who exists. Not heard yet, gone and empty are three different things.
#[derive(Clone, Debug, Default)]
pub enum Membership {
    /// Nothing heard yet.
    #[default]
    Pending,
    /// The last complete list.
    Known(EndpointSet),
    /// The path does not exist (never created, or deleted).
    Missing,
}

/// Everything a source publishes, replaced whole.
#[derive(Clone, Debug)]
pub struct Discovered {
    /// The last word on who exists.
    pub membership: Membership,
    /// When the source last confirmed it (a successful read, changed or not).
    pub verified: Option<Instant>,
    /// Generator config found beside the members (JSON text of the parent's data), if any.
    pub generator: Option<Arc<str>>,
    /// Members that could not be used: name and reason. Bounded to [`MAX_SHOWN_MALFORMED`]; all are counted.
    pub malformed: Arc<[(String, String)]>,
    /// How many members could not be used.
    pub malformed_total: usize,
    /// Trouble with the source right now, one line ("connecting to zk1:2181", "not authorised"); `None` = healthy.
    pub trouble: Option<Arc<str>>,
    /// The newest change among the members (zxid), as far as the source knows; tells which of two words is newer.
    pub zxid: Option<i64>,
    /// The membership is the word of a source that has been replaced, and the new one has not spoken yet: the policy that
    /// was in force with that source. `None`: it is the source's own.
    pub former: Option<Arc<MembershipPolicy>>,
    /// The membership was remembered, and the source has not spoken since the start; `None` = it is the source's own.
    pub stale: Option<Stale>,
}

/// Marks a word that does not come from the source but from a memory of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stale {
    /// When the source last confirmed it, by the wall clock.
    pub confirmed_at: SystemTime,
    /// Whose memory it is.
    pub memory: Memory,
}

/// Who remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Memory {
    /// This program, in `state_dir`.
    Own,
    /// The original, in its `haproxy.state_file_path`.
    SynapseStateFile,
}

impl Stale {
    /// Time since the source last confirmed it; zero if the clock was set back since.
    pub fn age(&self, now: SystemTime) -> Duration {
        now.duration_since(self.confirmed_at).unwrap_or_default()
    }
}

/// How many unusable members are kept by name for `/services/NAME`.
pub const MAX_SHOWN_MALFORMED: usize = 20;

impl Default for Discovered {
    fn default() -> Self {
        Self {
            membership: Membership::Pending,
            verified: None,
            generator: None,
            malformed: Arc::from([]),
            malformed_total: 0,
            trouble: None,
            zxid: None,
            former: None,
            stale: None,
        }
    }
}

impl Membership {
    /// True for a word: a set, or that there is none.
    pub fn is_heard(&self) -> bool {
        !matches!(self, Self::Pending)
    }
}

impl Discovered {
    /// True once there is a word, its source's or a remembered one.
    pub fn is_heard(&self) -> bool {
        self.membership.is_heard()
    }

    /// The source is replaced, under the policy that is `in_force` with it: its word stays for a while, and nothing else.
    pub fn leave_source(&mut self, in_force: &MembershipPolicy) {
        // The word may be an earlier source's still.
        self.former = Some(Arc::new(self.policy(in_force).clone()));
        self.generator = None;
        self.trouble = None;
        self.verified = None;
    }

    /// The settings in force are `next` from now on: where nobody has spoken, their default servers take the place of a
    /// former source's for good. True when that changes something.
    pub fn take_defaults(&mut self, next: &MembershipPolicy) -> bool {
        !self.is_heard() && !next.default_servers.is_empty() && self.former.take().is_some()
    }

    /// The policy that the membership is judged by, when `in_force` is that of the settings. A word is judged by the
    /// policy of its source; where nobody has spoken yet, default servers that are in force come before former ones.
    pub fn policy<'a>(&'a self, in_force: &'a MembershipPolicy) -> &'a MembershipPolicy {
        let has_defaults = !in_force.default_servers.is_empty();
        match (&self.membership, &self.former) {
            (_, None) => in_force,
            (Membership::Pending, Some(_)) if has_defaults => in_force,
            (_, Some(former)) => former,
        }
    }
}

/// Who exists. Publishes whole sets, never deltas; runs until cancelled.
///
/// To add a source: one file implementing this, a variant in [`SourceSettings`], one arm in `discovery::build`, and the
/// shared contract test.
pub trait Discovery: Send + 'static {
    /// What is known before the source is asked; a decorator with a memory has something to say. Waits for nothing.
    fn first_word(&self) -> Discovered {
        Discovered::default()
    }

    /// Runs until `stop`. Must not return earlier, must not publish on failure (except `trouble`).
    fn run(
        self: Box<Self>,
        out: watch::Sender<Discovered>,
        stop: CancellationToken,
    ) -> BoxFuture<'static, ()>;
}

/// Where a service's members come from (`discovery.method`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceSettings {
    /// `base`: only the `default_servers` of the config.
    Fixed,
    /// `file`: a JSON or YAML list of backends, re-read when it changes.
    File(FileSourceSettings),
    /// `zookeeper`: children of a path.
    ZooKeeper(ZooKeeperSourceSettings),
}

/// Settings of the `file` source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileSourceSettings {
    /// The file: a list of backend records as in `default_servers`.
    pub path: PathBuf,
    /// How often its identity (inode, size, mtime) is compared. Default 250 ms.
    pub poll_interval: Duration,
}

/// Settings of the `zookeeper` source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZooKeeperSourceSettings {
    /// The ensemble: sorted `host:port` list joined by `,` (plus chroot). Key of the shared session.
    pub ensemble: Arc<str>,
    /// Parent path, absolute.
    pub path: Arc<str>,
    /// How children are read.
    pub decode: Decode,
    /// Where the generator config is read from.
    pub generator: GeneratorSource,
    /// `discovery_jitter`: upper bound of the random delay before a re-read within that time of the last. Default 0.
    pub jitter: Duration,
}

/// Shape of a child's data (`decode.method`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decode {
    /// nerve's JSON.
    Nerve,
    /// Twitter's serverset JSON; `endpoint_name` chooses one of `additionalEndpoints`.
    ServerSet {
        /// `decode.endpoint_name`.
        endpoint_name: Option<Arc<str>>,
    },
}

/// `generator_config_path`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GeneratorSource {
    /// Unset: the data of the service's own path.
    Parent,
    /// Another node; watched as well (the original forgets to).
    Node(Arc<str>),
    /// `disabled`.
    Disabled,
}

/// What is done with a raw [`Membership`] before it becomes the set that is balanced over.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MembershipPolicy {
    /// `default_servers`: initial set, and the answer to an empty one.
    pub default_servers: Vec<crate::endpoint::Endpoint>,
    /// `keep_default_servers`: append them to every discovered set. Default false.
    pub keep_default_servers: bool,
    /// `use_previous_backends`: ignore the transition to empty or missing. Default true.
    pub use_previous_backends: bool,
    /// `backend_port_override`.
    pub port_override: Option<u16>,
    /// `label_filters`: all must hold.
    pub label_filters: Vec<LabelFilter>,
    /// `leader_election`: only the smallest id; nobody when an id is missing. Default false.
    pub leader_election: bool,
}

impl MembershipPolicy {
    /// True when an empty or missing path leaves the previous backends in use.
    pub fn keeps_previous(&self) -> bool {
        self.use_previous_backends && self.default_servers.is_empty()
    }
}

/// One of `label_filters`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelFilter {
    /// Label name.
    pub label: String,
    /// Value compared with the label's, type included.
    pub value: serde_json::Value,
    /// `equals` or `not-equals`; anything else is refused by the config (the original matches nothing).
    pub negate: bool,
}

/// Builds the source that `settings` describe.
///
/// `registries` gives the shared session with an ensemble (the key is [`ZooKeeperSourceSettings::ensemble`]); `parse` reads
/// the JSON or YAML of a `file` source.
pub fn build(
    service: &ServiceName,
    settings: &SourceSettings,
    registries: &dyn Fn(&str) -> Arc<dyn Registry>,
    parse: file::Parse,
) -> Box<dyn Discovery> {
    match settings {
        SourceSettings::Fixed => Box::new(fixed::FixedDiscovery),
        SourceSettings::File(settings) => {
            Box::new(file::FileDiscovery::new(settings.clone(), parse))
        }
        SourceSettings::ZooKeeper(settings) => Box::new(zookeeper::ZooKeeperDiscovery::new(
            registries(&settings.ensemble),
            settings.clone(),
            service,
        )),
    }
}
