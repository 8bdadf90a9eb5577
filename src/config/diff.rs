//! What a new configuration changes about a running one: a pure comparison.
//!
//! Services are compared by their settings, not by their text: a comment, another order of keys or a value that is now
//! said by `defaults` changes nothing. A false "changed" would only apply the same settings again; a false "untouched"
//! would ignore an order. So every field is compared by name here, and a new one does not compile until it is.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::{ProcessSettings, ServiceConfig, SynapseConfig};
use crate::endpoint::ServiceName;
use crate::lb::{PoolSettings, ServerRules};

/// The difference of two configurations. Names are in the order of the new file, removed ones in that of the old.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConfigDiff {
    /// Services that are new.
    pub added: Vec<ServiceName>,
    /// Services that are gone.
    pub removed: Vec<ServiceName>,
    /// Services that both have, with other settings.
    pub changed: Vec<Changed>,
    /// Services that both have with the same settings.
    pub untouched: Vec<ServiceName>,
    /// Process-wide keys with another value that a running process cannot take: they need a restart.
    pub needs_restart: Vec<&'static str>,
}

/// A service with other settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changed {
    /// The service.
    pub name: ServiceName,
    /// What about it; at least one is set.
    pub what: Change,
}

/// What is different about a service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// Where it listens.
    pub listener: bool,
    /// Where its members come from.
    pub source: bool,
    /// How they are checked and balanced.
    pub pool: bool,
    /// How its connections are treated.
    pub proxy: bool,
    /// Switched on or off.
    pub disabled: bool,
}

impl Change {
    /// True when something is different.
    pub fn any(self) -> bool {
        self != Self::default()
    }
}

impl std::fmt::Display for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let parts = [
            (self.listener, "listener"),
            (self.source, "source"),
            (self.pool, "pool"),
            (self.proxy, "proxy"),
            (self.disabled, "disabled"),
        ];
        let named: Vec<_> = parts.iter().filter(|p| p.0).map(|p| p.1).collect();
        f.write_str(&named.join(", "))
    }
}

/// What has to be done to come from `old` to `new`.
pub fn diff(old: &SynapseConfig, new: &SynapseConfig) -> ConfigDiff {
    let before: HashMap<_, _> = old.services.iter().map(|s| (&s.name, s)).collect();
    let after: HashSet<_> = new.services.iter().map(|s| &s.name).collect();
    let mut diff = ConfigDiff {
        needs_restart: needs_restart(&old.process, &new.process),
        ..ConfigDiff::default()
    };
    let gone = old.services.iter().filter(|s| !after.contains(&s.name));
    diff.removed = gone.map(|s| s.name.clone()).collect();
    for service in &new.services {
        let name = service.name.clone();
        match before.get(&service.name).map(|old| change(old, service)) {
            None => diff.added.push(name),
            Some(what) if what.any() => diff.changed.push(Changed { name, what }),
            Some(_) => diff.untouched.push(name),
        }
    }
    diff
}

/// What is different between two settings of one service. Where values come from (`origins`) is no difference.
pub fn change(old: &ServiceConfig, new: &ServiceConfig) -> Change {
    let ServiceConfig { name: _, source, pool, listener, proxy, disabled, origins: _ } = old;
    Change {
        listener: *listener != new.listener,
        source: *source != new.source,
        pool: !same_pool(pool, &new.pool),
        proxy: *proxy != new.proxy,
        disabled: *disabled != new.disabled,
    }
}

fn same_pool(old: &PoolSettings, new: &PoolSettings) -> bool {
    let PoolSettings { strategy, order, membership, servers, removal, states, all_backups } = old;
    *strategy == new.strategy
        && *order == new.order
        && *membership == new.membership
        && *removal == new.removal
        && *states == new.states
        && *all_backups == new.all_backups
        && same_rules(servers, &new.servers)
}

/// Rules are compared by what they show of themselves: `ServerRules` asks for a `Debug` that leaves out nothing that
/// decides.
fn same_rules(old: &Arc<dyn ServerRules>, new: &Arc<dyn ServerRules>) -> bool {
    Arc::ptr_eq(old, new) || format!("{old:?}") == format!("{new:?}")
}

fn needs_restart(old: &ProcessSettings, new: &ProcessSettings) -> Vec<&'static str> {
    let ProcessSettings {
        admin_listen,
        state_dir,
        // Only a start reads it.
        seed: _,
        workers,
        give_way,
        bulk_lull,
        session_timeout,
        max_connections,
        max_pipes,
        log_format,
        user,
        group,
        // Looked up when it is needed: a reload changes it.
        hard_stop_after: _,
        // A reload puts it in force.
        statsd: _,
    } = old;
    let keys = [
        ("admin.listen", *admin_listen != new.admin_listen),
        ("state_dir", *state_dir != new.state_dir),
        ("workers", *workers != new.workers),
        ("give_way", *give_way != new.give_way),
        ("bulk_lull", *bulk_lull != new.bulk_lull),
        ("zk_session_timeout", *session_timeout != new.session_timeout),
        ("haproxy.global maxconn", *max_connections != new.max_connections),
        ("haproxy.global maxpipes or nosplice", *max_pipes != new.max_pipes),
        ("log.format", *log_format != new.log_format),
        ("haproxy.global user", *user != new.user),
        ("haproxy.global group", *group != new.group),
    ];
    let different = keys.iter().filter(|(_, differs)| *differs);
    different.map(|(key, _)| *key).collect()
}

#[cfg(test)]
mod tests;
