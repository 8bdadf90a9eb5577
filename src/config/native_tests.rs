//! `proxy:` beside haproxy lines: who has the last word, and what is shown of it.

use crate::config::ServiceConfig;
use crate::config::synapse::tests::{complaints, good};
use crate::endpoint::Endpoint;
use crate::health::ProbeSettings;
use crate::lb::Strategy;
use crate::lb::ending::{OnRemove, Removal};
use crate::proxy::{CloseMode, Mode, Redispatch};
use std::time::Duration;

#[test]
fn replay_is_shown_with_its_origin() {
    let origin = |top: &str| {
        let origins = service(top, "listen: [mode http]", "").origins;
        let of = |o: &&super::EffectiveValue| o.setting == "http.replay_idempotent";
        let [one] = origins.iter().filter(of).collect::<Vec<_>>()[..] else {
            panic!("{origins:?}");
        };
        (one.value.clone(), one.origin.clone())
    };
    assert_eq!(origin("").0, "true");
    let said = ("false".to_owned(), "proxy.replay_idempotent".to_owned());
    assert_eq!(origin("replay_idempotent: false"), said);
}

#[test]
fn a_default_check_is_shown_where_it_is_added() {
    let shown = |lines: &str| {
        let origins = service("check: {interval: 1s}", lines, "").origins;
        let value = |name: &str| {
            let found = origins.iter().find(|o| o.setting == name);
            found.map(|o| (o.value.clone(), o.origin.clone())).unwrap()
        };
        (value("server.check"), value("server.inter").0)
    };
    let (check, inter) = shown("server_options: weight 5");
    assert_eq!(check, ("true".to_owned(), "proxy.check".to_owned()));
    assert_eq!(inter, "1s");
    let (check, inter) = shown("server_options: check inter 5s");
    assert!(check.1.contains("server_options"), "{check:?}");
    assert_eq!(inter, "5s");
}

#[test]
fn a_check_that_is_added_is_the_one_that_the_lines_describe() {
    let lines = "listen: [option httpchk GET /ping, timeout check 700ms], server_options: inter 5s";
    for (top, own) in [("check: true", ""), ("", "check: {rise: 7}")] {
        let rules = service(top, lines, own).pool.servers;
        let check = rules.server(&Endpoint::new("10.0.0.1", 80)).check.unwrap();
        let ProbeSettings::Http(http) = &check.probe else {
            panic!("{check:?}");
        };
        assert_eq!(&*http.uri, "/ping");
        assert_eq!(check.interval, Duration::from_secs(5));
        assert_eq!(check.timeout, Some(Duration::from_millis(700)));
        assert_eq!(check.connect_timeout, Some(Duration::from_secs(1)));
    }
}

fn service(top: &str, haproxy: &str, own: &str) -> ServiceConfig {
    let text = format!(
        "proxy: {{{top}}}
haproxy: {{global: [], defaults: [timeout connect 1s, timeout client 2s, timeout server 3s]}}
services:
  a:
    discovery: {{method: file, path: /f}}
    haproxy: {{port: 3300, {haproxy}}}
    proxy: {{{own}}}
"
    );
    good(&text).config.services.remove(0)
}

fn origin(service: &ServiceConfig, setting: &str) -> (String, String) {
    let value = service.origins.iter().find(|o| o.setting == setting).unwrap();
    (value.value.clone(), value.origin.clone())
}

#[test]
fn the_top_level_beats_defaults_and_yields_to_lines_of_the_service() {
    let top = "mode: http, timeouts: {client: 10s, server: 11s}";
    let service = service(top, "listen: [mode tcp, timeout server 9s]", "");
    let proxy = &service.proxy;
    assert_eq!(proxy.mode, Mode::Tcp);
    assert_eq!(proxy.timeouts.client, Some(Duration::from_secs(10)));
    assert_eq!(proxy.timeouts.server, Some(Duration::from_secs(9)));
    assert_eq!(proxy.timeouts.connect, Some(Duration::from_secs(1)));
    assert_eq!(
        origin(&service, "timeout.client"),
        ("10s".to_owned(), "proxy.timeouts.client".to_owned())
    );
}

