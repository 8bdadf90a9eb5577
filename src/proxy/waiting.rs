//! Watching a client while its session waits for a backend.

use rustix::net::RecvFlags;
use tokio::io::Interest;
use tokio::net::TcpStream;

/// Returns when the client of a TCP session has left: reset, or closed before it said anything, as haproxy judges. One
/// that has sent something and then finished sending still wants its answer.
pub(crate) async fn gone(client: &TcpStream) {
    loop {
        if client.readable().await.is_err() {
            return;
        }
        let mut byte = [0_u8; 1];
        match rustix::net::recv(client, &mut byte, RecvFlags::PEEK | RecvFlags::DONTWAIT) {
            Ok((_, 0)) => return,
            // Nothing more can be learnt while that waits to be read.
            Ok(_) => std::future::pending::<()>().await,
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => {
                let nothing = || Err::<(), _>(std::io::ErrorKind::WouldBlock.into());
                // The error is what clears the readiness.
                drop(client.try_io(Interest::READABLE, nothing));
            }
            Err(_) => return,
        }
    }
}
