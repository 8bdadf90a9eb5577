//! Backends that go away, and those that change what they speak.

use std::sync::atomic::Ordering;

use serde_json::json;

use super::origin::{self, ask, connect};
use super::stalls::PATIENCE;
use crate::support::client::{self, Conn};
use crate::support::lab::Lab;
use crate::support::synapse::{config, fixed, listener};
use crate::support::wait::eventually;

/// `/last` says GOAWAY before its answer: the next request goes over another connection, and none of `retries` is spent.
#[tokio::test]
async fn a_backend_that_has_said_goodbye_costs_no_retry() {
    const CALLS: usize = 10;
    let lab = Lab::new().await;
    let backend = origin::start("B", lab.free_addr()).await;
    let front = lab.free_addr();
    let service = fixed(front, "http", &["retries 0"], &[("B", backend.addr, "proto h2")]);
    let mut config = config(json!({"it": service}));
    config["workers"] = json!(1);
    let _synapse = lab.synapse(config).await;
    let sender = connect(front).await;
    for call in 0..CALLS {
        let got = ask(&sender, "/last", b"hello").await.expect("an answer");
        assert_eq!((got.status, got.body.as_str()), (200, "B 5"), "call {call}");
    }
    assert_eq!(backend.seen.connections.load(Ordering::SeqCst), CALLS);
}

/// A client's HTTP/1 connection began when all servers spoke HTTP/1. Then there is one that does not: what the client says
/// must not reach it as it is, and must reach it.
#[tokio::test]
async fn nobody_speaks_http1_to_a_server_of_http2() {
    let lab = Lab::new().await;
    let old = lab.origin("A").await;
    let new = origin::start("B", lab.free_addr()).await;
    let front = lab.free_addr();
    let record = |name: &str, addr: std::net::SocketAddr, options: &str| {
        json!([{
            "name": name, "host": addr.ip(), "port": addr.port(),
            "haproxy_server_options": options,
        }])
    };
    let list = lab.write("backends.json", &record("A", old.addr(), "").to_string());
    let service = json!({
        "discovery": {"method": "file", "path": list},
        "haproxy": listener(front, "http", &[]),
    });
    let synapse = lab.synapse(config(json!({"it": service}))).await;
    let mut kept = Conn::open(front).await.expect("connect");
    assert_eq!(kept.get("/x").await.expect("an answer").text(), "A");
    let mut silent = Conn::open(front).await.expect("connect");
    lab.write("backends.json", &record("B", new.addr, "proto h2").to_string());
    eventually("only B is known", PATIENCE, || async {
        let servers = synapse.service("it").await["servers"].clone();
        let names: Vec<_> =
            servers.as_array().into_iter().flatten().map(|it| it["name"].clone()).collect();
        let is_it = names.len() == 1 && names[0].as_str().is_some_and(|name| name.starts_with('B'));
        if is_it { Ok(()) } else { Err(names) }
    })
    .await;
    for conn in [&mut kept, &mut silent] {
        assert_eq!(conn.get("/unary").await.expect("an answer").text(), "B 0");
    }
    assert_eq!(client::get(front, "/unary").await.expect("an answer").text(), "B 0");
    assert_eq!(new.requests(), 3);
}
