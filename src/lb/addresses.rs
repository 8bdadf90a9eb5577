//! Where names become addresses, as the pool sees it.
//!
//! Registrations may carry DNS names. They are resolved and refreshed off the data path by somebody else; the pool only
//! asks what is known now, and is told when that changes. IP literals never get here.

use std::fmt::Debug;
use std::net::IpAddr;

use tokio::sync::watch;

/// What is known about a name now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AddressState {
    /// Its address.
    Known(IpAddr),
    /// Asked, no answer yet.
    Pending,
    /// It does not resolve; the reason in one line.
    Failed(String),
}

/// Answers from memory; never blocks.
pub trait Addresses: Debug + Send + Sync {
    /// The current state of `host`. The first call for a name starts its resolution.
    fn lookup(&self, host: &str) -> AddressState;

    /// Changes whenever the answer for some name has changed.
    fn subscribe(&self) -> watch::Receiver<u64>;
}

/// Resolves nothing: for services whose registrations carry IP addresses only, and for tests.
#[derive(Clone, Copy, Debug, Default)]
pub struct LiteralsOnly;

impl Addresses for LiteralsOnly {
    fn lookup(&self, _host: &str) -> AddressState {
        AddressState::Failed("names are not resolved here".to_owned())
    }

    fn subscribe(&self) -> watch::Receiver<u64> {
        watch::channel(0).1
    }
}
