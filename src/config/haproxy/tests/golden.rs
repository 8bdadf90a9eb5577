//! Whole configurations.

use std::num::NonZeroU32;

use super::*;
use crate::config::balance::Algorithm;
use crate::endpoint::Endpoint;
use crate::health::ProbeSettings;
use crate::lb::ShuffleSeed;
use crate::proxy::{CloseMode, Mode, Redispatch};

#[test]
fn golden_g1_loads_without_a_word() {
    let (top, parts, report) =
        load(include_str!("../../../../tests/golden/g1_synapse_minimal.json"));
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
    let (top, _, report) = load(include_str!("../../../../tests/golden/g2_synapse_zk.json"));
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
    let (_, parts, _) = load(include_str!("../../../../tests/golden/g2_synapse_zk.json"));
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
    let (_, parts, report) = load(include_str!("../../../../tests/golden/g7_yelp_synapse.json"));
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
