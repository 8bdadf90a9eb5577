//! One direction of a relay: from one socket to the other, in order, nothing lost, nothing said twice.
//!
//! Few bytes go through the worker's shared buffer; only what the other side does not take is kept, in a buffer of its
//! own, until it does. Once the reads have been large some times in a row the bytes go through a pipe instead, without
//! being copied at all. A pipe is filled only when it is empty: so a direction always waits for exactly one side, the
//! source when it holds nothing, the sink when it holds something.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::creep::creep;
use super::local::Local;
use super::lull::Lull;
use super::pace::Pace;
use super::pipe::{self, PIPE_BYTES, Pipe};
use super::rate::Rate;
use super::side::Side;

/// Buffers or pipes moved in one direction before others on the worker get their turn.
const TURN: usize = 4;

/// Less than this, and the pipe was far from full: its stream rests, if it is a fast one.
const LITTLE: usize = PIPE_BYTES / 2;

/// Who failed in a direction.
#[derive(Debug)]
pub(super) enum Break {
    /// The one read from.
    Source(io::Error),
    /// The one written to.
    Sink(io::Error),
}

/// What a direction must know of the other.
#[derive(Clone, Copy, Debug)]
pub(super) struct Opposite {
    /// Its sink has been told of its end.
    pub(super) is_closed: bool,
    /// It has bytes that its sink, our source, has not taken.
    pub(super) holds: bool,
}

/// One direction's state.
#[derive(Debug)]
pub(super) struct Direction {
    /// Read but not yet taken by the other side.
    left: Bytes,
    /// The same, not copied. Held only while there are bytes in it.
    pipe: Option<Pipe>,
    /// How it moves bytes.
    pace: Pace,
    /// What has gone through pipes.
    rate: Rate,
    /// The last fill was one for which a fast stream rests, once that is drained.
    found_little: bool,
    /// It rests.
    lull: Option<Box<Lull>>,
    /// The source has ended.
    pub(super) ended: bool,
    /// The sink has been told, or is by the close that follows.
    pub(super) closed: bool,
    /// Bytes taken by the sink and not yet counted.
    pub(super) moved: usize,
}

impl Direction {
    pub(super) fn new(early: Bytes) -> Self {
        Self {
            left: early,
            pipe: None,
            pace: Pace::default(),
            rate: Rate::default(),
            found_little: false,
            lull: None,
            ended: false,
            closed: false,
            moved: 0,
        }
    }

    /// True while there are bytes that the sink has not taken.
    pub(super) fn holds(&self) -> bool {
        self.left.has_remaining() || self.pipe.is_some()
    }

    /// True within a lull: its source has more, most probably.
    pub(super) fn rests(&self) -> bool {
        self.lull.is_some()
    }

