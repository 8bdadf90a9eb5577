//! Bytes both ways between two sockets, with half-close, until both are done, one breaks, or nothing moves any more.
//!
//! How bytes move is each `Direction`'s; an idle connection holds neither buffer nor pipe. Activity is noted; the
//! thread's wheel looks at the note.

mod silence;

use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::net::TcpStream;

use super::Timeouts;
use super::direction::{Break, Direction, Opposite};
use super::local::Local;
use super::millis::Millis;
use super::side::Side;
use super::timer::Timer;
use crate::lb::ending::Reason;

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
    /// The backend's sessions are to end: [`Meter::ended`].
    Ended(Reason),
    /// It has its age.
    Aged,
    /// One end broke; the other has been told by a reset.
    Broken(Which, io::Error),
    /// The system did not let us watch an end, for want of memory or `fs.epoll.max_user_watches`: neither peer is to blame.
    Own(io::Error),
}

/// The session that a relay serves: bytes moved from the client and to it, and whether it may go on.
pub(crate) trait Meter {
    /// Why it must end now, if it must. Asked whenever the relay is woken.
    fn ended(&self) -> Option<Reason> {
        None
    }

    /// `n` bytes of the client reached the backend.
    fn to_backend(&self, n: usize);
    /// `n` bytes of the backend reached the client.
    fn to_client(&self, n: usize);
}

/// The longest silences. A byte from one side is written to the other, so it breaks the silence of both.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience<'a> {
    timeouts: &'a Timeouts,
    /// When it ends in any case.
    age: Millis,
}

impl<'a> Patience<'a> {
    pub(crate) fn new(timeouts: &'a Timeouts) -> Self {
        Self { timeouts, age: Millis::NEVER }
    }

    /// The same, but no longer than until `age`.
    pub(crate) fn until(self, age: Millis) -> Self {
        Self { age, ..self }
    }
}

/// Moves bytes between client and backend until the end, or until nobody has for too long. With the client's socket, if it
/// has to be closed with care: see [`farewell`](super::farewell).
///
/// Not an `async fn`: those keep their arguments twice, and this one's future lasts as long as the connection.
pub(crate) fn run(
    (client, backend): (End, End),
    timer: &Timer,
    patience: Patience<'_>,
    meter: &impl Meter,
) -> impl Future<Output = (Finish, Option<Box<TcpStream>>)> {
    let mut relay = Relay {
        up: Direction::new(client.early),
        down: Direction::new(backend.early),
        client: Side::Watched(client.stream),
        backend: Side::Watched(backend.stream),
        active: timer.local().clock.tick(),
        looked: Millis::default(),
        expired: None,
        deaf: None,
        has_answered: false,
    };
    async move {
        let finish = poll_fn(|cx| match relay.poll(cx, timer.local(), meter) {
            Poll::Ready(finish) => Poll::Ready(finish),
            Poll::Pending => relay.poll_idle(cx, timer, (patience, meter)),
        })
        .await;
        let unread = relay.part(&finish);
        (finish, unread)
    }
}

struct Relay {
    client: Side,
    backend: Side,
    up: Direction,
    down: Direction,
    active: Millis,
    /// When it was last seen whether a side that seems to take nothing does.
    looked: Millis,
    /// Who was silent for too long first: taken to have said all.
    expired: Option<Which>,
    /// The backend takes no more, for this reason. What it has said still goes on.
    deaf: Option<io::Error>,
    /// The client has taken something.
    has_answered: bool,
}

impl Relay {
    fn poll(&mut self, cx: &mut Context<'_>, local: &Local, meter: &impl Meter) -> Poll<Finish> {
        if let Some(reason) = meter.ended() {
            return Poll::Ready(Finish::Ended(reason));
        }
        let (client, backend) = (&mut self.client, &mut self.backend);
        let closed = (self.up.closed, self.down.closed);
        let opposite = Opposite { is_closed: closed.1, holds: self.down.holds() };
        let mut up = self.up.poll(cx, (client, backend), (local, opposite));
        if !backend.is_lost()
            && let Poll::Ready(Err(Break::Sink(error))) = up
        {
            self.deaf = Some(error);
            self.up.abandon();
            up = Poll::Ready(Ok(()));
        }
        // A socket tells its error once: after that the other direction would take it for an end, and pass that on.
        let down = match &up {
            Poll::Ready(Err(_)) => Poll::Pending,
            Poll::Ready(Ok(())) | Poll::Pending => {
                let opposite = Opposite { is_closed: self.up.closed, holds: self.up.holds() };
                self.down.poll(cx, (backend, client), (local, opposite))
            }
        };
        let moved = (std::mem::take(&mut self.up.moved), std::mem::take(&mut self.down.moved));
        self.has_answered |= moved.1 > 0;
        if moved != (0, 0) {
            meter.to_backend(moved.0);
            meter.to_client(moved.1);
        }
        // An end that is passed on is a sign of life, too, if it is one: what is allowed after it begins with it.
        let is_told = self.expired.is_none() && closed != (self.up.closed, self.down.closed);
        if moved != (0, 0) || is_told {
            self.active = local.clock.tick();
        }
        match (up, down) {
            (Poll::Ready(Err(Break::Source(e))), _) | (_, Poll::Ready(Err(Break::Sink(e)))) => {
                Poll::Ready(self.broken(Which::Client, e))
            }
            (Poll::Ready(Err(Break::Sink(e))), _) | (_, Poll::Ready(Err(Break::Source(e)))) => {
                Poll::Ready(self.broken(Which::Backend, e))
            }
            (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) => Poll::Ready(match self.deaf.take() {
                Some(error) => Finish::Broken(Which::Backend, error),
                None => self.expired.map_or(Finish::Done, Finish::Idle),
            }),
            _ => Poll::Pending,
        }
    }

    /// Before both sockets close: an end must not look clean to a side that has not seen all. The client's, when it is not
    /// only to close.
    fn part(&mut self, finish: &Finish) -> Option<Box<TcpStream>> {
        let is_within = |it: &Direction| it.holds() || it.rests();
        let is_cut = match finish {
            Finish::Done => false,
            Finish::Broken(Which::Client, _) | Finish::Own(_) => true,
            // A reset throws away what the kernel still has for the client, which may be a whole answer: servers that close
            // with something unread break off like this. haproxy does the same.
            Finish::Broken(Which::Backend, _) => is_within(&self.down) || !self.has_answered,
            Finish::Ended(_) | Finish::Aged | Finish::Idle(_) => {
                is_within(&self.up) || is_within(&self.down)
            }
        };
        if is_cut {
            self.client.reset();
        }
        if is_cut || matches!(finish, Finish::Broken(..)) {
            self.backend.reset();
        }
        if is_cut || !matches!(finish, Finish::Broken(..)) {
            return None;
        }
        // One that the reactor does not take is lost, and closed.
        drop(self.client.watched());
        match std::mem::replace(&mut self.client, Side::Lost) {
            Side::Watched(client) => Some(Box::new(client)),
            Side::Unwatched(_) | Side::Lost => None,
        }
    }

    /// The end by an error that this end's calls told. A side is lost by the very call that tells why.
    fn broken(&self, which: Which, error: io::Error) -> Finish {
        if self.client.is_lost() || self.backend.is_lost() {
            return Finish::Own(error);
        }
        Finish::Broken(which, error)
    }
}
