//! Tests over the whole dialect: from lines to settings.

use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::time::Duration;

use serde_json::Value;

use super::*;
use crate::config::balance::Algorithm;
use crate::config::report::Report;
use crate::dial::KeepAlive;
use crate::endpoint::{Endpoint, ServiceName, Weight};
use crate::health::ProbeSettings;
use crate::lb::{ServerSettings, ShuffleSeed};
use crate::proxy::{CloseMode, Mode, Redispatch};

fn place(path: &str) -> Place {
    Place { file: "test.json".into(), path: path.to_owned() }
}

fn lines(path: &str, texts: &[&str]) -> Vec<Line> {
    let list = place(path);
    let line =
        |(index, text): (usize, &&str)| Line { text: (*text).to_owned(), place: list.index(index) };
    texts.iter().enumerate().map(line).collect()
}

fn section() -> ServiceSection {
    let mut section = section_of(&serde_json::json!({}), &place("services.x.haproxy"));
    section.port = PortKey::Number(3301);
    section
}

/// As the loader shapes it, without its checks.
fn section_of(haproxy: &Value, at: &Place) -> ServiceSection {
    let text = |key: &str| haproxy[key].as_str().map(str::to_owned);
    let placed = |key: &str| text(key).map(|it| (it, at.key(key)));
    let line = |key: &str| text(key).map(|text| Line { text, place: at.key(key) });
    ServiceSection {
        place: at.clone(),
        disabled: haproxy["disabled"].as_bool().unwrap_or(false),
        port: match haproxy.get("port") {
            None => PortKey::Omitted,
            Some(Value::Null) => PortKey::Null,
            Some(port) => PortKey::Number(port.to_string().trim_matches('"').parse().unwrap()),
        },
        bind_address: placed("bind_address"),
        bind_options: line("bind_options"),
        server_options: line("server_options"),
        sockets: Vec::new(),
        frontend: list(&haproxy["frontend"], &at.key("frontend")),
        backend: list(&haproxy["backend"], &at.key("backend")),
        listen: list(&haproxy["listen"], &at.key("listen")),
        backend_name: text("backend_name"),
        backend_order: placed("backend_order"),
        cookie_value_method: text("cookie_value_method"),
        shared_frontend: list(&haproxy["shared_frontend"], &at.key("shared_frontend")),
    }
}

fn list(value: &Value, at: &Place) -> Vec<Line> {
    let texts: Vec<&str> = value
        .as_array()
        .map(|it| it.iter().filter_map(Value::as_str).collect())
        .unwrap_or_default();
    lines(&at.path, &texts)
}

fn top_of(haproxy: &Value) -> TopSection {
    let at = place("haproxy");
    let extra = haproxy["extra_sections"].as_object();
    TopSection {
        global: list(&haproxy["global"], &at.key("global")),
        defaults: list(&haproxy["defaults"], &at.key("defaults")),
        extra_sections: extra
            .into_iter()
            .flatten()
            .map(|(title, lines)| {
                let place = at.key("extra_sections").key(title);
                let lines = list(lines, &place);
                (Line { text: title.clone(), place }, lines)
            })
            .collect(),
        shared_frontend: list(&haproxy["shared_frontend"], &at.key("shared_frontend")),
        bind_address: haproxy["bind_address"]
            .as_str()
            .map(|it| (it.to_owned(), at.key("bind_address"))),
        use_nerve_weights: haproxy["use_nerve_weights"].as_bool().unwrap_or(false),
        server_order_seed: haproxy["server_order_seed"].as_u64().map(u128::from),
    }
}

/// A whole config: the parts by service name, and what was said.
fn load(json: &str) -> (Top, Vec<(String, ServiceParts)>, Report) {
    let document: Value = serde_json::from_str(json).unwrap();
    let mut report = Report::default();
    let top = resolve_top(&top_of(&document["haproxy"]), &mut report);
    let services = document["services"].as_object().unwrap();
    let parts = services
        .iter()
        .map(|(name, service)| {
            let at = place("services").key(name).key("haproxy");
            let section = section_of(&service["haproxy"], &at);
            let name_ = ServiceName::new(name.as_str());
            (name.clone(), resolve_service(&name_, &section, &top, &mut report))
        })
        .collect();
    (top, parts, report)
}

/// One service under these `defaults`, with complaints and warnings as text.
fn one(defaults: &[&str], section: &ServiceSection) -> (ServiceParts, Vec<String>, Vec<String>) {
    let mut report = Report::default();
    let top = TopSection { defaults: lines("haproxy.defaults", defaults), ..TopSection::default() };
    let top = resolve_top(&top, &mut report);
    let parts = resolve_service(&ServiceName::new("x"), section, &top, &mut report);
    let text = |it: &Vec<crate::config::Complaint>| it.iter().map(ToString::to_string).collect();
    (parts, text(&report.complaints), text(&report.warnings))
}

const TIMEOUTS: &[&str] = &["timeout connect 5s", "timeout client 50s", "timeout server 50s"];

fn listen(texts: &[&str]) -> ServiceSection {
    ServiceSection { listen: lines("services.x.haproxy.listen", texts), ..section() }
}

fn server_options(text: &str) -> ServiceSection {
    ServiceSection {
        server_options: Some(Line {
            text: text.to_owned(),
            place: place("services.x.haproxy.server_options"),
        }),
        ..section()
    }
}

fn secs(n: u64) -> Option<Duration> {
    Some(Duration::from_secs(n))
}

