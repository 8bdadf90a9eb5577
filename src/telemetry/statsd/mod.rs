//! dogstatsd, as the originals send it: same names, same tags, one datagram an event.
//!
//! Dashboards and alarms of those who come from Airbnb's programs stand on these events. New ones go to `/metrics`
//! instead: a datagram may be lost without anybody noticing, so nothing here is the only word on anything.
//!
//! Nothing is sent before [`configure`] names an agent (the originals always send). An event costs its caller a look at
//! one pointer then, otherwise a formatted line put into a bounded queue: a full queue, an agent that is gone and a name
//! that cannot be resolved lose events, which is counted, and never make anybody wait. The client crate's thread sends
//! them, `wire` says how.
//!
//! To add an event: a line in [`names`], a typed function in [`nerve`] or [`synapse`], a row in `docs/operations.md`.

mod client;
mod cluster;
pub mod names;
pub mod nerve;
pub mod synapse;
mod wire;

#[cfg(test)]
mod documented;
#[cfg(test)]
pub(crate) mod testing;

pub use self::client::{configure, flush, is_configured};
pub use self::cluster::cluster;

/// Where dogstatsd listens (`statsd`), and how much is sent to it.
#[derive(Clone, Debug, PartialEq)]
pub struct StatsdSettings {
    /// `statsd.host`. Default localhost (the originals). IPv4 is preferred, as the originals know nothing else.
    pub host: String,
    /// `statsd.port`. Default 8125 (the originals).
    pub port: u16,
    /// `statsd.sample_rate`: share of a metric's events that is sent, 0 to 1, by its name. Default 1 (synapse only).
    pub sample_rates: Vec<(String, f64)>,
}

impl Eq for StatsdSettings {}

/// Whose events they are; decides which counter has those that are lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Program {
    /// `nerve`.
    Nerve,
    /// `synapse`.
    Synapse,
}
