//! Bytes both ways between two sockets, with half-close, until both are done, one breaks, or nothing moves any more.
//!
//! Reads go into the worker's one shared buffer and are written at once; only what the other side does not take is
//! kept, in a buffer of its own, until it does. So an idle connection holds no buffer at all. Activity is noted; the
//! thread's wheel looks at the note.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::Timeouts;
use super::local::Local;
use super::millis::Millis;
use super::timer::Timer;

/// Full buffers moved in one direction before others on the worker get their turn.
const TURN: usize = 4;

/// One end: its socket and what was read from it before the relay began.
#[derive(Debug)]
pub(crate) struct End {
    pub(crate) stream: TcpStream,
    pub(crate) early: Bytes,
}

/// Which end did it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Which {
    /// The client's.
    Client,
    /// The backend's.
    Backend,
}

/// How a relay ended.
#[derive(Debug)]
pub(crate) enum Finish {
    /// Both directions reached their end.
    Done,
    /// Nothing moved for the time allowed to this end.
    Idle(Which),
    /// One end broke; the other has been told by a reset.
    Broken(Which, io::Error),
}

/// Bytes moved: from the client, and to it.
pub(crate) trait Meter {
    /// `n` bytes of the client reached the backend.
    fn to_backend(&self, n: usize);
    /// `n` bytes of the backend reached the client.
    fn to_client(&self, n: usize);
}

/// The longest silences; `None` = for ever.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// While both ends may speak: `tunnel`, or the shorter of `client` and `server` (a byte from one side is written to
    /// the other, so it counts as activity of both).
    idle: Option<(Duration, Which)>,
    /// Once the client has been told that no more comes.
    client_fin: Option<Duration>,
    /// Once the backend has been told so.
    server_fin: Option<Duration>,
}

impl Patience {
    pub(crate) fn new(timeouts: &Timeouts) -> Self {
        let of = |limit: Option<Duration>, which| limit.map(|limit| (limit, which));
        let sides = [of(timeouts.client, Which::Client), of(timeouts.server, Which::Backend)];
        let shorter = sides.into_iter().flatten().min_by_key(|(limit, _)| *limit);
        let idle = of(timeouts.tunnel, Which::Client).or(shorter);
        Self { idle, client_fin: timeouts.client_fin, server_fin: timeouts.server_fin }
    }
}

/// Moves bytes between client and backend until the end, or until nobody has for too long.
pub(crate) async fn run(
    (client, backend): (End, End),
    timer: &Timer,
    patience: Patience,
    meter: &impl Meter,
) -> Finish {
    let mut relay = Relay {
        up: Direction::new(client.early),
        down: Direction::new(backend.early),
        client: client.stream,
        backend: backend.stream,
        active: timer.local().clock.tick(),
    };
    let finish = poll_fn(|cx| match relay.poll(cx, timer.local(), meter) {
        Poll::Ready(finish) => Poll::Ready(finish),
        Poll::Pending => relay.poll_idle(timer, patience),
    })
    .await;
    if matches!(finish, Finish::Broken(..)) {
        relay.reset();
    }
    finish
}

struct Relay {
    client: TcpStream,
    backend: TcpStream,
    up: Direction,
    down: Direction,
    active: Millis,
}

impl Relay {
    fn poll(&mut self, cx: &mut Context<'_>, local: &Local, meter: &impl Meter) -> Poll<Finish> {
        let mut buffer = local.buffer.borrow_mut();
        let (client, backend) = (&mut self.client, &mut self.backend);
        let closed = (self.up.closed, self.down.closed);
        let up = self.up.poll(cx, client, backend, &mut buffer);
        let down = self.down.poll(cx, backend, client, &mut buffer);
        let moved = (std::mem::take(&mut self.up.moved), std::mem::take(&mut self.down.moved));
        if moved != (0, 0) {
            meter.to_backend(moved.0);
            meter.to_client(moved.1);
        }
        // An end that is passed on is a sign of life, too: what is allowed after it begins with it.
        if moved != (0, 0) || closed != (self.up.closed, self.down.closed) {
            self.active = local.clock.tick();
        }
        match (up, down) {
            (Poll::Ready(Err(Break::Source(e))), _) | (_, Poll::Ready(Err(Break::Sink(e)))) => {
                Poll::Ready(Finish::Broken(Which::Client, e))
            }
            (Poll::Ready(Err(Break::Sink(e))), _) | (_, Poll::Ready(Err(Break::Source(e)))) => {
                Poll::Ready(Finish::Broken(Which::Backend, e))
            }
            (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) => Poll::Ready(Finish::Done),
            _ => Poll::Pending,
        }
    }