#[test]
fn a_misplaced_directive_says_where_it_belongs_and_a_mistyped_one_what_was_meant() {
    let top = |lines: &[&str]| {
        let mut report = Report::default();
        let section = TopSection {
            defaults: lines.iter().map(|text| line_at("haproxy.defaults", text)).collect(),
            ..TopSection::default()
        };
        resolve_top(&section, &mut report);
        report.complaints.iter().map(|c| c.text.clone()).collect::<Vec<_>>()
    };
    let texts = top(&["bind :80", "timeout conect 5s"]);
    assert_eq!(
        texts,
        [
            "\"bind :80\" belongs in frontend, not here (in defaults)",
            "unknown directive \"timeout conect 5s\", did you mean `timeout connect`? (in defaults)",
        ]
    );
}

#[test]
fn an_address_beside_its_wildcard_is_bound_once() {
    let mut section = section();
    section.listen = lines("l", &["bind :3301", "bind 127.0.0.1:3302"]);
    let mut report = Report::default();
    let parts = resolve_service(&ServiceName::new("x"), &section, &Top::default(), &mut report);
    let addrs: Vec<String> =
        parts.listener.unwrap().addrs.iter().map(|bind| bind.addr.to_string()).collect();
    assert_eq!(addrs, ["0.0.0.0:3301", "127.0.0.1:3302", "[::1]:3301"]);
    assert!(report.complaints.is_empty(), "{report:?}");
}

#[test]
fn options_of_a_socket_that_is_not_bound_are_moot() {
    let mut report = Report::default();
    let place = line_at("x", "").place;
    let words = ["fd@3", "ssl"].map(str::to_owned);
    assert!(bind::line(&words, &place, &mut report).addrs.is_empty());
    assert_eq!((report.complaints.len(), report.warnings.len()), (0, 1), "{report:?}");
    let words = ["127.0.0.1:80", "ssl"].map(str::to_owned);
    bind::line(&words, &place, &mut report);
    assert_eq!(report.complaints.len(), 1, "{report:?}");
}

#[test]
fn the_value_of_a_mistyped_word_is_no_second_mistake() {
    let mut report = Report::default();
    judge_server_options(&line_at("x", "check intre 2s rise x"), &mut report);
    let texts: Vec<_> = report.complaints.iter().map(|c| c.text.as_str()).collect();
    assert_eq!(texts.len(), 2, "{texts:?}");
    assert!(texts[0].contains("did you mean `inter`?"), "{texts:?}");
    assert!(texts[1].starts_with("`rise`: "), "{texts:?}");
}

fn line_at(path: &str, text: &str) -> Line {
    Line { text: text.to_owned(), place: Place { file: "f".into(), path: path.to_owned() } }
}

#[test]
fn golden_g1_loads_without_a_word() {
    let (top, parts, report) = load(include_str!("../../../tests/golden/g1_synapse_minimal.json"));
    assert_eq!(report.complaints, []);
    assert_eq!(report.warnings, []);
    assert_eq!(top.global.max_connections, Some(4096));
    let billing = &parts[0].1;
    let addrs: Vec<String> = billing
        .listener
        .as_ref()
        .unwrap()
        .addrs
        .iter()
        .map(|it| format!("{} {}", it.addr, it.required))
        .collect();
    assert_eq!(addrs, ["127.0.0.1:3310 true", "[::1]:3310 false"]);
    assert_eq!(billing.proxy.mode, Mode::Http);
    assert_eq!(billing.proxy.timeouts.client, secs(60));
    assert_eq!(billing.proxy.redispatch, Redispatch::On { every: -1 });
    assert_eq!(billing.order, BackendOrder::AsDiscovered);
    let mut endpoint = Endpoint::new("10.20.0.5", 8081);
    endpoint.server_options = Some("backup".into());
    let server = billing.rules.server(&endpoint);
    assert!(server.backup);
    let check = server.check.unwrap();
    assert_eq!((check.rise.get(), check.fall.get()), (3, 2));
    let ProbeSettings::Http(http) = check.probe else { panic!("tcp") };
    assert_eq!((&*http.method, &*http.uri), ("GET", "/ping"));
}

#[test]
fn golden_g2_loads_with_warnings_only() {
    let (top, _, report) = load(include_str!("../../../tests/golden/g2_synapse_zk.json"));
    assert_eq!(report.complaints, []);
    assert_eq!(top.global.user.as_deref(), Some("haproxy"));
    assert_eq!(top.extra_binds.len(), 1);
    assert_eq!(top.extra_binds[0].0.to_string(), "0.0.0.0:3212");
    assert_eq!(top.extra_binds[0].1, "listen stats");
    let warned: Vec<&str> = report.warnings.iter().map(|it| it.path.as_str()).collect();
    assert_eq!(
        warned,
        [
            "haproxy.global[5]",
            "haproxy.extra_sections.\"listen stats :3212\"",
            "services.search.haproxy.listen[6]",
        ]
    );
}

#[test]
fn golden_g2_gives_the_settings_it_gives_haproxy() {
    let (_, parts, _) = load(include_str!("../../../tests/golden/g2_synapse_zk.json"));
    let search = &parts[0].1;
    assert_eq!(search.balancing.algorithm, Algorithm::LeastConn);
    assert_eq!(search.order, BackendOrder::Ascending);
    assert_eq!(search.proxy.timeouts.client, secs(300));
    assert_eq!(search.proxy.timeouts.connect, secs(5));
    assert_eq!(search.proxy.max_connections, Some(2000));
    let check = search.rules.server(&Endpoint::new("10.0.1.11", 9001)).check;
    let check = check.unwrap();
    assert_eq!(check.interval, Duration::from_secs(30));
    assert_eq!(check.down_interval, secs(2));
    assert_eq!(check.fast_interval, secs(2));
    assert_eq!(check.timeout, secs(5));
    assert_eq!(check.connect_timeout, secs(5));
    let users = &parts[1].1;
    assert_eq!(users.proxy.mode, Mode::Tcp);
    assert_eq!(users.order, BackendOrder::Shuffled(ShuffleSeed(1234)));
    assert_eq!(users.proxy.timeouts.client, secs(8 * 3600));
    assert_eq!(users.listener.as_ref().unwrap().addrs[0].addr.to_string(), "127.0.0.2:3302");
}

