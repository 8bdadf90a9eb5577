//! A name in use.

use std::net::IpAddr;
use std::sync::Arc;

use super::{MAX_NAMES, NameCache, Resolved};

/// A host in use. While one of these lives its name is kept fresh. An IP literal costs nothing.
#[derive(Debug)]
pub struct TrackedName {
    pub(super) kind: Tracked,
}

#[derive(Debug)]
pub(super) enum Tracked {
    Literal(IpAddr),
    Name(NameCache, Arc<str>),
    /// The table is full.
    Refused,
}

impl TrackedName {
    /// What is known now.
    pub fn addr(&self) -> Resolved {
        match &self.kind {
            Tracked::Literal(addr) => Resolved::Known(*addr),
            Tracked::Name(cache, name) => cache.addr(name),
            Tracked::Refused => Resolved::Failed(format!("more than {MAX_NAMES} names in use")),
        }
    }
}

impl Drop for TrackedName {
    fn drop(&mut self) {
        if let Tracked::Name(cache, name) = &self.kind
            && let Some(entry) = cache.lock().names.get_mut(name)
        {
            // Not removed yet: a rebuilt pool often tracks the same names a moment later.
            entry.users = entry.users.saturating_sub(1);
        }
    }
}
