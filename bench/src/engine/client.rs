//! The clients: HTTP on one connection or many, ping-pong, and a sink for bulk.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use rustix::event::epoll::EventFlags;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};
use socket2::{Domain, Socket, Type};

use super::http::{Answer, CLOSE, KEEP};
use super::{After, Shared};

/// A request that takes longer has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

/// One message of a ping-pong.
const MESSAGE: [u8; 64] = [b'm'; 64];

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
    /// 64 bytes there and back, again and again.
    PingPong,
    /// Takes what comes.
    Sink,
}

/// A client's connection.
#[derive(Debug)]
pub(crate) struct Client {
    socket: Socket,
    to: SocketAddr,
    task: Task,
    /// When the exchange under way began or was due.
    begun: Instant,
    /// True until the first request is out.
    connecting: bool,
    /// Nothing is expected but the end.
    done: bool,
    answer: Answer,
    /// Bytes of a message that are back.
    back: usize,
}

impl Client {
    /// Connects without waiting.
    pub(crate) fn connect(to: SocketAddr, task: Task, due: Instant) -> io::Result<Self> {
        let mut client = Self {
            socket: dial(to)?,
            to,
            task,
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
        self.send()
    }

    pub(super) fn interest(&self) -> EventFlags {
        if self.connecting { EventFlags::OUT } else { EventFlags::IN }
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
            return Ok(After::Interest(EventFlags::IN));
        }
        // A sink wants no copy of what it throws away.
        let how = match self.task {
            Task::Sink => RecvFlags::TRUNC,
            Task::KeepAlive | Task::Reconnect | Task::Kept | Task::Once | Task::PingPong => {
                RecvFlags::empty()
            }
        };
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
            Task::PingPong => {
                self.back += n;
                if self.back < MESSAGE.len() {
                    return Ok(After::Keep);
                }
                self.back = 0;
            }
            Task::KeepAlive | Task::Reconnect | Task::Kept | Task::Once => {
                let read = shared.buffer.get(..n).unwrap_or_default();
                if self.done {
                    return Err("bytes after the answer".to_owned());
                }
                if !self.answer.feed(read)? {
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
                self.send().map_err(|e| e.to_string())?;
                Ok(After::Keep)
            }
            Task::Kept => {
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
        self.connecting = !self.try_first()?;
        Ok(())
    }

    /// On loopback the handshake is usually over when `connect` returns. False: not yet.
    fn try_first(&self) -> io::Result<bool> {
        match self.send() {
            Ok(()) => Ok(true),
            Err(e)
                if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::NotConnected) =>
            {
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    fn send(&self) -> io::Result<()> {
        let bytes = match self.task {
            Task::KeepAlive | Task::Kept => KEEP,
            Task::Reconnect | Task::Once => CLOSE,
            Task::PingPong => &MESSAGE,
            Task::Sink => return Ok(()),
        };
        let sent = rustix::net::send(&self.socket, bytes, SendFlags::NOSIGNAL)?;
        if sent == bytes.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
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
