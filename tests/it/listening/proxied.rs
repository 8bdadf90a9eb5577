//! `accept-proxy`.

use std::net::SocketAddr;

use serde_json::json;
use tokio::net::{TcpStream, UnixStream};

use super::{Lines, PATIENCE, REQUEST, echo, forwarded, heard};
use crate::support::lab::Lab;
use crate::support::oracle::Oracle;
use crate::support::queues::until_read;
use crate::support::synapse::{config, fixed};

fn v2(command: u8, kind: u8, body: &[u8]) -> Vec<u8> {
    let len = u16::try_from(body.len()).expect("short").to_be_bytes();
    [b"\r\n\r\n\0\r\nQUIT\n", &[command, kind][..], &len, body].concat()
}

const FOUR: &[u8] = &[192, 0, 2, 7, 192, 0, 2, 8, 0x12, 0x67, 0, 80];

/// Headers, each in one packet with the request. `true`: we take what haproxy does not.
fn headers() -> Vec<(Vec<u8>, bool)> {
    let line = |text: &str| (format!("{text}\r\n").into_bytes(), false);
    let six = [
        &[0x20, 1, 0xd, 0xb8][..],
        &[0; 11],
        &[1],
        &[0x20, 1, 0xd, 0xb8],
        &[0; 11],
        &[2],
        &[0, 1, 0, 2],
    ]
    .concat();
    vec![
        line("PROXY TCP4 192.0.2.7 192.0.2.8 4711 80"),
        line("PROXY TCP4 192.0.2.7 192.0.2.8 0004711 0"),
        line("PROXY TCP6 2001:db8::7 2001:db8::8 1 65535"),
        line("PROXY UNKNOWN"),
        line("PROXY TCP4 ::1 ::2 1 2"),
        line("PROXY TCP6 192.0.2.7 192.0.2.8 1 2"),
        line("PROXY TCP4 192.0.2.7 192.0.2.8 -1 2"),
        line("PROXY TCP4  192.0.2.7 192.0.2.8 1 2"),
        line("PROXY TCP4 192.0.2.7 192.0.2.8 1 2 "),
        line("PROXY TCP4 192.0.2.7 192.0.2.8"),
        line("PROXY UDP4 192.0.2.7 192.0.2.8 1 2"),
        line("proxy TCP4 192.0.2.7 192.0.2.8 1 2"),
        (Vec::new(), false),
        (v2(0x21, 0x11, FOUR), false),
        (v2(0x21, 0x21, &six), false),
        (v2(0x21, 0x11, &[FOUR, &[4, 0, 2, b'x', b'y']].concat()), false),
        (v2(0x21, 0x11, &[FOUR, &[4, 0, 9, b'x', b'y']].concat()), false),
        (v2(0x20, 0, b""), false),
        (v2(0x20, 0x11, FOUR), false),
        (v2(0x22, 0x11, FOUR), false),
        (v2(0x21, 0x41, FOUR), false),
        (v2(0x31, 0x11, FOUR), false),
        (v2(0x21, 0x11, &FOUR[..11]), false),
        (v2(0x21, 0, b""), true),
        (v2(0x21, 0x31, &[0; 216]), true),
        line("PROXY UNKNOWN and whatever"),
    ]
    .into_iter()
    .map(|(header, ours)| {
        let is_unknown_with_rest = header.starts_with(b"PROXY UNKNOWN ");
        (header, ours || is_unknown_with_rest)
    })
    .collect()
}

/// Answered or not, with whom as the client, and what the log says.
async fn fate(front: SocketAddr, lines: &Lines, header: &[u8]) -> (Vec<String>, String) {
    let stream = TcpStream::connect(front).await.expect("connect");
    let own = stream.local_addr().expect("connected").to_string();
    let answer = heard(stream, &[header, REQUEST].concat()).await;
    let lines_of_answer = forwarded(&answer).iter().map(|line| (*line).to_owned()).collect();
    let line = lines.next().await.replace(&own, "OWN");
    // What was wrong (haproxy may have believed the addresses by then), or a request: then who it was.
    let (client, rest) = line.split_once(' ').unwrap_or_default();
    let said = if rest.starts_with("web/1: ") { rest } else { client }.to_owned();
    (lines_of_answer, said)
}

#[tokio::test]
async fn headers_have_the_same_fate_as_with_haproxy() {
    let lab = Lab::alone().await;
    let origin = echo(&lab).await;
    let (front, theirs) = (lab.free_addr(), lab.free_addr());
    let (ours_log, our_addr) = Lines::new().await;
    let (their_log, their_addr) = Lines::new().await;
    let mut service = fixed(
        front,
        "http",
        &["option forwardfor", "option httplog", &format!("log {our_addr} local0")],
        &[("a", origin, "")],
    );
    service["haproxy"]["bind_options"] = json!("accept-proxy");
    let _synapse = lab.synapse(config(json!({"web": service}))).await;
    let text = format!(
        "global\n nbthread 1\ndefaults\n timeout connect 1s\n timeout client 30s\n timeout server 30s\n\
         listen web\n bind {theirs} accept-proxy\n mode http\n option forwardfor\n option httplog\n\
         log {their_addr} local0\n server a {origin}\n"
    );
    let _haproxy = Oracle::start_text(&lab, &text, theirs).await;
    // The look whether it listens.
    let looked = their_log.next().await;
    assert!(looked.ends_with("web/1: Connection closed while waiting for PROXY protocol header"));
    for (header, is_ours) in headers() {
        let ours = fate(front, &ours_log, &header).await;
        let haproxys = fate(theirs, &their_log, &header).await;
        if is_ours {
            let own = vec!["x-forwarded-for: 127.0.0.1".to_owned()];
            assert_eq!(ours, (own, "OWN".to_owned()), "{}", header.escape_ascii());
            assert!(haproxys.0.is_empty(), "{}: haproxy {haproxys:?}", header.escape_ascii());
        } else {
            assert_eq!(ours, haproxys, "{}", header.escape_ascii());
        }
    }
}

