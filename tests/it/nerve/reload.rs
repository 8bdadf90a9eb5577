//! SIGHUP: what is not changed notices nothing, and nothing waits for what is.

use std::path::Path;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::support::lab::Lab;
use crate::support::nerve::{Nerve, nodes, service, until_nodes};
use crate::support::wait::eventually;
use crate::support::zookeeper::Zk;

const PATIENCE: Duration = Duration::from_secs(20);

fn path(name: &str) -> String {
    format!("/nerve/services/{name}")
}

fn up(zk: &Zk, name: &str, more: Value) -> Value {
    let mut all = json!({"checks": [{"type": "noop"}]});
    for (key, value) in more.as_object().expect("a map") {
        all[key] = value.clone();
    }
    service(&zk.connect_string(), &path(name), ([10, 0, 0, 1], 8080).into(), all)
}

fn touched(file: &Path) -> SystemTime {
    std::fs::metadata(file).and_then(|m| m.modified()).expect("a heartbeat")
}

#[tokio::test]
async fn nothing_waits_for_a_changed_service_whose_check_hangs() {
    let lab = Lab::new().await;
    let zk = Zk::standalone();
    let client = zk.client().await;
    let origin = lab.origin("a").await;
    let heartbeat = lab.dir().join("heartbeat");
    let keys = json!({"zk_path": path("live"), "check_interval": 0.05, "checks": [
        {"type": "http", "uri": "/ping", "timeout": 1}
    ]});
    let live = service(&zk.connect_string(), &path("live"), origin.addr(), keys);
    let config = |slow: Value| json!({"heartbeat_path": heartbeat, "services": {"slow": slow, "live": live}});
    let nerve = Nerve::start(&lab, config(up(&zk, "slow", json!({})))).await;
    let old = until_nodes(&client, &path("slow"), 1).await;
    until_nodes(&client, &path("live"), 1).await;
    // The changed one is asked at an address where nobody ever answers.
    let silent = std::net::TcpListener::bind((lab.ip(), 0)).expect("a port");
    let addr = silent.local_addr().expect("bound");
    let hanging = json!({"weight": 7, "port": 8081, "checks": [
        {"type": "http", "uri": "/", "host": addr.ip().to_string(), "port": addr.port(),
         "timeout": 60, "open_timeout": 60}
    ]});
    nerve.rewrite(config(up(&zk, "slow", hanging.clone())));
    let begun = Instant::now();
    assert!(nerve.reload().await, "{}", nerve.log());
    assert!(begun.elapsed() < Duration::from_secs(2), "reloaded in {:?}", begun.elapsed());
    for _ in 0..3 {
        let before = touched(&heartbeat);
        eventually("the heart beats", Duration::from_secs(3), || async {
            if touched(&heartbeat) > before { Ok(()) } else { Err(before) }
        })
        .await;
    }
    // Meanwhile the others are watched, and the former registration stays: the new one does not stand.
    origin.set_check_status(500);
    until_nodes(&client, &path("live"), 0).await;
    origin.set_check_status(200);
    until_nodes(&client, &path("live"), 1).await;
    assert_eq!(nodes(&client, &path("slow")).await, old);
    // Another reload does not wait for it, and neither does a stop.
    nerve.rewrite(config(up(&zk, "slow", json!({"port": 8082}))));
    assert!(nerve.reload().await, "{}", nerve.log());
    eventually("the next one stands", PATIENCE, || async {
        let seen = nodes(&client, &path("slow")).await;
        if seen.iter().any(|node| node.data.contains("8082")) { Ok(()) } else { Err(seen) }
    })
    .await;
    nerve.rewrite(config(up(&zk, "slow", hanging)));
    assert!(nerve.reload().await, "{}", nerve.log());
    let begun = Instant::now();
    assert_eq!(nerve.stop().await.code(), Some(0));
    assert!(begun.elapsed() < Duration::from_secs(2), "stopped in {:?}", begun.elapsed());
    assert!(nodes(&client, &path("slow")).await.is_empty());
}

