//! What is said of a file that is wrong or odd.

use super::*;

#[test]
fn one_mistake_does_not_hide_another_of_the_same_service() {
    let complaints = complaints(
        "services:\n\
         \x20 a: {discovery: {method: consul}, haproxy: {port: 3301}}\n\
         \x20 b: {discovery: {method: base}, haproxy: {port: 3301}}\n\
         \x20 c: {discovery: {method: base}, haproxy: {port: 99999, listen: [balance rdp-cookie]}}\n",
    );
    for part in [
        "services.a.discovery.method",
        "is taken by service \"a\"",
        "services.c.haproxy.port: 99999",
        "services.c.haproxy.listen[0]: `balance rdp-cookie` is refused",
    ] {
        assert!(complaints.iter().any(|c| c.contains(part)), "{part}: {complaints:#?}");
    }
    assert_eq!(complaints.len(), 4, "{complaints:#?}");
}

#[test]
fn every_mistake_is_reported_at_once() {
    let text = "
workers: 0
admin: {listen: nowhere}
proxy: {timeouts: {client: soon}}
services:
  a: {discovery: {method: zookeper, hosts: [zk], path: /a}, haproxy: {port: 3300}}
  b: {discovery: {method: zookeeper, hosts: [], path: b}, haproxy: {port: 70000}}
  c:
    discovery: {method: base, label_filters: [{label: x, value: y, condition: like}]}
    default_servers: [{host: h}]
    haproxy: {port: 3303, frontend: {}}
  d: {discovery: {method: file}, haproxy: {port: 3304}, keep_default_servers: maybe}
  e: {haproxy: {port: 3302}}
  f:
  g: {discovery: {method: base}, haproxy: {port: 3301}}
  h: {discovery: {method: base}, haproxy: {port: 3301}}
";
    let texts = complaints(text);
    let expected = [
        "workers: 0 is not a number of workers (1 to 1024)",
        "admin.listen: \"nowhere\" is not ADDRESS:PORT",
        "proxy.timeouts.client: \"soon\" is not a positive duration",
        "services.a.discovery.method: \"zookeper\" is not a discovery method; did you mean \"zookeeper\"?",
        "services.b.discovery.hosts: must name at least one host",
        "services.b.discovery.path: \"b\" is not a ZooKeeper path",
        "services.b.haproxy.port: 70000 is not a port (1 to 65535)",
        "services.c.discovery.label_filters[0].condition: \"like\" is not one of equals, not-equals",
        "services.c.default_servers[0].port: is required",
        "services.c.haproxy.frontend: {} is not a list of lines",
        "services.d.discovery.path: is required",
        "services.d.keep_default_servers: \"maybe\" is not true or false",
        "services.e.discovery: is required",
        "services.f: null is not a map",
        "services.h.haproxy.port: 127.0.0.1:3301 of service \"h\" is taken by service \"g\"",
    ];
    for text in expected {
        let line = format!("synapse.yaml: {text}");
        assert!(texts.iter().any(|t| t.starts_with(&line)), "{line}\nin {texts:#?}");
    }
    assert_eq!(texts.len(), expected.len(), "{texts:#?}");
}

#[test]
fn unknown_keys_are_remarks_and_mistakes_under_strict() {
    let text = "
hapoxy: {}
services:
  a: {discovery: {method: base, hots: 1}, default_server: [], default_servers: [{host: h, port: 1}], haproxy: {prot: 1, port: 1234}}
";
    let texts = warnings(text);
    for unknown in [
        "hapoxy: unknown key, ignored; did you mean \"haproxy\"?",
        "services.a.discovery.hots: unknown key, ignored",
        "services.a.default_server: unknown key, ignored; did you mean \"default_servers\"?",
        "services.a.haproxy.prot: unknown key, ignored; did you mean \"port\"?",
    ] {
        let line = format!("synapse.yaml: {unknown}");
        assert!(texts.iter().any(|t| t.starts_with(&line)), "{line}\nin {texts:#?}");
    }
    assert!(load_text(text, true).unwrap_err().complaints.len() >= 4);
    // Keys without effect and the host's state directory do not make a file wrong.
    assert!(load_text(G1, true).is_ok());
}

#[test]
fn a_refusal_says_what_is_odd_as_well() {
    let text = "services: {a: {discovry: {method: base}, haproxy: {prot: 1}}}";
    let report = load_text(text, false).unwrap_err();
    assert_eq!(report.complaints.len(), 1, "{report:?}");
    let odd: Vec<_> = report.warnings.iter().map(|w| w.path.as_str()).collect();
    assert!(odd.contains(&"services.a.discovry"), "{odd:?}");
    assert!(odd.contains(&"services.a.haproxy.prot"), "{odd:?}");
}

#[test]
fn many_services_with_the_same_remark_are_one_warning() {
    let service = |i: u16| {
        let port = 4000 + i;
        format!(
            "  s{i}: {{discovery: {{method: file, path: /f}}, haproxy: {{port: {port}, listen: [option contstats]}}}}\n"
        )
    };
    let services: String = (0..500).map(service).collect();
    let texts = warnings(&format!(
        "haproxy: {{defaults: [timeout connect 1s, timeout client 1s, timeout server 1s]}}\nservices:\n{services}"
    ));
    let [one] = texts.as_slice() else {
        panic!("{} warnings: {:?}", texts.len(), texts.first());
    };
    assert!(
        one.starts_with("synapse.yaml: services.s0.haproxy.listen[0]: `option contstats`"),
        "{one}"
    );
    assert!(one.ends_with("(499 more, the last at services.s499.haproxy.listen[0])"), "{one}");
}

#[test]
fn a_wrong_port_does_not_hide_the_rest_of_its_section() {
    let texts = complaints(
        "services: {a: {discovery: {method: file, path: /f}, haproxy: {port: 70000, bind_address: 'not an ip',
              bind_options: bogus, listen: [use_backend x if y]}}}",
    );
    for place in ["port: 70000", "bind_address: ", "bind_options: ", "listen[0]: "] {
        let line = format!("synapse.yaml: services.a.haproxy.{place}");
        assert!(texts.iter().any(|t| t.starts_with(&line)), "{line}\nin {texts:#?}");
    }
    assert_eq!(texts.len(), 4, "{texts:#?}");
}

#[test]
fn what_is_inherited_is_complained_about_once() {
    let texts = complaints(
        "haproxy: {bind_address: 'not an ip'}
services:
  a: {discovery: {method: file, path: /f}, haproxy: {port: 3300}}
  b: {discovery: {method: file, path: /f}, haproxy: {port: 3301}}",
    );
    assert_eq!(texts.len(), 1, "{texts:#?}");
    assert!(texts[0].contains("haproxy.bind_address: "), "{texts:#?}");
}

#[test]
fn options_of_a_default_server_are_judged_with_the_file() {
    let texts = complaints(
        "services:
  a:
    discovery: {method: base}
    default_servers: [{host: h, port: 1, haproxy_server_options: backup}, {host: h, port: 2, haproxy_server_options: 'bakup weight 999'}]
    haproxy: {port: 3300}",
    );
    let path = "synapse.yaml: services.a.default_servers[1].haproxy_server_options: ";
    assert_eq!(texts.len(), 2, "{texts:#?}");
    assert!(texts.iter().all(|t| t.starts_with(path)), "{texts:#?}");
    assert!(texts[0].contains("did you mean `backup`?"), "{texts:#?}");
}

#[test]
fn a_service_without_port_is_backend_only() {
    let texts = warnings("services: {a: {discovery: {method: file, path: /f}}}");
    assert!(texts[0].contains("no port"), "{texts:?}");
}
