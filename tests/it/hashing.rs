//! Which backend a request belongs to: haproxy's answer, key by key.
//!
//! Every case is a service of its own, called alike on either proxy, and gets the same requests. What haproxy 2.6 answers is
//! also stored, for the vectors that must never change.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use serde_json::{Map, Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;

use crate::support::client;
use crate::support::lab::Lab;
use crate::support::oracle::Oracle;
use crate::support::origin::Origin;
use crate::support::synapse::{config, fixed};
use crate::support::wait::eventually;

const PATIENCE: Duration = Duration::from_secs(5);

/// One request: from where, and its head.
type Ask = (Ipv4Addr, String);

struct Case {
    name: &'static str,
    lines: &'static [&'static str],
    options: [&'static str; 3],
    asks: Vec<Ask>,
    /// haproxy 2.6's answers.
    stored: Option<&'static str>,
}

impl Case {
    fn new(name: &'static str, lines: &'static [&'static str], asks: Vec<Ask>) -> Self {
        Self { name, lines, options: ["", "", ""], asks, stored: None }
    }

    fn with(self, options: [&'static str; 3]) -> Self {
        Self { options, ..self }
    }

    fn gives(self, stored: &'static str) -> Self {
        Self { stored: Some(stored), ..self }
    }
}

fn head(target: &str, headers: &str) -> Ask {
    let head = format!("GET {target} HTTP/1.1\r\nhost: h\r\n{headers}connection: close\r\n\r\n");
    (Ipv4Addr::LOCALHOST, head)
}

fn targets(targets: &[&str]) -> Vec<Ask> {
    targets.iter().map(|target| head(target, "")).collect()
}

fn paths() -> Vec<Ask> {
    (0..24).map(|n| head(&format!("/p{n}"), "")).collect()
}

fn keys() -> Vec<Ask> {
    (0..24).map(|n| head("/", &format!("X-K: k{n}\r\n"))).collect()
}

fn deep() -> Vec<Ask> {
    targets(&[
        "/a/b/c",
        "/a/b/d",
        "/a/c",
        "/a",
        "/ab/b/c?x=/y/z",
        "/a/b/c?q=1",
        "/a/b/c?q=2",
        "/",
        "/?",
        "//a//b",
        "/longer/path/than/the/others/and/more",
        "/longer/path/than/the/others/or/less",
        "http://h/a/b/c",
        "http://h/",
        "http://h/a?b",
        "/a/b",
    ])
}

fn sources() -> Vec<Ask> {
    (1..=24_u8)
        .map(|n| (Ipv4Addr::new(127, n, n.wrapping_mul(7), n.wrapping_mul(13)), head("/", "").1))
        .collect()
}

fn odd_headers() -> Vec<Ask> {
    let headers = [
        "x-k: a, b\r\n",
        "x-k: a\r\nx-k: c\r\n",
        "x-k: c\r\nx-k: a\r\n",
        "x-k:   spaced out  \r\n",
        "x-k: \"a,b\",c\r\n",
        "x-k: \u{e9}t\u{e9}\r\n",
        "X-K: A\r\n",
        "x-k:a\r\n",
    ];
    headers.iter().map(|headers| head("/", headers)).collect()
}

fn hosts() -> Vec<Ask> {
    [
        "www.example.com",
        "api.example.com",
        "example.com",
        "a.b.c.d",
        "localhost",
        "x.y",
        "www.other.org:80",
        "localhost:80",
        "x.",
        "a.b:80",
        "10.0.0.1",
    ]
    .iter()
    .map(|host| {
        let head = format!("GET / HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
        (Ipv4Addr::LOCALHOST, head)
    })
    .collect()
}

fn parameters() -> Vec<Ask> {
    targets(&[
        "/?k=1",
        "/?k=2",
        "/?k=3",
        "/x?a=b&k=1",
        "/x?kk=2&k=3&k=4",
        "/?k=",
        "/?k=a%20b",
        "/?ak=5&k=6",
        "/?k=7&",
        "/y?k=1",
        "/?a&k=8",
    ])
}

/// Options of servers.
const W: [&str; 3] = ["weight 1", "weight 2", "weight 3"];

fn cases() -> Vec<Case> {
    [lookups(), functions(), parts(), without_key()].into_iter().flatten().collect()
}

/// The map and the ring.
fn lookups() -> Vec<Case> {
    vec![
        Case::new("uri", &["balance uri"], paths()).gives("BCABCABCABCABCABCABCABCA"),
        Case::new("uri-w", &["balance uri"], paths()).with(W).gives("CBCBCACBCBBCBCACBCBCCBCA"),
        Case::new("cons", &["balance hdr(x-k)", "hash-type consistent"], keys())
            .gives("ACBCABABABCAABCCABACBCCC"),
        Case::new("cons-w", &["balance hdr(x-k)", "hash-type consistent"], keys())
            .with(W)
            .gives("ACBCABABABCACBCBABCCBCCC"),
        Case::new("cons-id", &["balance hdr(x-k)", "hash-type consistent"], keys())
            .with(["id 7", "", "id 123456"])
            .gives("ACBCBBCABCACCBCBCACCAAAC"),
        Case::new("cons-out", &["balance hdr(x-k)", "hash-type consistent"], keys())
            .with(["", "disabled", ""]),
        Case::new("uri-out", &["balance uri"], paths()).with(["", "disabled", ""]),
        Case::new("cons-one", &["balance hdr(x-k)", "hash-type consistent"], keys())
            .with(["", "disabled", "disabled"]),
        Case::new(
            "backups",
            &["balance uri", "hash-type consistent", "option allbackups"],
            paths(),
        )
        .with(["disabled", "backup", "backup weight 2"]),
    ]
}

/// Every function, with and without avalanche.
fn functions() -> Vec<Case> {
    vec![
        Case::new("sdbm", &["balance hdr(x-k)", "hash-type consistent sdbm"], keys()),
        Case::new("djb2", &["balance hdr(x-k)", "hash-type map-based djb2"], keys()).with(W),
        Case::new("wt6", &["balance uri", "hash-type map-based wt6"], paths()).with(W),
        Case::new("crc32", &["balance uri", "hash-type map-based crc32"], paths()).with(W),
        Case::new("sdbm-a", &["balance uri", "hash-type map-based sdbm avalanche"], paths())
            .with(W),
        Case::new("djb2-a", &["balance hdr(x-k)", "hash-type consistent djb2 avalanche"], keys())
            .gives("BCBBABBCCCCCBCBBABACCAAC"),
        Case::new("wt6-a", &["balance uri", "hash-type consistent wt6 avalanche"], paths()),
        Case::new("crc32-a", &["balance uri", "hash-type consistent crc32 avalanche"], paths()),
        Case::new("wt6-c", &["balance uri", "hash-type consistent wt6"], paths()),
        Case::new("crc32-c", &["balance uri", "hash-type consistent crc32"], paths()),
    ]
}

/// What of a request counts.
fn parts() -> Vec<Case> {
    vec![
        Case::new("len", &["balance uri len 5", "hash-type map-based crc32"], deep()).with(W),
        Case::new("depth", &["balance uri depth 1", "hash-type map-based crc32"], deep()).with(W),
        Case::new("depth2", &["balance uri depth 2 len 8", "hash-type map-based crc32"], deep())
            .with(W),
        Case::new("whole", &["balance uri whole", "hash-type map-based crc32"], deep()).with(W),
        Case::new("path", &["balance uri path-only", "hash-type map-based crc32"], deep()).with(W),
        Case::new(
            "path-d",
            &["balance uri path-only depth 1 whole", "hash-type consistent crc32"],
            deep(),
        )
        .with(W),
        Case::new("src", &["balance source"], sources()).with(W),
        Case::new("src-c", &["balance source", "hash-type consistent"], sources()),
        Case::new("src-a", &["balance source", "hash-type map-based sdbm avalanche"], sources()),
        Case::new("odd", &["balance hdr(x-k)", "hash-type map-based crc32"], odd_headers()).with(W),
        Case::new(
            "dom",
            &["balance hdr(host) use_domain_only", "hash-type map-based crc32"],
            hosts(),
        )
        .with(W),
        Case::new("par", &["balance url_param k", "hash-type map-based crc32"], parameters())
            .with(W),
    ]
}

/// Without a key: in turn, through the table or round the ring; and what has no key.
fn without_key() -> Vec<Case> {
    vec![
        Case::new("none-m", &["balance hdr(x-none)"], keys()).with(W),
        Case::new("none-c", &["balance hdr(x-none)", "hash-type consistent"], keys()).with(W),
        Case::new(
            "none-p",
            &["balance url_param k"],
            targets(&["/", "/?", "/?a=b", "/?kk=1", "/k=1", "/?k"]),
        ),
        Case::new(
            "none-h",
            &["balance hdr(x-k)"],
            vec![head("/", "x-k: \r\n"), head("/", "x-k: ,a\r\n"), head("/", "")],
        ),
        Case::new("static", &["balance static-rr"], paths()).with(W),
        Case::new("static5", &["balance static-rr"], paths()).with(["weight 5", "", ""]),
        Case::new(
            "factor",
            &["balance uri", "hash-type consistent", "hash-balance-factor 150"],
            paths(),
        ),
        Case::new("first", &["balance first"], paths()).with(["id 9", "id 3", "id 4"]),
    ]
}

/// The first letter of the answer's body.
async fn ask(front: SocketAddr, (from, head): &Ask) -> char {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind(SocketAddr::from((*from, 0))).expect("any address of the loopback");
    let mut stream = socket.connect(front).await.expect("connect");
    let head: Vec<u8> = head.chars().map(|c| u8::try_from(c).expect("latin 1")).collect();
    stream.write_all(&head).await.expect("send");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.expect("an answer");
    let answer = String::from_utf8(answer).expect("text");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    body.chars().find(char::is_ascii_uppercase).expect("a name")
}

async fn ask_all(front: SocketAddr, asks: &[Ask]) -> String {
    let mut answers = String::new();
    for it in asks {
        answers.push(ask(front, it).await);
    }
    answers
}

#[tokio::test]
async fn every_key_goes_where_haproxy_sends_it() {
    let lab = Lab::new().await;
    let origins = [lab.origin("A").await, lab.origin("B").await, lab.origin("C").await];
    let cases = cases();
    let mut services = Map::new();
    let mut text = String::from(
        "global\n nbthread 1\ndefaults\n mode http\n timeout connect 1s\n timeout client 9s\n timeout server 9s\n",
    );
    let mut fronts = Vec::new();
    for case in &cases {
        let servers: [_; 3] =
            std::array::from_fn(|i| (origins[i].name(), origins[i].addr(), case.options[i]));
        let (ours, theirs) = (lab.free_addr(), lab.free_addr());
        services.insert(case.name.to_owned(), fixed(ours, "http", case.lines, &servers));
        text.push_str(&format!("listen {}\n bind {theirs}\n", case.name));
        case.lines.iter().for_each(|line| text.push_str(&format!(" {line}\n")));
        for (name, addr, options) in servers {
            text.push_str(&format!(" server {name} {addr} {options}\n"));
        }
        fronts.push((ours, theirs));
    }
    let mut config = config(Value::Object(services));
    config["workers"] = json!(1);
    let _synapse = lab.synapse(config).await;
    let last = fronts.last().expect("cases").1;
    let _haproxy = Oracle::start_text(&lab, &text, last).await;
    let mut wrong = Vec::new();
    for (case, (ours, theirs)) in cases.iter().zip(fronts) {
        let (ours, theirs) = tokio::join!(ask_all(ours, &case.asks), ask_all(theirs, &case.asks));
        let stored = case.stored.unwrap_or(&theirs);
        if (ours.as_str(), stored) != (theirs.as_str(), theirs.as_str()) {
            wrong.push(format!("{}: ours {ours}, haproxy's {theirs}, stored {stored}", case.name));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[tokio::test]
async fn first_fills_one_server_after_the_other() {
    let lab = Lab::new().await;
    let origins = [lab.origin("A").await, lab.origin("B").await, lab.origin("C").await];
    let front = lab.free_addr();
    let servers = origins.each_ref().map(|origin| (origin.name(), origin.addr(), "maxconn 1"));
    let _synapse = lab
        .synapse(config(json!({"web": fixed(front, "http", &["balance first"], &servers)})))
        .await;
    let held = || origins.each_ref().map(Origin::held);
    let mut requests = Vec::new();
    for wanted in [[1, 0, 0], [1, 1, 0], [1, 1, 1]] {
        requests.push(tokio::spawn(client::get(front, "/hold")));
        eventually("the next is held", PATIENCE, || async {
            if held() == wanted { Ok(()) } else { Err(held()) }
        })
        .await;
    }
    origins.iter().for_each(|origin| origin.release(1));
    for request in requests {
        assert_eq!(request.await.expect("no panic").expect("answer").status, 200);
    }
}

#[tokio::test]
async fn random_shares_follow_the_weights() {
    for (weights, shares) in
        [(["", "", ""], [200, 200, 200]), (["", "weight 2", "weight 3"], [100, 200, 300])]
    {
        let lab = Lab::new().await;
        let origins = [lab.origin("A").await, lab.origin("B").await, lab.origin("C").await];
        let front = lab.free_addr();
        let servers: [_; 3] =
            std::array::from_fn(|i| (origins[i].name(), origins[i].addr(), weights[i]));
        let _synapse = lab
            .synapse(config(json!({"web": fixed(front, "http", &["balance random(2)"], &servers)})))
            .await;
        let names = client::sequence(front, 600).await;
        for (name, share) in ["A", "B", "C"].into_iter().zip(shares) {
            let got = names.matches(name).count();
            assert!(got.abs_diff(share) <= share / 10, "{name}: {got} instead of {share}");
        }
    }
}

#[tokio::test]
async fn a_session_without_requests_is_balanced_by_its_source() {
    let lab = Lab::new().await;
    let origins = [lab.tcp_origin("A").await, lab.tcp_origin("B").await, lab.tcp_origin("C").await];
    let front = lab.free_addr();
    let servers = origins.each_ref().map(|origin| (origin.name(), origin.addr(), ""));
    let _synapse = lab
        .synapse(config(json!({"db": fixed(front, "tcp", &["balance source"], &servers)})))
        .await;
    for last in 1..=6_u8 {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket
            .bind((Ipv4Addr::new(127, 0, 0, last), 0).into())
            .expect("an address of the loopback");
        let mut stream = socket.connect(front).await.expect("connect");
        let mut greeting = [0; 1];
        stream.read_exact(&mut greeting).await.expect("a greeting");
        // 127.0.0.1 modulo 3 is 2, as 0x7f000001 is.
        let number = 0x7f00_0000_usize + usize::from(last);
        assert_eq!(greeting[0], b"ABC"[number % 3], "127.0.0.{last}");
    }
}

/// As `hash-type map-based` haproxy itself would try the same server again and answer 503: here the last try goes on.
#[tokio::test]
async fn what_belongs_to_a_dead_server_is_redispatched_at_last() {
    let lab = Lab::new().await;
    let (a, c) = (lab.origin("A").await, lab.origin("C").await);
    let dead = lab.free_addr();
    let servers = [("A", a.addr(), ""), ("B", dead, ""), ("C", c.addr(), "")];
    let lines: [&[&str]; 2] = [
        &["balance uri", "retries 2", "option redispatch", "timeout connect 100ms"],
        &["balance uri", "hash-type consistent", "retries 2", "option redispatch 1"],
    ];
    for lines in lines {
        let front = lab.free_addr();
        let _synapse =
            lab.synapse(config(json!({"web": fixed(front, "http", lines, &servers)}))).await;
        for n in 0..12 {
            let answer = client::get(front, &format!("/p{n}")).await.expect("an answer");
            assert_eq!(answer.status, 200, "{lines:?}: {n}");
        }
    }
}
