//! Checks decide who gets traffic.

use std::time::Duration;

use serde_json::json;

use crate::support::client::{Conn, get, sequence};
use crate::support::lab::Lab;
use crate::support::synapse::{config, fixed};
use crate::support::wait::eventually;

const PATIENCE: Duration = Duration::from_secs(10);
const CHECK: &str = "check inter 100ms rise 2 fall 2";

#[tokio::test]
async fn a_failing_httpchk_takes_a_backend_out_and_a_passing_one_brings_it_back() {
    let lab = Lab::new().await;
    let (a, b) = (lab.origin("A").await, lab.origin("B").await);
    let front = lab.free_addr();
    let servers = [("A", a.addr(), CHECK), ("B", b.addr(), CHECK)];
    let lines = ["option httpchk GET /ping"];
    let synapse = lab.synapse(config(json!({"web": fixed(front, "http", &lines, &servers)}))).await;
    let only = |want: &'static str| async move {
        let seen = sequence(front, 8).await;
        let want = want.repeat(8 / want.len());
        let mut sorted: Vec<char> = seen.chars().collect();
        let mut due: Vec<char> = want.chars().collect();
        sorted.sort_unstable();
        due.sort_unstable();
        if sorted == due { Ok(()) } else { Err(seen) }
    };
    eventually("both serve", PATIENCE, || only("AB")).await;
    a.set_check_status(503);
    eventually("only B serves", PATIENCE, || only("B")).await;
    let shown = synapse.service("web").await.to_string();
    assert!(shown.contains("503") || shown.contains("L7STS"), "the reason is shown: {shown}");
    a.set_check_status(200);
    eventually("both serve again", PATIENCE, || only("AB")).await;
}

#[tokio::test]
async fn a_backup_serves_only_while_the_active_ones_are_down() {
    let lab = Lab::new().await;
    let (a, b) = (lab.origin("A").await, lab.origin("B").await);
    let front = lab.free_addr();
    let backup = format!("{CHECK} backup");
    let servers = [("A", a.addr(), CHECK), ("B", b.addr(), backup.as_str())];
    let lines = ["option httpchk GET /ping"];
    let _synapse =
        lab.synapse(config(json!({"web": fixed(front, "http", &lines, &servers)}))).await;
    let answers = |want: &'static str| async move {
        let seen = get(front, "/").await?;
        if seen.text() == want { Ok(()) } else { Err(seen.text()) }
    };
    eventually("the active one serves", PATIENCE, || answers("A")).await;
    a.set_check_status(500);
    eventually("the backup serves", PATIENCE, || answers("B")).await;
    a.set_check_status(200);
    eventually("the active one serves again", PATIENCE, || answers("A")).await;
}

#[tokio::test]
async fn everybody_down_is_503_and_the_reason_is_shown() {
    let lab = Lab::new().await;
    let front = lab.free_addr();
    let servers = [("A", lab.free_addr(), CHECK)];
    let synapse =
        lab.synapse_unready(config(json!({"web": fixed(front, "http", &[], &servers)}))).await;
    eventually("503", PATIENCE, || async {
        match get(front, "/").await {
            Ok(answer) if answer.status == 503 => Ok(()),
            other => Err(other),
        }
    })
    .await;
    eventually("down is shown", PATIENCE, || async {
        let shown = synapse.service("web").await.to_string().to_ascii_lowercase();
        if shown.contains("down") && shown.contains("refused") { Ok(()) } else { Err(shown) }
    })
    .await;
}

#[tokio::test]
async fn a_backend_without_check_is_always_used() {
    let lab = Lab::new().await;
    let a = lab.origin("A").await;
    a.set_check_status(500);
    let front = lab.free_addr();
    let lines = ["option httpchk GET /ping"];
    let servers = [("A", a.addr(), "")];
    let _synapse =
        lab.synapse(config(json!({"web": fixed(front, "http", &lines, &servers)}))).await;
    assert_eq!(sequence(front, 5).await, "AAAAA");
}

#[tokio::test]
async fn tcp_checks_follow_the_listener() {
    let lab = Lab::new().await;
    let (a, b) = (lab.tcp_origin("A").await, lab.tcp_origin("B").await);
    let front = lab.free_addr();
    let servers = [("A", a.addr(), CHECK), ("B", b.addr(), CHECK)];
    let synapse = lab.synapse(config(json!({"db": fixed(front, "tcp", &[], &servers)}))).await;
    a.die().await;
    eventually("A is shown as down", PATIENCE, || async {
        let shown = synapse.service("db").await.to_string().to_ascii_lowercase();
        if shown.contains("down") { Ok(()) } else { Err(shown) }
    })
    .await;
    for _ in 0..4 {
        let mut conn = Conn::open(front).await.expect("connect");
        assert_eq!(conn.line().await.expect("greeting"), "B");
    }
    a.revive().await;
    eventually("A serves again", PATIENCE, || async {
        let mut conn = Conn::open(front).await?;
        let name = conn.line().await?;
        if name == "A" { Ok(()) } else { Err(name) }
    })
    .await;
}
