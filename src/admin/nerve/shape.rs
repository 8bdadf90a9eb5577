//! A service as JSON: what `/v1/services` says and what the command line reads.
//!
//! Keys are only added, never renamed; a reader must take what it does not know, and what is missing has its default.

use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::admin::index::session_word;
use crate::admin::when::{Now, millis, rfc3339};
use crate::registration::view::{CheckView, DownMark};
use crate::registration::{Place, Registration};
use crate::registry::Session;

use super::desk::ServiceStatus;
use super::diagnosis;

/// One service. Times are RFC 3339 in UTC; ages and durations are seconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ServiceShape {
    /// Its name.
    pub name: String,
    /// `UP`, `DOWN`, `MAINT`, `HELD` or `CHECKING`.
    pub state: String,
    /// The verdict of the checks; null before the first one.
    pub up: Option<bool>,
    /// When the verdict last changed.
    pub since: Option<String>,
    /// Time since then.
    pub age_s: Option<f64>,
    /// Why, one line.
    pub reason: String,
    /// What the registry should say: `present`, `absent`, `undecided`.
    pub wanted: String,
    /// What it says.
    pub registration: RegistrationShape,
    /// Where.
    pub place: PlaceShape,
    /// The session with the ensemble; null for a file.
    pub session: Option<SessionShape>,
    /// The checks in order.
    pub checks: Vec<CheckShape>,
    /// Passes through the checks.
    pub passes: u64,
    /// Passes that ended down.
    pub failed_passes: u64,
    /// Changes of the verdict.
    pub transitions: u64,
    /// Changes held back by the rate limit.
    pub throttled: u64,
    /// The announced downtime.
    pub down: Option<DownShape>,
    /// Flap penalty.
    pub penalty: f64,
    /// A return is held back by damping until then.
    pub suppressed_until: Option<String>,
    /// For a service that was put: when it ends unless it is renewed.
    pub pushed_until: Option<String>,
}

/// What the registry says.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RegistrationShape {
    /// `registered`, `absent`, `unconfirmed`, `changing`, `blocked` or `unknown`.
    pub phase: String,
    /// Path of the node (or file).
    pub node: Option<String>,
    /// Session that owns the node: `0x1000…`.
    pub owner: Option<String>,
    /// The last trouble.
    pub trouble: Option<String>,
    /// When `phase` was entered.
    pub since: Option<String>,
    /// Acknowledged writes.
    pub writes: u64,
}

/// Where a registration stands.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PlaceShape {
    /// `zookeeper` or `file`.
    pub reporter_type: String,
    /// Connect string.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zk_hosts: Option<String>,
    /// Parent node, or the file.
    pub path: String,
    /// `node_type` of the configuration.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node_type: Option<String>,
}

/// The session with an ensemble.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SessionShape {
    /// Its id: `0x1000…`.
    pub id: Option<String>,
    /// `connected`, `connecting`, `disconnected`, `expired` or `authentication failed`.
    pub state: String,
    /// Which one since the start.
    pub generation: u64,
    /// Granted by the server.
    pub timeout_s: Option<f64>,
    /// The last trouble.
    pub last_error: Option<String>,
}

/// One check.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct CheckShape {
    /// Its name.
    pub name: String,
    /// Its verdict; null before its first result.
    pub up: Option<bool>,
    /// haproxy's code of the last result: `L7OK`, `L4CON`, …
    pub code: Option<String>,
    /// HTTP status of the last result.
    pub status: Option<u16>,
    /// Why the last result is a failure.
    pub detail: Option<String>,
    /// How long it took.
    pub took_s: f64,
    /// When it ended.
    pub at: Option<String>,
    /// Time since then.
    pub age_s: Option<f64>,
}

/// An announced downtime.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct DownShape {
    /// For people.
    pub reason: String,
    /// When it was announced.
    pub since: String,
    /// It ends by itself then.
    pub until: Option<String>,
}

/// The shape of `service` at `now`.
pub(super) fn service(service: &ServiceStatus, now: Now) -> ServiceShape {
    let watch = &service.watch;
    ServiceShape {
        name: service.name.to_string(),
        state: diagnosis::state(service).to_owned(),
        up: watch.is_up,
        since: watch.since.map(rfc3339),
        age_s: watch.since.map(|since| age(since, now)),
        reason: diagnosis::reason(service),
        wanted: diagnosis::wanted(watch.wanted).to_owned(),
        registration: registration(&service.registration),
        place: place(&service.place),
        session: service.session.as_ref().map(session),
        checks: watch.checks.iter().map(|c| check(c, now)).collect(),
        passes: watch.passes,
        failed_passes: watch.failed_passes,
        transitions: watch.transitions,
        throttled: watch.throttled,
        down: watch.down.as_ref().map(down),
        penalty: (watch.penalty * 1000.0).round() / 1000.0,
        suppressed_until: watch.suppressed_until.map(rfc3339),
        pushed_until: service.pushed_until.map(rfc3339),
    }
}

fn age(then: SystemTime, now: Now) -> f64 {
    millis(now.system.duration_since(then).unwrap_or_default())
}

/// Session ids as ZooKeeper's own tools print them.
pub(super) fn hex(id: i64) -> String {
    format!("{id:#x}")
}

fn registration(registration: &Registration) -> RegistrationShape {
    RegistrationShape {
        phase: diagnosis::phase(registration.phase).to_owned(),
        node: registration.node.as_deref().map(str::to_owned),
        owner: registration.owner.map(hex),
        trouble: registration.trouble.as_deref().map(str::to_owned),
        since: Some(rfc3339(registration.since)),
        writes: registration.writes,
    }
}

fn place(place: &Place) -> PlaceShape {
    match place {
        Place::ZooKeeper(zk) => PlaceShape {
            reporter_type: String::from("zookeeper"),
            zk_hosts: Some(zk.ensemble.to_string()),
            path: zk.path.to_string(),
            node_type: Some(zk.kind.word().to_owned()),
        },
        Place::File { path } => PlaceShape {
            reporter_type: String::from("file"),
            zk_hosts: None,
            path: path.display().to_string(),
            node_type: None,
        },
    }
}

fn session(session: &Session) -> SessionShape {
    SessionShape {
        id: session.id.map(hex),
        state: session_word(session.state).to_owned(),
        generation: session.generation,
        timeout_s: session.negotiated_timeout.map(millis),
        last_error: session.last_error.as_deref().map(str::to_owned),
    }
}

fn check(check: &CheckView, now: Now) -> CheckShape {
    let (code, status, detail) = match &check.last {
        Some(Ok(pass)) => (Some(pass.code), pass.status, None),
        Some(Err(error)) => (Some(error.code), error.status, Some(error.detail.clone())),
        None => (None, None, None),
    };
    CheckShape {
        name: check.name.to_string(),
        up: check.is_up,
        code: code.map(str::to_owned),
        status,
        detail,
        took_s: millis(check.took),
        at: check.at.map(rfc3339),
        age_s: check.at.map(|at| age(at, now)),
    }
}

fn down(mark: &DownMark) -> DownShape {
    DownShape {
        reason: mark.reason.clone(),
        since: rfc3339(mark.since),
        until: mark.until.map(rfc3339),
    }
}
