//! What `proxy.connect` and the haproxy lines come to together: the ways of traffic and of checks.

use std::sync::Arc;
use std::time::Duration;

use crate::config::ServiceConfig;
use crate::config::synapse::tests::{complaints, good};
use crate::dial::Way;
use crate::dial::header::Form;
use crate::endpoint::Endpoint;

/// One service: `proxy` at the top, lines, server options, its own `proxy`.
fn text([top, listen, options, own]: [&str; 4]) -> String {
    format!(
        "proxy: {{{top}}}
haproxy: {{global: [], defaults: [timeout connect 1s, timeout client 2s, timeout server 3s]}}
services:
  a:
    discovery: {{method: file, path: /f}}
    default_servers: [{{host: 10.0.0.9, port: 80}}]
    haproxy: {{port: 3300, listen: [{listen}], server_options: '{options}'}}
    proxy: {{{own}}}
"
    )
}

fn service(said: [&str; 4]) -> ServiceConfig {
    good(&text(said)).config.services.remove(0)
}

/// The ways of the traffic and the checks of a server.
fn ways(said: [&str; 4]) -> (Option<Arc<Way>>, Option<Arc<Way>>) {
    let settings = service(said).pool.servers.server(&Endpoint::new("10.0.0.1", 80));
    assert!(settings.complaints.is_empty(), "{:?}", settings.complaints);
    (settings.way, settings.check.and_then(|check| check.way))
}

fn header(said: [&str; 4]) -> (Option<Form>, Option<Form>) {
    let (traffic, check) = ways(said);
    let of = |way: Option<Arc<Way>>| way.and_then(|way| way.header);
    (of(traffic), of(check))
}

#[test]
fn usual_servers_have_no_way() {
    for options in ["check", "check send-proxy no-send-proxy", "check source 0.0.0.0", "tcp-ut 0"] {
        assert_eq!(ways(["", "", options, ""]), (None, None), "{options}");
    }
}

#[test]
fn checks_begin_with_a_header_where_haproxys_do() {
    let (v1, v2) = (Some(Form::V1), Some(Form::V2));
    for (options, wanted) in [
        ("send-proxy", (v1, None)),
        ("check send-proxy", (v1, v1)),
        ("check send-proxy send-proxy-v2", (v2, v2)),
        ("check send-proxy-v2 no-send-proxy-v2 send-proxy", (v1, v1)),
        ("check send-proxy-v2-ssl", (Some(Form::V2Ssl), Some(Form::V2Ssl))),
        ("check send-proxy port 99", (v1, None)),
        ("check send-proxy addr 10.0.0.2", (v1, None)),
        ("check send-proxy-v2 port 99 check-send-proxy", (v2, v2)),
        ("check check-send-proxy", (None, v1)),
        ("check send-proxy-v2-ssl no-send-proxy-v2", (v1, v1)),
        ("check send-proxy-v2-ssl no-send-proxy-v2-ssl", (None, None)),
    ] {
        assert_eq!(header(["", "", options, ""]), wanted, "{options}");
    }
}

#[test]
fn a_backend_has_a_source_and_keep_alive_for_its_servers() {
    let lines = "source 10.0.0.7 interface eth1, option srvtcpka, srvtcpka-idle 1m, srvtcpka-cnt 4";
    let (traffic, check) = ways(["", lines, "check tcp-ut 5s", ""]);
    let way = traffic.unwrap();
    assert_eq!(way.source.as_ref().unwrap().to_string(), "10.0.0.7");
    assert_eq!(way.device.as_deref(), Some("eth1"));
    assert_eq!(way.user_timeout, Some(Duration::from_secs(5)));
    assert_eq!(way.keep_alive.unwrap().to_string(), "on, idle 60s, cnt 4");
    assert_eq!(Some(way), check);
    let (own, _) = ways(["", lines, "source 10.0.0.8:1000-2000", ""]);
    let own = own.unwrap();
    assert_eq!(own.source.as_ref().unwrap().to_string(), "10.0.0.8:1000-2000");
    assert_eq!(own.device, None, "the device belongs to the other source");
}

