//! What is said of lines that are wrong, misplaced or dropped.

use super::*;

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
fn the_value_of_a_mistyped_word_is_no_second_mistake() {
    let mut report = Report::default();
    judge_server_options(&line_at("x", "check intre 2s rise x"), &mut report);
    let texts: Vec<_> = report.complaints.iter().map(|c| c.text.as_str()).collect();
    assert_eq!(texts.len(), 2, "{texts:?}");
    assert!(texts[0].contains("did you mean `inter`?"), "{texts:?}");
    assert!(texts[1].starts_with("`rise`: "), "{texts:?}");
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
fn routing_to_oneself_is_harmless_and_elsewhere_refused() {
    let mut section = section();
    section.frontend = lines("f", &["use_backend x if y", "default_backend x", "acl y path /"]);
    let (_, complaints, warnings) = one(TIMEOUTS, &section);
    assert_eq!((complaints.len(), warnings.len()), (0, 0));
    section.backend_name = Some("z".to_owned());
    assert_eq!(one(TIMEOUTS, &section).1.len(), 1);
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
fn missing_timeouts_are_warned_about_as_haproxy_does() {
    let (_, _, warnings) = one(&["timeout client 5s"], &section());
    assert_eq!(warnings.len(), 1);
    assert!(warnings[0].contains("connect, server"), "{warnings:?}");
}
