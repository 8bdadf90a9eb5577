//! The receiver of log lines: it counts them and throws them away.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::net::RecvFlags;
use socket2::{Domain, Socket, Type};

use super::{After, Shared};

/// Datagrams that may wait for the load's thread, in bytes: a burst of some thousand lines.
const ROOM: usize = 8 << 20;

/// A UDP socket.
#[derive(Debug)]
pub(crate) struct Drain {
    socket: Socket,
}

impl Drain {
    /// Binds.
    pub(crate) fn bind(addr: SocketAddr) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(addr), Type::DGRAM.nonblocking(), None)?;
        // More than the usual limit where we may.
        rustix::net::sockopt::set_socket_recv_buffer_size_force(&socket, ROOM)
            .or_else(|_| rustix::net::sockopt::set_socket_recv_buffer_size(&socket, ROOM))?;
        socket.bind(&addr.into())?;
        Ok(Self { socket })
    }

    pub(super) fn ready(&self, shared: &mut Shared) -> After {
        // One byte is enough: the rest of a datagram is thrown away.
        let mut byte = [0];
        while rustix::net::recv(&self.socket, &mut byte, RecvFlags::empty()).is_ok() {
            shared.tally.lines += 1;
        }
        After::Keep
    }
}

impl AsFd for Drain {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
