//! haproxy beside it: the same requests over HTTP/2, the same statuses and log lines.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::json;
use tokio::net::UdpSocket;
use tokio::time::timeout;

use super::origin::{ask, connect, post};
use crate::support::lab::Lab;
use crate::support::oracle::Oracle;
use crate::support::synapse::{config, fixed};

const PATIENCE: Duration = Duration::from_secs(10);

const LINES: [&str; 5] = [
    "option httplog",
    "timeout connect 300ms",
    "timeout client 2s",
    "timeout server 400ms",
    "retries 1",
];

/// What a proxy does with a request, and writes about it.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    /// `None`: the stream was reset.
    status: Option<u16>,
    body: String,
    server: String,
    logged: String,
    state: String,
    line: String,
}

/// Asks and reads the line: `… [time] FRONT BACK/SERVER TIMES STATUS BYTES - - STATE CONNS QUEUES "LINE"`.
async fn seen(front: SocketAddr, log: &UdpSocket, path: &str) -> Seen {
    let sender = connect(front).await;
    let (status, body) = match ask(&sender, path, b"").await {
        Ok(got) => (Some(got.status), got.body),
        Err(_) => (None, String::new()),
    };
    let (server, logged, state, line) = logged(log, front).await;
    Seen { status, body, server, logged, state, line }
}

pub(super) async fn logged(log: &UdpSocket, front: SocketAddr) -> (String, String, String, String) {
    let mut buffer = [0; 4096];
    let received = timeout(PATIENCE, log.recv(&mut buffer)).await.expect("a line").expect("udp");
    let text = String::from_utf8_lossy(&buffer[..received]).into_owned();
    let rest = text.split_once("] ").expect("a time").1.to_owned();
    let rest = rest.split_once("] ").map_or_else(|| rest.clone(), |(_, rest)| rest.to_owned());
    let words: Vec<&str> = rest.split(' ').collect();
    let server = words[1].split('/').nth(1).expect("a server");
    let server = server.split('_').next().expect("a name").to_owned();
    let line = rest.split_once('"').expect("a request").1.trim_end_matches(['"', '\n']);
    let line = line.replace(&front.to_string(), "FRONT");
    (server, words[3].to_owned(), words[7].to_owned(), line)
}

#[tokio::test]
async fn statuses_and_log_lines_are_haproxys() {
    let lab = Lab::new().await;
    let origin = lab.origin("A").await;
    let nowhere = lab.free_addr();
    // `/silent` differs: haproxy resets the stream without a line, here it is 502 and `SH`.
    for (servers, paths) in [
        (vec![("A", origin.addr())], vec!["/garbage", "/slow/900", "/x?y=1", "/status/404"]),
        (vec![("A", nowhere)], vec!["/x"]),
        (vec![], vec!["/x"]),
    ] {
        let logs = [UdpSocket::bind((lab.ip(), 0)), UdpSocket::bind((lab.ip(), 0))];
        let [ours, theirs] = logs;
        let (ours, theirs) = (ours.await.expect("udp"), theirs.await.expect("udp"));
        let line = |log: &UdpSocket| format!("log {} local0", log.local_addr().expect("bound"));
        let with = |log: String| {
            let mut lines = LINES.map(str::to_owned).to_vec();
            lines.push(log);
            lines
        };
        let front = lab.free_addr();
        let (own, other) = (with(line(&ours)), with(line(&theirs)));
        let own: Vec<&str> = own.iter().map(String::as_str).collect();
        let other: Vec<&str> = other.iter().map(String::as_str).collect();
        let servers: Vec<_> = servers.iter().map(|(name, addr)| (*name, *addr, "")).collect();
        let service = fixed(front, "http", &own, &servers);
        let synapse = lab.synapse(config(json!({"it": service}))).await;
        let oracle = Oracle::start(&lab, "http", &other, &servers).await;
        // Its readiness is probed with a connection that says nothing, which it logs.
        let mut probes = [0; 4096];
        while timeout(Duration::from_millis(300), theirs.recv(&mut probes)).await.is_ok() {}
        for path in paths {
            let we = seen(front, &ours, path).await;
            let they = seen(oracle.addr, &theirs, path).await;
            assert_eq!(we, they, "{path}");
        }
        drop(synapse);
    }
}

#[tokio::test]
async fn a_client_that_gives_up_is_logged_as_haproxy_does() {
    let lab = Lab::new().await;
    let origin = lab.origin("A").await;
    let front = lab.free_addr();
    let log = UdpSocket::bind((lab.ip(), 0)).await.expect("udp");
    let line = format!("log {} local0", log.local_addr().expect("bound"));
    let second = super::origin::start("B", lab.free_addr()).await;
    let servers = [("A", origin.addr(), ""), ("B", second.addr, "proto h2")];
    let service = fixed(front, "http", &["option httplog", &line], &servers);
    let _synapse = lab.synapse(config(json!({"it": service}))).await;
    // With its body under way it is as much the client that has gone; twice each, so that both backends are asked.
    for (asked, is_whole) in [(1, true), (2, true), (3, false), (4, false)] {
        let mut sender = connect(front).await.ready().await.expect("ready");
        let (response, send) = sender.send_request(post("/hold"), is_whole).expect("request");
        crate::support::wait::eventually("it is asked", PATIENCE, || async {
            if origin.requests() + second.requests() == asked { Ok(()) } else { Err("not yet") }
        })
        .await;
        drop((response, send));
        let (server, status, state, line) = logged(&log, front).await;
        let stage = if is_whole { "CH--" } else { "CD--" };
        assert_eq!((status.as_str(), state.as_str()), ("-1", stage), "at {server}");
        assert_eq!(line, "POST http://test.example/hold HTTP/2.0");
    }
}
