//! Checks of the service on this host: nerve's `checks`.
//!
//! A *pass* goes through the checks of a service in order and stops at the first one whose verdict is down, as the
//! original does: the verdicts of later checks freeze. Every check has a total deadline. Verdicts are nerve's, not
//! haproxy's (`window`): the first result counts at once, afterwards `rise` and `fall` results in a row.
//!
//! Every failed probe counts as a failure, with one exception: `SOCKERR`, our own lack of descriptors or ports, says
//! nothing about the service and leaves the verdict as it is.
//!
//! To add a check: one file with a `probe`, a variant in [`LocalProbe`], one arm in [`probe`].
//!
//! Owner of the verdicts: the [`ServiceChecks`] of a service, which one task has.

mod connect;
mod exec;
mod http;
mod rabbitmq;
mod redis;
mod service;
#[cfg(test)]
mod testing;
pub mod window;

use std::fmt::{self, Debug, Formatter};
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

pub use service::{CheckResult, LocalRunner, Pass, Prober, ServiceChecks};

use super::tcp::failure;
use super::{ProbeError, ProbePass};

/// What one probe brings.
pub type ProbeResult = Result<ProbePass, ProbeError>;

/// What is checked of one service, and how often.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalCheckSettings {
    /// All must pass; none at all: always up.
    pub checks: Vec<LocalCheck>,
    /// `check_interval`: pause between the end of a pass and the next. Default 0.5 s (nerve).
    pub interval: Duration,
    /// `check_mocked`: every pass is up, nothing is asked. Default false.
    pub is_mocked: bool,
}

/// One of `checks`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalCheck {
    /// `name`; default `SERVICE TYPE-HOST:PORT`, for http `http-HOST:PORTURI`. Shown and measured under it.
    pub name: Arc<str>,
    /// What is asked.
    pub probe: LocalProbe,
    /// The whole attempt, resolving included. nerve's `timeout` (default 0.1 s) for most types; for http `open_timeout`
    /// (0.2 s) + `timeout`. The original has no total: a server that drips bytes holds it for ever.
    pub deadline: Duration,
    /// `rise`: passes in a row that bring it up. Default 1.
    pub rise: NonZeroU32,
    /// `fall`: failures in a row that take it down. Default 1.
    pub fall: NonZeroU32,
}

/// What a check asks (`type`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LocalProbe {
    /// A connection is accepted.
    Tcp(Target),
    /// GET; 200 to 399 pass, and the body must contain `expect`.
    Http(LocalHttp),
    /// PING, then EXISTS of a key that nobody has.
    Redis(Target),
    /// A message is published to the queue `nerve` and comes back.
    RabbitMq {
        /// The broker.
        target: Target,
        /// `username`. Default guest.
        username: Arc<str>,
        /// `password`. Default guest.
        password: Password,
    },
    /// Always passes.
    Noop,
    /// A program of the file's: exit code 0 passes. Native, not in the original.
    Exec(Exec),
}

/// A password. What is written for people does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(Arc<str>);

impl From<String> for Password {
    fn from(text: String) -> Self {
        Self(text.into())
    }
}

impl Password {
    /// As the server is told.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl Debug for Password {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Who is asked. The name is resolved at every attempt and all its addresses are tried, IPv4 and IPv6.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Address or name. Default: the service's `host`.
    pub host: Arc<str>,
    /// Default: the service's `port`.
    pub port: u16,
}

/// The `http` check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalHttp {
    /// The server; `host` falls back to 127.0.0.1.
    pub target: Target,
    /// `uri`, required.
    pub uri: Arc<str>,
    /// `headers`, as written; they replace ours of the same name.
    pub headers: Vec<(Arc<str>, Arc<str>)>,
    /// `expect`: must occur in the body.
    pub expect: Option<Arc<str>>,
    /// `open_timeout`: for the connection. Default 0.2 s.
    pub connect_timeout: Duration,
}

/// The `exec` check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exec {
    /// The program, absolute or in `PATH`. No shell.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<String>,
}

/// Asks what `check` asks, once. Ends by `deadline` with the code of the stage that was too slow.
///
/// # Errors
/// [`ProbeError`] when the check does not pass, whatever the reason.
pub async fn probe(check: &LocalCheck, deadline: Instant) -> ProbeResult {
    match &check.probe {
        LocalProbe::Tcp(target) => connect::probe(target, deadline).await,
        LocalProbe::Http(http) => http::probe(http, deadline).await,
        LocalProbe::Redis(target) => redis::probe(target, deadline).await,
        LocalProbe::RabbitMq { target, username, password } => {
            rabbitmq::probe(target, username, password.reveal(), deadline).await
        }
        LocalProbe::Noop => Ok(ProbePass { code: "L7OK", status: None }),
        LocalProbe::Exec(exec) => exec::probe(exec, deadline).await,
    }
}

/// An exchange with a server that has accepted us.
async fn answered_by<T>(
    deadline: Instant,
    exchange: impl Future<Output = Result<T, ProbeError>>,
) -> Result<T, ProbeError> {
    match timeout_at(deadline, exchange).await {
        Ok(result) => result,
        Err(_) => Err(failure("L7TOUT", "no answer in time".to_owned())),
    }
}
