//! Long bodies pass through a pipe, without being copied into this process.
//!
//! A pipe is filled only when it is empty and nothing waits before it, never beyond the end of the body, and a message is
//! not over before the other side has taken what is in its pipe. Short bodies, and bodies in chunks, which have to be
//! looked at, go through the worker's buffer; so does everything when there is no pipe.

use std::io;
use std::task::{Context, Poll, ready};

use super::client::{Client, Fixed};
use super::exchange::{Exchange, Outcome, Phase};
use super::inbound::Inbound;
use super::socket::Socket;
use crate::proxy::local::Local;
use crate::proxy::pipe::{self, PIPE_BYTES, Pipe};

/// With so much to come a body goes through a pipe: below, two more system calls cost what copying does.
const BULK: u64 = 48 * 1024;

/// Most bytes read while an answer's head is awaited: a head and a body that is no bulk. What comes of a long body behind
/// its head is copied.
const HEAD_READ: usize = 64 * 1024;

/// The same on a connection whose last answer was bulk: a head and a little. A shorter answer that is longer than this takes
/// another read and another send.
const BULK_HEAD_READ: usize = 8 * 1024;

/// From this length on an answer whose head was read so is bulk when its head has been read.
const BULK_BEHIND_HEAD: u64 = BULK + BULK_HEAD_READ as u64;

/// What became of an attempt to fill a pipe.
enum Filled {
    /// So many bytes are in it.
    Some(Pipe, usize),
    /// It is not bulk, or there is no pipe: to be copied.
    Not,
    /// The sender has ended.
    End(io::Error),
}

/// Takes the next bytes of a body from `socket`.
fn poll_fill(
    (local, cx): (&Local, &mut Context<'_>),
    socket: &mut Socket,
    body: &mut Inbound,
) -> Poll<Filled> {
    let Inbound::Length(left @ BULK..) = body else {
        return Poll::Ready(Filled::Not);
    };
    let Some(mut pipe) = local.pipes.borrow_mut().take() else {
        return Poll::Ready(Filled::Not);
    };
    let most = usize::try_from(*left).unwrap_or(PIPE_BYTES).min(PIPE_BYTES);
    let filled = socket.poll_fill(cx, (&mut pipe, most));
    if let Poll::Ready(Ok(n @ 1..)) = filled {
        *left = left.saturating_sub(n as u64);
        if *left == 0 {
            *body = Inbound::Done;
        }
        return Poll::Ready(Filled::Some(pipe, n));
    }
    let mut pipes = local.pipes.borrow_mut();
    pipes.give(pipe);
    match ready!(filled) {
        Err(error) if pipe::is_unsupported(&error) => {
            pipes.forbid();
            Poll::Ready(Filled::Not)
        }
        Err(error) => Poll::Ready(Filled::End(error)),
        Ok(_end) => Poll::Ready(Filled::End(io::ErrorKind::UnexpectedEof.into())),
    }
}

impl Exchange {
    /// True when the client has taken all that was read for it.
    pub(super) fn is_flushed(&self, client: &Client) -> bool {
        client.is_flushed() && self.down.pipe.is_none()
    }

    /// Sends the client what waits, then what is in the pipe.
    pub(super) fn poll_flush(
        &mut self,
        fixed: &Fixed,
        client: &mut Client,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        if !client.is_flushed() {
            ready!(client.poll_flush(fixed, cx))?;
        }
        if let Some(pipe) = &mut self.down.pipe {
            ready!(client.poll_drain(fixed, cx, pipe))?;
        }
        if let Some(pipe) = self.down.pipe.take() {
            fixed.local.pipes.borrow_mut().give(pipe);
        }
        Poll::Ready(Ok(()))
    }

    /// Sends the backend what is in the pipe. Call when nothing waits before it.
    pub(super) fn poll_drain_up(
        &mut self,
        fixed: &Fixed,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        let (Some(upstream), Some(pipe)) = (&mut self.upstream, &mut self.up.pipe) else {
            return Poll::Ready(Ok(()));
        };
        while !pipe.is_empty() {
            ready!(upstream.socket.poll_drain(cx, pipe))?;
            self.up.sent_at = fixed.now();
        }
        if let Some(pipe) = self.up.pipe.take() {
            fixed.local.pipes.borrow_mut().give(pipe);
        }
        Poll::Ready(Ok(()))
    }

    /// Where the next bytes of the answer are read into.
    pub(super) fn room<'a>(&self, buffer: &'a mut [u8]) -> &'a mut [u8] {
        let had_bulk = self.upstream.as_ref().is_some_and(|upstream| upstream.had_bulk);
        let most = match self.down.phase {
            Phase::Head if had_bulk => BULK_HEAD_READ,
            Phase::Head => HEAD_READ,
            Phase::Body => buffer.len(),
        };
        let most = most.min(buffer.len());
        buffer.get_mut(..most).unwrap_or_default()
    }

    /// Remembers what kind of answer comes: the next one on this connection is probably alike.
    pub(super) fn note_bulk(&mut self, body: &Inbound) {
        if let Some(upstream) = &mut self.upstream {
            upstream.had_bulk = matches!(body, Inbound::Length(BULK_BEHIND_HEAD..));
        }
    }

    /// Fills the pipe from the backend if what comes is bulk; true when there are bytes in it now.
    pub(super) fn poll_bulk_down(
        &mut self,
        fixed: &Fixed,
        client: &mut Client,
        cx: &mut Context<'_>,
    ) -> Poll<Result<bool, Outcome>> {
        let Some(upstream) = &mut self.upstream else {
            return Poll::Ready(Ok(false));
        };
        let filled = poll_fill((&fixed.local, cx), &mut upstream.socket, &mut self.down.body);
        let n = match ready!(filled) {
            Filled::Not => {
                // Without a pipe there is nothing to be saved.
                upstream.had_bulk &= !matches!(self.down.body, Inbound::Length(BULK..));
                return Poll::Ready(Ok(false));
            }
            Filled::End(error) => {
                fixed.tick();
                return Poll::Ready(Err(self.broke(error)));
            }
            Filled::Some(pipe, n) => {
                self.down.pipe = Some(pipe);
                n
            }
        };
        self.down.active = fixed.tick();
        self.count_out(fixed, n);
        if self.down.body.is_done() {
            // Before the client can know: whoever has the answer finds it counted.
            self.said_all(fixed, client, true);
        }
        Poll::Ready(Ok(true))
    }

    /// Fills the pipe from the client if what comes is bulk; true when there are bytes in it now.
    pub(super) fn poll_bulk_up(
        &mut self,
        fixed: &Fixed,
        client: &mut Client,
        cx: &mut Context<'_>,
    ) -> Poll<Result<bool, Outcome>> {
        let filled = poll_fill((&fixed.local, cx), &mut client.socket, &mut self.up.body);
        match ready!(filled) {
            Filled::Not => Poll::Ready(Ok(false)),
            Filled::End(_) => Poll::Ready(Err(Outcome::Aborted)),
            Filled::Some(pipe, n) => {
                self.up.pipe = Some(pipe);
                client.active = fixed.tick();
                client.has_more = false;
                self.up.bytes += n as u64;
                Poll::Ready(Ok(true))
            }
        }
    }
}

#[cfg(test)]
mod tests;
