//! Opening connections to servers: where to, in what way, and what is said first.
//!
//! Used by the data path and by health checks alike, so that a check goes the way of the traffic. Nothing here decides
//! who is connected to, or how often.
//!
//! A connected unix socket is handed on as a `TcpStream`: what is done with it (read, write, splice, shut down) is the same
//! system calls, and the data path needs no second kind. What only TCP has (addresses, `TCP_NODELAY`) it has not: whoever
//! asks gets an error.

mod address;
pub mod header;
mod way;

#[cfg(test)]
mod tests;

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::net::{AddressFamily, SendFlags, SocketAddrUnix, SocketFlags, SocketType};
use tokio::net::{TcpSocket, TcpStream};

pub use self::address::Address;
pub(crate) use self::way::is_unsettled;
pub use self::way::{KeepAlive, Said, Source, Way};

/// Connects to `to`, in `way` if that is not the usual one.
///
/// # Errors
/// The system's.
pub(crate) async fn connect(to: &Address, way: Option<&Way>) -> io::Result<TcpStream> {
    match (to, way) {
        (Address::Inet(addr), None) => TcpStream::connect(*addr).await,
        // Boxed: others do not pay for it.
        (Address::Inet(addr), Some(way)) => Box::pin(way.connect(*addr, |_| ())).await,
        (Address::Unix(path), _) => unix(path),
    }
}

/// The same over a TCP socket that `prepare` has seen before it connects.
///
/// # Errors
/// The system's.
pub(crate) async fn connect_prepared(
    to: &Address,
    way: Option<&Way>,
    prepare: impl Fn(&TcpSocket),
) -> io::Result<TcpStream> {
    match to {
        Address::Inet(addr) => {
            let usual = Way::default();
            way.unwrap_or(&usual).connect(*addr, prepare).await
        }
        Address::Unix(path) => unix(path),
    }
}

/// Says `header` first over a new connection, which takes that much at once. `follows`: more is written now, and the kernel
/// may wait for it, to send both together.
///
/// # Errors
/// The connection has broken already.
pub(crate) fn announce(stream: &TcpStream, header: &[u8], follows: bool) -> io::Result<()> {
    let mut flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    flags.set(SendFlags::MORE, follows);
    let taken = rustix::net::send(stream, header, flags)?;
    if taken < header.len() {
        return Err(io::ErrorKind::WriteZero.into());
    }
    Ok(())
}

/// A unix socket is connected at once or not at all: [`Errno::AGAIN`](rustix::io::Errno::AGAIN) when the queue of its
/// listener is full.
fn unix(path: &Path) -> io::Result<TcpStream> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket: OwnedFd =
        rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)?;
    TcpStream::from_std(std::net::TcpStream::from(socket))
}
