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
    let PoolSettings { strategy, order, membership, servers, removal, all_backups } = old;
    *strategy == new.strategy
        && *order == new.order
        && *membership == new.membership
        && *removal == new.removal
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
mod tests {
    use super::*;
    use crate::config::synapse::tests::good;
    use proptest::prelude::*;

    fn config(text: &str) -> SynapseConfig {
        good(text).config
    }

    fn only_change(old: &str, new: &str) -> String {
        let diff = diff(&config(old), &config(new));
        match diff.changed.as_slice() {
            [one] => one.what.to_string(),
            other => format!("{other:?}"),
        }
    }

    fn service(text: &str) -> String {
        format!(
            "haproxy: {{defaults: [timeout connect 1s]}}\nservices:\n  a: {{discovery: {{method: zookeeper, hosts: [z], path: /a}}, haproxy: {{port: 3301, {text}}}}}\n"
        )
    }

    #[test]
    fn each_kind_of_change_is_named() {
        let base = service("listen: [mode http]");
        for (text, what) in [
            ("listen: [mode tcp]", "proxy"),
            ("listen: [mode http, balance leastconn]", "pool"),
            ("listen: [mode http, timeout connect 2s]", "pool, proxy"),
            ("listen: [mode http, option httpchk GET /x]", "pool"),
            ("listen: [mode http], server_options: check", "pool"),
            ("listen: [mode http], server_options: weight 3", "pool"),
            ("listen: [mode http], server_options: 'cookie %{name}'", "pool"),
            ("listen: [mode http], backend_order: asc", "pool"),
            ("listen: [mode http], bind_address: 127.0.0.2", "listener"),
            ("listen: [mode http], disabled: true", "listener, pool, disabled"),
        ] {
            assert_eq!(only_change(&base, &service(text)), what, "{text}");
        }
        let moved = base.replace("path: /a", "path: /b");
        assert_eq!(only_change(&base, &moved), "source");
        let check = base.replace("port: 3301", "server_options: check, port: 3301");
        let slower = check.replace("{discovery", "{proxy: {check: {interval: 3s}}, discovery");
        assert_eq!(only_change(&check, &slower), "pool");
    }

    #[test]
    fn other_words_for_the_same_settings_change_nothing() {
        let old = service("listen: [mode http, timeout connect 1s]");
        // Said elsewhere, at another place of the list, in another spelling.
        let new = service("listen: ['# x', mode http]").replace("[timeout", "[retries 3, timeout");
        let diff = diff(&config(&old), &config(&new.replace("'# x', ", "")));
        assert!(diff.changed.is_empty(), "{diff:?}");
        assert_eq!(diff.untouched.len(), 1);
    }

    #[test]
    fn process_wide_keys_that_need_a_restart_are_named() {
        let old = config("workers: 2\nservices: {}\n");
        let new = config(
            "workers: 3\ngive_way: false\nbulk_lull: 0\nadmin: {listen: 3211}\nstate_dir: /x\nzk_session_timeout: 5s\nlog: {format: json}\nhard_stop_after: 7s\nhaproxy: {global: [maxconn 5, user u, group g]}\nservices: {}\n",
        );
        assert_eq!(
            diff(&old, &new).needs_restart,
            [
                "admin.listen",
                "state_dir",
                "workers",
                "give_way",
                "bulk_lull",
                "zk_session_timeout",
                "haproxy.global maxconn",
                "log.format",
                "haproxy.global user",
                "haproxy.global group",
            ]
        );
    }

    /// A file with some of eight services, each in one of a few shapes.
    fn files() -> impl Strategy<Value = Vec<Option<usize>>> {
        proptest::collection::vec(proptest::option::of(0..SHAPES.len()), 8)
    }

    const SHAPES: [&str; 5] = [
        "discovery: {method: base}, haproxy: {listen: [mode http], port: ",
        "discovery: {method: base}, haproxy: {listen: [mode http], bind_address: 127.0.0.2, port: ",
        "discovery: {method: file, path: /x}, haproxy: {listen: [mode http], port: ",
        "discovery: {method: base}, haproxy: {listen: [balance leastconn], port: ",
        "discovery: {method: base}, haproxy: {listen: [mode http], server_options: weight 2, port: ",
    ];

    fn write(file: &[Option<usize>]) -> SynapseConfig {
        let services = file.iter().enumerate().filter_map(|(index, shape)| {
            Some(format!("  s{index}: {{{}{}}}}}\n", SHAPES[(*shape)?], 4000 + index))
        });
        let services: String = services.collect();
        if services.is_empty() {
            return config("services: {}\n");
        }
        config(&format!("services:\n{services}"))
    }

    /// Takes from `new` only what the difference names.
    fn patch(old: &SynapseConfig, diff: &ConfigDiff, new: &SynapseConfig) -> Vec<ServiceConfig> {
        let of = |config: &SynapseConfig, name: &ServiceName| {
            let found = config.services.iter().find(|s| s.name == *name);
            found.unwrap_or_else(|| panic!("{name}")).clone()
        };
        let mut patched: Vec<_> = diff.untouched.iter().map(|name| of(old, name)).collect();
        patched.extend(diff.added.iter().map(|name| of(new, name)));
        for Changed { name, what } in &diff.changed {
            let (mut service, wanted) = (of(old, name), of(new, name));
            if what.listener {
                service.listener = wanted.listener;
            }
            if what.source {
                service.source = wanted.source;
            }
            if what.pool {
                service.pool = wanted.pool;
            }
            if what.proxy {
                service.proxy = wanted.proxy;
            }
            if what.disabled {
                service.disabled = wanted.disabled;
            }
            patched.push(service);
        }
        patched
    }

    proptest! {
        #[test]
        fn nothing_changes_between_equal_files(file in files()) {
            let diff = diff(&write(&file), &write(&file));
            prop_assert!(diff.added.is_empty() && diff.removed.is_empty() && diff.changed.is_empty());
            prop_assert!(diff.needs_restart.is_empty());
        }

        #[test]
        fn the_old_configuration_with_the_difference_is_the_new_one(old in files(), new in files()) {
            let (old, new) = (write(&old), write(&new));
            let difference = diff(&old, &new);
            let mut patched = SynapseConfig { services: patch(&old, &difference, &new), ..new.clone() };
            patched.services.sort_by(|a, b| a.name.as_str().cmp(b.name.as_str()));
            let rest = diff(&patched, &new);
            prop_assert_eq!(rest.untouched.len(), new.services.len());
            prop_assert!(rest.added.is_empty() && rest.removed.is_empty() && rest.changed.is_empty());
        }
    }
}
