//! Each kind of change by itself, and random files, patched from one to the other.

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