#[test]
fn golden_g7_is_refused_for_its_routing_and_proxy_protocol_only() {
    let (_, parts, report) = load(include_str!("../../../tests/golden/g7_yelp_synapse.json"));
    assert!(!report.complaints.is_empty());
    for complaint in &report.complaints {
        let text = &complaint.text;
        assert!(text.contains("use_backend") || text.contains("accept-proxy"), "{complaint}");
        assert!(!text.contains("`use_backend casper.main if casper.main_has_connslots`"));
    }
    let casper = &parts[0].1;
    assert_eq!(casper.proxy.http.close_mode, CloseMode::Close);
    assert_eq!(casper.proxy.redispatch, Redispatch::On { every: 1 });
    let server = casper.rules.server(&Endpoint::new("10.0.0.1", 80));
    assert_eq!(server.max_connections, NonZeroU32::new(50));
    let check = server.check.unwrap();
    assert_eq!(check.port, Some(6666));
    assert_eq!(check.interval, Duration::from_secs(600));
    assert_eq!(check.spread_percent, 50);
    assert_eq!((check.rise.get(), check.fall.get()), (1, 2));
    let geocoder = &parts[2].1.rules.server(&Endpoint::new("10.0.0.1", 80));
    let Some(ProbeSettings::Http(http)) = geocoder.check.as_ref().map(|it| &it.probe) else {
        panic!("no http check")
    };
    assert_eq!(http.headers, [("X-Mode".to_owned(), "ro".to_owned())]);
}

/// A line, the setting it makes, its value.
const SUPPORTED: &[(&str, &str, &str)] = &[
    ("mode http", "mode", "http"),
    ("balance leastconn", "balance", "leastconn"),
    ("balance", "balance", "roundrobin"),
    ("maxconn 7", "maxconn", "7"),
    ("retries 0", "retries", "0"),
    ("option redispatch", "redispatch", "on (-1)"),
    ("option redispatch 2", "redispatch", "on (2)"),
    ("redispatch", "redispatch", "on (-1)"),
    ("timeout connect 1500", "timeout.connect", "1500ms"),
    ("contimeout 3s", "timeout.connect", "3s"),
    ("timeout queue 3s", "timeout.queue", "3s"),
    ("fullconn 9", "fullconn", "9"),
    ("default-server minconn 2", "server.minconn", "2"),
    ("default-server maxqueue 0", "server.maxqueue", "no limit"),
    ("default-server slowstart 30s", "server.slowstart", "30s"),
    ("timeout client 1h", "timeout.client", "1h"),
    ("clitimeout 4s", "timeout.client", "4s"),
    ("timeout server 0", "timeout.server", "never"),
    ("srvtimeout 9", "timeout.server", "9ms"),
    ("timeout check 2s", "timeout.check", "2s"),
    ("timeout http-request 2s", "timeout.http-request", "2s"),
    ("timeout http-keep-alive 2s", "timeout.http-keep-alive", "2s"),
    ("timeout tunnel 1d", "timeout.tunnel", "1d"),
    ("option httpclose", "http.close_mode", "httpclose"),
    ("option forceclose", "http.close_mode", "httpclose"),
    ("option http-server-close", "http.close_mode", "http-server-close"),
    ("option forwardfor", "http.forwardfor", "X-Forwarded-For"),
    (
        "option forwardfor except 127.0.0.0/8 header X-Client if-none",
        "http.forwardfor",
        "X-Client except 127.0.0.0/8 if-none",
    ),
    ("option allbackups", "allbackups", "true"),
    ("option httpchk HEAD /x HTTP/1.1", "check.probe", "HEAD /x HTTP/1.1"),
    ("default-server inter 7s", "server.inter", "7s"),
    ("default-server maxconn 9 weight 3", "server.maxconn", "9"),
];

#[test]
fn a_backlog_of_0_is_not_set() {
    for (line, backlog) in [("backlog 7", 7), ("backlog 0", defaults::BACKLOG)] {
        let (parts, complaints, _) = one(&[TIMEOUTS, &["backlog 9"]].concat(), &listen(&[line]));
        assert_eq!(complaints, [""; 0], "{line}");
        assert_eq!(parts.listener.unwrap().backlog, backlog, "{line}");
    }
}

#[test]
fn every_supported_proxy_directive_shows_in_the_effective_values() {
    for (line, setting, value) in SUPPORTED {
        for is_default in [false, true] {
            let (defaults, section) = if is_default {
                ([TIMEOUTS, &[line]].concat(), section())
            } else {
                (TIMEOUTS.to_vec(), listen(&[line]))
            };
            let (parts, complaints, warnings) = one(&defaults, &section);
            assert_eq!(complaints, Vec::<String>::new(), "{line}");
            assert_eq!(warnings.len(), usize::from(*value == "never"), "{line}: {warnings:?}");
            let it = parts.origins.iter().find(|it| it.setting == *setting).unwrap();
            assert_eq!(it.value, *value, "{line}");
            let origin = if is_default {
                format!("haproxy.defaults[3] {line:?}")
            } else {
                format!("services.x.haproxy.listen[0] {line:?}")
            };
            assert_eq!(it.origin, origin);
        }
    }
}