    /// Ready when the last activity is longer ago than allowed.
    fn poll_idle(&self, timer: &Timer, patience: Patience) -> Poll<Finish> {
        let client = patience.client_fin.filter(|_| self.down.closed);
        let server = patience.server_fin.filter(|_| self.up.closed);
        let fins = [client.map(|t| (t, Which::Client)), server.map(|t| (t, Which::Backend))];
        let fin = fins.into_iter().flatten().min_by_key(|(limit, _)| *limit);
        if let Some((limit, which)) = fin.or(patience.idle)
            && timer.expires(self.active.after(limit))
        {
            // One that has said all is not waited for.
            let which = match (self.up.ended, self.down.ended) {
                (true, false) => Which::Backend,
                (false, true) => Which::Client,
                (true, true) | (false, false) => which,
            };
            return Poll::Ready(Finish::Idle(which));
        }
        Poll::Pending
    }

    /// Closes both with a reset: an end must not look clean to a side that has not seen all.
    fn reset(&self) {
        for stream in [&self.client, &self.backend] {
            if let Err(error) = stream.set_zero_linger() {
                tracing::debug!(%error, "reset");
            }
        }
    }
}

/// Who failed in a direction.
enum Break {
    /// The one read from.
    Source(io::Error),
    /// The one written to.
    Sink(io::Error),
}

/// One direction's state.
struct Direction {
    /// Read but not yet taken by the other side.
    left: Bytes,
    /// The source has ended.
    ended: bool,
    /// The sink has been told.
    closed: bool,
    /// Bytes taken by the sink and not yet counted.
    moved: usize,
}

impl Direction {
    fn new(early: Bytes) -> Self {
        Self { left: early, ended: false, closed: false, moved: 0 }
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut TcpStream,
        to: &mut TcpStream,
        buffer: &mut [u8],
    ) -> Poll<Result<(), Break>> {
        for _ in 0..TURN {
            while self.left.has_remaining() {
                let n = ready!(write(cx, to, &self.left)?);
                self.left.advance(n);
                self.moved += n;
            }
            if self.ended {
                if !self.closed {
                    ready!(Pin::new(&mut *to).poll_shutdown(cx)).map_err(Break::Sink)?;
                    self.closed = true;
                }
                return Poll::Ready(Ok(()));
            }
            // A buffer grown for a slow peer is given back.
            self.left = Bytes::new();
            let mut chunk = ReadBuf::new(buffer);
            ready!(Pin::new(&mut *from).poll_read(cx, &mut chunk)).map_err(Break::Source)?;
            let mut chunk = chunk.filled();
            self.ended = chunk.is_empty();
            while !chunk.is_empty() {
                match write(cx, to, chunk)? {
                    Poll::Ready(n) => {
                        self.moved += n;
                        chunk = chunk.get(n..).unwrap_or_default();
                    }
                    Poll::Pending => {
                        self.left = Bytes::copy_from_slice(chunk);
                        return Poll::Pending;
                    }
                }
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

/// Writes something. `Ready(Ok(0))` from a socket would loop for ever: an error.
fn write(cx: &mut Context<'_>, to: &mut TcpStream, bytes: &[u8]) -> Result<Poll<usize>, Break> {
    match Pin::new(to).poll_write(cx, bytes) {
        Poll::Ready(Ok(0)) => Err(Break::Sink(io::ErrorKind::WriteZero.into())),
        Poll::Ready(Ok(n)) => Ok(Poll::Ready(n)),
        Poll::Ready(Err(error)) => Err(Break::Sink(error)),
        Poll::Pending => Ok(Poll::Pending),
    }
}
