//! Options of servers: of the service, of a registration, and nerve's weights.

use std::num::NonZeroU32;

use super::*;
use crate::endpoint::{Endpoint, Weight};
use crate::lb::ServerSettings;

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
