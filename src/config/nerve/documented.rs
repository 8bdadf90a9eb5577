//! `docs/configuration.md` and the readers of the Nerve file know the same keys, and what the documents show loads.

use std::path::Path;

use super::tests::{good, node};
use super::{checks, limits, process, service};
use crate::config::documented::assert_documented;
use crate::config::statsd;

#[test]
fn the_page_and_the_readers_know_the_same_keys() {
    for (heading, keys) in [
        ("## Nerve: top level", process::KEYS.as_slice()),
        ("### Nerve: `admin`", &process::ADMIN_KEYS),
        ("### Nerve: `statsd`", &statsd::NERVE_KEYS),
        ("### Nerve: `flap_damping`", &limits::DAMPING_KEYS),
        ("## Nerve: a service", &service::KEYS),
        ("### Nerve: `rate_limiting`", &limits::RATE_KEYS),
        ("### Nerve: every check", &checks::KEYS),
    ] {
        assert_documented(heading, keys);
    }
}

/// Their tables only have what not every check has.
#[test]
fn the_page_knows_the_keys_of_each_check() {
    for (heading, keys) in [
        ("### Nerve: check `http`", checks::HTTP_KEYS.as_slice()),
        ("### Nerve: check `rabbitmq`", &checks::RABBITMQ_KEYS),
        ("### Nerve: check `exec`", &checks::EXEC_KEYS),
    ] {
        let (common, own): (Vec<_>, Vec<_>) =
            keys.iter().copied().partition(|key| checks::KEYS.contains(key));
        assert_eq!(common, checks::KEYS, "{heading}");
        assert_documented(heading, &own);
    }
}

/// Without a remark.
fn loads(name: &str, text: &str) -> super::NerveConfig {
    let config = good(text);
    assert!(config.warnings.is_empty() && config.refused.is_empty(), "{name}: {config:#?}");
    config
}

#[test]
fn what_the_documents_show_loads() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |name: &str| std::fs::read_to_string(root.join(name)).unwrap();
    let page = read("docs/configuration.md");
    let blocks: Vec<_> = page.split("```yaml nerve\n").skip(1).collect();
    assert!(!blocks.is_empty());
    for block in blocks {
        loads("docs/configuration.md", block.split("```").next().unwrap());
    }
    // The halves of the examples meet.
    let pair = loads("nerve.yaml", &read("examples/nerve.yaml"));
    let synapse: serde_json::Value =
        serde_json::from_str(&read("examples/zookeeper.json")).unwrap();
    let discovery = &synapse["services"]["search"]["discovery"];
    assert_eq!(discovery["path"], *node(&pair.services[0]).path);
    assert_eq!(discovery["hosts"][0], *node(&pair.services[0]).ensemble);
    let host = loads("nerve-file.yaml", &read("examples/nerve-file.yaml"));
    assert_eq!(host.services.len(), 2);
}
