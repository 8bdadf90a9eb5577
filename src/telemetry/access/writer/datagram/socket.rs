//! A socket that is connected to where lines go, and what its errors say.

use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixDatagram;

use rustix::io::Errno;

use crate::telemetry::access::target::Place;
use crate::telemetry::access::writer::alike;
use crate::telemetry::access::writer::lookup::Lookup;
use crate::telemetry::access::writer::sink::SEND_WAIT;

/// Connected to a receiver.
#[derive(Debug)]
pub(super) enum Socket {
    Udp {
        socket: UdpSocket,
        /// Of datagrams that are sent together.
        limits: alike::Limits,
    },
    Unix {
        socket: UnixDatagram,
        /// What stood at the path before it was connected.
        at: Option<Standing>,
    },
}

/// What stands at a path: device, inode, and when the inode was last changed. The inode of a socket that is open is not used
/// anew, that of one that is closed may be: then the time differs. It also tells of rights given after the bind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Standing {
    inode: (u64, u64),
    changed: (i64, i64),
}

impl Standing {
    /// `None`: nothing, or `place` is no path.
    pub(super) fn at(place: &Place) -> Option<Self> {
        let Place::Unix(path) = place else {
            return None;
        };
        let found = std::fs::metadata(path).ok()?;
        let changed = (found.ctime(), found.ctime_nsec());
        Some(Self { inode: (found.dev(), found.ino()), changed })
    }
}

/// What an error of a send says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// A signal came.
    Nothing,
    /// The datagram before was refused; this one has not been sent yet.
    Former,
    /// This datagram is too long for the path or the socket; the next one may fit.
    This,
    /// The receiver does not read. Waiting for each line would hold up all other targets.
    Full,
    /// The receiver has gone; one that was started anew has another socket.
    Gone,
}

impl Socket {
    /// True for two that are connected to one UDP address. Of a path one cannot know: it may be another socket by now.
    pub(super) fn has_peer_of(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Udp { socket, .. }, Self::Udp { socket: other, .. }) => {
                socket.peer_addr().ok() == other.peer_addr().ok()
            }
            _ => false,
        }
    }

    pub(super) fn meaning(&self, error: &io::Error) -> Meaning {
        if Errno::from_io_error(error) == Some(Errno::MSGSIZE) {
            return Meaning::This;
        }
        match (self, error.kind()) {
            (_, ErrorKind::Interrupted) => Meaning::Nothing,
            (_, ErrorKind::WouldBlock) => Meaning::Full,
            (Self::Udp { .. }, ErrorKind::ConnectionRefused) => Meaning::Former,
            _ => Meaning::Gone,
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Udp { socket, .. } => socket.as_fd(),
            Self::Unix { socket, .. } => socket.as_fd(),
        }
    }
}

pub(super) fn connect_to(addr: SocketAddr) -> io::Result<Socket> {
    let any: SocketAddr = match addr {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(any)?;
    socket.connect(addr)?;
    socket.set_write_timeout(Some(SEND_WAIT))?;
    Ok(Socket::Udp { socket, limits: alike::Limits::to(addr) })
}

pub(super) fn connect(place: &Place, lookup: &mut Lookup) -> io::Result<Socket> {
    match place {
        Place::Udp(addr) => connect_to(lookup.address(addr)?),
        Place::Unix(path) => {
            // Before the connect: one that is replaced in between is noticed with the next batch.
            let at = Standing::at(place);
            let socket = UnixDatagram::unbound()?;
            socket.connect(path)?;
            socket.set_write_timeout(Some(SEND_WAIT))?;
            Ok(Socket::Unix { socket, at })
        }
        Place::Stdout | Place::Stderr | Place::File(_) => Err(ErrorKind::Unsupported.into()),
    }
}
