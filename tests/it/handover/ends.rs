//! The old process ends while a new one is about to take over from it, or comes while it drains: somebody serves.

use rustix::process::Signal;
use serde_json::{Value, json};

use super::TAKEN_OVER;
use crate::support::client::{Conn, get};
use crate::support::lab::Lab;
use crate::support::synapse::{config, fixed};

const ASKED: &str = "hand-over asked for";

/// A successor that stands still as soon as it has asked; perhaps before it is ready, which is when it matters.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_has_asked_serves_whatever_becomes_of_the_old_process() {
    for signal in [Signal::KILL, Signal::TERM] {
        let lab = Lab::new().await;
        let a = lab.origin("A").await;
        let front = lab.free_addr();
        let services = json!({"web": fixed(front, "http", &[], &[("A", a.addr(), "")])});
        let mut old = lab.synapse(config(services)).await;
        let new = old.successor(None);
        old.until_logged(ASKED).await;
        new.signal(Signal::STOP);
        old.signal(signal);
        if signal == Signal::KILL {
            old.ended().await;
        } else {
            old.until_logged("stopping softly").await;
        }
        new.signal(Signal::CONT);
        new.until_logged("serving").await;
        assert_eq!(get(front, "/").await.expect("served").text(), "A");
        assert_eq!(get(new.admin(), "/live").await.expect("admin").status, 200);
        if signal == Signal::TERM {
            assert_eq!(old.ended().await.code(), Some(0));
            assert!(old.log().contains(TAKEN_OVER), "{}", old.log());
        }
    }
}

/// As they come: while the new one asks, gets sockets, starts, is ready, takes over.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn so_does_it_at_every_other_moment() {
    let lab = Lab::new().await;
    let a = lab.origin("A").await;
    let front = lab.free_addr();
    // Many: each step takes a while.
    let mut services = serde_json::Map::new();
    for n in 0..40 {
        let addr = lab.free_addr();
        services.insert(format!("s{n}"), fixed(addr, "http", &[], &[("A", a.addr(), "")]));
    }
    services.insert("web".to_owned(), fixed(front, "http", &[], &[("A", a.addr(), "")]));
    let mut old = lab.synapse(config(Value::Object(services))).await;
    for (n, delay) in [0, 5, 10, 20, 30, 40, 60, 90].into_iter().enumerate() {
        let new = old.successor(None);
        // Not for something to have happened: whenever that is.
        tokio::time::sleep(std::time::Duration::from_millis(delay)).await;
        old.signal(if n % 2 == 0 { Signal::TERM } else { Signal::KILL });
        new.until_logged("serving").await;
        assert_eq!(get(front, "/").await.expect("served").text(), "A", "{delay}");
        assert_eq!(get(new.admin(), "/live").await.expect("admin").status, 200);
        old.ended().await;
        old = new;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_successor_that_gives_up_does_not_keep_a_stopping_process() {
    let lab = Lab::new().await;
    let a = lab.origin("A").await;
    let services = json!({"web": fixed(lab.free_addr(), "http", &[], &[("A", a.addr(), "")])});
    let mut old = lab.synapse(config(services)).await;
    let mut new = old.successor(None);
    old.until_logged(ASKED).await;
    new.signal(Signal::STOP);
    old.signal(Signal::TERM);
    old.until_logged("stopping softly").await;
    new.signal(Signal::KILL);
    new.ended().await;
    assert_eq!(old.ended().await.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_drains_lets_another_take_its_place() {
    let lab = Lab::new().await;
    let a = lab.tcp_origin("A").await;
    let front = lab.free_addr();
    let services = json!({"raw": fixed(front, "tcp", &[], &[("A", a.addr(), "")])});
    let mut old = lab.synapse(config(services)).await;
    let mut conn = Conn::open(front).await.expect("connect");
    conn.send(b"before").await.expect("send");
    old.signal(Signal::TERM);
    old.until_logged("draining connections").await;
    let new = old.successor(None);
    new.until_logged("serving").await;
    old.until_logged("draining goes on").await;
    let live = get(new.admin(), "/live").await.expect("one admin server");
    assert_eq!(live.status, 200);
    let other = Conn::open(front).await.expect("served by the new one");
    conn.send(b"after").await.expect("the session goes on");
    drop((conn, other));
    assert_eq!(old.ended().await.code(), Some(0));
    new.until_logged("the former process has drained").await;
}

/// As when the old one's own reload has bound it, or stops.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_that_is_let_go_of_in_time_is_had() {
    let lab = Lab::new().await;
    let a = lab.origin("A").await;
    let (front, more) = (lab.free_addr(), lab.free_addr());
    let service = |bind| fixed(bind, "http", &[], &[("A", a.addr(), "")]);
    let old = lab.synapse(config(json!({"web": service(front)}))).await;
    let holder = std::net::TcpListener::bind(more).expect("free");
    let mut file = config(json!({"web": service(front), "more": service(more)}));
    file["admin"] = json!({"listen": old.admin().to_string()});
    file["state_dir"] = json!(lab.dir().join("state"));
    let file = lab.write("more.json", &file.to_string());
    let new = old.successor(Some(&file));
    new.until_logged("trying again").await;
    drop(holder);
    new.until_logged("serving").await;
    for addr in [front, more] {
        assert_eq!(get(addr, "/").await.expect("served").text(), "A");
    }
}
