//! Single keys: defaults, bounds and shapes.

use super::*;

#[test]
fn a_service_may_listen_where_its_proxy_section_says() {
    let shown = |own: &str| {
        let loaded =
            good(&format!("services: {{a: {{discovery: {{method: file, path: /f}}, {own}}}}}"));
        let service = loaded.config.services[0].clone();
        let addrs = service.listener.map(|listener| listener.addrs).unwrap_or_default();
        addrs.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let both = "[{address: /run/a.sock, accept_proxy: true, mode: '660', max_connections: 5}, '127.0.0.2:80']";
    let own = ["/run/a.sock accept-proxy maxconn 5 mode 660", "127.0.0.2:80"];
    assert_eq!(shown(&format!("haproxy: {{listen: [mode http]}}, proxy: {{listen: {both}}}")), own);
    let with_port =
        format!("haproxy: {{port: 80, bind_address: 127.0.0.1}}, proxy: {{listen: {both}}}");
    assert_eq!(shown(&with_port)[..2], own);
    assert_eq!(shown(&with_port)[2..], ["127.0.0.1:80"]);
    for (wrong, text) in [
        ("{address: /x, mode: 660}", "write it in quotes"),
        ("{mode: '660'}", "address"),
        ("'127.0.0.1'", "has no port"),
        ("{address: /x, user_timeout: soon}", "user_timeout"),
    ] {
        let texts = complaints(&format!(
            "services: {{a: {{discovery: {{method: file, path: /f}}, proxy: {{listen: [{wrong}]}}}}}}"
        ));
        assert!(texts.len() == 1 && texts[0].contains(text), "{wrong}: {texts:?}");
    }
    let texts = complaints("proxy: {listen: [/x]}\nservices: {}");
    assert!(texts[0].contains("belongs to a service"), "{texts:?}");
}

#[test]
fn the_admin_address_belongs_to_the_admin_server() {
    let text = "
services:
  a: {discovery: {method: file, path: /f}, haproxy: {port: 3210}}
";
    let texts = complaints(text);
    assert!(texts[0].contains("taken by the admin server"), "{texts:?}");
    good(&format!("admin: {{listen: 127.0.0.1:3999}}\n{text}"));
}

#[test]
fn an_explicit_null_of_use_previous_backends_is_false() {
    let service = |key: &str| {
        let text = format!(
            "services: {{a: {{discovery: {{method: file, path: /f}}, haproxy: {{port: 3300}}{key}}}}}"
        );
        good(&text).config.services[0].pool.membership.use_previous_backends
    };
    assert!(service(""));
    assert!(!service(", use_previous_backends: ~"));
    assert!(!service(", use_previous_backends: no"));
}

#[test]
fn load_test_concurrency_makes_instances_and_one_listener() {
    let text = "services: {a: {discovery: {method: file, path: /f}, load_test_concurrency: 3, haproxy: {port: 3300}}}";
    let services = good(text).config.services;
    let names: Vec<_> = services.iter().map(|s| s.name.as_str()).collect();
    assert_eq!(names, ["a_0", "a_1", "a_2"]);
    assert_eq!(services.iter().filter(|s| s.listener.is_some()).count(), 1);
}

#[test]
fn a_disabled_service_neither_listens_nor_checks() {
    let text = "services: {a: {discovery: {method: file, path: /f},
          haproxy: {port: 3300, disabled: true, server_options: check}}}";
    let service = good(text).config.services.remove(0);
    assert!(service.disabled && service.listener.is_none());
    let endpoint = crate::endpoint::Endpoint::new("10.0.0.1", 80);
    assert_eq!(service.pool.servers.server(&endpoint).check, None);
}

#[test]
fn label_filters_come_in_every_shape_of_the_original() {
    let filters = |text: &str| {
        let text = format!(
            "services: {{a: {{discovery: {{method: file, path: /f, {text}}}, haproxy: {{port: 3300}}}}}}"
        );
        good(&text).config.services.remove(0).pool.membership.label_filters.len()
    };
    let filter = "{label: az, value: b, condition: equals}";
    assert_eq!(filters(&format!("label_filter: {filter}")), 1);
    assert_eq!(
        filters(&format!("label_filters: [{filter}, ~, [{filter}]], label_filter: {filter}")),
        3
    );
}

#[test]
fn process_keys_have_defaults_and_bounds() {
    let process = good("services: {}").config.process;
    assert_eq!(process.admin_listen.to_string(), "127.0.0.1:3210");
    assert_eq!(process.session_timeout.as_secs(), 30);
    assert_eq!(process.state_dir.unwrap().to_str(), Some("/run/state"));
    let process = good("zk_session_timeout: 10s\nworkers: '2'\nadmin: {listen: 9000}\nstate_dir: /x\nlog: {format: json}\nservices: {}").config.process;
    assert_eq!(process.session_timeout.as_secs(), 10);
    assert_eq!(process.workers.get(), 2);
    assert_eq!(process.admin_listen.to_string(), "127.0.0.1:9000");
    assert_eq!(process.state_dir.unwrap().to_str(), Some("/x"));
    assert_eq!(complaints("zk_session_timeout: 50ms\nlog: {format: xml}\nservices: {}").len(), 2);
}