#[test]
fn no_supported_directive_lacks_a_rule() {
    for directive in directives() {
        if directive.class != Class::Supported {
            continue;
        }
        let mut report = Report::default();
        let words = format!("{} 1", directive.keyword);
        let top = TopSection {
            global: lines("g", &[words.as_str()]),
            defaults: lines("d", &[words.as_str()]),
            ..TopSection::default()
        };
        let top = resolve_top(&top, &mut report);
        let mut section = server_options(&words);
        section.listen = lines("l", &[words.as_str()]);
        resolve_service(&ServiceName::new("x"), &section, &top, &mut report);
        for complaint in report.complaints {
            assert!(!complaint.text.contains("this is a bug"), "{complaint}");
        }
    }
}

#[test]
fn every_class_is_judged_as_it_says() {
    for directive in directives() {
        let back = directive.sections.touches(Sections::BACKEND);
        let front = directive.sections.touches(Sections::FRONTEND);
        if !(back || front) || directive.class == Class::Supported {
            continue;
        }
        let text = format!("{} other 1", directive.keyword);
        let mut section = section();
        let side = lines("services.x.haproxy.side", &[text.as_str()]);
        if front {
            section.frontend = side;
        } else {
            section.backend = side;
        }
        let (_, complaints, warnings) = one(TIMEOUTS, &section);
        let expected = match directive.class {
            Class::Supported | Class::Harmless => (0, 0),
            Class::NotYet { .. } => (0, 1),
            Class::Refused { .. } => (1, 0),
        };
        assert_eq!(
            (complaints.len(), warnings.len()),
            expected,
            "{text}: {complaints:?} {warnings:?}"
        );
    }
}

#[test]
fn every_word_of_a_server_line_is_judged_as_it_says() {
    for directive in directives() {
        if !directive.sections.touches(Sections::SERVER) || directive.class == Class::Supported {
            continue;
        }
        let text = format!("{} {} check", directive.keyword, ["", "v"][directive.args]);
        let (parts, complaints, warnings) = one(TIMEOUTS, &server_options(&text));
        let expected = match directive.class {
            Class::Supported | Class::Harmless => (0, 0),
            Class::NotYet { .. } => (0, 1),
            Class::Refused { .. } => (1, 0),
        };
        assert_eq!((complaints.len(), warnings.len()), expected, "{text}");
        assert!(parts.rules.server(&Endpoint::new("h", 1)).check.is_some());
    }
}

#[test]
fn bad_values_name_line_value_and_reason() {
    for (line, says) in [
        ("mode udp", "\"udp\" is not a mode"),
        ("mode", "the value is missing"),
        ("timeout client 5x", "\"5x\" is not a time"),
        ("timeout client 5 s", "the word \"s\" is too much"),
        ("retries -1", "\"-1\" is not a whole number from 0"),
        ("balance rr", "\"rr\" is not a balance algorithm"),
        ("option httpchk GET", "\"GET\" is not a uri"),
        ("option forwardfor except x", "\"x\" is not an address or network"),
        ("default-server rise 0", "\"0\" is not a whole number from 1"),
        ("default-server rises 1", "did you mean `rise`?"),
        ("maxconn many", "\"many\" is not a whole number"),
        ("no timeout client", "`no` cannot be combined"),
        ("no bind :81", "`no` cannot be combined"),
        ("timeout client \"5s", "the quote \" is not closed"),
        ("modes http", "unknown directive"),
        ("bind :80 ssl crt /x", "TLS is not offered"),
        ("balance rdp-cookie", "source, uri, hdr or url_param"),
        ("balance sauce", "is not a balance algorithm"),
        ("balance uri depth 0", "not a number from 1"),
        ("hash-type ring", "map-based or consistent"),
        ("hash-balance-factor 99", "neither 0 nor a number above 100"),
    ] {
        let (_, complaints, _) = one(TIMEOUTS, &listen(&[line]));
        assert!(!complaints.is_empty(), "{line}");
        assert!(
            complaints[0].starts_with("test.json: services.x.haproxy.listen[0]: "),
            "{complaints:?}"
        );
        assert!(complaints[0].contains(says), "{complaints:?}");
    }
}

#[test]
fn all_mistakes_of_a_config_are_reported_at_once() {
    let (_, _, report) = load(
        r#"{"haproxy": {
            "global": ["maxconn none", "maxcon 5", "spread-checks 51"],
            "defaults": ["timeout client 5x", "server a 1.2.3.4:80", "retries"],
            "extra_sections": {"listen web :80": ["server a 1.2.3.4:80"], "lisen stats": []}},
          "services": {
            "a": {"haproxy": {"port": 3301, "listen": ["mode udp", "http-request deny if x"],
                  "server_options": "check inter 0 %d"}},
            "b": {"haproxy": {"port": 3302, "bind_address": "999.1.1.1 or so",
                  "server_options": "check inter 0 weight 300 ssl", "frontend": ["mode http"], "backend": ["mode tcp"]}}
          }}"#,
    );
    let places: Vec<&str> = report.complaints.iter().map(|it| it.path.as_str()).collect();
    assert_eq!(
        places,
        [
            "haproxy.global[0]",
            "haproxy.global[1]",
            "haproxy.global[2]",
            "haproxy.defaults[0]",
            "haproxy.defaults[1]",
            "haproxy.defaults[2]",
            "haproxy.extra_sections.\"listen web :80\"",
            "haproxy.extra_sections.\"lisen stats\"",
            "services.a.haproxy.listen[0]",
            "services.a.haproxy.listen[1]",
            "services.a.haproxy.server_options",
            "services.b.haproxy",
            "services.b.haproxy.bind_address",
            "services.b.haproxy.server_options",
            "services.b.haproxy.server_options",
            "services.b.haproxy.server_options",
        ],
        "{:#?}",
        report.complaints
    );
}

