//! Which section has the last word.

use super::*;
use crate::config::balance::Algorithm;
use crate::lb::ShuffleSeed;
use crate::proxy::{CloseMode, Mode};

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
fn one_seed_serves_the_whole_process() {
    let (a, b) = (one(&[], &section()).0.order, one(&[], &section()).0.order);
    assert_eq!(a, b);
    let BackendOrder::Shuffled(ShuffleSeed(seed)) = a else { panic!("{a:?}") };
    assert!(seed < 2000);
}
