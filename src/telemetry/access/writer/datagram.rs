//! Syslog servers: a datagram for each line.

use std::io::{self, ErrorKind, IoSlice};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs as _, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

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
                    rest = rest.get(count.max(1)..).unwrap_or_default();
                    continue;
                }
                Err(error) => error,
            };
            match (socket, error.kind()) {
                (_, ErrorKind::Interrupted) => {}
                // Said about the datagram before: this one has not been sent yet.
                (Socket::Udp(_), ErrorKind::ConnectionRefused) if sent.lost < all.len() => {
                    sent.lost += 1;
                    sent.failed = Some((error, Again::Soon));
                }
                // Too long for the path or the socket: the next one may fit.
                _ if rustix::io::Errno::from_io_error(&error)
                    == Some(rustix::io::Errno::MSGSIZE) =>
                {
                    sent.lost += 1;
                    sent.failed = Some((error, Again::Soon));
                    rest = rest.get(1..).unwrap_or_default();
                }
                // It does not read: waiting for each line would hold up all other targets.
                (_, ErrorKind::WouldBlock) => return give_up(sent, rest.len(), error),
                // A receiver that was started anew has another socket.
                _ => {
                    self.socket = None;
                    if is_fresh {
                        return give_up(sent, rest.len(), error);
                    }
                }
            }
        }
        sent.lost = sent.lost.min(all.len());
        sent
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