#[test]
fn later_lines_win_and_listen_comes_after_frontend_and_backend() {
    let mut section = listen(&["timeout server 9s", "option http-keep-alive"]);
    section.backend = lines("b", &["timeout server 1s", "balance leastconn"]);
    let defaults = [TIMEOUTS, &["option forceclose", "balance roundrobin"]].concat();
    let (parts, complaints, _) = one(&defaults, &section);
    assert_eq!(complaints, Vec::<String>::new());
    assert_eq!(parts.proxy.timeouts.server, secs(9));
    assert_eq!(parts.balancing.algorithm, Algorithm::LeastConn);
    assert_eq!(parts.proxy.http.close_mode, CloseMode::KeepAlive);
}

#[test]
fn the_stricter_close_mode_of_both_sides_wins_and_no_option_undoes() {
    let close = |defaults: &[&str], front: &[&str], back: &[&str]| {
        let mut section = section();
        section.frontend = lines("f", front);
        section.backend = lines("b", back);
        one(defaults, &section).0.proxy.http.close_mode
    };
    assert_eq!(close(&[], &[], &["option http-server-close"]), CloseMode::ServerClose);
    assert_eq!(
        close(&["option forceclose"], &[], &["no option forceclose", "option http-keep-alive"]),
        CloseMode::Close
    );
    assert_eq!(
        close(&["option forceclose"], &["no option httpclose"], &["no option forceclose"]),
        CloseMode::KeepAlive
    );
    assert_eq!(
        close(&["option httpclose"], &["no option http-server-close"], &[]),
        CloseMode::Close
    );
}

#[test]
fn modes_of_both_sides_must_agree() {
    let load = |defaults: &[&str], front: &[&str], back: &[&str]| {
        let mut section = section();
        section.frontend = lines("f", front);
        section.backend = lines("b", back);
        let defaults = [TIMEOUTS, defaults].concat();
        let (parts, complaints, warnings) = one(&defaults, &section);
        (parts.proxy.mode, complaints.len(), warnings.len())
    };
    assert_eq!(load(&[], &[], &[]), (Mode::Tcp, 0, 0));
    assert_eq!(load(&["mode http"], &[], &[]), (Mode::Http, 0, 0));
    assert_eq!(load(&["mode http"], &["mode tcp"], &["mode tcp"]), (Mode::Tcp, 0, 0));
    assert_eq!(load(&[], &[], &["mode http"]), (Mode::Http, 0, 1));
    assert_eq!(load(&[], &["mode http"], &[]).1, 1);
    assert_eq!(load(&["mode http"], &["mode tcp"], &[]).1, 1);
}

#[test]
fn lines_that_synapse_drops_are_dropped_with_a_warning() {
    let mut section = listen(&["bogus directive", "timeout frontend 5s"]);
    section.frontend = lines("f", &["timeout server 1s", "bogus"]);
    section.backend = lines("b", &["maxconn 5"]);
    let (parts, complaints, warnings) = one(TIMEOUTS, &section);
    assert_eq!(complaints, Vec::<String>::new());
    assert_eq!(warnings.len(), 5, "{warnings:?}");
    assert_eq!(parts.proxy.timeouts.server, secs(50));
    assert_eq!(parts.proxy.max_connections, None);
}

#[test]
fn directives_younger_than_synapse_are_honoured_by_class() {
    let (_, complaints, warnings) =
        one(TIMEOUTS, &listen(&["http-check send meth GET", "retry-on all"]));
    assert_eq!(complaints, Vec::<String>::new());
    assert_eq!(warnings.len(), 2);
    let (_, complaints, _) = one(TIMEOUTS, &listen(&["tcp-request session reject"]));
    assert_eq!(complaints.len(), 1);
}

#[test]
fn routing_to_oneself_is_harmless_and_elsewhere_refused() {
    let mut section = section();
    section.frontend = lines("f", &["use_backend x if y", "default_backend x", "acl y path /"]);
    let (_, complaints, warnings) = one(TIMEOUTS, &section);
    assert_eq!((complaints.len(), warnings.len()), (0, 0));
    section.backend_name = Some("z".to_owned());
    assert_eq!(one(TIMEOUTS, &section).1.len(), 1);
}

#[test]
fn server_options_then_the_registrations_own_then_nerve_weights() {
    let section = server_options("check port %{port} inter 3s weight 10 cookie %{name} 100%%");
    let (_, complaints, _) = one(TIMEOUTS, &section);
    assert_eq!(complaints.len(), 1, "100% is not a word: {complaints:?}");

    let section = server_options("check port %{port} inter 3s weight 10 cookie %{name}");
    let mut report = Report::default();
    let top = TopSection {
        use_nerve_weights: true,
        defaults: lines("d", &["default-server rise 5 fall 6 inter 1s maxconn 4"]),
        ..TopSection::default()
    };
    let top = resolve_top(&top, &mut report);
    let parts = resolve_service(&ServiceName::new("x"), &section, &top, &mut report);
    let mut endpoint = Endpoint::new("10.0.0.1", 8080);
    endpoint.name = Some("i-1 disabled".into());
    let server = parts.rules.server(&endpoint);
    assert_eq!(server.weight, Weight::saturating(10));
    assert_eq!(server.cookie.as_deref(), Some("i-1 disabled"));
    assert!(!server.disabled);
    assert_eq!(server.max_connections, NonZeroU32::new(4));
    let check = server.check.unwrap();
    assert_eq!((check.rise.get(), check.fall.get(), check.port), (5, 6, Some(8080)));
    assert_eq!(check.interval, Duration::from_secs(3));

    endpoint.weight = Some(7);
    endpoint.server_id = Some(3);
    endpoint.server_options = Some("weight 20 disabled id 9 maxconn 0 no-check".into());
    let server = parts.rules.server(&endpoint);
    let expected = ServerSettings {
        weight: Weight::saturating(7),
        disabled: true,
        id: Some(9),
        cookie: Some("i-1 disabled".to_owned()),
        ..ServerSettings::default()
    };
    assert_eq!(server, expected);
}

