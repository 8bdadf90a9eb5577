//! Syslog servers: a datagram for each line.

use std::io::{self, ErrorKind, IoSlice};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs as _, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{MMsgHdr, SendAncillaryBuffer, SendFlags, sendmmsg};

use super::sink::{Again, Messages, Sent};
use crate::telemetry::access::target::Place;

/// How long one send waits for room: a unix socket takes a few dozen lines (`net.unix.max_dgram_qlen`), fewer than a
/// batch has, and a receiver that is awake makes room within this time.
const SEND_WAIT: Duration = Duration::from_millis(20);

/// Datagrams per system call.
const AT_ONCE: usize = 64;

/// A socket, connected with the first line.
#[derive(Debug)]
pub(super) struct Datagrams {
    place: Place,
    socket: Option<Socket>,
}

#[derive(Debug)]
enum Socket {
    Udp(UdpSocket),
    Unix(UnixDatagram),
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Udp(socket) => socket.as_fd(),
            Self::Unix(socket) => socket.as_fd(),
        }
    }
}

impl Datagrams {
    pub(super) fn new(place: Place) -> Self {
        Self { place, socket: None }
    }

    pub(super) fn send(&mut self, messages: &Messages) -> Sent {
        let all: Vec<&[u8]> = messages.iter().collect();
        let mut rest = all.as_slice();
        let mut sent = Sent::default();
        let mut is_fresh = false;
        let mut was_short = false;
        while !rest.is_empty() {
            let socket = match &self.socket {
                Some(socket) => socket,
                None => match connect(&self.place) {
                    Ok(socket) => {
                        is_fresh = true;
                        self.socket.insert(socket)
                    }
                    Err(error) => return give_up(sent, rest.len(), error),
                },
            };
            let error = match send_some(socket, rest) {
                Ok(count) => {
                    // Of several datagrams the kernel gives the number alone, not the error that stopped it. One that is
                    // gone now was about the datagram before.
                    if was_short && matches!(socket, Socket::Udp(_)) {
                        sent.lose(ErrorKind::ConnectionRefused.into());
                    }
                    was_short = count < rest.len().min(AT_ONCE);
                    rest = rest.get(count.max(1)..).unwrap_or_default();
                    continue;
                }
                Err(error) => error,
            };
            was_short = false;
            match socket.meaning(&error) {
                Meaning::Nothing => {}
                Meaning::Former => sent.lose(error),
                Meaning::This => {
                    sent.lose(error);
                    rest = rest.get(1..).unwrap_or_default();
                }
                Meaning::Full => return give_up(sent, rest.len(), error),
                Meaning::Gone if is_fresh => {
                    self.socket = None;
                    return give_up(sent, rest.len(), error);
                }
                Meaning::Gone => self.socket = None,
            }
        }
        sent.lost = sent.lost.min(all.len());
        sent
    }
}

/// What an error of a send says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Meaning {
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
    fn meaning(&self, error: &io::Error) -> Meaning {
        if Errno::from_io_error(error) == Some(Errno::MSGSIZE) {
            return Meaning::This;
        }
        match (self, error.kind()) {
            (_, ErrorKind::Interrupted) => Meaning::Nothing,
            (_, ErrorKind::WouldBlock) => Meaning::Full,
            (Self::Udp(_), ErrorKind::ConnectionRefused) => Meaning::Former,
            _ => Meaning::Gone,
        }
    }
}

impl Sent {
    /// One is lost, the others are worth a try.
    fn lose(&mut self, error: io::Error) {
        self.lost += 1;
        self.failed = Some((error, Again::Soon));
    }
}

fn give_up(sent: Sent, rest: usize, error: io::Error) -> Sent {
    Sent { lost: sent.lost + rest, failed: Some((error, Again::Later)) }
}

/// Sends up to [`AT_ONCE`] of `messages`; gives how many.
fn send_some(socket: &Socket, messages: &[&[u8]]) -> io::Result<usize> {
    let slices: Vec<[IoSlice<'_>; 1]> =
        messages.iter().take(AT_ONCE).map(|text| [IoSlice::new(text)]).collect();
    let mut controls: Vec<_> = slices.iter().map(|_| SendAncillaryBuffer::default()).collect();
    let mut headers: Vec<_> = slices
        .iter()
        .zip(&mut controls)
        .map(|(slice, control)| MMsgHdr::new(slice, control))
        .collect();
    Ok(sendmmsg(socket, &mut headers, SendFlags::NOSIGNAL)?)
}

fn connect(place: &Place) -> io::Result<Socket> {
    match place {
        Place::Udp(addr) => {
            let addr = addr.to_socket_addrs()?.next().ok_or(ErrorKind::AddrNotAvailable)?;
            let any: SocketAddr = match addr {
                SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
                SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
            };
            let socket = UdpSocket::bind(any)?;
            socket.connect(addr)?;
            socket.set_write_timeout(Some(SEND_WAIT))?;
            Ok(Socket::Udp(socket))
        }
        Place::Unix(path) => {
            let socket = UnixDatagram::unbound()?;
            socket.connect(path)?;
            socket.set_write_timeout(Some(SEND_WAIT))?;
            Ok(Socket::Unix(socket))
        }
        Place::Stdout | Place::Stderr | Place::File(_) => Err(ErrorKind::Unsupported.into()),
    }
}
