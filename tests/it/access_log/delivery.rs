//! Where lines go, and what becomes of them when they cannot.

use std::net::SocketAddr;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::net::UdpSocket;
use tokio::time::timeout;

use crate::support::client::Conn;
use crate::support::lab::Lab;
use crate::support::memory::limit;
use crate::support::synapse::{Synapse, config, fixed};
use crate::support::wait::eventually;

const LONG: Duration = Duration::from_secs(10);

/// Growth that the log is allowed: a worker's batches and what the allocator keeps.
const MAX_GROWTH: f64 = 4.0 * 1024.0 * 1024.0;

fn lines(path: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

async fn until_lines(path: &Path, count: usize) {
    eventually("all lines are written", LONG, || async {
        let found = lines(path).len();
        if found == count { Ok(()) } else { Err(format!("{found} of {count}")) }
    })
    .await;
}

/// A synapse with one service that logs as `native` says.
async fn logging(lab: &Lab, front: SocketAddr, origin: SocketAddr, native: Value) -> Synapse {
    let mut service = fixed(front, "http", &[], &[("a", origin, "")]);
    service["proxy"] = json!({"access_log": native});
    lab.synapse(config(json!({"web": service}))).await
}

async fn ask(front: SocketAddr, count: usize) {
    let mut conn = Conn::open(front).await.expect("connect");
    for n in 0..count {
        let answer = conn.get(&format!("/{n}")).await.expect("answer");
        assert_eq!(answer.status, 200);
    }
}

#[tokio::test]
async fn a_file_has_every_line_over_rotation_and_stop() {
    let lab = Lab::new().await;
    let origin = lab.origin("A").await;
    let front = lab.free_addr();
    let (path, moved) = (lab.dir().join("access.log"), lab.dir().join("access.log.1"));
    let native = json!({"to": path.to_str(), "format": "json", "request_headers": ["Host"]});
    let synapse = logging(&lab, front, origin.addr(), native).await;
    ask(front, 50).await;
    until_lines(&path, 50).await;
    std::fs::rename(&path, &moved).expect("rename");
    assert!(synapse.reload().await);
    ask(front, 30).await;
    // Nothing waits for the lines: the stop itself must write them.
    assert_eq!(synapse.stop().await.code(), Some(0));
    assert_eq!((lines(&moved).len(), lines(&path).len()), (50, 30));
    for (n, line) in lines(&path).iter().enumerate() {
        let value: Value = serde_json::from_str(line).expect("JSON");
        assert_eq!(value["request"], format!("GET /{n} HTTP/1.1"));
        assert_eq!((&value["frontend"], &value["status"]), (&json!("web"), &json!(200)));
        assert!(value["request_header_host"].is_string(), "{line}");
    }
}

/// `LimitFSIZE=` of systemd: the file is full, which costs its lines.
#[tokio::test]
async fn a_file_at_its_limit_costs_its_own_lines_alone() {
    const LIMIT: u64 = 40_000;
    const LOST: &str = "synapse_access_log_lost_lines_total{reason=\"file\"}";
    let lab = Lab::new().await;
    let origin = lab.origin("A").await;
    let (front, path) = (lab.free_addr(), lab.dir().join("access.log"));
    let synapse = logging(&lab, front, origin.addr(), json!({"to": path.to_str()})).await;
    limit(synapse.pid(), &format!("--fsize={LIMIT}:unlimited"));
    eventually("lines are lost", LONG, || async {
        ask(front, 100).await;
        let metrics = synapse.metrics().await;
        let lost = metrics.lines().find(|line| line.starts_with(LOST)).expect("the metric");
        if lost == format!("{LOST} 0") { Err(lost.to_owned()) } else { Ok(()) }
    })
    .await;
    assert_eq!(std::fs::metadata(&path).expect("the log").len(), LIMIT);
    limit(synapse.pid(), "--fsize=unlimited");
    eventually("lines are written again", LONG, || async {
        ask(front, 1).await;
        let length = std::fs::metadata(&path).expect("the log").len();
        if length > LIMIT { Ok(()) } else { Err(length) }
    })
    .await;
    assert_eq!(synapse.stop().await.code(), Some(0));
}

#[tokio::test]
async fn a_reload_moves_the_log_and_loses_no_line() {
    let lab = Lab::new().await;
    let origin = lab.origin("A").await;
    let front = lab.free_addr();
    let paths = [lab.dir().join("one"), lab.dir().join("two")];
    let configs = paths.each_ref().map(|path| {
        let mut service = fixed(front, "http", &[], &[("a", origin.addr(), "")]);
        service["proxy"] = json!({"access_log": {"to": path.to_str()}});
        config(json!({"web": service}))
    });
    let [first, second] = configs;
    let synapse = lab.synapse(first).await;
    ask(front, 40).await;
    synapse.rewrite(&lab, second);
    assert!(synapse.reload().await);
    ask(front, 40).await;
    assert_eq!(synapse.stop().await.code(), Some(0));
    assert_eq!((lines(&paths[0]).len(), lines(&paths[1]).len()), (40, 40));
}

#[tokio::test]
async fn the_lines_of_yelp_and_the_cookbook_reach_syslog() {
    let lab = Lab::new().await;
    let origin = lab.origin("A").await;
    let (front, log) = (lab.free_addr(), lab.free_addr());
    let server = UdpSocket::bind(log).await.expect("bind");
    let lines = ["option httplog", "capture request header X-Trace len 4"];
    let service = fixed(front, "http", &lines, &[("a", origin.addr(), "")]);
    let mut config = config(json!({"web": service}));
    let global = [format!("log {log} daemon info"), "log-send-hostname box".to_owned()];
    config["haproxy"]["global"] = json!(global);
    let defaults = config["haproxy"]["defaults"].as_array_mut().expect("defaults");
    defaults.extend(
        ["log global", "option dontlognull", "option log-separate-errors"].map(Value::from),
    );
    let _synapse = lab.synapse(config).await;
    let mut conn = Conn::open(front).await.expect("connect");
    let request = "GET /x?\"# HTTP/1.1\r\nHost: h\r\nX-Trace: a|bcdef\r\n\r\n".replace("\"#", "q");
    conn.send(request.as_bytes()).await.expect("send");
    assert_eq!(conn.response("GET").await.expect("answer").status, 200);
    let mut datagram = vec![0; 2048];
    let count = timeout(LONG, server.recv(&mut datagram)).await.expect("in time").expect("a line");
    let text = String::from_utf8_lossy(&datagram[..count]);
    assert!(text.starts_with("<30>"), "daemon.info: {text}");
    assert!(text.contains(" box synapse["), "{text}");
    assert!(text.ends_with(" 0/0 {a#7Cbc} \"GET /x?q HTTP/1.1\"\n"), "{text}");
    assert!(text.contains(" ---- "), "{text}");
}

/// What issue 5 asks for: a syslog receiver that is stopped costs no request and no memory.
#[tokio::test]
async fn a_receiver_that_does_not_read_costs_no_request() {
    let lab = Lab::new().await;
    let origin = lab.origin("A").await;
    let front = lab.free_addr();
    let path = lab.dir().join("log.socket");
    let _asleep = UnixDatagram::bind(&path).expect("bind");
    let native = json!({"to": format!("unix:{}", path.display())});
    let synapse = logging(&lab, front, origin.addr(), native).await;
    ask(front, 500).await;
    let before = synapse.metric("process_resident_memory_bytes").await;
    for _ in 0..4 {
        ask(front, 500).await;
    }
    let lost = || async {
        let metrics = synapse.metrics().await;
        let name = "synapse_access_log_lost_lines_total{reason=\"receiver\"} ";
        let value = metrics.lines().find_map(|line| line.strip_prefix(name));
        value.map_or(0.0, |value| value.parse::<f64>().expect("a number"))
    };
    eventually("lost lines are counted", LONG, || async {
        let (lost, written) =
            (lost().await, synapse.metric("synapse_access_log_lines_total").await);
        let sum = lost + written;
        if sum >= 2_500.0 && lost > 1_000.0 { Ok(()) } else { Err(format!("{lost} + {written}")) }
    })
    .await;
    let growth = synapse.metric("process_resident_memory_bytes").await - before;
    assert!(growth < MAX_GROWTH, "{growth} bytes more");
    assert_eq!(synapse.log().matches("lines are lost until it works again").count(), 1);
    assert!(synapse.log().contains("access log"), "{}", synapse.log());
    assert_eq!(synapse.stop().await.code(), Some(0));
}

/// A pipe that nobody reads: neither requests, nor the lines of another service, nor the stop wait for it.
#[tokio::test]
async fn a_target_that_blocks_costs_its_own_lines_alone() {
    let lab = Lab::new().await;
    let origin = lab.origin("A").await;
    let (front, other) = (lab.free_addr(), lab.free_addr());
    let (path, file) = (lab.dir().join("pipe"), lab.dir().join("log"));
    let made = std::process::Command::new("mkfifo").arg(&path).status().expect("mkfifo");
    assert!(made.success());
    let logging = |front, to: &Path| {
        let mut service = fixed(front, "http", &[], &[("a", origin.addr(), "")]);
        service["proxy"] = json!({"access_log": {"to": to.to_str()}});
        service
    };
    let services = json!({"web": logging(front, &path), "other": logging(other, &file)});
    let synapse = lab.synapse(config(services)).await;
    ask(other, 5).await;
    // A worker has half a megabyte of lines on the way at most: long ones.
    let path = format!("/{}", "x".repeat(1000));
    for _ in 0..20 {
        let mut conn = Conn::open(front).await.expect("connect");
        for _ in 0..100 {
            assert_eq!(conn.get(&path).await.expect("answer").status, 200);
        }
    }
    let name = "synapse_access_log_lost_lines_total{reason=\"file\"} ";
    eventually("lost lines are counted", LONG, || async {
        let metrics = synapse.metrics().await;
        let value = metrics.lines().find_map(|line| line.strip_prefix(name));
        let lost: f64 = value.map_or(0.0, |value| value.parse().expect("a number"));
        if lost > 0.0 { Ok(()) } else { Err("none") }
    })
    .await;
    ask(other, 5).await;
    until_lines(&file, 10).await;
    assert_eq!(synapse.stop().await.code(), Some(0));
}

/// Whoever answered is named, also when another was asked first and the request went over a connection that stood.
#[tokio::test]
async fn a_request_that_is_sent_elsewhere_is_logged_with_who_answered() {
    let lab = Lab::new().await;
    let origin = lab.origin("A").await;
    let (front, nobody) = (lab.free_addr(), lab.free_addr());
    let path = lab.dir().join("access.log");
    let servers = [("dead", nobody, ""), ("live", origin.addr(), "")];
    let mut service = fixed(front, "http", &["retries 3", "option redispatch"], &servers);
    service["proxy"] = json!({"access_log": {"to": path.to_str()}});
    let _synapse = lab.synapse(config(json!({"web": service}))).await;
    ask(front, 8).await;
    until_lines(&path, 8).await;
    let lines = lines(&path);
    assert!(lines.iter().all(|line| line.contains("/live")), "{lines:?}");
    assert!(lines.iter().filter(|line| line.contains("/+1 ")).count() > 1, "{lines:?}");
}
