//! Start, check, reload, restart, stop.

mod changes;
mod owners;

use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::support::lab::Lab;
use crate::support::nerve::{Nerve, nodes, service, until_nodes};
use crate::support::synapse::run;
use crate::support::wait::always;
use crate::support::zookeeper::Zk;

const PATH: &str = "/nerve/services/web";

/// A service that is up, with further keys.
fn up(zk: &Zk, more: Value) -> Value {
    let mut all = json!({"checks": [{"type": "noop"}]});
    for (key, value) in more.as_object().expect("a map") {
        all[key] = value.clone();
    }
    service(&zk.connect_string(), PATH, ([10, 0, 0, 1], 8080).into(), all)
}

#[tokio::test]
async fn a_service_that_dies_is_gone_and_one_that_returns_is_back_within_its_interval() {
    let lab = Lab::alone().await;
    let zk = Zk::standalone();
    let client = zk.client().await;
    let mut origin = lab.origin_process("a").await;
    let fast = json!({"check_interval": 0.5, "checks": [{"type": "tcp", "timeout": 0.2}]});
    let config = json!({"services": {
        "web": service(&zk.connect_string(), PATH, origin.addr(), fast)
    }});
    let _nerve = Nerve::start(&lab, config).await;
    until_nodes(&client, PATH, 1).await;
    for _ in 0..3 {
        let begun = Instant::now();
        origin.kill9().await;
        until_nodes(&client, PATH, 0).await;
        assert!(begun.elapsed() < Duration::from_millis(700), "gone after {:?}", begun.elapsed());
        origin = lab.origin_process_at("a", origin.addr()).await;
        let begun = Instant::now();
        until_nodes(&client, PATH, 1).await;
        assert!(begun.elapsed() < Duration::from_millis(700), "back after {:?}", begun.elapsed());
    }
}

#[tokio::test]
async fn sigterm_deregisters_and_exits_0_also_while_a_check_hangs() {
    let lab = Lab::new().await;
    let zk = Zk::standalone();
    let client = zk.client().await;
    let silent = std::net::TcpListener::bind((lab.ip(), 0)).expect("a port");
    let hanging = json!({"zk_path": "/nerve/services/slow", "checks": [
        {"type": "noop"},
        {"type": "http", "uri": "/", "timeout": 30, "open_timeout": 30, "fall": 1}
    ]});
    let slow = service(&zk.connect_string(), PATH, silent.local_addr().expect("bound"), hanging);
    let nerve =
        Nerve::start(&lab, json!({"services": {"web": up(&zk, json!({})), "slow": slow}})).await;
    until_nodes(&client, PATH, 1).await;
    let begun = Instant::now();
    nerve.signal(Signal::TERM);
    until_nodes(&client, PATH, 0).await;
    let gone = begun.elapsed();
    let mut nerve = nerve;
    assert_eq!(nerve.ended().await.code(), Some(0));
    assert!(gone < Duration::from_millis(500), "gone after {gone:?}");
    assert!(begun.elapsed() < Duration::from_secs(2), "ended after {:?}", begun.elapsed());
}

#[tokio::test]
async fn a_stop_ends_in_time_though_zookeeper_hangs() {
    let lab = Lab::new().await;
    let zk = Zk::standalone();
    let client = zk.client().await;
    let config = json!({"stop_timeout": "1s", "services": {"web": up(&zk, json!({}))}});
    let nerve = Nerve::start(&lab, config).await;
    until_nodes(&client, PATH, 1).await;
    zk.stop();
    let begun = Instant::now();
    let status = nerve.stop().await;
    zk.cont();
    assert_eq!(status.code(), Some(0));
    assert!(begun.elapsed() < Duration::from_secs(6), "ended after {:?}", begun.elapsed());
}

