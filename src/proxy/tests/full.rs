//! A server that does not answer connects: the kernel has no room for more, and drops what asks.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::timeout;

use super::rig::PATIENCE;

/// A connect that takes longer has been dropped.
const AT_ONCE: Duration = Duration::from_millis(200);

pub(super) struct Full {
    pub(super) addr: SocketAddr,
    listener: TcpListener,
    /// Those that were there first.
    fillers: Vec<TcpStream>,
}

impl Full {
    pub(super) async fn new() -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = socket.listen(1).unwrap();
        let addr = listener.local_addr().unwrap();
        let mut fillers = Vec::new();
        while let Ok(filler) = timeout(AT_ONCE, TcpStream::connect(addr)).await {
            fillers.push(filler.unwrap());
            assert!(fillers.len() < 16, "there is no end of room");
        }
        Self { addr, listener, fillers }
    }

    /// Makes room for whoever tries again, and takes it.
    pub(super) async fn room(&self) -> TcpStream {
        loop {
            let (stream, peer) = timeout(PATIENCE, self.listener.accept()).await.unwrap().unwrap();
            if !self.fillers.iter().any(|filler| filler.local_addr().unwrap() == peer) {
                return stream;
            }
        }
    }
}