const KINDS: [&str; 4] =
    ["ephemeral_sequential", "ephemeral", "persistent_sequential", "persistent"];

#[tokio::test]
async fn fifty_reloads_leave_alone_what_they_do_not_change() {
    let lab = Lab::new().await;
    let zk = Zk::standalone();
    let client = zk.client().await;
    let config = |turn: u16| {
        let mut services = serde_json::Map::new();
        for kind in KINDS {
            services.insert(kind.to_owned(), up(&zk, kind, json!({"node_type": kind})));
        }
        let changing = json!({"port": 8000 + turn, "weight": turn});
        services.insert("changing".into(), up(&zk, "changing", changing));
        if turn.is_multiple_of(2) {
            services.insert("sometimes".into(), up(&zk, "sometimes", json!({})));
        }
        json!({"services": services})
    };
    let nerve = Nerve::start(&lab, config(0)).await;
    let mut before = Vec::new();
    for kind in KINDS {
        before.push(until_nodes(&client, &path(kind), 1).await);
    }
    for turn in 1..=50 {
        nerve.rewrite(config(turn));
        assert!(nerve.reload().await, "{}", nerve.log());
    }
    let (changing, sometimes) = (path("changing"), path("sometimes"));
    eventually("the last configuration", PATIENCE, || async {
        let seen = nodes(&client, &changing).await;
        let is_last = seen.len() == 1 && seen[0].data.contains("\"port\":8050");
        if is_last { Ok(()) } else { Err(seen) }
    })
    .await;
    until_nodes(&client, &sometimes, 1).await;
    for (kind, before) in KINDS.iter().zip(before) {
        assert_eq!(nodes(&client, &path(kind)).await, before, "{kind}");
    }
    assert_eq!(nerve.stop().await.code(), Some(0));
    for name in KINDS.iter().chain(&["changing", "sometimes"]) {
        assert!(nodes(&client, &path(name)).await.is_empty(), "{name}");
    }
}

/// One new name after the other, whatever the reporter of the former one is doing at that moment.
#[tokio::test]
async fn fifty_renames_leave_every_node_alone() {
    let lab = Lab::new().await;
    let zk = Zk::standalone();
    let client = zk.client().await;
    let config = |turn: u16, more: &Value| {
        let mut services = serde_json::Map::new();
        for kind in KINDS {
            let mut keys = more.clone();
            keys["node_type"] = json!(kind);
            services.insert(format!("{kind}-{turn}"), up(&zk, kind, keys));
        }
        json!({"services": services})
    };
    let nerve = Nerve::start(&lab, config(0, &json!({}))).await;
    let mut before = Vec::new();
    for kind in KINDS {
        before.push(until_nodes(&client, &path(kind), 1).await);
    }
    for turn in 1..=50 {
        nerve.rewrite(config(turn, &json!({})));
        assert!(nerve.reload().await, "{}", nerve.log());
    }
    nerve.until_settled(&[]).await;
    for (kind, before) in KINDS.iter().zip(before) {
        assert_eq!(nodes(&client, &path(kind)).await, before, "{kind}");
    }
    // With another weight each time a new node stands before the former one goes: none is left behind.
    for turn in 51..=70 {
        nerve.rewrite(config(turn, &json!({"weight": turn})));
        assert!(nerve.reload().await, "{}", nerve.log());
    }
    nerve.until_settled(&[]).await;
    for kind in KINDS {
        eventually("one node, with the last weight", PATIENCE, || async {
            let seen = nodes(&client, &path(kind)).await;
            let is_it = seen.len() == 1 && seen[0].data.contains("\"weight\":70");
            if is_it { Ok(()) } else { Err(seen) }
        })
        .await;
    }
    assert_eq!(nerve.stop().await.code(), Some(0));
    for kind in KINDS {
        assert!(nodes(&client, &path(kind)).await.is_empty(), "{kind}");
    }
}