#[test]
fn keys_of_the_service_are_the_last_word_and_those_of_the_top_the_first() {
    let top = "connect: {send_proxy: v1, source: 10.0.0.5}";
    assert_eq!(header([top, "", "check", ""]), (Some(Form::V1), Some(Form::V1)));
    assert_eq!(header([top, "", "check send-proxy-v2", ""]), (Some(Form::V2), Some(Form::V2)));
    let own = "connect: {send_proxy: false, keep_alive: true, interface: lo}";
    let (way, _) = ways([top, "", "check send-proxy-v2 source 10.0.0.6", own]);
    let way = way.unwrap();
    assert_eq!(way.header, None);
    assert_eq!(way.source.as_ref().unwrap().to_string(), "10.0.0.6");
    assert_eq!((way.device.as_deref(), way.keep_alive.is_some()), (Some("lo"), true));
    let service = service([top, "", "send-proxy-v2", own]);
    let shown = |name: &str| {
        let found = service.origins.iter().find(|it| it.setting == name).unwrap();
        (found.value.clone(), found.origin.clone())
    };
    let said = |value: &str| (value.to_owned(), "services.a.proxy.connect".to_owned());
    assert_eq!(shown("srvtcpka"), said("on"));
    assert_eq!(shown("server.send-proxy"), said("none"));
    assert_eq!(shown("server.source").1, "proxy.connect");
}

#[test]
fn checks_begin_with_the_header_that_all_layers_come_to() {
    let (v1, v2) = (Some(Form::V1), Some(Form::V2));
    for (said, wanted) in [
        (["", "", "check send-proxy", "check: {port: 99}"], (v1, None)),
        (["connect: {send_proxy: v1}", "", "check", "check: {port: 99}"], (v1, None)),
        (["", "", "check send-proxy check-send-proxy", "check: {port: 99}"], (v1, v1)),
        (["", "", "send-proxy", "check: true"], (v1, v1)),
        (["", "", "check check-send-proxy", "connect: {send_proxy: v2}"], (v2, v2)),
        (["connect: {send_proxy: v2}", "", "check check-send-proxy port 9", ""], (v2, v2)),
        (
            ["", "", "check send-proxy-v2 check-send-proxy", "connect: {send_proxy: none}"],
            (None, None),
        ),
    ] {
        assert_eq!(header(said), wanted, "{said:?}");
    }
}

#[test]
fn defaults_leave_alone_what_a_service_says_even_if_it_says_none() {
    let top = "connect: {send_proxy: v1, source: 10.0.0.5, user_timeout: 9s, keep_alive: true}";
    let options = "no-send-proxy tcp-ut 0 source 0.0.0.0";
    let said = [top, "no option srvtcpka", options, ""];
    assert_eq!(ways(said).0, None);
    let service = |said| service(said).origins;
    let shown = |origins: &[crate::config::EffectiveValue], name: &str| {
        origins.iter().find(|it| it.setting == name).unwrap().value.clone()
    };
    let origins = service(said);
    assert_eq!(shown(&origins, "server.send-proxy"), "none");
    assert_eq!(shown(&origins, "server.source"), "0.0.0.0");
    assert_eq!(shown(&origins, "srvtcpka"), "none");
    let lines = "source 10.0.0.7 interface eth1";
    let said = ["connect: {source: 10.0.0.5, interface: eth2}", lines, "", ""];
    let (way, _) = ways(said);
    let way = way.unwrap();
    assert_eq!(way.source.as_ref().unwrap().to_string(), "10.0.0.7");
    assert_eq!(way.device.as_deref(), Some("eth1"));
    assert!(service(said).iter().all(|it| it.setting != "server.source"), "the line's is shown");
}

#[test]
fn the_top_level_is_stronger_than_what_haproxys_defaults_say() {
    let text = text(["connect: {send_proxy: none}", "", "check", ""])
        .replace("timeout server 3s", "timeout server 3s, default-server send-proxy");
    let service = good(&text).config.services.remove(0);
    let settings = service.pool.servers.server(&Endpoint::new("10.0.0.1", 80));
    assert_eq!(settings.way, None);
    let shown = service.origins.iter().find(|it| it.setting == "server.send-proxy").unwrap();
    assert_eq!((&*shown.value, &*shown.origin), ("none", "proxy.connect"));
}

