//! `/metrics`.

use std::time::Duration;

use super::*;
use crate::discovery::Membership;
use crate::proxy::Mode;
use crate::registry::SessionState;
use crate::telemetry::render::Exposition;

#[tokio::test]
async fn scrapes_pass_promtool() {
    let server = start(fixture::state()).await;
    let (status, head, text) = server.ask("GET", "/metrics", "").await;
    assert_eq!(status, 200);
    assert!(head.contains("text/plain; version=0.0.4"), "{head}");
    promtool(&text);
}

fn families(
    services: &[super::super::ServiceEntry],
    registries: &[super::super::RegistryEntry],
) -> String {
    let page = metrics::families(Exposition::new(), services, registries, Now::read());
    text_of(page)
}

fn text_of(page: metrics::Page) -> String {
    String::from_utf8(page.flatten().collect()).unwrap()
}

/// To accept a wanted change: `UPDATE_GOLDEN=1 cargo test --lib golden`.
#[tokio::test(start_paused = true)]
async fn metrics_match_the_golden_text() {
    let state = fixture::state();
    let text = families(&state.services.load(), &state.registries.load());
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/admin/golden_metrics.txt");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(path, &text).unwrap();
    }
    let golden = std::fs::read_to_string(path).unwrap();
    assert!(text == golden, "differs from {path}:\n{text}");
}

#[tokio::test]
async fn every_family_has_one_header_and_is_a_known_name() {
    let text = text_of(metrics::page(&fixture::state()));
    let mut seen = std::collections::HashSet::new();
    for name in text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE "))
        .map(|line| line.split_once(' ').unwrap().0)
    {
        assert!(seen.insert(name), "{name} twice");
        let known = crate::telemetry::names::ALL.iter().any(|m| m.name == name);
        assert!(known, "{name}");
    }
}

#[tokio::test]
async fn two_backends_with_one_server_name_give_two_series() {
    let search = fixture::search();
    let mut view = (*search.service.pool.view()).clone();
    let mut twin = crate::lb::made_up::backend(3);
    let backend = Arc::get_mut(&mut twin.backend).unwrap();
    backend.server_name = Arc::clone(&view.backends[0].backend.server_name);
    view.backends.push(Arc::new(twin));
    let text = families(&[fixture::entry("search", Mode::Http, view)], &[]);
    assert!(text.contains("backend=\"i-1_10.0.0.1:9000\"} 1"), "{text}");
    assert!(text.contains("backend=\"i-1_10.0.0.1:9000#3\"} 1"), "{text}");
    promtool(&text);
}

#[tokio::test]
async fn lost_sessions_and_fixed_lists_show_as_such() {
    let lost = fixture::registry(SessionState::Disconnected);
    let mut fixed = fixture::with_membership("static", Membership::Pending);
    fixed.source = crate::discovery::SourceSettings::Fixed;
    let text = families(&[fixed], &[lost]);
    assert!(text.contains("synapse_registry_connected{ensemble=\"zk1:2181\"} 0\n"));
    assert!(!text.contains("synapse_discovery_last_verified_age_seconds"));
}

#[tokio::test(start_paused = true)]
async fn a_silent_confirmation_resets_the_age() {
    let mut entry = fixture::search();
    let source = tokio::sync::watch::Sender::new(entry.service.pool.view().discovered.clone());
    entry.discovered = source.subscribe();
    tokio::time::advance(Duration::from_secs(90)).await;
    let age = "synapse_discovery_last_verified_age_seconds{service=\"search\"}";
    let text = families(std::slice::from_ref(&entry), &[]);
    assert!(text.contains(&format!("{age} 90\n")), "{text}");
    source.send_if_modified(|last| {
        last.verified = Some(tokio::time::Instant::now());
        false
    });
    assert!(families(&[entry], &[]).contains(&format!("{age} 0\n")));
}

#[tokio::test]
async fn in_flight_follows_the_leases() {
    let search = fixture::search();
    let lease = crate::lb::made_up::lease(&search.service.pool);
    let text = families(std::slice::from_ref(&search), &[]);
    assert!(text.contains(
        "synapse_backend_in_flight{service=\"search\",backend=\"i-1_10.0.0.1:9000\"} 1\n"
    ));
    drop(lease);
    assert!(families(&[search], &[]).contains("backend=\"i-1_10.0.0.1:9000\"} 0\n"));
}

#[tokio::test]
async fn a_big_host_is_rendered_in_a_moment() {
    let services = fixture::big(500);
    let start = of_this_thread();
    let text = families(&services, &[]);
    let took = of_this_thread() - start;
    println!("{} bytes, {} lines in {took:?}", text.len(), text.lines().count());
    // Unoptimised; optimised it is tens of milliseconds.
    assert!(took < Duration::from_secs(5), "{took:?}");
    let start = of_this_thread();
    let table = super::super::table::status_table(&services);
    assert_eq!(table.lines().count(), 1 + 500 * 21);
    assert!(of_this_thread() - start < Duration::from_secs(5));
}

/// Its CPU time: what others do on a busy machine does not count.
fn of_this_thread() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    time.try_into().unwrap()
}
