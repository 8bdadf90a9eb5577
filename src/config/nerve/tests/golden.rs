//! Whole files of nerve, and the bytes that the original registers for them.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::health::local::{LocalHttp, LocalProbe, Target};
use crate::registration::RateSettings;
use crate::registry::path;
use crate::registry::writer::NodeKind;

const N1: &str = include_str!("../../../../tests/golden/n1_nerve_minimal.json");
const N2: &str = include_str!("../../../../tests/golden/n2_nerve_breadth.yaml");
const N3: &str = include_str!("../../../../tests/golden/n3_nerve_yelp.json");
const N4: &str = include_str!("../../../../tests/golden/n4_nerve_etcd.json");

fn golden(name: &str) -> NerveLoadOptions {
    let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    NerveLoadOptions { env: env(), ..NerveLoadOptions::new(file) }
}

#[test]
fn n1_loads_unchanged() {
    let config = load(&golden("n1_nerve_minimal.json")).unwrap();
    assert!(config.warnings.is_empty() && config.refused.is_empty(), "{config:#?}");
    let [search] = config.services.as_slice() else { panic!("{:?}", config.services) };
    assert_eq!(search.name.as_str(), "search_9001");
    assert_eq!(bytes(search), r#"{"host":"10.0.1.11","port":9001,"name":"i-0aaa"}"#);
    let place = ZooKeeperPlace {
        ensemble: "zk1:2181,zk2:2181".into(),
        path: "/prod/services/search/services".into(),
        kind: NodeKind::EphemeralSequential,
        is_path_encoded: false,
        ttl: None,
    };
    assert_eq!(node(search), &place);
    let [check] = search.checks.checks.as_slice() else { panic!("{:?}", search.checks) };
    assert_eq!(&*check.name, "http-10.0.1.11:9001/health");
    assert_eq!(check.deadline, seconds(0.3));
    assert_eq!((check.rise.get(), check.fall.get()), (1, 1));
    let http = LocalHttp {
        target: Target { host: "10.0.1.11".into(), port: 9001 },
        uri: "/health".into(),
        headers: Vec::new(),
        expect: None,
        connect_timeout: seconds(0.2),
    };
    assert_eq!(check.probe, LocalProbe::Http(http));
}

#[test]
fn n2_loads_unchanged() {
    let config = load(&golden("n2_nerve_breadth.yaml")).unwrap();
    assert_eq!(config.process.heartbeat.as_deref(), Some("/var/run/nerve/heartbeat".as_ref()));
    let statsd = config.process.statsd.as_ref().unwrap();
    assert_eq!((statsd.host.as_str(), statsd.port), ("localhost", 8125));
    let [warning] = config.warnings.as_slice() else { panic!("{:?}", config.warnings) };
    assert_eq!(warning.path, "max_repeated_report_failures");
    let [thrift, batch, queue, cache] = config.services.as_slice() else {
        panic!("{:?}", config.services)
    };
    let data = r#"{"host":"10.0.3.17","port":4567,"name":"web-17","weight":7,"haproxy_server_options":"backup","labels":{"az":"us-east-1a","region:uswest1":""}}"#;
    assert_eq!(bytes(thrift), data);
    assert_eq!(
        path::encode(data.as_bytes()).unwrap(),
        "base64_192_eyJob3N0IjoiMTAuMC4zLjE3IiwicG9ydCI6NDU2NywibmFtZSI6IndlYi0xNyIsIndlaWdodCI6NywiaGFwcm94eV9zZXJ2ZXJfb3B0aW9ucyI6ImJhY2t1cCIsImxhYmVscyI6eyJheiI6InVzLWVhc3QtMWEiLCJyZWdpb246dXN3ZXN0MSI6IiJ9fQ==_"
    );
    assert_eq!(node(batch).kind, NodeKind::Persistent);
    assert_eq!(node(batch).ttl, Some(seconds(60.0)));
    assert_eq!(names(batch), ["batch_persistent noop-10.0.3.17:7000"]);
    assert_eq!(names(queue), ["queue rabbitmq-10.0.3.17:5672"]);
    assert_eq!(names(cache), ["cache redis-10.0.3.17:6379"]);
    assert_eq!(cache.checks.checks[0].fall.get(), 3);
}

#[test]
fn n2_has_every_key_in_effect() {
    let config = load(&golden("n2_nerve_breadth.yaml")).unwrap();
    let thrift = &config.services[0];
    assert_eq!(&*node(thrift).ensemble, "zk1:2181,zk3:2181");
    assert!(node(thrift).is_path_encoded);
    assert_eq!(thrift.checks.interval, seconds(2.0));
    let rate = RateSettings { average_rate: 0.5, max_burst: 3.0, is_shadow: false };
    assert_eq!(thrift.limits.rate, rate);
    assert_eq!(names(thrift), ["thrift_main tcp-10.0.3.17:4567", "http-10.0.3.17:8422/health"]);
    let [tcp, http] = thrift.checks.checks.as_slice() else { panic!("{:?}", thrift.checks) };
    assert_eq!((tcp.deadline, tcp.rise.get(), tcp.fall.get()), (seconds(1.0), 5, 2));
    assert_eq!(http.deadline, seconds(1.5));
    let LocalProbe::Http(http) = &http.probe else { panic!("{http:?}") };
    assert_eq!(http.expect.as_deref(), Some("OK"));
    assert_eq!(http.headers, [("Host".into(), "thrift.local".into())]);
}

#[test]
fn n3_loads_unchanged() {
    let strict = NerveLoadOptions { strict: true, ..golden("n3_nerve_yelp.json") };
    let config = load(&strict).unwrap();
    assert!(config.warnings.is_empty(), "{:?}", config.warnings);
    let geocoder = &config.services[0];
    assert_eq!(geocoder.name.as_str(), "geocoder.main.westcoast-prod:10.1.0.1.31001.v2.new");
    assert_eq!(
        bytes(geocoder),
        r#"{"host":"10.1.0.1","port":31001,"name":"host-a.example.com","weight":10,"labels":{"deploy_group":"prod.everything","paasta_instance":"main","region:uswest1-prod":"","superregion:westcoast-prod":""}}"#
    );
    assert_eq!(names(geocoder), ["http-127.0.0.1:6666/http/geocoder.main/31001/status"]);
    assert_eq!(geocoder.checks.checks[0].deadline, seconds(2.0));
    assert_eq!(node(geocoder).path.as_ref(), "/smartstack/global/geocoder.main");
}

#[test]
fn n4_leaves_out_etcd_and_runs_the_rest() {
    let config = load(&golden("n4_nerve_etcd.json")).unwrap();
    let [refused] = config.refused.as_slice() else { panic!("{:?}", config.refused) };
    assert_eq!(refused.path, "services.edge.reporter_type");
    assert!(refused.text.contains("etcd") && refused.text.contains("left out"), "{refused}");
    let [admin] = config.services.as_slice() else { panic!("{:?}", config.services) };
    assert_eq!(admin.name.as_str(), "admin");
    assert_eq!(node(admin).kind, NodeKind::Ephemeral);
    assert_eq!(bytes(admin), r#"{"host":"10.0.4.3","port":9990,"name":"edge-3"}"#);
    let strict = NerveLoadOptions { strict: true, ..golden("n4_nerve_etcd.json") };
    assert!(load(&strict).unwrap_err().complaints.iter().any(|c| c.text.contains("etcd")));
}

/// The shapes that were measured on the original.
#[test]
fn registered_bytes_are_the_originals() {
    let data = |more: &str| {
        let text = bytes(&one(more));
        text.strip_prefix(r#"{"host":"h","port":80,"name":"i-1""#).unwrap_or(&text).to_owned()
    };
    for (more, expected) in [
        ("", "}"),
        (", weight: 10", r#","weight":10}"#),
        (", weight: '7'", r#","weight":7}"#),
        (", weight: 0", r#","weight":0}"#),
        (", labels: {}", r#","labels":{}}"#),
        (", labels: {b: 1, a: 2}", r#","labels":{"b":1,"a":2}}"#),
        (", labels: ~", r#","labels":null}"#),
        (
            ", haproxy_server_options: weight 5 inter 1s",
            r#","haproxy_server_options":"weight 5 inter 1s"}"#,
        ),
        (", haproxy_server_options: ~", r#","haproxy_server_options":null}"#),
        (", haproxy_server_options: 5", r#","haproxy_server_options":5}"#),
        (", port: '8080'", r#"{"host":"h","port":"8080","name":"i-1"}"#),
        (", labels: {u: \"é/<&\\u2028\\n\"}", ",\"labels\":{\"u\":\"é/<&\u{2028}\\n\"}}"),
    ] {
        assert_eq!(data(more), expected, "{more}");
    }
}

/// The original reads JSON as YAML: `1e+20` is text. Surrogate pairs, on which it dies, are read.
#[test]
fn json_labels_are_read_as_the_original_reads_them() {
    let service = r#"{"host": "h", "port": 80, "zk_hosts": ["z"], "zk_path": "/w",
        "labels": {"n": 1, "f": 1.0, "f2": 1e+20, "f3": 1.5e-07, "b": true, "nil": null, "arr": [1, "x"], "nest": {"a": {}},
        "p": "\ud83d\ude00", "erb": "<%= x %>"}}"#;
    let config = good(&format!(r#"{{"instance_id": "i", "services": {{"w": {service}}}}}"#));
    assert!(bytes(&config.services[0]).ends_with(
        r#""labels":{"n":1,"f":1.0,"f2":"1e+20","f3":1.5e-07,"b":true,"nil":null,"arr":[1,"x"],"nest":{"a":{}},"p":"😀","erb":"<%= x %>"}}"#
    ), "{}", bytes(&config.services[0]));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_bytes_panic_the_loader(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        if let Ok(Value::Object(map)) =
            document::parse_bytes(&bytes, false, &Reading::nerve(&Env::empty()))
        {
            drop(resolve(&Document::new("f", map), &options(), Report::default()));
        }
    }

    /// A golden file with any one value replaced by something of the wrong kind.
    #[test]
    fn no_mutated_config_panics_the_loader(which in 0_usize..4, at in 0_usize..150, junk in 0_usize..9) {
        let reading = Reading::nerve(&Env::empty());
        let mut value = document::parse_bytes([N1, N2, N3, N4][which].as_bytes(), false, &reading).unwrap();
        let junk = [
            json!(null), json!(-1), json!(1e300), json!("/"), json!([]), json!({}), json!([[{}]]),
            json!("\u{0}\n é"), json!(true),
        ][junk].clone();
        let mut left = at;
        crate::config::synapse::tests::mutate(&mut value, &mut left, &junk);
        if let Value::Object(map) = value {
            drop(resolve(&Document::new("f", map), &options(), Report::default()));
        }
        drop(service("s", &junk, "i", &ServiceDefaults::default(), false));
    }
}