#[test]
fn limits_of_servers_are_read_as_haproxy_reads_them() {
    use crate::lb::limits::Elastic;
    let server = |defaults: &[&str], options: &str| {
        let (parts, complaints, _) = one(&[TIMEOUTS, defaults].concat(), &server_options(options));
        assert_eq!(complaints, Vec::<String>::new());
        parts.rules.server(&Endpoint::new("h", 1))
    };
    let elastic = |min, full| {
        let nz = |n| NonZeroU32::new(n).unwrap();
        Some(Elastic { min: nz(min), full: nz(full) })
    };
    let all = server(&["fullconn 7"], "minconn 2 maxconn 9 maxqueue 3 slowstart 5s");
    assert_eq!((all.max_connections, all.elastic), (NonZeroU32::new(9), elastic(2, 7)));
    assert_eq!((all.max_queue, all.slow_start), (NonZeroU32::new(3), Some(Duration::from_secs(5))));
    let none = server(&[], "maxqueue 0 slowstart 0 minconn 0 maxconn 0");
    assert_eq!((none.max_connections, none.elastic), (None, None));
    assert_eq!((none.max_queue, none.slow_start), (None, None));
    assert_eq!(server(&[], "minconn 5 maxconn 3").max_connections, NonZeroU32::new(5));
    assert_eq!(server(&["maxconn 95"], "minconn 5").elastic, elastic(5, 10));
    assert_eq!(server(&[], "minconn 5").elastic, elastic(5, 200));
}

#[test]
fn bad_words_of_a_registration_are_skipped_and_named() {
    let (parts, _, _) = one(TIMEOUTS, &server_options("check"));
    let mut endpoint = Endpoint::new("h", 1);
    endpoint.server_options = Some("bogus weight 999 inter 0 on-error x ssl rise 7 fall".into());
    let server = parts.rules.server(&endpoint);
    assert_eq!(server.check.unwrap().rise.get(), 7);
    assert_eq!(server.weight, Weight::default());
    assert_eq!(server.complaints.len(), 6, "{:?}", server.complaints);
    endpoint.server_options = Some("weight \"5".into());
    assert_eq!(parts.rules.server(&endpoint).complaints.len(), 1);
    endpoint.server_options = Some("x ".repeat(1000).into());
    assert_eq!(parts.rules.server(&endpoint).complaints.len(), 1);
    endpoint.server_options = Some("x ".repeat(50).into());
    assert_eq!(parts.rules.server(&endpoint).complaints.len(), 8);
    endpoint.server_options = Some("x".repeat(100_000).into());
    let complaint = &parts.rules.server(&endpoint).complaints[0];
    assert!(complaint.contains("100000 bytes") && complaint.len() < 200);
}

#[test]
fn a_path_is_a_whole_address() {
    let mut section = section();
    section.port = PortKey::Null;
    section.bind_address = Some(("/run/x.sock".to_owned(), place("b")));
    section.bind_options = Some(Line { text: "mode 600 user root".to_owned(), place: place("o") });
    let (parts, complaints, warnings) = one(TIMEOUTS, &section);
    assert_eq!((complaints, warnings), (Vec::new(), Vec::new()));
    assert_eq!(parts.listener.unwrap().addrs[0].to_string(), "/run/x.sock mode 600 uid 0");
    section.bind_options = None;
    section.bind_address = Some((format!("/{}", "x".repeat(97)), place("b")));
    let (_, complaints, _) = one(TIMEOUTS, &section);
    assert!(complaints[0].contains("it has 98 bytes, not 1 to 97"), "{complaints:?}");
    section.bind_address = Some(("127.0.0.1".to_owned(), place("b")));
    assert_eq!(one(TIMEOUTS, &section).1.len(), 1);
    section.bind_address = Some(("127.0.0.1:80".to_owned(), place("b")));
    assert!(one(TIMEOUTS, &section).0.listener.is_some());
    section.port = PortKey::Number(80);
    section.bind_address = Some(("/run/x.sock".to_owned(), place("b")));
    let (_, complaints, _) = one(TIMEOUTS, &section);
    assert!(complaints[0].contains("write `port: null`"), "{complaints:?}");
}

