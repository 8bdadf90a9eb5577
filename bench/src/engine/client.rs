//! The clients: HTTP on one connection or many, ping-pong, and a sink for bulk.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use rustix::event::epoll::EventFlags;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};
use socket2::{Domain, Socket, Type};

use super::http::{Answer, Ask};
use super::{After, Shared};

/// A request that takes longer has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

/// What a client does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Task {
    /// One request after the other on one connection.
    KeepAlive,
    /// One request after the other, each on a connection of its own.
    Reconnect,
    /// One request when it is due; then the connection waits for another.
    Kept,
    /// One request on a connection of its own when it is due.
    Once,
    /// The same bytes there and back, again and again.
    PingPong,
    /// The same bytes there and back once, each time on a connection of its own.
    Session,
    /// The same bytes there and back once; then the connection stays.
    Parked,
    /// Takes what comes.
    Sink,
}

/// A client's connection.
#[derive(Debug)]
pub(crate) struct Client {
    socket: Socket,
    to: SocketAddr,
    task: Task,
    ask: Ask,
    /// Bytes of what it sends that are out.
    sent: usize,
    /// When the exchange under way began or was due.
    begun: Instant,
    /// True until something of the first request is out.
    connecting: bool,
    /// Nothing is expected but the end.
    done: bool,
    answer: Answer,
    /// Bytes of a message that are back.
    back: usize,
}

impl Client {
    /// Connects without waiting.
    pub(crate) fn connect(to: SocketAddr, task: Task, ask: Ask, due: Instant) -> io::Result<Self> {
        let mut client = Self {
            socket: dial(to)?,
            to,
            task,
            ask,
            sent: 0,
            begun: due,
            connecting: true,
            done: false,
            answer: Answer::default(),
            back: 0,
        };
        client.connecting = !client.try_first()?;
        Ok(client)
    }

    /// Another request on a kept connection.
    pub(crate) fn again(&mut self, due: Instant) -> io::Result<()> {
        self.begun = due;
        self.done = false;
        self.sent = 0;
        self.send()?;
        if self.is_sent() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
    }

    /// When the exchange under way began or was due; `None`: there is none.
    pub(super) fn waits_since(&self) -> Option<Instant> {
        (!self.done && self.task != Task::Sink).then_some(self.begun)
    }

    pub(super) fn interest(&self) -> EventFlags {
        if self.connecting {
            EventFlags::OUT
        } else if self.is_sent() {
            EventFlags::IN
        } else {
            EventFlags::IN | EventFlags::OUT
        }
    }

    pub(super) fn ready(&mut self, shared: &mut Shared, flags: EventFlags) -> After {
        match self.advance(shared, flags) {
            Ok(after) => after,
            Err(why) => {
                shared.tally.fail(&format!("{:?}: {why}", self.task));
                After::End
            }
        }
    }

    fn advance(&mut self, shared: &mut Shared, flags: EventFlags) -> Result<After, String> {
        if self.connecting {
            if !flags.intersects(EventFlags::OUT | EventFlags::ERR | EventFlags::HUP) {
                return Ok(After::Keep);
            }
            if let Some(error) = self.socket.take_error().map_err(|e| e.to_string())? {
                return Err(error.to_string());
            }
            self.send().map_err(|e| e.to_string())?;
            self.connecting = false;
            return Ok(After::Interest(self.interest()));
        }
        if flags.contains(EventFlags::OUT) && !self.is_sent() {
            self.send().map_err(|e| e.to_string())?;
            return Ok(After::Interest(self.interest()));
        }
        // No copy of what is thrown away.
        let is_counted = self.task == Task::Sink || self.answer.is_in_body();
        let how = if is_counted { RecvFlags::TRUNC } else { RecvFlags::empty() };
        let n = match rustix::net::recv(&self.socket, &mut *shared.buffer, how) {
            Ok((_, n)) => n,
            Err(Errno::AGAIN) => return Ok(After::Keep),
            // After the answer a reset is as good an end as any.
            Err(_) if self.done => 0,
            Err(error) => return Err(error.to_string()),
        };
        if n == 0 {
            return self.ended();
        }
        self.take(n, shared)
    }

