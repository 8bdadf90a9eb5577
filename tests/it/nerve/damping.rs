//! A flapper costs the registry little; who merely dies is back at once.

use std::time::Duration;

use serde_json::json;
use tokio::time::{Instant, interval, sleep};

use crate::support::lab::Lab;
use crate::support::nerve::{Nerve, nodes, service, until_nodes};
use crate::support::origin::Origin;
use crate::support::wait::eventually;
use crate::support::zookeeper::Zk;

const PATH: &str = "/nerve/services/web";

/// A service whose check notices within 100 ms.
async fn nerve_for(lab: &Lab, zk: &Zk, origin: &Origin) -> Nerve {
    let keys =
        json!({"check_interval": 0.05, "checks": [{"type": "http", "uri": "/ping", "timeout": 5}]});
    let web = service(&zk.connect_string(), PATH, origin.addr(), keys);
    Nerve::start(lab, json!({"services": {"web": web}})).await
}

/// The writes that were acknowledged so far.
async fn writes(nerve: &Nerve) -> u64 {
    let web = nerve.service("web").await;
    web["registration"]["writes"].as_u64().unwrap_or_else(|| panic!("{web}"))
}

#[tokio::test]
async fn who_dies_three_times_is_back_at_once_each_time() {
    let lab = Lab::alone().await;
    let zk = Zk::standalone();
    let client = zk.client().await;
    let origin = lab.origin("a").await;
    let nerve = nerve_for(&lab, &zk, &origin).await;
    until_nodes(&client, PATH, 1).await;
    for _ in 0..3 {
        origin.set_check_status(500);
        until_nodes(&client, PATH, 0).await;
        origin.set_check_status(200);
        let begun = Instant::now();
        until_nodes(&client, PATH, 1).await;
        assert!(begun.elapsed() < Duration::from_millis(500), "{:?}", begun.elapsed());
    }
    let web = nerve.service("web").await;
    assert!(web["penalty"].as_f64().is_some_and(|penalty| penalty > 1.0), "{web}");
    assert_eq!(web["suppressed_until"], json!(null));
}

#[tokio::test]
async fn a_flapper_is_held_back_and_shown() {
    let lab = Lab::new().await;
    let zk = Zk::standalone();
    let client = zk.client().await;
    let origin = lab.origin("a").await;
    let nerve = nerve_for(&lab, &zk, &origin).await;
    until_nodes(&client, PATH, 1).await;
    for _ in 0..5 {
        origin.set_check_status(500);
        until_nodes(&client, PATH, 0).await;
        origin.set_check_status(200);
        until_nodes(&client, PATH, 1).await;
    }
    origin.set_check_status(500);
    until_nodes(&client, PATH, 0).await;
    origin.set_check_status(200);
    eventually("held", Duration::from_secs(5), || async {
        let web = nerve.service("web").await;
        if web["state"] == "HELD" { Ok(()) } else { Err(web) }
    })
    .await;
    assert!(nodes(&client, PATH).await.is_empty());
    let shown = nerve.tell(&["status"]).await;
    assert!(shown.stdout.contains("HELD"), "{}", shown.stdout);
    // An operator's word counts more.
    let down = nerve.tell(&["down", "web"]).await;
    assert_eq!(down.code, Some(0), "{}", down.stderr);
    assert_eq!(nerve.service("web").await["state"], "MAINT");
}

/// Up and down twice a second for two minutes, then calm.
#[tokio::test]
async fn slow_a_two_hertz_flapper_writes_once_in_ten_seconds_at_most() {
    const HALF: Duration = Duration::from_millis(250);
    let lab = Lab::alone().await;
    let zk = Zk::standalone();
    let client = zk.client().await;
    let origin = lab.origin("a").await;
    let nerve = nerve_for(&lab, &zk, &origin).await;
    until_nodes(&client, PATH, 1).await;
    let flapper = {
        let origin = origin.clone();
        tokio::spawn(async move {
            let mut ticks = interval(HALF);
            for status in [500, 200].into_iter().cycle() {
                ticks.tick().await;
                origin.set_check_status(status);
            }
        })
    };
    // What is measured.
    sleep(Duration::from_secs(60)).await;
    let in_first_minute = writes(&nerve).await;
    let mut windows = Vec::new();
    let mut before = in_first_minute;
    for _ in 0..6 {
        // The same.
        sleep(Duration::from_secs(10)).await;
        let now = writes(&nerve).await;
        windows.push(now - before);
        before = now;
    }
    flapper.abort();
    drop(flapper.await);
    origin.set_check_status(200);
    let begun = Instant::now();
    let web = nerve.service("web").await;
    println!(
        "writes in the first minute {in_first_minute}, then each 10 s {windows:?}; penalty {}, {} transitions",
        web["penalty"], web["transitions"]
    );
    assert!(web["transitions"].as_u64().is_some_and(|n| n > 300), "it did flap: {web}");
    assert!(windows.iter().all(|writes| *writes <= 1), "{windows:?}");
    eventually("back once it is calm", Duration::from_secs(61), || async {
        let seen = nodes(&client, PATH).await;
        if seen.is_empty() { Err(seen) } else { Ok(()) }
    })
    .await;
    println!("back {:?} after it has calmed down", begun.elapsed());
}
