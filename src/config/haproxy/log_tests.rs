//! What lines about logging come to, through the whole of the configuration.

use std::sync::Arc;

use crate::config::ServiceConfig;
use crate::config::synapse::tests::{complaints, good};
use crate::telemetry::access::{AccessLog, Facility, Format, Framing, Level, Place};

fn service(global: &str, defaults: &str, service: &str) -> ServiceConfig {
    good(&text(global, defaults, service)).config.services.remove(0)
}

fn text(global: &str, defaults: &str, service: &str) -> String {
    format!(
        "haproxy: {{global: [{global}], defaults: [timeout connect 1s, timeout client 2s, timeout server 3s, {defaults}]}}
services:
  web: {{discovery: {{method: file, path: /f}}, {service}}}
"
    )
}

fn log(global: &str, defaults: &str, own: &str) -> Option<Arc<AccessLog>> {
    let own = format!("haproxy: {{port: 3301, {own}}}");
    service(global, defaults, &own).proxy.access_log
}

fn shown(service: &ServiceConfig, setting: &str) -> (String, String) {
    let found = service.origins.iter().find(|it| it.setting == setting);
    found.map(|it| (it.value.clone(), it.origin.clone())).unwrap()
}

#[test]
fn without_a_target_nothing_is_logged() {
    assert_eq!(log("", "option httplog", ""), None);
    assert_eq!(log("log 127.0.0.1 daemon", "", ""), None, "nobody says `log global`");
    assert_eq!(log("log 127.0.0.1 daemon", "log global", "listen: [no log]"), None);
}

#[test]
fn the_lines_that_people_have_are_in_force() {
    let global = "'log 127.0.0.1:1514 daemon info', log-send-hostname box, log-tag hap";
    let defaults = "log global, option log-separate-errors, option dontlognull, mode http";
    let own =
        "backend_name: pages, listen: [option httplog, 'capture request header X-Trace len 64']";
    let log = log(global, defaults, own).unwrap();
    assert_eq!((&*log.frontend, &*log.backend, log.format), ("web", "pages", Format::Http));
    assert!(log.separate_errors && log.skip_null && !log.skip_normal);
    let [capture] = &*log.request_captures else { panic!("{log:?}") };
    assert_eq!((&*capture.name, capture.max_len), ("X-Trace", 64));
    let [target] = log.targets.list() else { panic!("{log:?}") };
    assert_eq!(target.place, Place::Udp("127.0.0.1:1514".into()));
    assert_eq!((target.facility, target.max_level), (Facility(3), Level::INFO));
    assert_eq!((target.framing, target.max_len), (Framing::Rfc3164, 1024));
    assert_eq!((&*target.tag.program, target.tag.host.as_deref()), ("hap", Some("box")));
}

#[test]
fn framing_and_names_are_haproxys_when_nobody_says_them() {
    let local = log("log 127.0.0.1 daemon", "log global", "").unwrap();
    let target = &local.targets.list()[0];
    assert_eq!((target.framing, target.tag.host.as_deref()), (Framing::Local, None));
    assert_eq!((&*target.tag.program, local.format), ("synapse", Format::Connect));
    // Seen with haproxy 2.6.12.
    let said = log("'log 127.0.0.1 format rfc3164 daemon'", "log global", "").unwrap();
    assert_eq!(said.targets.list()[0].tag.host.as_deref(), Some("localhost"));
    let own = log("log 127.0.0.1 daemon, log-tag a", "log global", "listen: [log-tag b]");
    assert_eq!(&*own.unwrap().targets.list()[0].tag.program, "b");
    let two = log("log 127.0.0.1 daemon", "log global", "listen: ['log-tag \"a b\"']");
    assert_eq!(&*two.unwrap().targets.list()[0].tag.program, "a b");
}

