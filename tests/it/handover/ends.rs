//! The old process ends while a new one is about to take over from it, or comes while it drains: somebody serves.

use std::io::Read as _;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};

use super::TAKEN_OVER;
use super::scene::{caller, caught, raw, successor_with, web};
use crate::listening::unix::ask;
use crate::support::client::{Conn, get};
use crate::support::lab::Lab;
use crate::support::synapse::{config, fixed};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_has_asked_serves_whatever_becomes_of_the_old_process() {
    let told = "stopping softly";
    for signals in [
        &[(Signal::KILL, "")][..],
        &[(Signal::TERM, told)],
        &[(Signal::TERM, told), (Signal::TERM, "at once")],
    ] {
        let lab = Lab::new().await;
        let a = lab.origin("A").await;
        let front = lab.free_addr();
        let path = lab.dir().join("web.sock");
        let mut service = fixed(front, "http", &[], &[("A", a.addr(), "")]);
        service["haproxy"]["frontend"] = json!([format!("bind unix@{}", path.display())]);
        let old = lab.synapse(config(json!({"web": service}))).await;
        let (mut old, new) = caught(old).await;
        for (signal, heard) in signals {
            old.signal(*signal);
            old.until_logged(heard).await;
        }
        let hands_over = signals.len() == 1 && signals[0].0 == Signal::TERM;
        if hands_over {
            old.until_logged("a hand-over is under way").await;
        } else {
            old.ended().await;
        }
        new.signal(Signal::CONT);
        new.until_logged("serving").await;
        if hands_over {
            assert_eq!(old.ended().await.code(), Some(0));
            assert!(old.log().contains(TAKEN_OVER), "{}", old.log());
        }
        assert_eq!(get(front, "/").await.expect("served").text(), "A");
        assert_eq!(get(new.admin(), "/live").await.expect("admin").status, 200);
        assert!(ask(&path, b"").await.ends_with('A'), "{signals:?}");
    }
}

/// It says no more, but lives: two would serve.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_successor_that_is_late_is_told_that_the_old_process_goes_on() {
    let lab = Lab::new().await;
    let (old, front, _a) = web(&lab).await;
    // One that says that it is ready, and no more.
    let mut late = caller(&lab, &["\"Ready\""]);
    old.until_logged("hand-over came to nothing").await;
    assert_eq!(get(front, "/").await.expect("served").text(), "A");
    assert_eq!(get(old.admin(), "/live").await.expect("admin").status, 200);
    let mut said = Vec::new();
    late.read_to_end(&mut said).expect("to its end");
    let end = said.len().saturating_sub(100);
    let end = String::from_utf8_lossy(&said[end..]).into_owned();
    assert!(end.contains("nothing heard for 10s; it goes on"), "{end}");
    let new = old.successor(None);
    new.until_logged("serving").await;
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
        tokio::time::sleep(Duration::from_millis(delay)).await;
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
    let (old, _front, _a) = web(&lab).await;
    let (mut old, mut new) = caught(old).await;
    old.signal(Signal::TERM);
    old.until_logged("a hand-over is under way").await;
    new.signal(Signal::KILL);
    new.ended().await;
    assert_eq!(old.ended().await.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_drains_lets_another_take_its_place() {
    let lab = Lab::new().await;
    let (mut old, front, mut conn, _a) = raw(&lab).await;
    old.signal(Signal::TERM);
    old.until_logged("draining connections").await;
    let new = old.successor(None);
    new.until_logged("serving").await;
    old.until_logged("draining goes on").await;
    let live = get(new.admin(), "/live").await.expect("one admin server");
    assert_eq!(live.status, 200);
    let mut other = Conn::open(front).await.expect("connect");
    assert_eq!(other.exactly(2).await.expect("served by the new one"), b"A\n");
    conn.send(b"after").await.expect("send");
    assert_eq!(conn.exactly(5).await.expect("the session goes on"), b"after");
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
    let services = json!({"web": service(front), "more": service(more)});
    let new = successor_with(&old, &lab, services);
    new.until_logged("trying again").await;
    drop(holder);
    new.until_logged("serving").await;
    for addr in [front, more] {
        assert_eq!(get(addr, "/").await.expect("served").text(), "A");
    }
}
