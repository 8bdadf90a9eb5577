//! What an operator sees.

use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use crate::support::client::{Conn, get, sequence};
use crate::support::lab::Lab;
use crate::support::oracle::need;
use crate::support::synapse::{config, fixed, listener};
use crate::support::wait::eventually;

#[tokio::test]
async fn ready_waits_for_discovery_and_says_for_what() {
    let lab = Lab::new().await;
    let nobody = lab.free_addr();
    let front = lab.free_addr();
    let service = json!({
        "discovery": {"method": "zookeeper", "hosts": [nobody.to_string()], "path": "/nobody"},
        "haproxy": listener(front, "http", &[])
    });
    let synapse = lab.synapse_unready(config(json!({"search": service}))).await;
    assert_eq!(get(synapse.admin(), "/live").await.expect("answer").status, 200);
    let ready = get(synapse.admin(), "/ready").await.expect("answer");
    assert_eq!(ready.status, 503);
    assert!(ready.text().contains("search"), "the reason names the service: {}", ready.text());
    let status = synapse.stop().await;
    assert_eq!(status.code(), Some(0), "stops without ZooKeeper");
}

#[tokio::test]
async fn default_servers_serve_while_zookeeper_is_absent() {
    let lab = Lab::new().await;
    let origin = lab.origin("A").await;
    let front = lab.free_addr();
    let service = json!({
        "default_servers": [{"name": "a", "host": lab.ip().to_string(), "port": origin.port()}],
        "discovery": {
            "method": "zookeeper", "hosts": [lab.free_addr().to_string()], "path": "/nobody"
        },
        "haproxy": listener(front, "http", &[])
    });
    let _synapse = lab.synapse_unready(config(json!({"search": service}))).await;
    assert_eq!(sequence(front, 3).await, "AAA");
}

#[tokio::test]
async fn metrics_are_what_prometheus_accepts() {
    need("promtool", "prometheus");
    let lab = Lab::new().await;
    let (a, b) = (lab.origin("A").await, lab.tcp_origin("B").await);
    let (web, db, empty) = (lab.free_addr(), lab.free_addr(), lab.free_addr());
    let synapse = lab
        .synapse(config(json!({
            "we\"b\\1": fixed(web, "http", &[], &[("A", a.addr(), "check inter 100ms")]),
            "db": fixed(db, "tcp", &[], &[("B", b.addr(), "")]),
            "empty": fixed(empty, "http", &[], &[])
        })))
        .await;
    for status in [200, 301, 404, 500] {
        get(web, &format!("/status/{status}")).await.expect("answer");
    }
    get(web, "/silent").await.expect("502");
    assert_eq!(get(empty, "/").await.expect("503").status, 503);
    let mut conn = Conn::open(db).await.expect("connect");
    conn.line().await.expect("greeting");
    drop(conn);
    let text = synapse.metrics().await;
    for word in ["requests", "connections", "bytes", "errors", "retries", "redispatch", "_bucket"] {
        assert!(text.contains(word), "{word} in\n{text}");
    }
    let mut promtool = tokio::process::Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool");
    let mut stdin = promtool.stdin.take().expect("piped");
    stdin.write_all(text.as_bytes()).await.expect("write");
    drop(stdin);
    let output = promtool.wait_with_output().await.expect("promtool");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}{}\n{text}", String::from_utf8_lossy(&output.stdout));
}

#[tokio::test]
async fn services_show_every_backend() {
    let lab = Lab::new().await;
    let a = lab.origin("A").await;
    let front = lab.free_addr();
    let servers = [("A", a.addr(), ""), ("B", lab.free_addr(), "disabled")];
    let synapse = lab.synapse(config(json!({"web": fixed(front, "http", &[], &servers)}))).await;
    sequence(front, 5).await;
    let all = get(synapse.admin(), "/services").await.expect("answer");
    assert!(all.json().to_string().contains("web"));
    let one = synapse.service("web").await.to_string();
    for (name, addr, _) in servers {
        assert!(one.contains(&format!("{name}_{addr}")), "server name of {name} in {one}");
    }
    assert_eq!(get(synapse.admin(), "/services/none").await.expect("answer").status, 404);
    assert_eq!(get(synapse.admin(), "/none").await.expect("answer").status, 404);
}

#[tokio::test]
async fn the_log_can_be_json() {
    let lab = Lab::new().await;
    let mut config = config(json!({"web": fixed(lab.free_addr(), "http", &[], &[])}));
    config["log"] = json!({"format": "json"});
    let synapse = lab.synapse(config).await;
    let log = synapse.log();
    assert!(!log.is_empty());
    for line in log.lines() {
        let parsed: Result<serde_json::Value, _> = serde_json::from_str(line);
        assert!(parsed.is_ok_and(|v| v.is_object()), "not a JSON object: {line}");
    }
}

/// Opens a connection that asks for `/metrics` over and over, as long as it is listened to, and reads nothing.
async fn deaf(admin: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("socket");
    socket.set_recv_buffer_size(2048).expect("buffer");
    let stream = socket.connect(admin).await.expect("connect");
    let requests = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n".repeat(50);
    // Until the server has not listened for some time.
    let asking = async {
        loop {
            stream.writable().await.expect("open");
            match stream.try_write(&requests) {
                Ok(_) => {}
                Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock),
            }
        }
    };
    timeout(Duration::from_millis(50), asking).await.expect_err("it asks for ever");
    stream
}

#[tokio::test]
async fn clients_that_do_not_read_keep_no_probe_waiting() {
    let lab = Lab::new().await;
    let front = lab.free_addr();
    let synapse = lab.synapse(config(json!({"web": fixed(front, "http", &[], &[])}))).await;
    let mut clients = Vec::new();
    for _ in 0..64 {
        clients.push(deaf(synapse.admin()).await);
    }
    for path in ["/live", "/ready", "/metrics"] {
        // Less than the time after which such a client is let go by itself.
        let answer = timeout(Duration::from_secs(3), get(synapse.admin(), path)).await;
        assert_eq!(answer.expect("in time").expect("answer").status, 200, "{path}");
    }
    eventually("all are let go", Duration::from_secs(20), || async {
        // Their answers are not complete: they are told by a reset.
        let is_open = |client: &&TcpStream| match client.try_write(b"G") {
            Ok(_) => true,
            Err(error) => error.kind() == std::io::ErrorKind::WouldBlock,
        };
        let open = clients.iter().filter(is_open).count();
        if open == 0 { Ok(()) } else { Err(format!("{open} are open")) }
    })
    .await;
}
