//! Syslog servers: a datagram for each line.

use std::io::{self, ErrorKind, IoSlice};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixDatagram;

use rustix::io::Errno;
use rustix::net::{MMsgHdr, SendAncillaryBuffer, SendFlags, sendmmsg};

use super::alike::{self, Departure};
use super::lookup::Lookup;
use super::messages::Rest;
use super::sink::{Again, SEND_WAIT, Sent};
use crate::telemetry::access::target::Place;

/// Datagrams per system call.
const AT_ONCE: usize = 64;

/// A socket, connected with the first line.
#[derive(Debug)]
pub(super) struct Datagrams {
    place: Place,
    socket: Option<Socket>,
    lookup: Lookup,
    /// Datagrams in the last send: refused together, if they were.
    former: usize,
    /// The last send was of the present batch.
    is_own: bool,
}

#[derive(Debug)]
enum Socket {
    Udp {
        socket: UdpSocket,
        /// Of datagrams that are sent together.
        limits: alike::Limits,
    },
    Unix(UnixDatagram),
}

/// A send, or several in one system call.
#[derive(Clone, Copy, Debug)]
struct Attempt {
    tried: usize,
    /// The kernel took so many.
    sent: usize,
    /// As one: all or none.
    is_train: bool,
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Udp { socket, .. } => socket.as_fd(),
            Self::Unix(socket) => socket.as_fd(),
        }
    }
}

impl Datagrams {
    pub(super) fn new(place: Place) -> Self {
        Self { place, socket: None, lookup: Lookup::default(), former: 0, is_own: false }
    }

    /// Another socket, if there is one and it is not connected to where it should be. With an error the old one stays; when a
    /// name takes long, until it is known.
    pub(super) fn reopen(&mut self) -> io::Result<()> {
        if self.socket.is_none() {
            return Ok(());
        }
        self.lookup = Lookup::default();
        let new = connect(&self.place, &mut self.lookup)?;
        self.replace(new);
        Ok(())
    }

    fn replace(&mut self, new: Socket) {
        if !self.socket.as_ref().is_some_and(|old| old.has_peer_of(&new)) {
            self.socket = Some(new);
            self.former = 0;
        }
    }

    /// The name that a reload has not waited for.
    fn follow_name(&mut self) {
        if self.socket.is_some()
            && let Some(Ok(addr)) = self.lookup.finished()
            && let Ok(new) = connect_to(addr)
        {
            self.replace(new);
        }
    }

    /// Sends each message. Those of one length that follow each other cost a UDP server's sender little.
    pub(super) fn send(&mut self, all: Rest<'_>) -> Sent {
        let mut rest = all;
        let mut sent = Sent::default();
        self.is_own = false;
        self.ask_about_former(&mut sent);
        self.follow_name();
        let mut is_fresh = false;
        let mut was_short = false;
        while !rest.is_empty() {
            let socket = match &mut self.socket {
                Some(socket) => socket,
                None => match connect(&self.place, &mut self.lookup) {
                    Ok(socket) => {
                        is_fresh = true;
                        self.socket.insert(socket)
                    }
                    Err(error) => return give_up(sent, rest.len(), error),
                },
            };
            let error = match send_some(socket, rest) {
                Ok(attempt) => {
                    // Of several datagrams the kernel gives the number alone, not the error that stopped it. One that is
                    // gone now was about the datagram before.
                    if was_short && matches!(socket, Socket::Udp { .. }) {
                        sent.lose(1, ErrorKind::ConnectionRefused.into());
                    }
                    was_short = attempt.sent < attempt.tried;
                    self.former = if attempt.is_train { attempt.sent } else { 1 };
                    self.is_own = true;
                    rest = rest.after(attempt.sent.max(1));
                    continue;
                }
                Err(error) => error,
            };
            was_short = false;
            match socket.meaning(&error) {
                Meaning::Nothing => {}
                Meaning::Former => self.lose_former(&mut sent, error),
                Meaning::This => {
                    sent.lose(1, error);
                    rest = rest.after(1);
                }
                Meaning::Full => return give_up(sent, rest.len(), error),
                Meaning::Gone if is_fresh => {
                    self.socket = None;
                    return give_up(sent, rest.len(), error);
                }
                Meaning::Gone => self.socket = None,
            }
        }
        self.ask_about_former(&mut sent);
        sent.lost = sent.lost.min(all.len());
        sent
    }

