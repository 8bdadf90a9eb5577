//! What the pages show and whom they ask: the running nerve, as plain values and five verbs.

use std::fmt::Debug;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde_json::Value;

use crate::admin::About;
use crate::config::Complaint;
use crate::endpoint::ServiceName;
use crate::health::BoxFuture;
use crate::registration::view::WatchView;
use crate::registration::{Place, Registration};
use crate::registry::Session;

/// How long a command waits for the registry before it is answered with 504. What was ordered goes on.
pub const ACKNOWLEDGED_WITHIN: Duration = Duration::from_secs(10);

/// The running nerve. Implemented by `app`.
///
/// The futures may be dropped at any time ([`ACKNOWLEDGED_WITHIN`], a client that hangs up): an order must be placed
/// before the first wait, and is carried out all the same.
pub trait Desk: Debug + Send + Sync {
    /// Every service, those of the file first, in its order.
    fn services(&self) -> Vec<ServiceStatus>;

    /// The process.
    fn process(&self) -> ProcessStatus;

    /// Announces a downtime; completes when the registry has acknowledged that the service is not registered. A second
    /// one replaces the first.
    fn down<'a>(
        &'a self,
        service: &'a str,
        request: DownRequest,
    ) -> BoxFuture<'a, Result<ServiceStatus, DeskError>>;

    /// Ends an announced downtime, if there is one, and asks the checks anew; completes when the registry has acknowledged
    /// what they (and damping) want then.
    fn up<'a>(&'a self, service: &'a str) -> BoxFuture<'a, Result<ServiceStatus, DeskError>>;

    /// Takes a service that is not in the file, or renews it; it ends by itself after `ttl`. Completes when it is watched,
    /// registered or not. The same definition again changes nothing but the time.
    fn put<'a>(
        &'a self,
        service: &'a str,
        definition: Value,
        ttl: Duration,
    ) -> BoxFuture<'a, Result<ServiceStatus, DeskError>>;

    /// Takes a [`Self::put`] back; completes when the registry has acknowledged that the service is not registered.
    /// Services of the file are a [`DeskError::Conflict`].
    fn delete<'a>(&'a self, service: &'a str) -> BoxFuture<'a, Result<(), DeskError>>;
}

/// An announced downtime.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DownRequest {
    /// It ends by itself after this; `None`: with [`Desk::up`] only.
    pub lasting: Option<Duration>,
    /// For people; may be empty.
    pub reason: String,
}

/// One service.
#[derive(Clone, Debug)]
pub struct ServiceStatus {
    /// Key under `services`, or the name it was put under.
    pub name: ServiceName,
    /// As its watcher sees it.
    pub watch: WatchView,
    /// As its reporter sees it.
    pub registration: Registration,
    /// Where it stands.
    pub place: Place,
    /// The session with its ensemble; `None` for a file.
    pub session: Option<Session>,
    /// For a service that was put: when it ends unless it is renewed.
    pub pushed_until: Option<SystemTime>,
}

/// The process.
#[derive(Clone, Debug)]
pub struct ProcessStatus {
    /// Version and start.
    pub about: About,
    /// `instance_id`.
    pub instance_id: String,
    /// Where it remembers; `None`: nowhere.
    pub state_dir: Option<PathBuf>,
    /// The sessions in use, by connect string.
    pub sessions: Vec<(Arc<str>, Session)>,
    /// Services of the file that are left out, one line each.
    pub refused: Vec<String>,
    /// Remarks about the configuration, one line each.
    pub warnings: Vec<String>,
    /// The file was refused at the last reload, or holds values that need a restart.
    pub config_on_disk_differs: bool,
    /// What keeps the process from being ready besides its services (starting, stopping), one line each.
    pub missing: Vec<String>,
}

/// Why a command was not carried out, or not yet.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeskError {
    /// 404.
    #[error("no service {0:?}")]
    Unknown(String),
    /// 409: it is not what is asked of this service now.
    #[error("{0}")]
    Conflict(String),
    /// 400: the definition is no good, all complaints at once.
    #[error("the definition is refused ({} complaints)", .0.len())]
    Refused(Vec<Complaint>),
    /// 504: ordered, but the registry has not acknowledged it.
    #[error(
        "not acknowledged by the registry within {} s; it will be as soon as the registry is back",
        ACKNOWLEDGED_WITHIN.as_secs()
    )]
    NotAcknowledged,
}