    fn ended(&mut self) -> Result<After, String> {
        if !self.done {
            return Err("connection closed".to_owned());
        }
        if self.task != Task::Reconnect {
            return Ok(After::End);
        }
        self.reconnect().map_err(|e| e.to_string())?;
        Ok(After::Reopened)
    }

    /// Deals with `n` bytes in the shared buffer.
    fn take(&mut self, n: usize, shared: &mut Shared) -> Result<After, String> {
        match self.task {
            Task::Sink => {
                shared.tally.bytes += u64::try_from(n).unwrap_or(0);
                return Ok(After::Keep);
            }
            Task::PingPong | Task::Session | Task::Parked => {
                self.back += n;
                if self.back < self.ask.expects {
                    return Ok(After::Keep);
                }
                self.back = 0;
            }
            Task::KeepAlive | Task::Reconnect | Task::Kept | Task::Once => {
                if self.done {
                    return Err("bytes after the answer".to_owned());
                }
                let is_whole = if self.answer.is_in_body() {
                    self.answer.skip(n)?
                } else {
                    let read = shared.buffer.get(..n).unwrap_or_default();
                    self.answer.feed(read, self.ask.expects)?
                };
                if !is_whole {
                    return Ok(After::Keep);
                }
            }
        }
        let now = Instant::now();
        let latency = now.saturating_duration_since(self.begun);
        if latency > PATIENCE {
            return Err(format!("answer after {latency:?}"));
        }
        shared.tally.exchange(latency);
        match self.task {
            Task::KeepAlive | Task::PingPong => {
                self.begun = now;
                self.sent = 0;
                self.send().map_err(|e| e.to_string())?;
                Ok(if self.is_sent() { After::Keep } else { After::Interest(self.interest()) })
            }
            Task::Session => {
                self.reconnect().map_err(|e| e.to_string())?;
                Ok(After::Reopened)
            }
            Task::Kept | Task::Parked => {
                self.done = true;
                Ok(After::Idle)
            }
            // The proxy closes first; the client waits for that as clients do.
            Task::Reconnect | Task::Once | Task::Sink => {
                self.done = true;
                Ok(After::Keep)
            }
        }
    }

    fn reconnect(&mut self) -> io::Result<()> {
        self.begun = Instant::now();
        self.socket = dial(self.to)?;
        self.done = false;
        self.sent = 0;
        self.connecting = !self.try_first()?;
        Ok(())
    }

    /// On loopback the handshake is usually over when `connect` returns. False: not yet.
    fn try_first(&mut self) -> io::Result<bool> {
        match self.send() {
            Ok(()) => Ok(self.sent > 0 || self.is_sent()),
            Err(e) if e.kind() == io::ErrorKind::NotConnected => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn is_sent(&self) -> bool {
        self.sent == self.ask.bytes.len()
    }

    /// As much of the request as the socket takes.
    fn send(&mut self) -> io::Result<()> {
        while let Some(rest) = self.ask.bytes.get(self.sent..).filter(|rest| !rest.is_empty()) {
            match rustix::net::send(&self.socket, rest, SendFlags::NOSIGNAL) {
                Ok(n) => self.sent += n,
                Err(Errno::AGAIN) => break,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

impl AsFd for Client {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn dial(to: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(to), Type::STREAM.nonblocking(), None)?;
    socket.set_tcp_nodelay(true)?;
    match socket.connect(&to.into()) {
        Ok(()) => Ok(socket),
        Err(e) if e.raw_os_error() == Some(Errno::INPROGRESS.raw_os_error()) => Ok(socket),
        Err(error) => Err(error),
    }
}
