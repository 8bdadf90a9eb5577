//! Discovery's name cache as the pools see it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

use crate::discovery::names::{NameCache, Resolved, TrackedName};
use crate::lb::addresses::{AddressState, Addresses};

/// Names that pools have asked for, kept fresh from then on.
#[derive(Debug)]
pub struct CachedAddresses {
    cache: NameCache,
    tracked: Mutex<HashMap<Arc<str>, TrackedName>>,
}

impl CachedAddresses {
    /// Somebody has to run `cache`.
    pub fn new(cache: NameCache) -> Self {
        Self {
            cache,
            tracked: Mutex::default(),
        }
    }
}

impl Addresses for CachedAddresses {
    fn lookup(&self, host: &str) -> AddressState {
        let mut tracked = self.tracked.lock().unwrap_or_else(PoisonError::into_inner);
        if !tracked.contains_key(host) {
            let host: Arc<str> = host.into();
            tracked.insert(Arc::clone(&host), self.cache.track(&host));
        }
        match tracked
            .get(host)
            .map_or(Resolved::Pending, TrackedName::addr)
        {
            Resolved::Known(addr) => AddressState::Known(addr),
            Resolved::Pending => AddressState::Pending,
            Resolved::Failed(reason) => AddressState::Failed(reason),
        }
    }

    fn subscribe(&self) -> watch::Receiver<u64> {
        self.cache.changed()
    }
}