#[test]
fn bind_lines_add_addresses_with_options_of_their_own() {
    let mut section = section();
    section.frontend = lines(
        "f",
        &[
            "bind 127.0.0.3:81,127.0.0.4:82 defer-accept backlog 9 tcp-ut 5s mss 1400 interface lo",
            "bind /x.sock accept-proxy maxconn 7 mode 660 gid 5 maxconn 0",
        ],
    );
    section.bind_options = Some(Line { text: "mode 666".to_owned(), place: place("o") });
    let (parts, complaints, warnings) = one(TIMEOUTS, &section);
    assert_eq!((complaints, warnings), (Vec::new(), Vec::new()));
    let listener = parts.listener.unwrap();
    let shown: Vec<String> = listener.addrs.iter().map(ToString::to_string).collect();
    let both = "backlog 9 tcp-ut 5000ms mss 1400 interface lo";
    assert_eq!(shown[0], format!("127.0.0.3:81 {both}"));
    assert_eq!(shown[1], format!("127.0.0.4:82 {both}"));
    assert_eq!(shown[2], "/x.sock accept-proxy mode 660 gid 5", "0 is not set");
    assert_eq!(listener.addrs.len(), 5);
    section.frontend = lines("f", &["bind 127.0.0.1:3301 mode 666"]);
    let (parts, complaints, warnings) = one(TIMEOUTS, &section);
    assert_eq!(complaints, Vec::<String>::new());
    assert_eq!(warnings.len(), 1, "twice: {warnings:?}");
    assert_eq!(parts.listener.unwrap().addrs.len(), 2);
    for wrong in ["mode 99", "user nosuch-user", "uid x", "maxconn -1", "mss 70000", "tcp-ut x"] {
        section.frontend = lines("f", &[&format!("bind /x {wrong}")]);
        assert_eq!(one(TIMEOUTS, &section).1.len(), 1, "{wrong}");
    }
}

#[test]
fn what_is_said_of_an_address_is_not_lost_when_another_covers_it() {
    let of = |binds: &[&str]| {
        let mut section = section();
        section.frontend = lines("f", binds);
        let (parts, complaints, _) = one(TIMEOUTS, &section);
        let addrs = parts.listener.map(|listener| listener.addrs).unwrap_or_default();
        let shown = addrs.iter().map(ToString::to_string).filter(|addr| addr.contains(":8080"));
        (shown.collect::<Vec<_>>(), complaints)
    };
    for binds in [
        ["bind *:8080 accept-proxy", "bind 127.0.0.1:8080"],
        ["bind 127.0.0.1:8080 accept-proxy", "bind *:8080"],
        ["bind 127.0.0.1:8080", "bind 127.0.0.1:8080 accept-proxy"],
        ["bind *:8080 interface lo", "bind *:8080"],
        ["bind *:8080", "bind 127.0.0.1:8080 interface lo"],
    ] {
        let (_, complaints) = of(&binds);
        assert_eq!(complaints.len(), 1, "{binds:?}: {complaints:?}");
        assert!(complaints[0].contains("both must say the same"), "{complaints:?}");
    }
    let same = of(&["bind 127.0.0.1:8080 accept-proxy", "bind *:8080 accept-proxy"]);
    assert_eq!(same, (vec!["0.0.0.0:8080 accept-proxy".to_owned()], Vec::new()));
    let apart = of(&["bind *:8080 interface lo", "bind *:8080 interface eth0 accept-proxy"]);
    let both = ["0.0.0.0:8080 interface lo", "0.0.0.0:8080 accept-proxy interface eth0"];
    assert_eq!(apart, (both.map(str::to_owned).to_vec(), Vec::new()));
}

#[test]
fn an_abstract_name_is_as_long_as_the_kernel_takes_it() {
    for (name, complaints) in [("x".repeat(107), 0), ("x".repeat(108), 1), (String::new(), 1)] {
        let mut section = section();
        section.frontend = lines("f", &[&format!("bind abns@{name}")]);
        assert_eq!(one(TIMEOUTS, &section).1.len(), complaints, "{} bytes", name.len());
    }
}

#[test]
fn unix_bind_says_what_lines_do_not() {
    let top = TopSection {
        global: lines("g", &["unix-bind prefix /run/p- mode 666 gid 7"]),
        ..TopSection::default()
    };
    let mut report = Report::default();
    let top = resolve_top(&top, &mut report);
    let mut section = section();
    section.frontend = lines("f", &["bind unix@a", "bind unix@b mode 600", "bind abns@c"]);
    let parts = resolve_service(&ServiceName::new("x"), &section, &top, &mut report);
    assert!(report.complaints.is_empty(), "{report:?}");
    let shown: Vec<String> =
        parts.listener.unwrap().addrs.iter().map(ToString::to_string).collect();
    assert_eq!(shown[0], "/run/p-a mode 666 gid 7");
    assert_eq!(shown[1], "/run/p-b mode 600 gid 7");
    assert_eq!(shown[2], "abns@c");
    for wrong in ["unix-bind mode", "unix-bind mode 9", "unix-bind nonsense 1"] {
        let top = TopSection { global: lines("g", &[wrong]), ..TopSection::default() };
        let mut report = Report::default();
        resolve_top(&top, &mut report);
        assert_eq!(report.complaints.len(), 1, "{wrong}: {report:?}");
    }
}

#[test]
fn keep_alive_of_clients_is_set_on_tcp_sockets() {
    let keepalive = |more: &[&str]| {
        let mut section = section();
        let own =
            ["bind /x.sock", "option clitcpka"].iter().chain(more).copied().collect::<Vec<_>>();
        section.frontend = lines("f", &own);
        let (parts, complaints, _) = one(TIMEOUTS, &section);
        let addrs = parts.listener.unwrap().addrs;
        assert_eq!(addrs[0].options.keep_alive, None, "a unix socket has none");
        (addrs[1].options.keep_alive, complaints.len())
    };
    let all = ["clitcpka-cnt 3", "clitcpka-idle 10", "clitcpka-intvl 2s"];
    let (told, _) = keepalive(&all);
    let told = told.unwrap();
    assert_eq!((told.count, told.interval), (NonZeroU32::new(3), Some(Duration::from_secs(2))));
    assert_eq!(keepalive(&["clitcpka-cnt 0"]), (Some(KeepAlive::default()), 0));
    assert_eq!(keepalive(&["no option clitcpka"]), (None, 0));
    assert_eq!(told.idle, Some(Duration::from_secs(10)), "a bare number is of seconds");
    let rounded = keepalive(&["clitcpka-intvl 1500ms"]).0.unwrap();
    assert_eq!(rounded.interval, Some(Duration::from_secs(2)));
    assert_eq!(keepalive(&["clitcpka-intvl 10h"]).1, 1);
}

