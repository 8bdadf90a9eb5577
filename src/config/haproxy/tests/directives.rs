//! The table of directives: each is judged as its class says, and shows what it sets.

use std::collections::BTreeSet;

use super::*;
use crate::endpoint::Endpoint;

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
fn directives_younger_than_synapse_are_honoured_by_class() {
    let (_, complaints, warnings) =
        one(TIMEOUTS, &listen(&["http-check send meth GET", "retry-on all"]));
    assert_eq!(complaints, Vec::<String>::new());
    assert_eq!(warnings.len(), 2);
    let (_, complaints, _) = one(TIMEOUTS, &listen(&["tcp-request session reject"]));
    assert_eq!(complaints.len(), 1);
}

#[test]
fn the_status_table_names_classes_and_sections() {
    let mode = directives().iter().find(|it| it.keyword == "mode").unwrap();
    assert_eq!(mode.class.label(), "supported");
    let names: Vec<&str> = mode.sections.names().collect();
    assert_eq!(names, ["defaults", "frontend", "backend"]);
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
