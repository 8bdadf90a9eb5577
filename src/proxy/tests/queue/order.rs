//! Who came first is served first.

use std::sync::atomic::Ordering;

use tokio::io::AsyncWriteExt;

use super::super::rig::{Client, Rig, Setup, until};
use super::{Gated, MAX};
use crate::proxy::Mode;

/// Sends one request after the other, each once the one before stands in line; returns the clients.
async fn arrive(rig: &Rig, gated: &Gated, count: usize, head: &str) -> Vec<Client> {
    let mut clients = Vec::new();
    for number in 0..count {
        let mut client = rig.client().await;
        client.send(&format!("GET /{number} HTTP/1.1\r\nhost: t\r\n{head}\r\n")).await;
        let waiting = || rig.pool.handle.queue().length as usize;
        until("in line", || gated.seen() + waiting() == number + 1).await;
        clients.push(client);
    }
    clients
}

async fn hundred_are_served_in_order(mode: Mode, workers: usize, head: &str) {
    let gated = Gated::start(mode == Mode::Tcp).await;
    let mut setup = Setup::new(mode, &[gated.origin.addr]);
    setup.server_max = Some(MAX);
    setup.workers = workers;
    let rig = setup.start().await;
    let mut clients = arrive(&rig, &gated, 100, head).await;
    assert_eq!(rig.pool.handle.queue().length, 95);
    for client in &mut clients {
        let before = gated.seen();
        gated.gate.add_permits(1);
        assert_eq!(client.answer().await.status, 200);
        if mode == Mode::Tcp {
            client.0.shutdown().await.unwrap();
        }
        until("the next one", || gated.seen() == 100.min(before + 1)).await;
    }
    assert_eq!(*gated.order.lock().unwrap(), (0..100).collect::<Vec<_>>());
    assert_eq!(gated.most.load(Ordering::SeqCst), MAX as usize);
    assert_eq!(gated.now.load(Ordering::SeqCst), 0);
    drop(clients);
    until("nothing left", || rig.in_flight() == 0).await;
    let view = rig.pool.handle.queue();
    assert_eq!((view.length, view.most, view.entered, view.served), (0, 95, 95, 95));
}

#[tokio::test]
async fn http_clients_that_stay_are_served_in_order() {
    for workers in [1, 2] {
        hundred_are_served_in_order(Mode::Http, workers, "").await;
    }
}

#[tokio::test]
async fn http_clients_that_close_are_served_in_order() {
    for workers in [1, 2] {
        hundred_are_served_in_order(Mode::Http, workers, "connection: close\r\n").await;
    }
}

#[tokio::test]
async fn tcp_clients_are_served_in_order() {
    for workers in [1, 2] {
        hundred_are_served_in_order(Mode::Tcp, workers, "").await;
    }
}
