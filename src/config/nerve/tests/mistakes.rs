//! What is said of a file that is wrong or odd.

use super::*;
use crate::registry::writer::MAX_DATA_BYTES;

#[test]
fn passwords_are_not_shown() {
    let said = complaints(&service_text(", checks: [{type: rabbitmq, password: [s3cret]}]"));
    assert!(said.len() == 1 && said[0].contains("checks[0].password"), "{said:?}");
    assert!(!said[0].contains("s3cret"), "{said:?}");
    let web = one(", checks: [{type: rabbitmq, password: s3cret}]");
    assert!(!format!("{web:?}").contains("s3cret"));
}

/// Everything that the original refuses (or crashes on), and the native keys.
const BAD: &str = include_str!("../../../../tests/golden/nerve_bad.yaml");

/// How each complaint begins, one line each.
const EXPECTED: &str = include_str!("../../../../tests/golden/nerve_bad.txt");

#[test]
fn every_mistake_is_reported_at_once() {
    let texts = complaints(BAD);
    for text in EXPECTED.lines() {
        let line = format!("nerve.yaml: {text}");
        let found = texts.iter().filter(|t| t.starts_with(&line)).count();
        assert_eq!(found, 1, "{line}\nin {texts:#?}");
    }
    assert_eq!(texts.len(), EXPECTED.lines().count(), "{texts:#?}");
    assert!(texts.iter().all(|text| !text.contains('\n')), "{texts:#?}");
}

#[test]
fn what_is_odd_is_said_and_refused_under_strict() {
    let text = "
instance_id: i
instanc_id: j
listen_port: 1
services:
  a: {host: h, port: 1, zk_hosts: z, zk_path: /a/, use_path_encoding: 'true', ttl_seconds: 5, zk_cluster_name: c, zk_pth: x}
  b: {host: h, port: 1, zk_hosts: [z], zk_path: /b, rate_limiting: {average_rate: ~}, haproxy_server_options: [1]}
  c: {host: h, port: 1, zk_hosts: [z], zk_path: /c, checks: [{type: http, uri: u}]}
";
    let config = good(text);
    let texts = lines(&config.warnings);
    let expected = [
        "instanc_id: unknown key, ignored; did you mean \"instance_id\"?",
        "services.a.zk_pth: unknown key, ignored; did you mean \"zk_path\"?",
        "services.a.zk_path: \"/\" at the end is ignored",
        "services.a.use_path_encoding: \"true\" is not true: nothing is encoded",
        "services.a.ttl_seconds: no effect with node_type ephemeral_sequential",
        "services.b.rate_limiting.average_rate: null counts as not set",
        "services.b: registered as it is, but synapse skips such a registration: haproxy_server_options is [1]",
        "services.c.checks[0].uri: \"u\" does not begin with \"/\": it is asked as \"/u\"",
    ];
    for text in expected {
        let line = format!("nerve.yaml: {text}");
        assert!(texts.iter().any(|t| t.starts_with(&line)), "{line}\nin {texts:#?}");
    }
    assert_eq!(texts.len(), expected.len(), "{texts:#?}");
    let a = &config.services[0];
    let place = node(a);
    assert_eq!((&*place.ensemble, &*place.path, place.ttl), ("z:2181", "/a", None));
    assert!(!place.is_path_encoded);
    let strict = NerveLoadOptions { strict: true, ..options() };
    assert_eq!(load_with(text, &strict).unwrap_err().complaints.len(), expected.len());
}

#[test]
fn one_remark_about_many_services_is_one_line() {
    let service =
        |i: u16| format!("  s{i}: {{host: h, port: {i}, zk_hosts: [z], zk_path: /p, xyz: 1}}\n");
    let services: String = (1..=300).map(service).collect();
    let warnings = good(&format!("instance_id: i\nservices:\n{services}")).warnings;
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].text.ends_with("(299 more, the last at services.s300.xyz)"));
}

#[test]
fn two_services_on_one_node_are_refused() {
    let two = |kind: &str, more: &str| {
        let service = |port: u16, hosts: &str| {
            format!(
                "{{host: h, port: {port}, zk_hosts: {hosts}, zk_path: /p, node_type: {kind}{more}}}"
            )
        };
        let (a, b) = (service(1, "[y, z]"), service(2, "[z, y]"));
        load_with(&format!("instance_id: i\nservices: {{a: {a}, b: {b}}}"), &options())
    };
    for kind in ["ephemeral", "persistent"] {
        let report = two(kind, "").unwrap_err();
        let texts = lines(&report.complaints);
        assert_eq!(texts.len(), 1, "{texts:?}");
        assert!(
            texts[0].starts_with("nerve.yaml: services.b: service \"a\" has the same node /p/i_;"),
            "{texts:?}"
        );
        // Named by their data, and those differ.
        assert_eq!(two(kind, ", use_path_encoding: true").unwrap().services.len(), 2);
    }
    assert_eq!(two("ephemeral_sequential", "").unwrap().services.len(), 2);
    let copies = service_text(", node_type: ephemeral, load_test_concurrency: 50");
    assert_eq!(complaints(&copies).len(), 1);
    let file = "{host: h, port: 1, reporter_type: file, file_path: /f}";
    let texts = complaints(&format!("instance_id: i\nservices: {{a: {file}, b: {file}}}"));
    assert!(texts[0].contains("the same line h:1 in /f"), "{texts:?}");
}

#[test]
fn a_record_that_no_node_takes_is_refused() {
    let label = |bytes: usize| service_text(&format!(", labels: {{l: {}}}", "x".repeat(bytes)));
    let texts = complaints(&label(MAX_DATA_BYTES));
    assert!(texts[0].starts_with("nerve.yaml: services.web: 10000"), "{texts:?}");
    assert_eq!(good(&label(MAX_DATA_BYTES - 100)).services.len(), 1);
}

#[test]
fn https_checks_leave_the_service_out() {
    let config = good(&service_text(", checks: [{type: http, uri: /, ssl: true}]"));
    assert!(config.services.is_empty());
    assert_eq!(config.refused[0].path, "services.web.checks[0].ssl");
}
