//! Whole files of synapse, and what is left of them when a value is replaced.

use proptest::prelude::*;

use super::*;
use crate::discovery::{Decode, GeneratorSource, SourceSettings};

#[test]
fn g1_loads_unchanged() {
    let loaded = good(G1);
    let [billing] = loaded.config.services.as_slice() else {
        panic!("{:?}", loaded.config.services);
    };
    assert_eq!(billing.source, SourceSettings::Fixed);
    let servers = &billing.pool.membership.default_servers;
    assert_eq!(servers.len(), 2);
    assert_eq!(servers[1].server_options.as_deref(), Some("backup"));
    assert_eq!(servers[0].server_name(), "bill-a_10.20.0.4:8081");
    let addrs = &billing.listener.as_ref().unwrap().addrs;
    assert_eq!(addrs[0].addr.tcp().unwrap().port(), 3310);
    // Nothing but the one line about keys of the haproxy process.
    assert_eq!(loaded.config.warnings.len(), 1, "{:#?}", loaded.config.warnings);
    assert!(loaded.config.warnings[0].text.contains("haproxy.config_file_path"));
}

#[test]
fn g2_loads_unchanged() {
    let loaded = good(G2);
    let services = &loaded.config.services;
    let SourceSettings::ZooKeeper(search) = &services[0].source else {
        panic!("{:?}", services[0].source);
    };
    assert_eq!(&*search.ensemble, "zk1.example.com:2181,zk2.example.com:2181,zk3.example.com:2181");
    assert_eq!(&*search.path, "/prod/services/search/services");
    assert_eq!(search.jitter.as_secs(), 5);
    assert_eq!(search.generator, GeneratorSource::Parent);
    let db = &services[1].pool.membership;
    assert!(db.leader_election && !db.use_previous_backends);
    assert_eq!(db.label_filters.len(), 2);
    assert!(db.label_filters[1].negate);
    let without_effect = loaded.config.warnings.iter().find(|w| w.text.contains("without effect"));
    assert!(without_effect.unwrap().text.contains("discovery.retry_policy"));
}

#[test]
fn g4_reads_all_registry_formats() {
    let loaded = good(G4);
    let zookeeper = |i: usize| match &loaded.config.services[i].source {
        SourceSettings::ZooKeeper(settings) => settings,
        other @ (SourceSettings::Fixed | SourceSettings::File(_)) => panic!("{other:?}"),
    };
    assert_eq!(zookeeper(1).generator, GeneratorSource::Disabled);
    let endpoint_name = Some("http".into());
    assert_eq!(zookeeper(2).decode, Decode::ServerSet { endpoint_name });
}

#[test]
fn other_discovery_methods_are_named_one_by_one() {
    let texts = complaints(G6);
    let about = |method: &str| {
        texts.iter().any(|t| t.contains(&format!("{method:?} is not yet supported")))
    };
    for method in ["dns", "zookeeper_dns", "zookeeper_dns_poll", "ec2tag", "marathon", "docker"] {
        assert!(about(method), "{method}: {texts:#?}");
    }
    assert!(complaints(G5).len() >= 3);
}

#[test]
fn g7_seed_survives_whole() {
    let value: Value = crate::config::json::parse_json(G7).unwrap();
    assert_eq!(value["haproxy"]["server_order_seed"], "106120057668456273355833563333802393184");
    let place = crate::config::report::Place { file: "f".into(), path: "haproxy".into() };
    let mut report = Report::default();
    let top = sections::read_top(&Cursor::new(&value["haproxy"], place, None), &mut report);
    assert_eq!(top.server_order_seed, Some(106_120_057_668_456_273_355_833_563_333_802_393_184));
    assert_eq!(top.extra_sections.len(), 1);
    assert!(report.complaints.is_empty() && report.warnings.is_empty(), "{report:?}");
}

#[test]
fn check_shows_every_value_with_its_origin() {
    let loaded = good(G2);
    let text = crate::config::check::report(&loaded.config);
    assert!(text.starts_with("warning: "), "{text}");
    assert!(text.contains("service search ("), "{text}");
    assert!(text.contains("(services.search.discovery.hosts)"), "{text}");
    assert!(text.contains("use_previous_backends"), "{text}");
    assert!(text.lines().last().unwrap().starts_with("valid: 2 services, 2 listening"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        drop(document::parse_bytes(&bytes, false, &Reading::synapse(&Env::empty())));
    }

    /// A golden file with any one value replaced by something of the wrong kind.
    #[test]
    fn a_mutated_config_never_panics(which in 0_usize..4, at in 0_usize..200, junk in 0_usize..9) {
        let text = [G1, G2, G4, G7][which];
        let mut value: Value = serde_json::from_str(text).unwrap();
        let junk = [
            serde_json::json!(null), serde_json::json!(-1), serde_json::json!(1e300), serde_json::json!("%{port"),
            serde_json::json!([]), serde_json::json!({}), serde_json::json!([[{}]]), serde_json::json!("\u{0}\n é"),
            serde_json::json!(true),
        ][junk].clone();
        let mut left = at;
        mutate(&mut value, &mut left, &junk);
        if let Value::Object(map) = value {
            drop(resolve(Document::new("f", map), &options(false), Report::default()));
        }
    }
}
