//! Bytes through the proxy.

use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use crate::support::client::Conn;
use crate::support::lab::Lab;
use crate::support::synapse::{config, fixed};
use crate::support::wait::eventually;

const PATIENCE: Duration = Duration::from_secs(5);

#[tokio::test]
async fn a_half_closed_client_still_gets_its_answer() {
    let lab = Lab::new().await;
    let origin = lab.tcp_origin("A").await;
    let front = lab.free_addr();
    let service = fixed(front, "tcp", &[], &[("A", origin.addr(), "")]);
    let _synapse = lab.synapse(config(json!({"db": service}))).await;
    let mut conn = Conn::open(front).await.expect("connect");
    assert_eq!(conn.line().await.expect("greeting"), "A");
    conn.send(b"hello\n").await.expect("send");
    conn.finish_sending().await.expect("FIN");
    let mut rest = Vec::new();
    conn.read_rest(&mut rest).await.expect("answer");
    assert_eq!(String::from_utf8_lossy(&rest), "hello\nbye 6\n");
}

#[tokio::test]
async fn megabytes_pass_unchanged_and_are_counted() {
    let lab = Lab::new().await;
    let origin = lab.tcp_origin("A").await;
    let front = lab.free_addr();
    let service = fixed(front, "tcp", &[], &[("A", origin.addr(), "")]);
    let synapse = lab.synapse(config(json!({"db": service}))).await;
    let mut conn = Conn::open(front).await.expect("connect");
    conn.line().await.expect("greeting");
    let block: Vec<u8> = (0..65_536_u32).map(|i| i.to_le_bytes()[0] ^ i.to_le_bytes()[1]).collect();
    for _ in 0..64 {
        conn.send(&block).await.expect("send");
        assert!(conn.exactly(block.len()).await.expect("echo") == block, "bytes changed");
    }
    drop(conn);
    eventually("the bytes are counted", PATIENCE, || async {
        let metrics = synapse.metrics().await;
        let most = metrics
            .lines()
            .filter(|l| l.contains("bytes") && !l.starts_with('#'))
            .filter_map(|l| l.rsplit(' ').next()?.parse::<f64>().ok())
            .fold(0.0, f64::max);
        if most >= 4_194_304.0 { Ok(()) } else { Err(most) }
    })
    .await;
}

#[tokio::test]
async fn an_idle_connection_is_closed_on_both_sides() {
    let lab = Lab::new().await;
    let origin = lab.tcp_origin("A").await;
    let front = lab.free_addr();
    let lines = ["timeout client 400ms", "timeout server 400ms"];
    let service = fixed(front, "tcp", &lines, &[("A", origin.addr(), "")]);
    let _synapse = lab.synapse(config(json!({"db": service}))).await;
    let mut conn = Conn::open(front).await.expect("connect");
    assert_eq!(conn.line().await.expect("greeting"), "A");
    eventually("closed towards the client", PATIENCE, || async {
        if conn.is_reusable() { Err("open") } else { Ok(()) }
    })
    .await;
    eventually("closed towards the origin", PATIENCE, || async {
        match origin.open_connections() {
            0 => Ok(()),
            n => Err(n),
        }
    })
    .await;
}

#[tokio::test]
async fn an_active_connection_outlives_the_idle_timeout() {
    let lab = Lab::new().await;
    let origin = lab.tcp_origin("A").await;
    let front = lab.free_addr();
    // Far longer than this machine makes any tick wait.
    let lines = ["timeout client 2s", "timeout server 2s"];
    let service = fixed(front, "tcp", &lines, &[("A", origin.addr(), "")]);
    let _synapse = lab.synapse(config(json!({"db": service}))).await;
    let mut conn = Conn::open(front).await.expect("connect");
    conn.line().await.expect("greeting");
    let opened = Instant::now();
    while opened.elapsed() < Duration::from_millis(2_500) {
        conn.send(b"tick\n").await.expect("send");
        assert_eq!(conn.line().await.expect("echo"), "tick");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn a_refused_connection_goes_to_another_backend() {
    let lab = Lab::new().await;
    let origin = lab.tcp_origin("B").await;
    let front = lab.free_addr();
    let servers = [("A", lab.free_addr(), ""), ("B", origin.addr(), "")];
    let _synapse = lab.synapse(config(json!({"db": fixed(front, "tcp", &[], &servers)}))).await;
    for _ in 0..6 {
        let mut conn = Conn::open(front).await.expect("connect");
        assert_eq!(conn.line().await.expect("greeting"), "B");
    }
}

#[tokio::test]
async fn without_a_backend_the_client_is_closed_at_once() {
    let lab = Lab::new().await;
    let front = lab.free_addr();
    let _synapse = lab.synapse(config(json!({"db": fixed(front, "tcp", &[], &[])}))).await;
    let mut conn = Conn::open(front).await.expect("connect");
    let ended = tokio::time::timeout(PATIENCE, conn.line()).await.expect("closed in time");
    assert!(ended.is_err(), "{ended:?}");
}
