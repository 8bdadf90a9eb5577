//! Servers on unix sockets.

use std::time::Duration;

use serde_json::{Value, json};

use super::{PATIENCE, Recorder};
use crate::support::client::{self, Conn};
use crate::support::lab::Lab;
use crate::support::synapse::{config, listener};
use crate::support::wait::eventually;

/// A service with one server on a socket.
fn service(front: std::net::SocketAddr, mode: &str, host: &str, options: &str) -> Value {
    json!({
        "default_servers": [{"name": "s", "host": host, "haproxy_server_options": options}],
        "discovery": {"method": "base"},
        "haproxy": listener(front, mode, &[])
    })
}

#[tokio::test]
async fn requests_sessions_and_checks_go_over_a_socket() {
    let lab = Lab::new().await;
    let path = lab.dir().join("app.sock");
    let recorder = Recorder::unix(&path);
    let fronts = (lab.free_addr(), lab.free_addr());
    let at = path.display().to_string();
    let services = json!({
        "web": service(fronts.0, "http", &at, "check inter 50ms"),
        "db": service(fronts.1, "tcp", &format!("unix@{at}"), "send-proxy"),
    });
    let synapse = lab.synapse(config(services)).await;
    let mut conn = Conn::open(fronts.0).await.expect("connect");
    for _ in 0..3 {
        assert_eq!(conn.get("/over-http").await.expect("an answer").text(), "ok");
    }
    let said = recorder.until("requests", |said| said.text().contains("/over-http")).await;
    assert_eq!(said.text().matches("GET /over-http ").count(), 3, "kept open between requests");
    let mut conn = Conn::open(fronts.1).await.expect("connect");
    assert_eq!(conn.get("/over-tcp").await.expect("an answer").text(), "ok");
    recorder.until("a header", |said| said.text().starts_with("PROXY TCP4 127.")).await;
    for name in ["web", "db"] {
        let shown = synapse.service(name).await;
        let backend = &shown["servers"][0];
        assert_eq!(backend["address"], format!("unix@{at}"), "{shown:#}");
        assert_eq!(backend["name"], "s", "{shown:#}");
    }
    eventually("a check has passed", PATIENCE, || async {
        let shown = synapse.service("web").await;
        let code = shown["servers"][0]["last_check"]["code"].clone();
        if code == "L4OK" { Ok(()) } else { Err(code) }
    })
    .await;
}

#[tokio::test]
async fn a_socket_that_is_gone_is_down_and_comes_back() {
    let lab = Lab::new().await;
    let path = lab.dir().join("app.sock");
    let front = lab.free_addr();
    let at = path.display().to_string();
    let services = json!({"web": service(front, "http", &at, "check inter 50ms fall 1 rise 1")});
    let synapse = lab.synapse(config(services)).await;
    let health = |wanted: &'static str| {
        let synapse = &synapse;
        eventually(wanted, PATIENCE, move || async move {
            let shown = synapse.service("web").await;
            let backend = shown["servers"][0].clone();
            if backend["state"] == wanted { Ok(backend) } else { Err(backend) }
        })
    };
    let down = health("DOWN").await;
    assert_eq!(down["last_check"]["code"], "L4CON", "{down:#}");
    assert_eq!(client::get(front, "/").await.expect("an answer").status, 503);
    let _recorder = Recorder::unix(&path);
    health("UP").await;
    eventually("requests are served again", Duration::from_secs(5), || async {
        match client::get(front, "/").await {
            Ok(answer) if answer.status == 200 => Ok(()),
            other => Err(other.map(|answer| answer.status)),
        }
    })
    .await;
}
