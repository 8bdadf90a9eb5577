//! Discovery's name cache as the pools see it.

use std::net::IpAddr;

use tokio::sync::watch;

use crate::discovery::names::{NameCache, Resolved};
use crate::lb::addresses::{AddressState, Addresses};

/// Joins row 2 and row 3, which may not know each other in this direction.
#[derive(Debug)]
pub struct CachedAddresses(pub NameCache);

impl Addresses for CachedAddresses {
    fn lookup(&self, host: &str) -> AddressState {
        match self.0.addr(host) {
            Resolved::Known(addr) => AddressState::Known(IpAddr::clone(&addr)),
            Resolved::Pending => AddressState::Pending,
            Resolved::Failed(reason) => AddressState::Failed(reason),
        }
    }

    fn subscribe(&self) -> watch::Receiver<u64> {
        self.0.changed()
    }
}