#[tokio::test]
async fn a_killed_nerve_goes_on_with_its_node() {
    let lab = Lab::new().await;
    let zk = Zk::standalone();
    let client = zk.client().await;
    for kind in ["ephemeral_sequential", "ephemeral", "persistent_sequential", "persistent"] {
        let path = format!("/nerve/services/{kind}");
        let web = up(&zk, json!({"node_type": kind, "zk_path": path}));
        let state_dir = lab.dir().join(kind);
        let config = json!({"state_dir": state_dir, "services": {"web": web}});
        let mut nerve = Nerve::start(&lab, config).await;
        let before = until_nodes(&client, &path, 1).await;
        for _ in 0..3 {
            nerve.kill9().await;
            nerve = nerve.again().until_listening().await;
            nerve.until_ready().await;
            assert_eq!(nodes(&client, &path).await, before, "{kind}: the same node, same owner");
        }
        assert_eq!(nerve.stop().await.code(), Some(0));
        until_nodes(&client, &path, 0).await;
    }
}

#[tokio::test]
async fn sigusr2_leaves_everything_to_the_successor() {
    let lab = Lab::new().await;
    let zk = Zk::standalone();
    let client = zk.client().await;
    let mut nerve = Nerve::start(&lab, json!({"services": {"web": up(&zk, json!({}))}})).await;
    let before = until_nodes(&client, PATH, 1).await;
    nerve.signal(Signal::USR2);
    assert_eq!(nerve.ended().await.code(), Some(0));
    assert_eq!(nodes(&client, PATH).await, before);
    let nerve = nerve.again().until_listening().await;
    nerve.until_ready().await;
    // Longer than the session of a process that is gone: 10 s is the server's longest.
    always("the node stays", Duration::from_secs(2), || async {
        let now = nodes(&client, PATH).await;
        if now == before { Ok(()) } else { Err(now) }
    })
    .await;
}

#[tokio::test]
async fn two_at_once_never_leave_a_gap() {
    let lab = Lab::new().await;
    let zk = Zk::standalone();
    let client = zk.client().await;
    let fixed = up(&zk, json!({"node_type": "ephemeral", "zk_path": "/nerve/services/fixed"}));
    let config = json!({"services": {"web": up(&zk, json!({})), "fixed": fixed}});
    let mut old = Nerve::start(&lab, config).await;
    until_nodes(&client, PATH, 1).await;
    for _ in 0..3 {
        let new = old.sibling(&lab).await;
        new.until_ready().await;
        until_nodes(&client, PATH, 2).await;
        assert_eq!(nodes(&client, "/nerve/services/fixed").await.len(), 1);
        assert_eq!(old.stop().await.code(), Some(0));
        assert_eq!(nodes(&client, PATH).await.len(), 1);
        assert_eq!(nodes(&client, "/nerve/services/fixed").await.len(), 1, "the younger has it");
        old = new;
    }
}

#[tokio::test]
async fn check_config_says_what_is_wrong_and_starts_nothing() {
    let lab = Lab::new().await;
    let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden");
    for (file, code) in [
        ("n1_nerve_minimal.json", 0),
        ("n2_nerve_breadth.yaml", 0),
        ("n3_nerve_yelp.json", 0),
        ("n4_nerve_etcd.json", 1),
    ] {
        let begun = Instant::now();
        let said = run("nerve", &["-c", &format!("{golden}/{file}"), "-k"], &[]).await;
        assert_eq!(said.code, Some(code), "{file}: {}", said.stderr);
        assert!(begun.elapsed() < Duration::from_secs(1), "{file}: {:?}", begun.elapsed());
        assert_eq!(said.stderr.contains("etcd"), code == 1, "{file}: {}", said.stderr);
    }
    let bad =
        lab.write("bad.yaml", "services:\n  web: {port: 1, weight: x, checks: [{type: ldap}]}\n");
    let said =
        run("nerve", &["-c", bad.to_str().expect("text")], &[("NERVE_CHECK_CONFIG", "false")])
            .await;
    assert_eq!(said.code, Some(1));
    for part in ["instance_id", "services.web.host", "weight", "ldap", "zk_hosts", "zk_path"] {
        assert!(said.stderr.contains(part), "{part}: {}", said.stderr);
    }
}