    /// Moves what there is; ready at the end, when the sink has been told. When it is the last of the two to end nobody
    /// is told: the close that follows at once says the same, and the sink has nothing unread that would make it a reset.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        (from, to): (&mut Side, &mut Side),
        (local, opposite): (&Local, Opposite),
    ) -> Poll<Result<(), Break>> {
        for _ in 0..TURN {
            ready!(self.poll_left(cx, to))?;
            ready!(self.poll_pipe(cx, (from, to), (local, opposite)))?;
            if self.ended {
                if !self.closed && !opposite.is_closed {
                    let to = to.watched().map_err(Break::Sink)?;
                    ready!(Pin::new(to).poll_shutdown(cx)).map_err(Break::Sink)?;
                }
                self.closed = true;
                return Poll::Ready(Ok(()));
            }
            ready!(self.poll_rest(cx, from, (local, opposite)))?;
            match self.new_pipe(local) {
                Some(pipe) => ready!(self.poll_splice(cx, from, (pipe, local)))?,
                None => ready!(self.poll_copy(cx, (from, to), local))?,
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// See [`creep`].
    pub(super) fn creep(&mut self, to: &Side) {
        self.moved += creep(&mut self.left, &mut self.pipe, to);
    }

    /// Its sink has broken: nothing of it is wanted any more.
    pub(super) fn abandon(&mut self) {
        (self.left, self.pipe, self.lull) = (Bytes::new(), None, None);
        (self.ended, self.closed) = (true, true);
    }

    /// For bulk, if there is one.
    fn new_pipe(&self, local: &Local) -> Option<Pipe> {
        matches!(self.pace, Pace::Bulk(_)).then(|| local.pipes.borrow_mut().take()).flatten()
    }

    /// What was kept.
    fn poll_left(&mut self, cx: &mut Context<'_>, to: &mut Side) -> Poll<Result<(), Break>> {
        if self.left.has_remaining() {
            while self.left.has_remaining() {
                let n = ready!(to.poll_write(cx, &self.left)).map_err(Break::Sink)?;
                self.left.advance(n);
                self.moved += n;
            }
            // A buffer grown for a slow peer is given back.
            self.left = Bytes::new();
        }
        Poll::Ready(Ok(()))
    }

    /// What is in the pipe.
    fn poll_pipe(
        &mut self,
        cx: &mut Context<'_>,
        (from, to): (&mut Side, &mut Side),
        (local, opposite): (&Local, Opposite),
    ) -> Poll<Result<(), Break>> {
        let Some(pipe) = &mut self.pipe else {
            return Poll::Ready(Ok(()));
        };
        while !pipe.is_empty() {
            let Poll::Ready(drained) = pipe.poll_drain_to(cx, to) else {
                if self.rate.is_high(local.shared.settings.fast) {
                    leave(from, opposite)?;
                }
                return Poll::Pending;
            };
            self.moved += drained.map_err(Break::Sink)?;
        }
        if let Some(pipe) = self.pipe.take() {
            local.pipes.borrow_mut().give(pipe);
        }
        Poll::Ready(Ok(()))
    }

    /// Begins to rest if there is reason to; ready when it does not rest any more.
    fn poll_rest(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut Side,
        (local, opposite): (&Local, Opposite),
    ) -> Poll<Result<(), Break>> {
        if std::mem::take(&mut self.found_little) {
            self.lull = local.lulls.borrow_mut().begin();
            if self.rests() {
                leave(from, opposite)?;
            }
        }
        if let Some(lull) = &self.lull {
            let over = ready!(lull.poll(cx));
            let lull = self.lull.take();
            match over {
                Ok(()) => local.lulls.borrow_mut().give(lull),
                Err(error) => tracing::debug!(%error, "no lull"),
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Fills the empty pipe. Ready with bytes in it, or at the end.
    fn poll_splice(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut Side,
        (mut pipe, local): (Pipe, &Local),
    ) -> Poll<Result<(), Break>> {
        match pipe.poll_fill_from(cx, from) {
            Poll::Ready(Ok(n)) if n > 0 => {
                self.pipe = Some(pipe);
                self.pace.note_fill(n);
                self.rate.add((local.clock.tick(), n), local.shared.settings.fast);
                self.found_little = n < LITTLE && self.rate.is_lasting();
                return Poll::Ready(Ok(()));
            }
            Poll::Ready(Err(error)) if pipe::is_unsupported(&error) => self.pace = Pace::CopiesOnly,
            Poll::Ready(Err(error)) => return Poll::Ready(Err(Break::Source(error))),
            Poll::Ready(Ok(_end)) => self.ended = true,
            Poll::Pending => {
                local.pipes.borrow_mut().give(pipe);
                return Poll::Pending;
            }
        }
        local.pipes.borrow_mut().give(pipe);
        Poll::Ready(Ok(()))
    }

    /// Reads into the worker's buffer and writes from there.
    fn poll_copy(
        &mut self,
        cx: &mut Context<'_>,
        (from, to): (&mut Side, &mut Side),
        local: &Local,
    ) -> Poll<Result<(), Break>> {
        let from = from.watched().map_err(Break::Source)?;
        let mut buffer = local.buffer.borrow_mut();
        let mut chunk = ReadBuf::new(&mut buffer);
        ready!(Pin::new(from).poll_read(cx, &mut chunk)).map_err(Break::Source)?;
        let mut chunk = chunk.filled();
        self.ended = chunk.is_empty();
        self.pace.note_read(chunk.len());
        while !chunk.is_empty() {
            match to.poll_write(cx, chunk).map_err(Break::Sink)? {
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
        Poll::Ready(Ok(()))
    }
}

/// The source of a stream that waits for something else is not watched, unless the other direction waits for it.
fn leave(from: &mut Side, opposite: Opposite) -> Result<(), Break> {
    if opposite.holds { Ok(()) } else { from.leave().map_err(Break::Source) }
}
