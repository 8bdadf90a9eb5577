//! What is known about a backend, as it travels: verdicts and checks. And the file of a unix socket.

use std::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::state::WireEndpoint;
use crate::health::rise_fall::Verdict;
use crate::lb::handle::CheckView;
use crate::lb::pool::state::BackendState;
use crate::proxy::listener::{Identity, Permissions};

/// What is known about a backend.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct WireBackend {
    endpoint: WireEndpoint,
    addr: Option<SocketAddr>,
    verdict: Option<WireVerdict>,
    last_check: Option<WireCheck>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct WireVerdict {
    is_up: bool,
    counter: u32,
    streak: (bool, u32),
    age_ms: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct WireCheck {
    code: String,
    status: Option<u16>,
    detail: String,
    took_us: u64,
    age_ms: u64,
    streak: u32,
}

/// The file of a unix socket: which one it is, and what the configuration says of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct WireFile {
    dev: u64,
    ino: u64,
    mode: Option<u32>,
    uid: Option<u32>,
    gid: Option<u32>,
}

impl From<(Identity, Permissions)> for WireFile {
    fn from((file, permissions): (Identity, Permissions)) -> Self {
        let Permissions { mode, uid, gid } = permissions;
        Self { dev: file.dev, ino: file.ino, mode, uid, gid }
    }
}

impl WireFile {
    /// Which one.
    pub(super) fn identity(&self) -> Identity {
        Identity { dev: self.dev, ino: self.ino }
    }

    /// What it was given.
    pub(super) fn permissions(&self) -> Permissions {
        Permissions { mode: self.mode, uid: self.uid, gid: self.gid }
    }
}

/// Codes of checks that are known here; another version's others are not shown.
const CODES: [&str; 9] =
    ["L4OK", "L4CON", "L4TOUT", "L7OK", "L7RSP", "L7STS", "L7TOUT", "PROCERR", "SOCKERR"];

impl From<BackendState> for WireBackend {
    fn from(backend: BackendState) -> Self {
        Self {
            endpoint: WireEndpoint::from(&backend.endpoint),
            addr: backend.addr,
            verdict: backend.verdict.map(|verdict| WireVerdict {
                is_up: verdict.is_up,
                counter: verdict.counter,
                streak: verdict.streak,
                age_ms: age_ms(verdict.since),
            }),
            last_check: backend.last_check.map(|check| WireCheck {
                code: check.code.to_owned(),
                status: check.status,
                detail: check.detail,
                took_us: u64::try_from(check.took.as_micros()).unwrap_or(u64::MAX),
                age_ms: age_ms(check.at),
                streak: check.streak,
            }),
        }
    }
}

impl WireBackend {
    pub(super) fn live(&self) -> BackendState {
        let check = self.last_check.as_ref().and_then(|check| {
            Some(CheckView {
                code: CODES.into_iter().find(|code| *code == check.code)?,
                status: check.status,
                detail: check.detail.clone(),
                took: Duration::from_micros(check.took_us),
                at: ago(check.age_ms),
                streak: check.streak,
            })
        });
        BackendState {
            endpoint: self.endpoint.live(),
            addr: self.addr,
            verdict: self.verdict.as_ref().map(|verdict| Verdict {
                is_up: verdict.is_up,
                counter: verdict.counter,
                streak: verdict.streak,
                since: ago(verdict.age_ms),
            }),
            last_check: check,
        }
    }
}

fn age_ms(at: Instant) -> u64 {
    millis(at.elapsed())
}

/// An age as it travels.
pub(super) fn millis(age: Duration) -> u64 {
    u64::try_from(age.as_millis()).unwrap_or(u64::MAX)
}

/// A time in the past; now, when the clock does not reach that far.
pub(super) fn ago(age_ms: u64) -> Instant {
    let now = Instant::now();
    let age = Duration::from_millis(age_ms).min(MAX_AGE);
    now.checked_sub(age).unwrap_or(now)
}

/// Older than any process: a damaged message must not make a time that arithmetic elsewhere cannot bear.
pub(super) const MAX_AGE: Duration = Duration::from_secs(10 * 365 * 86_400);
