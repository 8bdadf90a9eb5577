//! The backends: HTTP with a fixed answer, echo, and a source that never ends.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::event::epoll;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, SocketFlags};
use socket2::{Domain, Socket, Type};

use super::http::{self, Exchange, HEAD_END, HEAD_LIMIT};
use super::{After, Shared};

/// Connections that wait to be accepted.
const BACKLOG: i32 = 4096;

/// Writes of the whole buffer before others get their turn.
const WRITES: usize = 4;

/// What an origin does with its connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    /// Answers each request, once its body is there.
    Http(Exchange),
    /// Sends back what it gets behind the first so many bytes.
    Echo(usize),
    /// Sends for ever.
    Source,
}

/// A listener of an origin.
#[derive(Debug)]
pub(crate) struct Listener {
    socket: Socket,
    work: Work,
    /// What it answers.
    reply: Arc<[u8]>,
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
        let reply = match work {
            Work::Http(exchange) => exchange.reply(),
            Work::Echo(_) | Work::Source => Arc::default(),
        };
        Ok(Self { socket, work, reply, number })
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
                    body_left: match self.work {
                        Work::Echo(head) => head,
                        Work::Http(_) | Work::Source => 0,
                    },
                    sent: self.reply.len(),
                    reply: Arc::clone(&self.reply),
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
    /// Bytes of the request's body, or of what comes before what is sent back, that are to come.
    body_left: usize,
    reply: Arc<[u8]>,
    /// Bytes of the reply that are out; all of them: none is under way.
    sent: usize,
}

impl Connection {
    pub(super) fn interest(&self) -> epoll::EventFlags {
        match self.work {
            Work::Http(_) if self.sent < self.reply.len() => epoll::EventFlags::OUT,
            Work::Http(_) | Work::Echo(_) => epoll::EventFlags::IN,
            Work::Source => epoll::EventFlags::OUT | epoll::EventFlags::RDHUP,
        }
    }

    pub(super) fn ready(&mut self, shared: &mut Shared, flags: epoll::EventFlags) -> After {
        let before = self.interest();
        let result = match self.work {
            Work::Http(_) if self.sent < self.reply.len() => self.send(),
            Work::Http(_) => self.serve(shared),
            Work::Echo(_) => self.echo(shared),
            Work::Source => self.pour(shared, flags),
        };
        match result {
            Ok(true) | Err(Errno::AGAIN) if self.interest() == before => After::Keep,
            Ok(true) | Err(Errno::AGAIN) => After::Interest(self.interest()),
            Ok(false) | Err(_) => After::End,
        }
    }

    /// Reads, and answers a request that is complete. False at the end.
    fn serve(&mut self, shared: &mut Shared) -> Result<bool, Errno> {
        let is_complete = if self.body_left == 0 {
            self.read_head(shared)?
        } else {
            let room = shared.buffer.len().min(self.body_left);
            let into = shared.buffer.get_mut(..room).unwrap_or_default();
            // No copy of what is thrown away.
            let (_, n) = rustix::net::recv(&self.stream, into, RecvFlags::TRUNC)?;
            if n == 0 {
                return Ok(false);
            }
            self.body_left -= n.min(self.body_left);
            Some(self.body_left == 0)
        };
        match is_complete {
            None => Ok(false),
            Some(false) => Ok(true),
            Some(true) => {
                self.sent = 0;
                self.send()
            }
        }
    }

    /// Whether the request is complete; `None`: the connection is over.
    fn read_head(&mut self, shared: &mut Shared) -> Result<Option<bool>, Errno> {
        let (_, n) = rustix::net::recv(&self.stream, &mut *shared.buffer, RecvFlags::empty())?;
        let read = shared.buffer.get(..n).unwrap_or_default();
        let whole = if self.head.is_empty() {
            read
        } else {
            self.head.extend_from_slice(read);
            self.head.as_slice()
        };
        if n == 0 {
            return Ok(None);
        }
        let body = if whole.starts_with(b"POST ") {
            http::split(whole).map(|(head, more)| {
                http::content_length(head).and_then(|length| length.checked_sub(more))
            })
        } else {
            whole.ends_with(HEAD_END).then_some(Some(0))
        };
        let Some(body) = body else {
            if whole.len() > HEAD_LIMIT {
                return Ok(None);
            }
            if self.head.is_empty() {
                self.head.extend_from_slice(read);
            }
            return Ok(Some(false));
        };
        if let Some(number) = self.number
            && !whole.starts_with(b"GET /ping")
        {
            shared.seen.request(number);
        }
        self.head.clear();
        // A POST without length, or with more than that: nothing that our clients send.
        let Some(left) = body else {
            return Ok(None);
        };
        self.body_left = left;
        Ok(Some(left == 0))
    }

    /// As much of the reply as the socket takes.
    fn send(&mut self) -> Result<bool, Errno> {
        while let Some(rest) = self.reply.get(self.sent..).filter(|rest| !rest.is_empty()) {
            self.sent += rustix::net::send(&self.stream, rest, SendFlags::NOSIGNAL)?;
        }
        Ok(true)
    }

    fn echo(&mut self, shared: &mut Shared) -> Result<bool, Errno> {
        let (_, n) = rustix::net::recv(&self.stream, &mut *shared.buffer, RecvFlags::empty())?;
        let before = self.body_left.min(n);
        self.body_left -= before;
        let read = shared.buffer.get(before..n).unwrap_or_default();
        if n > 0 && read.is_empty() {
            return Ok(true);
        }
        let sent = rustix::net::send(&self.stream, read, SendFlags::NOSIGNAL)?;
        Ok(n > 0 && sent == read.len())
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
