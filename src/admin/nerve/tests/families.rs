//! `/metrics`.

use super::*;
use crate::admin::tests::promtool;
use crate::admin::when::Now;
use crate::registry::{Session, SessionState};
use crate::telemetry::cold::ColdMetrics;
use crate::telemetry::names;
use crate::telemetry::render::Exposition;

fn families(services: &[super::super::desk::ServiceStatus]) -> String {
    use super::super::desk::Desk as _;

    let mut process = Script::new(Vec::new()).process();
    let lost = Session { state: SessionState::Disconnected, ..session() };
    process.sessions.push(("zk9:2181".into(), lost));
    let mut out = Exposition::new();
    metrics::families(&mut out, &process, services, Now::read());
    out.finish()
}

/// To accept a wanted change: `UPDATE_GOLDEN=1 cargo test --lib golden`.
#[tokio::test(start_paused = true)]
async fn nerves_metrics_match_the_golden_text() {
    let mut twins = unheard("svc.main:80");
    twins.watch.checks = [up("x").watch.checks, up("x").watch.checks].concat();
    let text = families(&[up("search"), down("ads"), twins]);
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/admin/nerve/golden_metrics.txt");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(path, &text).unwrap();
    }
    let golden = std::fs::read_to_string(path).unwrap();
    assert!(text == golden, "differs from {path}:\n{text}");
}

#[tokio::test]
async fn scrapes_pass_promtool_and_hold_known_families_only() {
    let script = Script::new(vec![up("search"), down("ads"), unheard("svc.main:80")]);
    let (_running, addr) = on_tcp(&script, false).await;
    let (status, text) = over_tcp(addr, "GET /metrics", &[]).await;
    assert_eq!(status, 200);
    promtool(&text);
    let shown: Vec<_> = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE "))
        .map(|line| line.split_once(' ').unwrap().0)
        .collect();
    for name in &shown {
        assert!(names::ALL.iter().any(|m| m.name == *name), "{name}");
        assert!(!name.starts_with("synapse_"), "{name}");
    }
    for metric in names::ALL.iter().filter(|m| m.name.starts_with("nerve_")) {
        let is_cold = [names::NERVE_ADMIN_REQUESTS, names::NERVE_STATSD_LOST].contains(metric);
        assert!(is_cold || shown.contains(&metric.name), "{} is never shown", metric.name);
    }
    assert_eq!(ColdMetrics::disconnected().render(), "");
}
