//! Sessions with a server that is removed.

use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use super::{PATIENCE, bound, downloads, until_logged};
use crate::support::lab::Lab;
use crate::support::origin::Origin;
use crate::support::synapse::{config, listener};
use crate::support::wait::eventually;

/// What `drain` leaves sessions in these tests.
const DRAIN: Duration = Duration::from_millis(700);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_remove_says_what_becomes_of_sessions() {
    let lab = Lab::new().await;
    let (a, b) = (lab.origin("A").await, lab.origin("B").await);
    let record =
        |it: &Origin| json!({"name": it.name(), "host": it.addr().ip(), "port": it.port()});
    let list = lab.write("backends.json", &json!([record(&a), record(&b)]).to_string());
    let mut services = json!({});
    let mut fronts = Vec::new();
    for mode in ["http", "tcp"] {
        for then in ["keep", "drain", "kill"] {
            let (name, front) = (format!("{mode}-{then}"), lab.free_addr());
            let log = lab.dir().join(format!("{name}.log"));
            services[&name] = json!({
                "discovery": {"method": "file", "path": list},
                "haproxy": listener(front, mode, &[]),
                "proxy": {
                    "on_remove": then, "drain_time": "700ms",
                    "access_log": {"to": log.to_str(), "format": "json"}
                }
            });
            fronts.push((name, front));
        }
    }
    let synapse = lab.synapse(config(services)).await;
    let mut sessions = Vec::new();
    for (name, front) in &fronts {
        sessions.push((name.as_str(), downloads(*front).await));
    }
    let removed = Instant::now();
    lab.write("backends.json", &json!([record(&b)]).to_string());
    for (name, _) in &fronts {
        eventually("A is no longer known", PATIENCE, || async {
            let servers = synapse.service(name).await["servers"].clone();
            if servers.as_array().is_some_and(|all| all.len() == 1) { Ok(()) } else { Err(servers) }
        })
        .await;
    }
    let seen = Instant::now();
    let mut survivors = Vec::new();
    for (name, [of_a, of_b]) in sessions {
        survivors.push(of_b);
        let (mode, then) = name.split_once('-').expect("both");
        if then == "keep" {
            survivors.push(of_a);
            continue;
        }
        let ended = tokio::time::timeout(PATIENCE, of_a.cut).await.expect("it ends").expect("cut");
        let grace = if then == "drain" { DRAIN } else { Duration::ZERO };
        assert!(ended >= removed + grace, "{name}: {:?} after the removal", ended - removed);
        assert!(ended <= seen + grace + bound(), "{name}: {:?} after it showed", ended - seen);
        let log = lab.dir().join(format!("{name}.log"));
        until_logged(&log, "A", &[if mode == "http" { "KD" } else { "K-" }]).await;
    }
    // By now all that is to end has ended.
    assert!(removed.elapsed() >= DRAIN);
    for session in &survivors {
        session.goes_on().await;
    }
}