#[test]
fn no_name_is_looked_up_for_a_registration() {
    let service = service(["", "", "", ""]);
    let mut endpoint = Endpoint::new("10.0.0.1", 80);
    endpoint.server_options = Some("source localhost".into());
    let settings = service.pool.servers.server(&endpoint);
    assert_eq!(settings.way, None);
    assert!(settings.complaints[0].contains("names are not looked up"), "{settings:?}");
    endpoint.server_options = Some("source 10.0.0.7".into());
    assert!(service.pool.servers.server(&endpoint).way.is_some());
    let (way, _) = ways(["", "", "source localhost", ""]);
    assert!(way.unwrap().source.as_ref().unwrap().ip.is_loopback(), "the file's is");
}

#[test]
fn families_are_compared_when_all_have_spoken() {
    let own = "connect: {source: 10.0.0.7}";
    let said = service(["", "", "source ::1", own]);
    let complaints =
        |host: &str| said.pool.servers.server(&Endpoint::new(host, 80)).complaints.len();
    assert_eq!(complaints("10.0.0.1"), 0, "what counts is v4");
    assert_eq!(complaints("::1"), 1);
    let found = crate::config::synapse::tests::complaints(&text(["", "", "check addr ::1", own]));
    assert!(found.iter().any(|it| it.contains("from there to ::1")), "for its check: {found:?}");
}

#[test]
fn mistakes_are_named() {
    for (said, part) in [
        (["", "", "source ::1", ""], "one is IPv4, one IPv6"),
        (["", "", "usesrc clientip", ""], "`usesrc` is refused"),
        (["", "source 10.0.0.1 usesrc client", "", ""], "`usesrc` is refused"),
        (["", "", "source 127.0.0.1:1-x", ""], "\"x\" is not a whole number"),
        (["", "srvtcpka-idle 40000", "", ""], "\"40000\" is more than 32767 seconds"),
        (["", "", "", "connect: {send_proxy: v3}"], "services.a.proxy.connect.send_proxy"),
        (["", "", "", "connect: {source: '::1'}"], "one is IPv4, one IPv6"),
        (["", "", "", "connect: {keep_alive: {idle: 0.5}}"], "less than a second"),
        (["", "", "", "connect: {keep_alive: {idle: 32768}}"], "more than 32767 seconds"),
        (["", "", "", "connect: {keep_alive: {interval: 10h}}"], "more than 32767 seconds"),
        (["", "", "", "connect: {user_timeout: 25d}"], "more than 2147483647ms"),
    ] {
        let found = complaints(&text(said));
        assert!(found.iter().any(|it| it.contains(part)), "{said:?}: {found:?}");
    }
}

#[test]
fn a_default_server_may_listen_on_a_socket() {
    let text = |server: &str| {
        format!(
            "haproxy: {{global: [], defaults: [timeout connect 1s, timeout client 2s, timeout server 3s]}}
services:
  a: {{discovery: {{method: base}}, default_servers: [{server}], backend_port_override: 9, haproxy: {{port: 3300}}}}
"
        )
    };
    for server in ["{host: 'unix@/run/a.sock'}", "{host: /run/a.sock, name: x}"] {
        let service = good(&text(server)).config.services.remove(0);
        let endpoint = &service.pool.membership.default_servers[0];
        assert_eq!(endpoint.socket().unwrap().to_str(), Some("/run/a.sock"), "{server}");
    }
    for (server, part) in [
        ("{host: /run/a.sock, port: 80}", "a unix socket has no port"),
        ("{host: 'unix@run/a.sock'}", "write an absolute path"),
        ("{host: 'abns@a', port: 1}", "is not a unix socket"),
        ("{host: a}", "port"),
    ] {
        let found = complaints(&text(server));
        assert!(found.iter().any(|it| it.contains(part)), "{server}: {found:?}");
    }
}
