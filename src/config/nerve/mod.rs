//! The Nerve file: document to [`NerveConfig`].
//!
//! Airbnb's file loads unchanged, except where the original could not have worked with it: that is complained about, all
//! at once, each with file, key path and value. A service that needs something that does not exist here (etcd, https
//! checks) is left out and told in [`NerveConfig::refused`]; the others run. Whether a service has changed is a question
//! of its [`NerveService`]: keys that nobody reads do not count (they do in the original).

mod checks;
mod defaults;
mod limits;
mod load;
mod place;
mod process;
mod service;
mod taken;

#[cfg(test)]
mod documented;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

pub use self::load::{NerveLoadOptions, load, resolve, service};
pub use self::taken::Taken;
use super::{Complaint, LogFormat};

use crate::endpoint::ServiceName;
use crate::health::local::LocalCheckSettings;
use crate::registration::{DampingSettings, LimitSettings, RegistrationSettings};
use crate::telemetry::statsd::StatsdSettings;

/// A complete configuration of nerve. Services that cannot work here (etcd) are left out and told in `refused`.
#[derive(Clone, Debug)]
pub struct NerveConfig {
    /// `instance_id`, or `-i`.
    pub instance_id: String,
    /// The services in file order.
    pub services: Vec<NerveService>,
    /// Process-wide settings.
    pub process: NerveProcess,
    /// What services inherit from the top level; for [`service`].
    pub defaults: ServiceDefaults,
    /// Services that are left out, each with the reason; the others run. `-k` fails on them.
    pub refused: Vec<Complaint>,
    /// What was accepted with a remark; printed at each start.
    pub warnings: Vec<Complaint>,
}

/// What services inherit from the top level of the file.
#[derive(Clone, Debug, PartialEq)]
pub struct ServiceDefaults {
    /// `flap_damping`; `None` when it is switched off.
    pub damping: Option<DampingSettings>,
}

impl Default for ServiceDefaults {
    /// Those of an empty file.
    fn default() -> Self {
        Self { damping: Some(DampingSettings::DEFAULT) }
    }
}

/// Settings of the process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NerveProcess {
    /// `admin.listen`. Default 127.0.0.1:3211.
    pub admin_listen: SocketAddr,
    /// `admin.push`: the push API is answered on `admin.listen` too, which must be loopback then. Default false.
    pub admin_push: bool,
    /// `state_dir`; as synapse's, with `/var/lib/nerve`.
    pub state_dir: Option<PathBuf>,
    /// `zk_session_timeout`. Default 30 s.
    pub session_timeout: Duration,
    /// `heartbeat_path`: touched every second while the main loop lives. Default: none.
    pub heartbeat: Option<PathBuf>,
    /// `drain_delay`: at a stop, time between "deregistered" and the end of the process, so that clients hear of it.
    /// Default 0.
    pub drain_delay: Duration,
    /// `stop_timeout`: a stop ends after this, whatever ZooKeeper does. Default 5 s.
    pub stop_timeout: Duration,
    /// `log.format`.
    pub log_format: LogFormat,
    /// `statsd.host` and `.port`; `None` when there is no `statsd`.
    pub statsd: Option<StatsdSettings>,
}

/// One service.
#[derive(Clone, Debug, PartialEq)]
pub struct NerveService {
    /// Key under `services`.
    pub name: ServiceName,
    /// What is checked.
    pub checks: LocalCheckSettings,
    /// What is registered, and where.
    pub registration: RegistrationSettings,
    /// When it may be registered.
    pub limits: LimitSettings,
}
