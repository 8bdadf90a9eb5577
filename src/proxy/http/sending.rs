//! What goes to a client: at once as far as it is taken, the rest when it is.

use std::io;
use std::task::{Context, Poll};

use hyper::StatusCode;

use super::client::{Client, Ending, Fixed};
use super::reply::{self, Form};
use crate::proxy::pipe::Pipe;
use crate::telemetry::cells::ErrorCause;

/// Written together with what waits before it instead of being copied behind it: above, a second slice costs less.
pub(super) const COPY_MAX: usize = 4096;

impl Client {
    /// An answer is not taken.
    pub(crate) fn poll_slow_reader<T>(&self, fixed: &Fixed) -> Poll<Result<T, Ending>> {
        let deadline = self.active.after_or_never(self.settings.timeouts.client);
        if fixed.timer.expires(deadline) {
            return Poll::Ready(Err(Ending::Cut(ErrorCause::ClientTimeout)));
        }
        Poll::Pending
    }

    /// Sends what waits.
    pub(crate) fn poll_flush(
        &mut self,
        fixed: &Fixed,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while self.sent < self.outbox.len() {
            let rest = self.outbox.get(self.sent..).unwrap_or_default();
            match self.socket.poll_write(cx, rest) {
                Poll::Ready(n) => {
                    let n = n?;
                    self.sent += n;
                    self.count(n);
                }
                Poll::Pending => {
                    self.block(fixed);
                    return Poll::Pending;
                }
            }
            self.is_blocked = false;
        }
        self.sent = 0;
        self.is_blocked = false;
        if self.outbox.capacity() > 0 {
            fixed.local.spares.borrow_mut().give(std::mem::take(&mut self.outbox));
        }
        Poll::Ready(Ok(()))
    }

    /// Sends what is in the pipe. Call when nothing waits before it.
    pub(crate) fn poll_drain(
        &mut self,
        fixed: &Fixed,
        cx: &mut Context<'_>,
        pipe: &mut Pipe,
    ) -> Poll<io::Result<()>> {
        while !pipe.is_empty() {
            match self.socket.poll_drain(cx, pipe) {
                Poll::Ready(n) => self.count(n?),
                Poll::Pending => {
                    self.block(fixed);
                    return Poll::Pending;
                }
            }
            self.is_blocked = false;
        }
        Poll::Ready(Ok(()))
    }

    /// The client does not take what is sent: its patience begins now.
    fn block(&mut self, fixed: &Fixed) {
        if !std::mem::replace(&mut self.is_blocked, true) {
            self.active = fixed.tick();
        }
    }

    /// True when all that was sent has been taken by the kernel.
    pub(crate) fn is_flushed(&self) -> bool {
        self.sent >= self.outbox.len()
    }

    /// A buffer for what is to be sent next, behind what waits already.
    pub(crate) fn outbox(&mut self, fixed: &Fixed) -> &mut Vec<u8> {
        if self.outbox.capacity() == 0 {
            self.outbox = fixed.local.spares.borrow_mut().take();
        }
        &mut self.outbox
    }

    /// An answer of ours, counted, behind what waits.
    pub(super) fn answer(&mut self, fixed: &Fixed, status: StatusCode, form: Form) {
        let outbox = self.outbox(fixed);
        let before = outbox.len();
        reply::push(outbox, status, form);
        fixed.cells().response(status.as_u16());
        fixed.cells().bytes_out.add((outbox.len() - before) as u64);
    }

    /// Sends `bytes` behind what waits; what is not taken waits, too.
    pub(crate) fn send(
        &mut self,
        fixed: &Fixed,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> io::Result<()> {
        if self.is_flushed() {
            let n = match self.socket.poll_write(cx, bytes) {
                Poll::Ready(n) => n?,
                Poll::Pending => 0,
            };
            self.count(n);
            if n == bytes.len() {
                return Ok(());
            }
            return self.wait(fixed, cx, bytes.get(n..).unwrap_or_default());
        }
        if bytes.len() < COPY_MAX {
            return self.wait(fixed, cx, bytes);
        }
        let waiting = self.outbox.get(self.sent..).unwrap_or_default();
        let n = match self.socket.poll_write_two(cx, waiting, bytes) {
            Poll::Ready(n) => n?,
            Poll::Pending => 0,
        };
        let own = n.min(waiting.len());
        self.count(n);
        self.sent += own;
        self.wait(fixed, cx, bytes.get(n - own..).unwrap_or_default())
    }

    /// Sends one behind the other: neighbours in memory as one.
    pub(crate) fn send_two(
        &mut self,
        fixed: &Fixed,
        cx: &mut Context<'_>,
        (first, second): (&[u8], &[u8]),
    ) -> io::Result<()> {
        if !self.is_flushed() || second.len() < COPY_MAX {
            self.outbox(fixed).extend_from_slice(first);
            return self.send(fixed, cx, second);
        }
        let n = match self.socket.poll_write_two(cx, first, second) {
            Poll::Ready(n) => n?,
            Poll::Pending => 0,
        };
        let own = n.min(first.len());
        self.count(n);
        if own < first.len() {
            self.wait(fixed, cx, first.get(own..).unwrap_or_default())?;
        }
        self.wait(fixed, cx, second.get(n - own..).unwrap_or_default())
    }

    /// The client has taken so many bytes.
    fn count(&mut self, n: usize) {
        self.written = self.written.wrapping_add(n as u64);
    }

    /// Bytes on their way to the client since it was accepted, those that wait included.
    pub(crate) fn said(&self) -> u64 {
        self.written.wrapping_add(self.waiting())
    }

    /// Bytes that wait to be taken by the client.
    pub(crate) fn waiting(&self) -> u64 {
        self.outbox.len().saturating_sub(self.sent) as u64
    }

    /// Keeps `bytes` behind what waits, and sends as far as it goes.
    fn wait(&mut self, fixed: &Fixed, cx: &mut Context<'_>, bytes: &[u8]) -> io::Result<()> {
        if !bytes.is_empty() {
            self.outbox(fixed).extend_from_slice(bytes);
        }
        match self.poll_flush(fixed, cx) {
            Poll::Ready(result) => result,
            Poll::Pending => Ok(()),
        }
    }
}
