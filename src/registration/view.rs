//! What a service's watcher knows, for the status page, metrics and the push API. Plain values, replaced whole.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use super::Wanted;
use crate::health::{ProbeError, ProbePass};

/// One service as its watcher sees it. Written by the watcher only.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct WatchView {
    /// The verdict of the checks; `None` before the first pass has ended.
    pub is_up: Option<bool>,
    /// When the verdict last changed.
    pub since: Option<SystemTime>,
    /// Every check, in order.
    pub checks: Vec<CheckView>,
    /// Passes that have ended.
    pub passes: u64,
    /// Those of them that ended with a verdict of down.
    pub failed_passes: u64,
    /// Changes of the verdict, the first one included.
    pub transitions: u64,
    /// Somebody announced a downtime.
    pub down: Option<DownMark>,
    /// Flap penalty now (RFC 2439).
    pub penalty: f64,
    /// A return is held back by damping until then.
    pub suppressed_until: Option<SystemTime>,
    /// Changes that the rate limit held back (or would have, in shadow mode).
    pub throttled: u64,
    /// What the reporter is asked for.
    pub wanted: Wanted,
    /// Why, in one line: "checks pass", "http-10.0.0.1:80/health: L7STS: status 503", "down for 30s by an operator: deploy".
    pub reason: Arc<str>,
}

/// One check as its watcher sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckView {
    /// Its name.
    pub name: Arc<str>,
    /// Its verdict; `None` before its first result.
    pub is_up: Option<bool>,
    /// Its last result.
    pub last: Option<Result<ProbePass, ProbeError>>,
    /// How long that took.
    pub took: Duration,
    /// When it ended.
    pub at: Option<SystemTime>,
}

/// An announced downtime: the service is not registered, whatever its checks say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DownMark {
    /// For people; may be empty.
    pub reason: String,
    /// When it was announced.
    pub since: SystemTime,
    /// It ends by itself then; `None`: when somebody says so.
    pub until: Option<SystemTime>,
}

impl DownMark {
    /// Whether it holds at `now`.
    pub fn holds(&self, now: SystemTime) -> bool {
        self.until.is_none_or(|until| now < until)
    }
}
