//! What must not bring the process down, nor keep it busy.

use std::process::Stdio;
use std::time::Duration;

use serde_json::json;
use tokio::process::Command;

use crate::scale::cpu_seconds;
use crate::support::client::{Conn, get, sequence};
use crate::support::lab::Lab;
use crate::support::memory::limit;
use crate::support::oracle::need;
use crate::support::synapse::{binary, config, fixed, listener};
use crate::support::wait::{always, eventually};

const PATIENCE: Duration = Duration::from_secs(10);

#[tokio::test]
async fn running_out_of_descriptors_is_survived() {
    let lab = Lab::new().await;
    let origin = lab.origin("A").await;
    let front = lab.free_addr();
    let service = fixed(front, "http", &[], &[("a", origin.addr(), "")]);
    let synapse = lab.synapse(config(json!({"web": service}))).await;
    let open = std::fs::read_dir(format!("/proc/{}/fd", synapse.pid())).expect("running").count();
    limit(synapse.pid(), &format!("--nofile={0}:{0}", open + 10));
    let mut conns = Vec::new();
    for _ in 0..60 {
        conns.push(Conn::open(front).await.expect("the kernel still accepts"));
    }
    let busy = cpu_seconds(synapse.pid());
    // What is measured.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let busy = cpu_seconds(synapse.pid()) - busy;
    assert!(busy < 0.5, "{busy} s of CPU in a second without descriptors");
    drop(conns);
    eventually("it says so", PATIENCE, || async {
        if synapse.metric("synapse_accept_pauses_total").await > 0.0 {
            Ok(())
        } else {
            Err("no pause")
        }
    })
    .await;
    eventually("it serves again", PATIENCE, || get(front, "/")).await;
    assert_eq!(sequence(front, 3).await, "AAA");
}

#[tokio::test]
async fn clients_above_maxconn_wait_for_a_slot() {
    let lab = Lab::new().await;
    let origin = lab.origin("A").await;
    let front = lab.free_addr();
    let service = fixed(front, "http", &["maxconn 3"], &[("a", origin.addr(), "")]);
    let _synapse = lab.synapse(config(json!({"web": service}))).await;
    let held: Vec<_> = (0..3).map(|_| tokio::spawn(get(front, "/hold"))).collect();
    eventually("three are held", PATIENCE, || async {
        if origin.held() == 3 { Ok(()) } else { Err(origin.held()) }
    })
    .await;
    let fourth = tokio::spawn(get(front, "/"));
    always("the fourth waits", Duration::from_millis(300), || async {
        if fourth.is_finished() { Err("answered") } else { Ok(()) }
    })
    .await;
    origin.release(3);
    assert_eq!(fourth.await.expect("no panic").expect("its turn came").text(), "A");
    for request in held {
        assert_eq!(request.await.expect("no panic").expect("answer").status, 200);
    }
}

/// The client crate spins when `connect` fails at once (no route); that must not show.
#[tokio::test]
async fn timed_no_route_to_zookeeper_costs_no_cpu() {
    need("unshare", "util-linux");
    need("ip", "iproute2");
    let lab = Lab::alone().await;
    let service = json!({
        "discovery": {"method": "zookeeper", "hosts": ["10.99.7.1:2181"], "path": "/nobody"},
        "haproxy": listener(lab.free_addr(), "http", &[])
    });
    let mut config = config(json!({"web": service}));
    config["admin"] = json!({"listen": "127.0.0.1:3210"});
    config["state_dir"] = json!(lab.dir().join("state"));
    let file = lab.write("synapse.json", &config.to_string());
    let log = lab.write("synapse.log", "");
    let said = std::fs::OpenOptions::new().append(true).open(&log).expect("the log");
    // A network namespace with nothing but its own loopback.
    let mut synapse = Command::new("unshare")
        .args(["-rn", "sh", "-c", "ip link set lo up && exec \"$0\" -c \"$1\""])
        .arg(binary("synapse"))
        .arg(&file)
        .env("PATH", "/usr/sbin:/sbin:/usr/bin:/bin")
        .stdin(Stdio::null())
        .stdout(said.try_clone().expect("the log twice"))
        .stderr(said)
        .kill_on_drop(true)
        .spawn()
        .expect("unshare");
    let pid = synapse.id().expect("running");
    let name = format!("/proc/{pid}/comm");
    eventually("synapse runs in there", PATIENCE, || async {
        let comm = std::fs::read_to_string(&name).unwrap_or_default();
        if comm.trim() == "synapse" { Ok(()) } else { Err(comm) }
    })
    .await;
    eventually("it has started and has found no route", PATIENCE, || async {
        let said = std::fs::read_to_string(&log).expect("the log");
        let is_so = ["serving", "network is unreachable"].iter().all(|text| said.contains(text));
        if is_so { Ok(()) } else { Err(said) }
    })
    .await;
    let before = cpu_seconds(pid);
    // What is measured.
    tokio::time::sleep(Duration::from_secs(5)).await;
    let busy = cpu_seconds(pid) - before;
    assert!(synapse.try_wait().expect("wait").is_none(), "it has ended");
    println!("no route to ZooKeeper: {busy:.2} s of CPU in 5 s");
    assert!(busy < 0.5, "{busy} s of CPU in 5 s");
}
