//! Clients of TCP sessions that leave before there is a connection to a backend.

use std::cell::Cell;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::RecvFlags;
use tokio::io::Interest;
use tokio::net::TcpStream;

use super::http::socket::forget_readiness;

/// For one in a queue. Returns when it has left: reset, or closed before it said anything, as haproxy judges. One
/// that has sent something and then finished sending still wants its answer.
pub(super) async fn gone(client: &TcpStream) {
    loop {
        if client.readable().await.is_err() {
            return;
        }
        let mut byte = [0_u8; 1];
        match rustix::net::recv(client, &mut byte, RecvFlags::PEEK | RecvFlags::DONTWAIT) {
            Ok((_, 0)) => return,
            // Nothing more can be learnt while that waits to be read.
            Ok(_) => std::future::pending::<()>().await,
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => forget_readiness(client),
            Err(_) => return,
        }
    }
}

/// For one whose backend is being connected to. Returns when it has reset its connection, or has finished sending and that
/// means that it has given up. `is_overlooked` says that the reactor will not tell of bytes that wait.
pub(super) async fn gives_up(client: &TcpStream, on_close: bool, is_overlooked: &Cell<bool>) {
    if !on_close {
        // Either way it has broken.
        drop(client.ready(Interest::ERROR).await);
        return;
    }
    while client.readable().await.is_ok() {
        let mut look = [PollFd::new(client, PollFlags::RDHUP)];
        if poll(&mut look, Some(&Timespec::default())).is_ok_and(|ready| ready > 0) {
            return;
        }
        is_overlooked.set(true);
        forget_readiness(client);
    }
}
