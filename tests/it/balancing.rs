//! Who gets the next request: exactly as haproxy decides.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::json;

use crate::support::client::{self, Conn, sequence};
use crate::support::lab::Lab;
use crate::support::oracle::Oracle;
use crate::support::origin::Origin;
use crate::support::synapse::{config, fixed};
use crate::support::wait::eventually;

const PATIENCE: Duration = Duration::from_secs(5);

async fn origins(lab: &Lab) -> [Origin; 3] {
    [lab.origin("A").await, lab.origin("B").await, lab.origin("C").await]
}

fn servers<'a>(
    origins: &'a [Origin; 3],
    options: &[&'a str; 3],
) -> [(&'a str, SocketAddr, &'a str); 3] {
    std::array::from_fn(|i| (origins[i].name(), origins[i].addr(), options[i]))
}

/// The order of 24 sequential requests over A, B, C with these options, with `workers: 1`.
async fn order(options: [&str; 3], lines: &[&str]) -> String {
    let lab = Lab::new().await;
    let origins = origins(&lab).await;
    let front = lab.free_addr();
    let servers = servers(&origins, &options);
    let mut config = config(json!({"web": fixed(front, "http", lines, &servers)}));
    config["workers"] = json!(1);
    let _synapse = lab.synapse(config).await;
    let ours = sequence(front, 24).await;
    // Ties of leastconn are spread differently by each haproxy version; its round robin is the same in all.
    if lines.is_empty() {
        let haproxy = Oracle::start(&lab, "http", lines, &servers).await;
        let theirs = sequence(haproxy.addr, 24).await;
        assert_eq!(ours, theirs, "haproxy orders {options:?} differently");
    }
    ours
}

#[tokio::test]
async fn equal_weights_rotate() {
    assert_eq!(order(["", "", ""], &[]).await, "ABC".repeat(8));
}

#[tokio::test]
async fn weights_1_2_3_give_haproxys_smooth_order() {
    assert_eq!(order(["weight 1", "weight 2", "weight 3"], &[]).await, "CBCACB".repeat(4));
}

#[tokio::test]
async fn weights_5_1_1_give_haproxys_smooth_order() {
    let order = order(["weight 5", "weight 1", "weight 1"], &[]).await;
    assert_eq!(&order[..21], "AAABAAC".repeat(3));
}

#[tokio::test]
async fn weight_zero_and_disabled_get_nothing() {
    assert_eq!(order(["weight 0", "", "disabled"], &[]).await, "B".repeat(24));
}

#[tokio::test]
async fn backups_get_nothing_while_an_active_server_is_up() {
    assert_eq!(order(["", "backup", ""], &[]).await, "AC".repeat(12));
}

#[tokio::test]
async fn only_the_first_backup_serves_when_no_active_server_can() {
    assert_eq!(order(["disabled", "backup", "backup"], &[]).await, "B".repeat(24));
}

#[tokio::test]
async fn idle_leastconn_rotates_whatever_the_weights() {
    let order = order(["weight 1", "weight 2", "weight 3"], &["balance leastconn"]).await;
    assert_eq!(order, "ABC".repeat(8));
}

#[tokio::test]
async fn six_held_requests_follow_the_weights_under_leastconn() {
    for workers in [1, 2] {
        let lab = Lab::new().await;
        let origins = origins(&lab).await;
        let front = lab.free_addr();
        let servers = servers(&origins, &["weight 1", "weight 2", "weight 3"]);
        let mut config =
            config(json!({"web": fixed(front, "http", &["balance leastconn"], &servers)}));
        config["workers"] = json!(workers);
        let _synapse = lab.synapse(config).await;
        let mut held = Vec::new();
        for n in 1..=6 {
            held.push(tokio::spawn(client::get(front, "/hold")));
            eventually("one more is held", PATIENCE, || async {
                let now: usize = origins.iter().map(Origin::held).sum();
                if now == n { Ok(()) } else { Err(now) }
            })
            .await;
        }
        let shares = origins.each_ref().map(Origin::held);
        assert_eq!(shares, [1, 2, 3], "workers: {workers}");
        origins.iter().for_each(|o| o.release(6));
        for request in held {
            assert_eq!(request.await.expect("no panic").expect("answer").status, 200);
        }
    }
}

#[tokio::test]
async fn leastconn_over_tcp_counts_connections() {
    let lab = Lab::new().await;
    let origins = [lab.tcp_origin("A").await, lab.tcp_origin("B").await, lab.tcp_origin("C").await];
    let front = lab.free_addr();
    let servers = servers(&origins, &["", "", ""]);
    let _synapse = lab
        .synapse(config(json!({"db": fixed(front, "tcp", &["balance leastconn"], &servers)})))
        .await;
    let mut conns = Vec::new();
    for _ in 0..9 {
        let mut conn = Conn::open(front).await.expect("connect");
        conn.line().await.expect("greeting");
        conns.push(conn);
    }
    assert_eq!(origins.each_ref().map(Origin::open_connections), [3, 3, 3]);
    drop(conns);
    eventually("all closed", PATIENCE, || async {
        let open: usize = origins.iter().map(Origin::open_connections).sum();
        if open == 0 { Ok(()) } else { Err(open) }
    })
    .await;
}

#[tokio::test]
async fn a_server_at_maxconn_is_passed_over_and_when_all_are_full_they_wait() {
    let lab = Lab::new().await;
    let (a, b) = (lab.origin("A").await, lab.origin("B").await);
    let front = lab.free_addr();
    let servers = [("A", a.addr(), "maxconn 1"), ("B", b.addr(), "maxconn 1")];
    let lines = ["timeout queue 300ms"];
    let _synapse =
        lab.synapse(config(json!({"web": fixed(front, "http", &lines, &servers)}))).await;
    let first = tokio::spawn(client::get(front, "/hold"));
    let held = || async {
        let now = (a.held(), b.held());
        if now.0 + now.1 == 1 { Ok(()) } else { Err(now) }
    };
    eventually("one is held", PATIENCE, held).await;
    let (free, full) = if a.held() == 1 { (&b, &a) } else { (&a, &b) };
    assert_eq!(sequence(front, 4).await, free.name().repeat(4));
    let second = tokio::spawn(client::get(front, "/hold"));
    eventually("both are full", PATIENCE, || async {
        let now = (a.held(), b.held());
        if now == (1, 1) { Ok(()) } else { Err(now) }
    })
    .await;
    assert_eq!(client::get(front, "/").await.expect("an answer").status, 503, "too late");
    full.release(1);
    free.release(1);
    for request in [first, second] {
        assert_eq!(request.await.expect("no panic").expect("answer").status, 200);
    }
    let served = client::get(front, "/").await.expect("an answer");
    assert_eq!(served.status, 200, "a freed slot is used again");
}