#[test]
fn the_service_has_the_last_word() {
    let own = "mode: http, balance: leastconn, all_backups: yes, retries: 7, redispatch: on, max_connections: 5,
           max_connection_age: 1h, on_remove: drain, drain_time: 5s, replay_idempotent: off, forward_for: {except: 10.0.0.0/8, header: X-Real}, close_mode: close, backlog: 9,
           timeouts: {client: none, http_request: 1500, http_keep_alive: 1m, tunnel: 1h}";
    let service = service("mode: tcp", "listen: [mode tcp, balance roundrobin]", own);
    let proxy = &service.proxy;
    assert_eq!(proxy.mode, Mode::Http);
    assert_eq!(service.pool.strategy, Strategy::LeastConn);
    assert!(service.pool.all_backups);
    assert_eq!(proxy.retries, 7);
    assert_eq!(proxy.redispatch, Redispatch::On { every: -1 });
    assert_eq!(proxy.max_connections, Some(5));
    assert_eq!(proxy.max_connection_age, Some(Duration::from_secs(3600)));
    let drain_time = Duration::from_secs(5);
    assert_eq!(service.pool.removal, Removal { then: OnRemove::Drain, drain_time });
    assert_eq!(origin(&service, "on_remove").0, "drain");
    assert!(!proxy.http.replay_idempotent);
    let forward_for = proxy.http.forward_for.as_ref().unwrap();
    assert_eq!(&*forward_for.header, "X-Real");
    assert_eq!(forward_for.except.unwrap().prefix, 8);
    assert_eq!(proxy.http.close_mode, CloseMode::Close);
    assert_eq!(proxy.timeouts.client, None);
    assert_eq!(proxy.timeouts.http_request, Some(Duration::from_millis(1500)));
    assert_eq!(proxy.timeouts.tunnel, Some(Duration::from_secs(3600)));
    assert_eq!(service.listener.as_ref().unwrap().backlog, 9);
    let (value, from) = origin(&service, "mode");
    assert_eq!((value.as_str(), from.as_str()), ("http", "services.a.proxy.mode"));
    let modes = service.origins.iter().filter(|o| o.setting == "mode").count();
    assert_eq!(modes, 1);
}

#[test]
fn checks_are_edited_switched_on_and_off() {
    let check = |top: &str, options: &str, own: &str| {
        let service = service(top, &format!("server_options: {options}"), own);
        service.pool.servers.server(&Endpoint::new("10.0.0.1", 80)).check
    };
    let plain = "check inter 5s rise 4";
    let edited = check("", plain, "check: {interval: 1s, uri: /health}").unwrap();
    assert_eq!(edited.interval, Duration::from_secs(1));
    assert_eq!(edited.rise.get(), 4);
    assert!(matches!(&edited.probe, ProbeSettings::Http(http) if &*http.uri == "/health"));
    assert!(check("", plain, "check: false").is_none());
    let added = check("", "weight 5", "check: true").unwrap();
    assert_eq!((added.interval, added.fall.get()), (Duration::from_secs(2), 3));
    // The top level adds checks where there are none, and leaves the others.
    assert_eq!(check("check: {interval: 1s}", plain, "").unwrap().interval, Duration::from_secs(5));
    assert_eq!(
        check("check: {interval: 1s}", "weight 5", "").unwrap().interval,
        Duration::from_secs(1)
    );
}

#[test]
fn every_mistake_has_its_path() {
    let texts = complaints(
        "proxy:
  mode: udp
  retries: -1
  max_connections: 0
  forward_for: {except: 10.0.0.0/40, header: 'a b'}
  check: {type: tcp, uri: /x, rise: 0, port: 0}
  timeouts: {client: 0, connect: 5x}
services: {}",
    );
    let at =
        |path: &str| texts.iter().any(|t| t.starts_with(&format!("synapse.yaml: proxy.{path}: ")));
    for path in [
        "mode",
        "retries",
        "max_connections",
        "forward_for.header",
        "check",
        "check.rise",
        "check.port",
        "timeouts.client",
        "timeouts.connect",
    ] {
        assert!(at(path), "{path} in {texts:#?}");
    }
}

#[test]
fn native_timeouts_satisfy_the_dialect() {
    let text = "
proxy: {timeouts: {connect: 1s, client: 1m, server: 1m}}
services: {a: {discovery: {method: file, path: /f}, haproxy: {port: 3300}}}";
    assert_eq!(good(text).config.warnings, []);
}
