//! `docs/configuration.md` and the readers know the same keys.

use super::{
    access_log, daemon, forward_for, membership, native, native_check, native_connect,
    native_listen, process, sections, servers, service, source, statsd, zookeeper,
};

const PAGE: &str = include_str!("../../docs/configuration.md");

/// The keys in the first column of the table under `heading`.
fn documented(heading: &str) -> Vec<&'static str> {
    let after = PAGE
        .split_once(&format!("{heading}\n"))
        .unwrap_or_else(|| panic!("no heading {heading:?}"))
        .1;
    let section = after.split("\n#").next().unwrap();
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `"));
    rows.filter_map(|row| row.split('`').next()).collect()
}

#[test]
fn the_page_and_the_readers_know_the_same_keys() {
    let tables: [(&str, &[&str]); 22] = [
        ("## Top level", &process::KEYS),
        ("## `admin`", &process::ADMIN_KEYS),
        ("## `log`", &daemon::LOG_KEYS),
        ("## `statsd`", &statsd::KEYS),
        ("## A service", &service::KEYS),
        ("## `discovery`, method `base`", &source::BASE_KEYS),
        ("## `discovery`, method `file`", &source::FILE_KEYS),
        ("## `discovery`, method `zookeeper`", &zookeeper::KEYS),
        ("### `decode`", &zookeeper::DECODE_KEYS),
        ("### `retry_policy`", &zookeeper::RETRY_KEYS),
        ("### A label filter", &membership::FILTER_KEYS),
        ("## A default server", &servers::KEYS),
        ("## Top-level `haproxy`", &sections::TOP_KEYS),
        ("## A service's `haproxy`", &sections::SERVICE_KEYS),
        ("## `proxy`", &native::KEYS),
        ("### `proxy.timeouts`", &native::TIMEOUT_KEYS),
        ("### `proxy.forward_for`", &forward_for::KEYS),
        ("### `proxy.listen`", &native_listen::KEYS),
        ("### `proxy.access_log`", &access_log::KEYS),
        ("### `proxy.check`", &native_check::KEYS),
        ("### `proxy.connect`", &native_connect::KEYS),
        ("#### `proxy.connect.keep_alive`", &native_connect::KEEP_ALIVE_KEYS),
    ];
    for (heading, known) in tables {
        assert_documented(heading, known);
    }
}

/// The table under `heading` has exactly the keys `known`.
pub(super) fn assert_documented(heading: &str, known: &[&str]) {
    let mut page = documented(heading);
    let mut known = known.to_vec();
    page.sort_unstable();
    known.sort_unstable();
    assert_eq!(page, known, "{heading}");
}

#[test]
fn keys_without_effect_are_keys() {
    for key in sections::PROCESS_KEYS {
        assert!(sections::TOP_KEYS.contains(&key), "{key}");
    }
}
