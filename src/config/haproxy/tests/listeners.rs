//! Where a service listens, and with which options.

use std::num::NonZeroU32;

use super::*;
use crate::dial::KeepAlive;

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
fn a_backlog_of_0_is_not_set() {
    for (line, backlog) in [("backlog 7", 7), ("backlog 0", defaults::BACKLOG)] {
        let (parts, complaints, _) = one(&[TIMEOUTS, &["backlog 9"]].concat(), &listen(&[line]));
        assert_eq!(complaints, [""; 0], "{line}");
        assert_eq!(parts.listener.unwrap().backlog, backlog, "{line}");
    }
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