#[tokio::test]
async fn the_header_may_come_in_pieces_and_alone() {
    use tokio::io::AsyncWriteExt as _;
    let lab = Lab::alone().await;
    let origin = echo(&lab).await;
    let front = lab.free_addr();
    let mut service = fixed(front, "http", &["option forwardfor"], &[("a", origin, "")]);
    service["haproxy"]["bind_options"] = json!("accept-proxy");
    let synapse = lab.synapse(config(json!({"web": service}))).await;
    let header = v2(0x21, 0x11, &[FOUR, &[4, 0, 2, b'x', b'y']].concat());
    for at in 1..=header.len() {
        let mut stream = TcpStream::connect(front).await.expect("connect");
        stream.set_nodelay(true).expect("connected");
        stream.write_all(&header[..at]).await.expect("taken");
        assert!(until_read(&stream, PATIENCE).await);
        let answer = heard(stream, &[&header[at..], REQUEST].concat()).await;
        assert_eq!(forwarded(&answer), ["x-forwarded-for: 192.0.2.7"], "{at}: {answer}");
    }
    let shown = synapse.service("web").await;
    assert_eq!(shown["traffic"]["requests"], header.len(), "{shown:#}");
}

#[tokio::test]
async fn the_carried_source_is_what_is_balanced_by() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let lab = Lab::new().await;
    let origins = [lab.tcp_origin("A").await, lab.tcp_origin("B").await, lab.tcp_origin("C").await];
    let front = lab.free_addr();
    let servers = origins.each_ref().map(|origin| (origin.name(), origin.addr(), ""));
    let mut service = fixed(front, "tcp", &["balance source"], &servers);
    service["haproxy"]["bind_options"] = json!("accept-proxy");
    let _synapse = lab.synapse(config(json!({"db": service}))).await;
    for last in 1..=6_u8 {
        let mut stream = TcpStream::connect(front).await.expect("connect");
        let header = format!("PROXY TCP4 127.0.0.{last} 10.0.0.1 1 2\r\n");
        stream.write_all(header.as_bytes()).await.expect("taken");
        let mut greeting = [0; 1];
        stream.read_exact(&mut greeting).await.expect("a greeting");
        // As in `hashing`: 127.0.0.1 modulo 3 is 2.
        let number = 0x7f00_0000_usize + usize::from(last);
        assert_eq!(greeting[0], b"ABC"[number % 3], "127.0.0.{last}");
    }
}

/// What has come with a header goes on with the same addresses; a client that has none has none there either.
#[tokio::test]
async fn a_chain_of_proxies_hands_the_client_on() {
    let lab = Lab::alone().await;
    let origin = echo(&lab).await;
    let path = lab.dir().join("web.sock");
    for mode in ["tcp", "http"] {
        let front = lab.free_addr();
        let mut service = fixed(front, mode, &[], &[("a", origin, "send-proxy")]);
        service["haproxy"]["bind_options"] = json!("accept-proxy");
        service["haproxy"]["frontend"] = json!([format!("bind {}", path.display())]);
        let _synapse = lab.synapse(config(json!({"web": service}))).await;
        for header in
            ["PROXY TCP4 192.0.2.7 192.0.2.8 4711 80\r\n", "PROXY TCP6 2001:db8::7 ::1 1 2\r\n"]
        {
            let stream = TcpStream::connect(front).await.expect("connect");
            let answer = heard(stream, &[header.as_bytes(), REQUEST].concat()).await;
            assert!(answer.contains(&format!("\r\n\r\n{header}GET /x")), "{mode}: {answer}");
        }
        let stream = TcpStream::connect(front).await.expect("connect");
        let own = stream.local_addr().expect("connected");
        let answer = heard(stream, &[b"PROXY UNKNOWN\r\n", REQUEST].concat()).await;
        let (client, at) = (own.ip(), front.ip());
        let line = format!("PROXY TCP4 {client} {at} {} {}\r\nGET /x", own.port(), front.port());
        assert!(answer.contains(&line), "{mode}: {answer}");
        let stream = UnixStream::connect(&path).await.expect("connect");
        let answer = heard(stream, REQUEST).await;
        assert!(answer.contains("\r\n\r\nPROXY UNKNOWN\r\nGET /x"), "{mode}: {answer}");
    }
}