#[test]
fn targets_add_up_and_no_log_starts_anew() {
    let places = |log: Option<Arc<AccessLog>>| -> Vec<String> {
        log.unwrap().targets.list().iter().map(|target| target.place.to_string()).collect()
    };
    let global = "log 1.1.1.1 daemon, log /dev/log daemon";
    let all = log(global, "log global", "listen: [log stdout format raw daemon, log global]");
    assert_eq!(places(all), ["udp://1.1.1.1:514", "unix:/dev/log", "stdout"]);
    let own = log(global, "log global", "listen: [no log, log stderr daemon]");
    assert_eq!(places(own), ["stderr"]);
    let nobodys = log(global, "", "backend: [log global], frontend: [log stdout daemon]");
    assert_eq!(places(nobodys), ["stdout"], "what a backend says is not about requests");
}

#[test]
fn the_last_format_wins_and_sessions_have_no_requests() {
    let format = |defaults: &str, own: &str| {
        log("log 1.1.1.1 daemon", &format!("log global, {defaults}"), own).unwrap().format
    };
    assert_eq!(format("mode http, option httplog", ""), Format::Http);
    assert_eq!(format("mode http, option httplog", "listen: [option tcplog]"), Format::Tcp);
    assert_eq!(format("mode http, option httplog", "listen: [no option httplog]"), Format::Connect);
    assert_eq!(format("mode http, option httplog", "listen: [no option tcplog]"), Format::Http);
    assert_eq!(format("option httplog", "listen: [mode tcp]"), Format::Tcp);
    let odd =
        text("log 1.1.1.1 daemon", "log global", "haproxy: {port: 3301, listen: [option httplog]}");
    let warnings = good(&odd).config.warnings;
    assert!(warnings.iter().any(|w| w.text.contains("needs `mode http`")), "{warnings:?}");
}

#[test]
fn services_that_say_the_same_share_their_targets() {
    let one = log("log 9.9.9.9 daemon", "log global", "").unwrap();
    let two = log("log 9.9.9.9 daemon", "log global", "listen: [option tcplog]").unwrap();
    assert!(Arc::ptr_eq(&one.targets, &two.targets));
}

#[test]
fn the_native_key_replaces_the_lines() {
    let lines = "haproxy: {port: 3301, listen: [mode http, log stdout daemon, option dontlognull]}";
    let own =
        "access_log: {to: /var/log/a, format: json, request_headers: [X-A], separate_errors: true}";
    let it = service("", "", &format!("{lines}, proxy: {{{own}}}"));
    let log = it.proxy.access_log.as_ref().unwrap();
    assert_eq!((log.format, log.skip_null, log.separate_errors), (Format::Json, false, true));
    let target = &log.targets.list()[0];
    assert_eq!((&target.place, target.framing), (&Place::File("/var/log/a".into()), Framing::Raw));
    assert_eq!((target.max_len, &*log.request_captures[0].name), (65_535, "X-A"));
    let place = "services.web.proxy.access_log".to_owned();
    assert_eq!(shown(&it, "log"), ("/var/log/a (raw, local0.debug)".to_owned(), place.clone()));
    assert_eq!(shown(&it, "log.format"), ("json".to_owned(), place));
    let off = service("", "", &format!("{lines}, proxy: {{access_log: false}}"));
    assert_eq!((off.proxy.access_log.is_none(), shown(&off, "log").0), (true, "none".to_owned()));
}

