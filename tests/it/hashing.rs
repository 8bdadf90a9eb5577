//! Which backend a request belongs to: haproxy's answer, key by key.
//!
//! Every case is a service of its own, called alike on either proxy, and gets the same requests. What haproxy 2.6 answers is
//! also stored, for the vectors that must never change.

mod cases;

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use serde_json::{Map, Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;

use self::cases::{Ask, cases};
use crate::support::client;
use crate::support::lab::Lab;
use crate::support::oracle::Oracle;
use crate::support::origin::Origin;
use crate::support::synapse::{config, fixed};
use crate::support::wait::eventually;

const PATIENCE: Duration = Duration::from_secs(5);

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
