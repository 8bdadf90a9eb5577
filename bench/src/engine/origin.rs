//! The backends: HTTP with a fixed answer, echo, and a source that never ends.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::epoll;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, SocketFlags};
use socket2::{Domain, Socket, Type};

use super::http::{ANSWER, HEAD_END, HEAD_LIMIT};
use super::{After, Shared};

/// Connections that wait to be accepted.
const BACKLOG: i32 = 4096;

/// Writes of the whole buffer before others get their turn.
const WRITES: usize = 4;

/// What an origin does with its connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    /// Answers each request head with the same 128 bytes.
    Http,
    /// Sends back what it gets.
    Echo,
    /// Sends for ever.
    Source,
}

/// A listener of an origin.
#[derive(Debug)]
pub(crate) struct Listener {
    socket: Socket,
    work: Work,
    /// Its number in [`super::tally::Seen`], if anybody wants to know.
    number: Option<usize>,
}

impl Listener {
    /// Binds.
    pub(crate) fn bind(addr: SocketAddr, work: Work, number: Option<usize>) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(addr), Type::STREAM.nonblocking(), None)?;
        socket.set_reuse_address(true)?;
        // Inherited by what is accepted.
        socket.set_tcp_nodelay(true)?;
        socket.bind(&addr.into())?;
        socket.listen(BACKLOG)?;
        Ok(Self { socket, work, number })
    }

    pub(super) fn ready(&self, shared: &mut Shared) -> After {
        loop {
            let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
            match rustix::net::accept_with(&self.socket, flags) {
                Ok(stream) => shared.give_birth(Connection {
                    stream,
                    work: self.work,
                    number: self.number,
                    head: Vec::new(),
                }),
                Err(Errno::AGAIN) => return After::Keep,
                Err(Errno::CONNABORTED | Errno::INTR) => {}
                Err(error) => {
                    shared.tally.fail(&format!("origin: accept: {error}"));
                    return After::Keep;
                }
            }
        }
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// A connection of an origin. Its breaking is the proxy's business and no failure: the client would see one.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: OwnedFd,
    work: Work,
    number: Option<usize>,
    /// The beginning of a head that came in pieces.
    head: Vec<u8>,
}

impl Connection {
    pub(super) fn interest(&self) -> epoll::EventFlags {
        match self.work {
            Work::Http | Work::Echo => epoll::EventFlags::IN,
            Work::Source => epoll::EventFlags::OUT | epoll::EventFlags::RDHUP,
        }
    }

    pub(super) fn ready(&mut self, shared: &mut Shared, flags: epoll::EventFlags) -> After {
        let result = match self.work {
            Work::Http => self.answer(shared),
            Work::Echo => self.echo(shared),
            Work::Source => self.pour(shared, flags),
        };
        match result {
            Ok(true) | Err(Errno::AGAIN) => After::Keep,
            Ok(false) | Err(_) => After::End,
        }
    }

    /// False at the end.
    fn answer(&mut self, shared: &mut Shared) -> Result<bool, Errno> {
        let (_, n) = rustix::net::recv(&self.stream, &mut *shared.buffer, RecvFlags::empty())?;
        let read = shared.buffer.get(..n).unwrap_or_default();
        let whole = if self.head.is_empty() {
            read
        } else {
            self.head.extend_from_slice(read);
            self.head.as_slice()
        };
        if n == 0 || whole.len() > HEAD_LIMIT {
            return Ok(false);
        }
        if !whole.ends_with(HEAD_END) {
            if self.head.is_empty() {
                self.head.extend_from_slice(read);
            }
            return Ok(true);
        }
        if let Some(number) = self.number
            && !whole.starts_with(b"GET /ping")
        {
            shared.seen.request(number);
        }
        self.head.clear();
        let sent = rustix::net::send(&self.stream, ANSWER, SendFlags::NOSIGNAL)?;
        Ok(sent == ANSWER.len())
    }

    fn echo(&self, shared: &mut Shared) -> Result<bool, Errno> {
        let (_, n) = rustix::net::recv(&self.stream, &mut *shared.buffer, RecvFlags::empty())?;
        let read = shared.buffer.get(..n).unwrap_or_default();
        let sent = rustix::net::send(&self.stream, read, SendFlags::NOSIGNAL)?;
        Ok(n > 0 && sent == n)
    }

    fn pour(&self, shared: &Shared, flags: epoll::EventFlags) -> Result<bool, Errno> {
        if flags
            .intersects(epoll::EventFlags::RDHUP | epoll::EventFlags::HUP | epoll::EventFlags::ERR)
        {
            return Ok(false);
        }
        for _ in 0..WRITES {
            rustix::net::send(&self.stream, &shared.buffer, SendFlags::NOSIGNAL)?;
        }
        Ok(true)
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}