#[test]
fn messages_about_servers_go_where_the_backends_lines_say() {
    let global = "log 1.1.1.1 daemon notice, log-tag hap";
    let load = |defaults: &str, own: &str, proxy: &str| {
        let own =
            format!("haproxy: {{port: 3301, backend_name: pages, {own}}}, proxy: {{{proxy}}}");
        service(global, defaults, &own)
    };
    let places = |it: &ServiceConfig| -> Vec<String> {
        let targets = it.pool.states.iter().flat_map(|log| log.targets.list());
        targets.map(|target| target.place.to_string()).collect()
    };
    let usual = load("log global", "", "");
    let log = usual.pool.states.as_ref().unwrap();
    let [target] = log.targets.list() else { panic!("{log:?}") };
    assert_eq!((&*log.backend, &*target.tag.program, target.max_level), ("pages", "hap", Level(5)));
    let is_shown = |it: &ServiceConfig| it.origins.iter().any(|it| it.setting == "log.states");
    assert!(!is_shown(&usual), "they go where lines about requests go");
    assert_eq!(load("", "", "").pool.states, None);
    assert_eq!(load("log global", "listen: [no log]", "").pool.states, None);
    assert_eq!(load("log global", "backend: [no log]", "").pool.states, None);
    let own = load("log global", "backend: [no log, log stderr daemon], frontend: [no log]", "");
    assert_eq!((places(&own), own.proxy.access_log.is_none()), (vec!["stderr".to_owned()], true));
    assert_eq!(shown(&own, "log.states").0, "stderr (local, daemon.debug)");
    // The native key is about requests alone.
    for native in ["access_log: false", "access_log: {to: /var/log/a, format: json}"] {
        let it = load("log global", "", native);
        assert_eq!(places(&it), ["udp://1.1.1.1:514"]);
        assert!(is_shown(&it), "{native}");
    }
    assert_eq!(load("", "", "access_log: {to: stdout}").pool.states, None);
}

#[test]
fn the_native_key_of_the_top_level_is_a_default() {
    let top = "proxy: {access_log: {to: 'udp://logs:5140', hostname: box}}\n";
    let load = |own: &str| {
        let own = format!("haproxy: {{port: 3301, {own}}}");
        good(&format!("{top}{}", text("", "", &own))).config.services.remove(0)
    };
    let http = load("listen: [mode http]");
    let log = http.proxy.access_log.as_ref().unwrap();
    assert_eq!((&*log.frontend, log.format), ("web", Format::Http));
    let target = &log.targets.list()[0];
    assert_eq!((target.framing, target.max_len), (Framing::Rfc3164, 1024));
    assert_eq!(load("").proxy.access_log.unwrap().format, Format::Tcp);
    let lines = load("listen: [log stdout daemon]").proxy.access_log.unwrap();
    assert_eq!(lines.targets.list()[0].place, Place::Stdout, "the service's own lines win");
}

#[test]
fn mistakes_are_named_with_their_place() {
    let found = complaints(&text(
        "log 127.0.0.1, log-tag, 'log-send-hostname a b', 'log-send-hostname \"a b\"'",
        "log global daemon",
        "haproxy: {port: 3301, listen: [option httplog clf, capture request header X-A, 'capture response header \"a b\" len 3', option tcplog x, no log-tag]},
         proxy: {access_log: {to: here, format: nice, facility: x, max_length: 7, tag: 'a b', request_headers: ['a b', X-A, x-a], fromat: 1}}",
    ));
    for part in [
        "haproxy.global[0]: `log 127.0.0.1`: the facility is missing",
        "haproxy.global[1]: `log-tag`: one word is expected",
        "haproxy.global[2]: `log-send-hostname a b`: one word is expected",
        "\"a b\" has blanks",
        "haproxy.listen[0]: `option httplog clf`: the format clf is not offered",
        "haproxy.listen[1]: `capture request header X-A`: NAME len N is expected",
        "\"a b\" is not the name of a header",
        "haproxy.listen[3]: `option tcplog x`: the word \"x\" is too much",
        "haproxy.listen[4]: `no log-tag`: `no` cannot be combined",
        "proxy.access_log.to: \"here\" is not stdout",
        "proxy.access_log.format: \"nice\" is not one of httplog, tcplog, json, connect",
        "proxy.access_log.facility: \"x\" is not one of kern",
        "proxy.access_log.max_length: 7 is not",
        "proxy.access_log.tag: \"a b\" has blanks",
        "proxy.access_log.request_headers[0]: \"a b\" is not a header name",
        "proxy.access_log.request_headers[2]: \"x-a\" is captured already",
    ] {
        assert!(found.iter().any(|it| it.contains(part)), "{part}: {found:#?}");
    }
}
