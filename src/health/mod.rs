//! Who works: one attempt ([`Probe`]), its schedule (`checker`), the verdict (`rise_fall`).
//!
//! The vocabulary is haproxy's: `inter`, `fastinter`, `downinter`, `rise`, `fall`. Synapse checks backends, nerve
//! checks the local service; both use this machinery and differ only in what they do with the verdict. Discovery is
//! unknown here: a check has a target address and nothing else.
//!
//! Invariant: only `rise_fall` turns results into a [`Health`]; it is pure, and time is an argument.

mod build;
pub mod checker;
pub mod http;
pub mod local;
pub mod rise_fall;
pub mod runner;
pub mod tcp;
#[cfg(test)]
pub(crate) mod testing;

use std::fmt::Debug;
use std::num::NonZeroU32;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

pub use build::build;

use crate::dial::{Address, Way};

/// haproxy's code for trouble on our own side (no descriptor, no port, no route family): the verdict does not change.
pub const SOCKET_ERROR: &str = "SOCKERR";

/// A boxed `Send` future: what object-safe async traits return.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The verdict on one target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Health {
    /// No check is configured: always eligible (`no check` in haproxy's stats).
    Unchecked,
    /// Operational. A new backend starts here, but its first failed check takes it down.
    Up,
    /// Out of the rotation until `rise` checks in a row pass.
    Down,
}

/// One attempt at one target. No schedule, no thresholds, no retries.
///
/// To add a check: one file implementing this, one variant in [`ProbeSettings`], one arm in `health::build`.
pub trait Probe: Debug + Send + Sync {
    /// Tries once. The caller bounds the whole attempt with [`CheckSettings::deadline`].
    fn probe(&self, target: Address) -> BoxFuture<'_, Result<ProbePass, ProbeError>>;
}

/// A passed probe, for the status page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbePass {
    /// haproxy's code: `L4OK`, `L7OK`.
    pub code: &'static str,
    /// HTTP status, where there was one.
    pub status: Option<u16>,
}

/// Why a probe failed, in haproxy's words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {detail}")]
pub struct ProbeError {
    /// haproxy's code: `L4CON`, `L4TOUT`, `L7STS`, `L7RSP`, `L7TOUT`, `SOCKERR`.
    pub code: &'static str,
    /// HTTP status, where there was one.
    pub status: Option<u16>,
    /// One line for a human: "connection refused", "status 503".
    pub detail: String,
    /// haproxy's `info` in its messages: what the system says, or the words behind the status. Empty: it has none.
    pub info: String,
}

/// What a check asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProbeSettings {
    /// Connect, then close with RST so that the application does not log it.
    Tcp,
    /// `option httpchk`: one request, 2xx and 3xx pass.
    Http(HttpProbeSettings),
}

/// `option httpchk [METHOD] URI [VERSION[\r\nHdr:\ v]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpProbeSettings {
    /// Default `OPTIONS`.
    pub method: Arc<str>,
    /// Default `/`.
    pub uri: Arc<str>,
    /// `HTTP/1.0` (default) or `HTTP/1.1`.
    pub version: Arc<str>,
    /// Headers hidden in the version string, in order; names as written.
    pub headers: Vec<(String, String)>,
}

/// The schedule and thresholds of a check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckSettings {
    /// What to ask.
    pub probe: ProbeSettings,
    /// haproxy's `inter`: time between checks of a settled, up server. Default 2 s.
    pub interval: Duration,
    /// `fastinter`: while the verdict is in transition or not yet known. Default: `inter`.
    pub fast_interval: Option<Duration>,
    /// `downinter`: while fully down. Default: `inter`.
    pub down_interval: Option<Duration>,
    /// Passes in a row that bring a down server up. Default 2.
    pub rise: NonZeroU32,
    /// Failures in a row that take an up server down. Default 3.
    pub fall: NonZeroU32,
    /// `timeout check`: time to answer once connected. Unset: `inter` is the whole budget.
    pub timeout: Option<Duration>,
    /// `timeout connect`, the bound of the connect when `timeout check` is set (the smaller of it and `inter`).
    pub connect_timeout: Option<Duration>,
    /// Check this port instead of the traffic port (`port N`).
    pub port: Option<u16>,
    /// Check this address instead (`addr A`).
    pub addr: Option<std::net::IpAddr>,
    /// `spread-checks`: random part of each interval in percent, 0..=50. Default 0.
    pub spread_percent: u8,
    /// In what way to connect, and whether the check begins with a PROXY header. `None`: the usual way.
    pub way: Option<Arc<Way>>,
}

impl CheckSettings {
    /// haproxy's rule: with `timeout check` the connect gets min(`timeout connect`, `inter`) and the answer
    /// `timeout check`; otherwise `inter` bounds the whole attempt.
    pub fn deadline(&self) -> Duration {
        match self.timeout {
            Some(read) => self.connect_timeout.unwrap_or(self.interval).min(self.interval) + read,
            None => self.interval,
        }
    }
}