#[test]
fn a_service_without_port_or_disabled_has_no_listener() {
    let mut section = listen(&["mode udp"]);
    section.disabled = true;
    let (parts, complaints, warnings) = one(TIMEOUTS, &section);
    assert!(parts.listener.is_none());
    assert_eq!((complaints.len(), warnings.len()), (0, 1));
    section.disabled = false;
    section.port = PortKey::Omitted;
    assert!(one(TIMEOUTS, &section).0.listener.is_none());
}

#[test]
fn without_a_port_refused_lines_change_nothing_that_clients_see() {
    let mut section = listen(&["cookie SRV insert", "mode http", "retries x"]);
    assert_eq!(one(TIMEOUTS, &section).1.len(), 2);
    section.port = PortKey::Omitted;
    let (_, complaints, warnings) = one(TIMEOUTS, &section);
    assert_eq!((complaints.len(), warnings.len()), (1, 1));
}

#[test]
fn extra_sections_are_judged_by_what_they_serve() {
    let load = |title: &str, texts: &[&str]| {
        let mut report = Report::default();
        let top = TopSection {
            extra_sections: vec![(lines("t", &[title]).remove(0), lines("l", texts))],
            ..TopSection::default()
        };
        let top = resolve_top(&top, &mut report);
        let binds: Vec<String> = top.extra_binds.iter().map(|it| it.0.to_string()).collect();
        (binds.join(" "), report.complaints.len(), report.warnings.len())
    };
    let bound = |text: &str| text.to_owned();
    assert_eq!(load("listen stats :3212", &["stats enable"]), (bound("0.0.0.0:3212"), 0, 1));
    assert_eq!(
        load("listen stats", &["bind 127.0.0.1:1,127.0.0.2:2", "mode http", "stats uri /"]),
        (bound("127.0.0.1:1 127.0.0.2:2"), 0, 1)
    );
    assert_eq!(
        load(
            "frontend prom",
            &["bind :8405", "http-request use-service prometheus-exporter if { path /metrics }"]
        ),
        (bound("0.0.0.0:8405"), 0, 1)
    );
    assert_eq!(load("listen stats :1", &["stats enable", "statz uri"]), (bound("0.0.0.0:1"), 1, 1));
    assert_eq!(load("listen web :80", &["server a 1.2.3.4:80"]).1, 1);
    assert_eq!(load("backend b", &["server a 1.2.3.4:80"]).1, 1);
    assert_eq!(load("defaults", &["mode http"]).1, 1);
    assert_eq!(load("peers p", &["peer a 1.2.3.4:1"]), (String::new(), 0, 1));
    assert_eq!(load("nonsense", &[]).1, 1);
}

#[test]
fn the_status_table_names_classes_and_sections() {
    let mode = directives().iter().find(|it| it.keyword == "mode").unwrap();
    assert_eq!(mode.class.label(), "supported");
    let names: Vec<&str> = mode.sections.names().collect();
    assert_eq!(names, ["defaults", "frontend", "backend"]);
}

#[test]
fn missing_timeouts_are_warned_about_as_haproxy_does() {
    let (_, _, warnings) = one(&["timeout client 5s"], &section());
    assert_eq!(warnings.len(), 1);
    assert!(warnings[0].contains("connect, server"), "{warnings:?}");
}

#[test]
fn one_seed_serves_the_whole_process() {
    let (a, b) = (one(&[], &section()).0.order, one(&[], &section()).0.order);
    assert_eq!(a, b);
    let BackendOrder::Shuffled(ShuffleSeed(seed)) = a else { panic!("{a:?}") };
    assert!(seed < 2000);
}

#[test]
fn setting_names_are_unique() {
    let parts = one(TIMEOUTS, &server_options("check")).0;
    let names: BTreeSet<&str> = parts.origins.iter().map(|it| it.setting.as_str()).collect();
    assert_eq!(names.len(), parts.origins.len());
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]
    #[test]
    fn arbitrary_lines_never_panic(text in "\\PC*", keyword in 0..directives().len(), tail in "[0-9 :,%{}<>()\\\\/\"'#-]*") {
        let known = format!("{} {tail}", directives()[keyword].keyword);
        for text in [text.as_str(), known.as_str(), tail.as_str()] {
            let mut report = Report::default();
            let all = lines("l", &[text]);
            let top = TopSection {
                global: all.clone(),
                defaults: all.clone(),
                extra_sections: vec![(all[0].clone(), all.clone())],
                ..TopSection::default()
            };
            // No letters in the tail: names would be looked up, and that is not what is tested here.
            let top = resolve_top(&top, &mut report);
            let mut section = server_options(text);
            section.listen = all.clone();
            section.frontend = all.clone();
            section.backend = all;
            section.bind_options = section.server_options.clone();
            let parts = resolve_service(&ServiceName::new("x"), &section, &top, &mut report);
            let mut endpoint = Endpoint::new("h", 1);
            endpoint.server_options = Some(text.into());
            parts.rules.server(&endpoint);
        }
    }
}