    /// Hears what became of the last send. A server on this host that is missing has refused it already; of others, and of
    /// a path that is too narrow, the next batch hears, and must not take it for its own failure.
    fn ask_about_former(&mut self, sent: &mut Sent) {
        if let Some(Socket::Udp { socket, .. }) = &self.socket
            && let Ok(Some(error)) = socket.take_error()
        {
            self.lose_former(sent, error);
        }
    }

    fn lose_former(&mut self, sent: &mut Sent, error: io::Error) {
        let former = std::mem::take(&mut self.former);
        if self.is_own {
            sent.lose(former, error);
        } else {
            sent.lost_before += former;
            sent.note_failure(error);
        }
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
    /// True for two that are connected to one UDP address. Of a path one cannot know: it may be another socket by now.
    fn has_peer_of(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Udp { socket, .. }, Self::Udp { socket: other, .. }) => {
                socket.peer_addr().ok() == other.peer_addr().ok()
            }
            _ => false,
        }
    }

    fn meaning(&self, error: &io::Error) -> Meaning {
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

impl Sent {
    /// So many are lost, the others are worth a try.
    fn lose(&mut self, count: usize, error: io::Error) {
        self.lost += count;
        self.note_failure(error);
    }

    /// Why some are lost, now or before. What comes next is worth a try.
    fn note_failure(&mut self, error: io::Error) {
        self.failed = Some((error, Again::Soon));
    }
}

fn give_up(sent: Sent, rest: usize, error: io::Error) -> Sent {
    Sent { lost: sent.lost + rest, failed: Some((error, Again::Later)), ..sent }
}

/// Sends some of `messages`.
fn send_some(socket: &mut Socket, messages: Rest<'_>) -> io::Result<Attempt> {
    let mut tried = messages.len().min(AT_ONCE);
    if let Socket::Udp { socket: udp, limits } = socket {
        let count = alike::train(messages, *limits);
        if count > 0 {
            match alike::send(udp, (messages.first(count), count), *limits)? {
                Departure::Gone => {
                    return Ok(Attempt { tried: count, sent: count, is_train: true });
                }
                Departure::Refused(narrower) => {
                    *limits = narrower;
                    return send_some(socket, messages);
                }
            }
        }
        tried = alike::before_train(messages, *limits).min(tried);
    }
    let slices: Vec<[IoSlice<'_>; 1]> =
        messages.iter().take(tried).map(|text| [IoSlice::new(text)]).collect();
    let mut controls: Vec<_> = slices.iter().map(|_| SendAncillaryBuffer::default()).collect();
    let mut headers: Vec<_> = slices
        .iter()
        .zip(&mut controls)
        .map(|(slice, control)| MMsgHdr::new(slice, control))
        .collect();
    let sent = sendmmsg(socket, &mut headers, SendFlags::NOSIGNAL)?;
    Ok(Attempt { tried, sent, is_train: false })
}

fn connect_to(addr: SocketAddr) -> io::Result<Socket> {
    let any: SocketAddr = match addr {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(any)?;
    socket.connect(addr)?;
    socket.set_write_timeout(Some(SEND_WAIT))?;
    Ok(Socket::Udp { socket, limits: alike::Limits::to(addr) })
}

fn connect(place: &Place, lookup: &mut Lookup) -> io::Result<Socket> {
    match place {
        Place::Udp(addr) => connect_to(lookup.address(addr)?),
        Place::Unix(path) => {
            let socket = UnixDatagram::unbound()?;
            socket.connect(path)?;
            socket.set_write_timeout(Some(SEND_WAIT))?;
            Ok(Socket::Unix(socket))
        }
        Place::Stdout | Place::Stderr | Place::File(_) => Err(ErrorKind::Unsupported.into()),
    }
}

#[cfg(test)]
mod tests;
