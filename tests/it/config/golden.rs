//! The golden files, loaded and served.

use std::net::{SocketAddr, TcpListener};

use serde_json::{Value, json};

use super::{G1, G2, PATIENCE, check};
use crate::support::client::{get, sequence};
use crate::support::lab::Lab;
use crate::support::registry::Registrations;
use crate::support::synapse::Synapse;
use crate::support::wait::eventually;
use crate::support::zookeeper::Zk;

#[tokio::test]
async fn the_golden_configs_load_as_they_are() {
    let lab = Lab::new().await;
    for (name, text) in [("g1.json", G1), ("g2.json", G2)] {
        let output = check(&lab.write(name, text)).await;
        assert_eq!(output.code, Some(0), "{name}: {}{}", output.stdout, output.stderr);
    }
}

#[tokio::test]
async fn g1_serves_its_active_server_and_then_the_backup() {
    let lab = Lab::new().await;
    let (a, b) = (lab.origin("A").await, lab.origin("B").await);
    // `bind_address` is left to its default, `localhost`: the port must be free on 127.0.0.1.
    let port = {
        let held = TcpListener::bind("127.0.0.1:0").expect("a port");
        held.local_addr().expect("its address").port()
    };
    let ip = lab.ip().to_string();
    let text = G1
        .replace("10.20.0.4\", \"port\": 8081", &format!("{ip}\", \"port\": {}", a.port()))
        .replace("10.20.0.5\", \"port\": 8081", &format!("{ip}\", \"port\": {}", b.port()))
        .replace("\"port\": 3310", &format!("\"port\": {port}"))
        .replace("inter 2s", "inter 200ms");
    let _synapse = start(&lab, &text).await;
    let front = SocketAddr::from(([127, 0, 0, 1], port));
    assert_eq!(sequence(front, 6).await, "AAAAAA");
    a.die().await;
    eventually("the backup takes over", PATIENCE, || async {
        let answer = get(front, "/").await?;
        if answer.text() == "B" { Ok(()) } else { Err(answer.text()) }
    })
    .await;
}

#[tokio::test]
async fn g2_serves_what_an_independent_client_registers() {
    let lab = Lab::new().await;
    let zk = Zk::ensemble(3);
    let registrations = Registrations::connect(&zk.connect_string()).await;
    let leader = register_for_g2(&lab, &registrations).await;
    let hosts: Vec<String> = zk.connect_string().split(',').map(str::to_owned).collect();
    let ip = lab.ip().to_string();
    let text = G2
        .replace("zk2.example.com:2181", &hosts[1])
        .replace("zk1.example.com:2181", &hosts[0])
        .replace("zk3.example.com:2181", &hosts[2])
        .replace("127.0.0.2", &ip)
        .replace("10.9.9.9", &ip)
        .replace("\"port\": 3301,", &format!("\"port\": 3301, \"bind_address\": \"{ip}\","))
        .replace(":3212", &lab.free_addr().to_string());
    let synapse = start(&lab, &text).await;
    // Until then the default server is in force, which makes the service ready.
    eventually("discovery is heard", PATIENCE, || async {
        let heard = synapse.service("search").await["discovery"]["membership"].clone();
        if heard == "known" { Ok(()) } else { Err(heard) }
    })
    .await;
    let seen = sequence(SocketAddr::new(lab.ip(), 3301), 8).await;
    assert!(seen == "AB".repeat(4) || seen == "BA".repeat(4), "two active, one backup: {seen}");
    let users = SocketAddr::new(lab.ip(), 3302);
    assert_eq!(greeting(users).await, "1", "the smallest id that the filters let through");
    registrations.delete(&leader).await;
    eventually("the next leader", PATIENCE, || async {
        let name = greeting(users).await;
        if name == "2" { Ok(()) } else { Err(name) }
    })
    .await;
}

/// Backends for both services of g2; gives the node of the second one's leader.
async fn register_for_g2(lab: &Lab, registrations: &Registrations) -> String {
    let search = "/prod/services/search/services";
    registrations.path(search).await;
    registrations.nerve(search, &lab.origin("A").await).await;
    registrations.path_encoded(search, &lab.origin("B").await).await;
    let backup = json!({"haproxy_server_options": "backup"});
    registrations.nerve_with(search, &lab.origin("C").await, backup).await;

    let users = "/prod/services/users-db/services";
    registrations.path(users).await;
    let mut nodes = Vec::new();
    for (name, role, az) in [
        ("W", "master", "us-east-1e"),
        ("S", "slave", "us-east-1a"),
        ("1", "master", "us-east-1a"),
        ("2", "master", "us-east-1b"),
    ] {
        let labels = json!({"labels": {"role": role, "az": az}});
        let origin = lab.tcp_origin(name).await;
        nodes.push(registrations.nerve_with(users, &origin, labels).await);
    }
    nodes.swap_remove(2)
}

async fn greeting(addr: SocketAddr) -> String {
    let mut conn = crate::support::client::Conn::open(addr).await.expect("connect");
    conn.line().await.unwrap_or_else(|e| format!("({e})"))
}

/// Starts synapse with a file's text; only `admin` and `state_dir` come from an overlay, as they would in production.
async fn start(lab: &Lab, text: &str) -> Synapse {
    let mut config: Value = serde_json::from_str(text).expect("JSON");
    config["haproxy"]["restart_interval"] = json!(1);
    lab.synapse(config).await
}
