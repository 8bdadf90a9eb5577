//! A network between registry and server that can be taken away: refused, or cut while it swallows everything.

#![expect(clippy::unwrap_used, reason = "test support: clippy knows tests only by their attribute")]
#![allow(dead_code, reason = "each test binary uses its part")]

use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// Forwards a port of its own to a server. Starts open.
#[derive(Debug)]
pub(crate) struct Gate {
    addr: SocketAddr,
    server: SocketAddr,
    tasks: JoinSet<()>,
}

impl Gate {
    pub(crate) async fn open_to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut gate = Self { addr: listener.local_addr().unwrap(), server, tasks: JoinSet::new() };
        gate.tasks.spawn(forward(listener, server));
        gate
    }

    pub(crate) fn connect_string(&self) -> String {
        self.addr.to_string()
    }

    /// Breaks all connections and refuses new ones.
    pub(crate) async fn close(&mut self) {
        self.tasks.shutdown().await;
    }

    /// Forwards again, on the same port.
    pub(crate) async fn open(&mut self) {
        let listener = TcpListener::bind(self.addr).await.unwrap();
        self.tasks.spawn(forward(listener, self.server));
    }
}

async fn forward(listener: TcpListener, server: SocketAddr) {
    let mut connections = JoinSet::new();
    loop {
        let (mut client, _) = listener.accept().await.unwrap();
        connections.spawn(async move {
            let Ok(mut server) = TcpStream::connect(server).await else {
                return;
            };
            // Either side may reset at any time; that is the point of these tests.
            tokio::io::copy_bidirectional(&mut client, &mut server).await.ok();
        });
    }
}
