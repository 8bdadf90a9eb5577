//! The usual set-up: a proxy before one server.

use std::net::SocketAddr;

use serde_json::{Value, json};

use super::origin::{self, Backend};
use crate::support::lab::Lab;
use crate::support::origin::Origin;
use crate::support::synapse::{Synapse, config, fixed};

/// A proxy before one server, called `A`, which speaks HTTP/1 ([`Origin`]) or HTTP/2 ([`Backend`]).
pub(super) struct Web<Server> {
    pub(super) front: SocketAddr,
    pub(super) synapse: Synapse,
    pub(super) server: Server,
}

/// Before a server of HTTP/1.
pub(super) async fn web(lab: &Lab) -> Web<Origin> {
    web_called(lab, "A").await
}

/// The same; its answers are what it is called.
pub(super) async fn web_called(lab: &Lab, name: &str) -> Web<Origin> {
    let server = lab.origin(name).await;
    let at = (server.addr(), "");
    before(lab, server, at, (&[], |_: &mut Value| {})).await
}

/// [`web`] with these lines in its service, `web`; `change` has the last word about the configuration.
pub(super) async fn web_with(
    lab: &Lab,
    lines: &[&str],
    change: impl FnOnce(&mut Value),
) -> Web<Origin> {
    let server = lab.origin("A").await;
    let at = (server.addr(), "");
    before(lab, server, at, (lines, change)).await
}

/// Before a server of HTTP/2, with these lines in its service.
pub(super) async fn web2(lab: &Lab, lines: &[&str]) -> Web<Backend> {
    let server = origin::start("A", lab.free_addr()).await;
    let at = (server.addr, "proto h2");
    before(lab, server, at, (lines, |_: &mut Value| {})).await
}

async fn before<Server>(
    lab: &Lab,
    server: Server,
    (addr, options): (SocketAddr, &str),
    (lines, change): (&[&str], impl FnOnce(&mut Value)),
) -> Web<Server> {
    let front = lab.free_addr();
    let mut all = config(json!({"web": fixed(front, "http", lines, &[("A", addr, options)])}));
    change(&mut all);
    Web { front, synapse: lab.synapse(all).await, server }
}
