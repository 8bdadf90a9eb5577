//! Addresses of bind lines.

use super::*;

fn addrs(text: &str) -> Vec<(String, bool)> {
    match address(text).unwrap() {
        Target::Known(addrs) => addrs.iter().map(|a| (a.addr.to_string(), a.required)).collect(),
        Target::Unknown(other) => vec![(other, false)],
    }
}

#[test]
fn localhost_is_ipv4_and_ipv6_where_there_is_any() {
    assert_eq!(
        addrs("localhost:80"),
        [("127.0.0.1:80".to_owned(), true), ("[::1]:80".to_owned(), false)]
    );
}

#[test]
fn wildcards_brackets_and_paths() {
    for (text, addr) in [
        (":80", "0.0.0.0:80"),
        ("*:80", "0.0.0.0:80"),
        ("0.0.0.0:80", "0.0.0.0:80"),
        ("[::]:80", "[::]:80"),
        (":::80", "[::]:80"),
        ("::1:80", "[::1]:80"),
        ("ipv4@1.2.3.4:80", "1.2.3.4:80"),
        ("ipv4@:80", "0.0.0.0:80"),
        ("ipv6@*:80", "[::]:80"),
        ("/run/x.sock", "/run/x.sock"),
        ("unix@/run/x.sock", "/run/x.sock"),
        ("unix@x.sock", "unix@x.sock"),
        ("abns@name", "abns@name"),
        ("fd@3", "fd@3"),
    ] {
        assert_eq!(addrs(text)[0].0, addr, "{text}");
    }
    for text in
        ["", "80", ":0", ":x", "1.2.3.4:65536", ":90-80", ":1-9999", "no such host.invalid:80"]
    {
        assert!(address(text).is_err(), "{text}");
    }
}

#[test]
fn a_range_is_many_ports() {
    let ports: Vec<String> = addrs("127.0.0.1:80-82").into_iter().map(|it| it.0).collect();
    assert_eq!(ports, ["127.0.0.1:80", "127.0.0.1:81", "127.0.0.1:82"]);
}

#[test]
fn two_colons_are_both_families_unless_v6only() {
    let place = Place { file: "f".into(), path: String::new() };
    let addrs = |text: &str| {
        let words: Vec<String> = text.split(' ').map(str::to_owned).collect();
        let mut report = Report::default();
        let bound = line(&words, &place, &mut report);
        assert!(report.complaints.is_empty() && report.warnings.is_empty());
        bound.addrs.iter().map(|a| a.addr.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(addrs(":::80"), ["[::]:80", "0.0.0.0:80"]);
    assert_eq!(addrs(":::80 v4v6"), ["[::]:80", "0.0.0.0:80"]);
    assert_eq!(addrs(":::80 v6only"), ["[::]:80"]);
    assert_eq!(addrs("[::1]:80"), ["[::1]:80"]);
    assert_eq!(addrs("*:80"), ["0.0.0.0:80"]);
}

#[test]
fn names_are_looked_up() {
    assert!(resolve("localhost", 80).unwrap().is_loopback());
    assert!(resolve("bad host", 80).is_err());
    assert!(resolve("5", 80).is_err());
}

#[test]
fn protocols_of_all_lines_count_together() {
    use FrontProtocol::{Auto, Http1, Http2};
    let place = Place { file: "f".into(), path: String::new() };
    for (lines, common, warnings) in [
        (vec![], Auto, 0),
        (vec![Http2], Http2, 0),
        (vec![Http1, Http1], Http1, 0),
        (vec![Http2, Auto], Auto, 1),
    ] {
        let mut report = Report::default();
        assert_eq!(super::common(&lines, &place, &mut report), common, "{lines:?}");
        assert_eq!(report.warnings.len(), warnings, "{lines:?}");
    }
    let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
    let mut report = Report::default();
    assert_eq!(options_of(&words("backlog 5 proto h2"), &place, &mut report).protocol, Http2);
    assert_eq!(options_of(&words("backlog 0"), &place, &mut report).socket.backlog, None);
    assert!(report.complaints.is_empty());
    options_of(&words("proto fcgi"), &place, &mut report);
    assert_eq!(report.complaints.len(), 1);
}

proptest::proptest! {
    #[test]
    fn arbitrary_addresses_never_panic(text in "[0-9:\\[\\]/@*.]*") {
        drop(address(&text));
    }
}
