//! From files to settings: the Airbnb Synapse file is the configuration.
//!
//! Loading has three steps that do not mix: *read* (templates, JSON or YAML, `service_conf_dir`, overlay) gives one
//! ordered document; *shape* walks it, collecting every complaint with its file, key path and value; *resolve* fills the
//! settings types that the modules below own. haproxy lines go through one table of directives. A file config is all or
//! nothing; a generator config from ZooKeeper is judged per service.
//!
//! Nothing below this module can name a config file.

pub mod access_log;
pub(crate) mod accounts;
pub mod addresses;
mod balance;
pub mod check;
pub mod daemon;
pub mod defaults;
pub mod diff;
pub mod document;
#[cfg(test)]
mod documented;
pub mod ensemble;
pub mod forward_for;
pub mod generator;
pub mod haproxy;
pub mod json;
pub mod membership;
pub mod native;
pub mod native_check;
pub mod native_connect;
mod native_listen;
#[cfg(test)]
mod native_tests;
pub mod nerve;
pub mod origins;
pub mod process;
pub mod reader;
pub mod report;
pub mod scalar;
pub mod sections;
pub mod servers;
pub mod service;
pub mod source;
pub mod statsd;
pub mod synapse;
pub mod template;
pub mod text;
pub mod yaml;
pub mod zookeeper;

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::discovery::SourceSettings;
use crate::discovery::saved::SeedFile;
use crate::endpoint::ServiceName;
use crate::lb::PoolSettings;
use crate::proxy::{ListenerSettings, ProxySettings};
use crate::telemetry::statsd::StatsdSettings;

/// A complete, valid configuration of synapse.
#[derive(Clone, Debug)]
pub struct SynapseConfig {
    /// The services in file order.
    pub services: Vec<ServiceConfig>,
    /// Process-wide settings.
    pub process: ProcessSettings,
    /// Effective values of the process with their origin, for `synapse check`.
    pub process_origins: Vec<EffectiveValue>,
    /// What was accepted with a remark; printed at each start.
    pub warnings: Vec<Complaint>,
}

/// Settings of the process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessSettings {
    /// `admin.listen`. Default 127.0.0.1:3210 (cookbook's port of synapse).
    pub admin_listen: SocketAddr,
    /// `state_dir`; see decision 4 in `docs/configuration.md`.
    pub state_dir: Option<PathBuf>,
    /// `haproxy.state_file_path` and `state_file_ttl`: what the original left behind. Read at start for services that
    /// have nothing in `state_dir` yet, never written. Unset by default.
    pub seed: Option<SeedFile>,
    /// `workers`: data-plane threads. Default: the cores.
    pub workers: NonZeroUsize,
    /// `give_way`: a data-plane thread offers its core to others before it sleeps. Default true.
    pub give_way: bool,
    /// `bulk_lull`: how long a fast stream of bulk TCP rests when it finds little. Zero: never. Default 80 us.
    pub bulk_lull: Duration,
    /// `zk_session_timeout`. Default 30 s.
    pub session_timeout: Duration,
    /// `global maxconn`: client connections of the whole process. Unset: what the descriptor limit allows.
    pub max_connections: Option<u32>,
    /// `haproxy.global`'s `maxpipes`, or 0 with `nosplice`.
    pub max_pipes: Option<u32>,
    /// `log.format`: `None` = text on a terminal and elsewhere.
    pub log_format: LogFormat,
    /// `global user`, `group`: privileges are dropped to these after binding, when started as root.
    pub user: Option<String>,
    /// See `user`.
    pub group: Option<String>,
    /// `hard_stop_after`, else `global hard-stop-after`: how long a soft stop waits for connections under way. Default
    /// 30 s; haproxy waits for ever, but a supervisor's patience (systemd: 90 s) must not run out first.
    pub hard_stop_after: Duration,
    /// `statsd`; `None` when there is none: no events are sent.
    pub statsd: Option<StatsdSettings>,
}

/// `log: {format: …}`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people. Default.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// One service, resolved.
#[derive(Clone, Debug)]
pub struct ServiceConfig {
    /// Key under `services`.
    pub name: ServiceName,
    /// Where its members come from.
    pub source: SourceSettings,
    /// How they are checked and balanced.
    pub pool: PoolSettings,
    /// Where it listens; `None` without `port` (backend only) or when `disabled`.
    pub listener: Option<ListenerSettings>,
    /// How its connections are treated.
    pub proxy: ProxySettings,
    /// `haproxy.disabled`: discovered and shown, no listener, no checks.
    pub disabled: bool,
    /// Effective values with their origin, for `synapse check`.
    pub origins: Vec<EffectiveValue>,
}

/// One line of `synapse check`: `timeout.client = 50s  (haproxy.defaults[8] "timeout  client  50s")`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EffectiveValue {
    /// Name of the setting, dotted.
    pub setting: String,
    /// Its value as text.
    pub value: String,
    /// Where it comes from: a key path, or `default`.
    pub origin: String,
}

/// One thing wrong (or odd) in a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Complaint {
    /// File it stands in.
    pub file: Arc<str>,
    /// Key path: `services.search.haproxy.listen[3]`.
    pub path: String,
    /// What is wrong and with which value, one line, lower case, no full stop; says what to use instead.
    pub text: String,
}

impl std::fmt::Display for Complaint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.path.is_empty() {
            return write!(f, "{}: {}", self.file, self.text);
        }
        write!(f, "{}: {}: {}", self.file, self.path, self.text)
    }
}

/// Re-resolves one service with a generator config found in the registry (its `haproxy:` section is replaced whole).
pub trait GeneratorRules: std::fmt::Debug + Send + Sync {
    /// `json` is the parent's data.
    ///
    /// # Errors
    /// All complaints about it; the service then keeps what it has.
    fn resolve(
        &self,
        service: &ServiceName,
        json: &str,
    ) -> Result<Option<ServiceConfig>, Vec<Complaint>>;
}
