//! From the client to the backend.

use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Buf;

use super::client::{Client, Fixed};
use super::exchange::{Exchange, Outcome, Up};
use super::message::framing::Body;
use super::upstream::Upstream;

/// Most bytes of a chunked body read at once: what comes behind its end has to be kept.
const CHUNKED_READ: usize = 64 * 1024;

/// Buffers moved before others on the worker get their turn.
pub(super) const TURN: usize = 8;

impl Exchange {
    /// Sends the head, then the body as it comes. Returns when nothing more can be done now; with an outcome, when the
    /// attempt has ended.
    pub(super) fn poll_up(
        &mut self,
        fixed: &Fixed,
        client: &mut Client,
        cx: &mut Context<'_>,
    ) -> Option<Outcome> {
        if self.up.is_broken {
            return None;
        }
        if self.up.carried.as_ref().is_some_and(|mark| fixed.local.buffer.marked(mark).is_none()) {
            // Somebody yielded without saving: better no request than half of one.
            return Some(Outcome::Aborted);
        }
        match self.poll_send(fixed, cx) {
            Poll::Pending => return None,
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(_)) if self.up.head_sent == 0 => return Some(Outcome::Unsent),
            Poll::Ready(Err(_)) => {
                self.up.is_broken = true;
                return None;
            }
        }
        for _ in 0..TURN {
            if self.up.body.is_done() {
                return None;
            }
            match self.poll_body(fixed, client, cx) {
                Poll::Pending => return None,
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(outcome)) => return Some(outcome),
            }
            match self.poll_send(fixed, cx) {
                Poll::Pending => return None,
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(_)) => {
                    // It may have answered before: that is heard.
                    self.up.is_broken = true;
                    return None;
                }
            }
        }
        cx.waker().wake_by_ref();
        None
    }

    /// Sends what waits; ready when nothing does.
    fn poll_send(&mut self, fixed: &Fixed, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(upstream) = &mut self.upstream else {
            return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
        };
        let up = &mut self.up;
        up.is_blocked = true;
        if !upstream.preface.is_empty() {
            ready!(up.poll_preface(upstream, cx))?;
            up.sent_at = fixed.now();
        }
        if let Some(mark) = up.carried.take() {
            let body = fixed.local.buffer.marked(&mark).ok_or(io::ErrorKind::InvalidData)?;
            let sent = upstream.socket.poll_write_two(cx, &up.head, &body);
            let n = if let Poll::Ready(Ok(n)) = sent { n } else { 0 };
            up.head_sent = n.min(up.head.len());
            up.keep(fixed, body.get(n - up.head_sent..).unwrap_or_default());
            ready!(sent)?;
            up.sent_at = fixed.now();
        }
        loop {
            let head = up.head.get(up.head_sent..).unwrap_or_default();
            let waiting = up.waiting.get(up.waiting_sent..).unwrap_or_default();
            let n = match (head, waiting) {
                ([], []) => break,
                (one, []) | ([], one) => ready!(upstream.socket.poll_write(cx, one))?,
                (head, waiting) => ready!(upstream.socket.poll_write_two(cx, head, waiting))?,
            };
            let of_head = n.min(head.len());
            up.head_sent += of_head;
            up.waiting_sent += n - of_head;
            up.sent_at = fixed.now();
        }
        if !up.waiting.is_empty() {
            up.waiting_sent = 0;
            fixed.local.spares.borrow_mut().give(std::mem::take(&mut up.waiting));
        }
        ready!(self.poll_drain_up(fixed, cx))?;
        self.up.is_blocked = false;
        Poll::Ready(Ok(()))
    }

    /// Saves what is carried: the task is about to wait for something before it can send. False when it is lost.
    pub(super) fn save(&mut self, fixed: &Fixed) -> bool {
        let Some(mark) = self.up.carried.take() else {
            return true;
        };
        let body = fixed.local.buffer.marked(&mark);
        self.up.keep(fixed, body.as_deref().unwrap_or_default());
        body.is_some()
    }

    /// Reads once and passes it on.
    fn poll_body(
        &mut self,
        fixed: &Fixed,
        client: &mut Client,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Outcome>> {
        match ready!(self.poll_bulk_up(fixed, client, cx)) {
            Ok(false) => {}
            Ok(true) => return Poll::Ready(Ok(())),
            Err(outcome) => return Poll::Ready(Err(outcome)),
        }
        let local = Rc::clone(&fixed.local);
        let mut buffer = local.buffer.borrow_mut();
        let most = if self.request.body == Body::Chunked { CHUNKED_READ } else { buffer.len() };
        let most = self.up.body.wants(most.min(buffer.len()));
        let room = buffer.get_mut(..most).unwrap_or_default();
        let n = match ready!(client.socket.poll_read(cx, room)) {
            Ok(0) | Err(_) => return Poll::Ready(Err(Outcome::Aborted)),
            Ok(n) => n,
        };
        fixed.tick();
        // Seen while a backend was connected to, it was of this body; whether more follows is to be looked at again.
        client.has_more = false;
        let bytes = room.get(..n).unwrap_or_default();
        let mut ranges = local.ranges.borrow_mut();
        ranges.0.clear();
        let Ok(fed) = self.up.body.take(bytes, &mut ranges) else {
            return Poll::Ready(Err(Outcome::Malformed));
        };
        if fed.done || !ranges.0.is_empty() {
            // What does not go on, as extensions of chunks, is no sign of life.
            client.active = fixed.now();
        }
        self.up.bytes += u64::try_from(fed.data).unwrap_or_default();
        client.keep(fixed, bytes.get(fed.consumed..).unwrap_or_default());
        for range in &ranges.0 {
            self.pass(fixed, cx, bytes.get(range.clone()).unwrap_or_default());
        }
        let tail = self.up.body.tail();
        if fed.done && !tail.is_empty() {
            let tail = tail.to_vec();
            self.pass(fixed, cx, &tail);
        }
        Poll::Ready(Ok(()))
    }

    /// Sends `bytes`; what is not taken at once waits. An error shows with the next one.
    fn pass(&mut self, fixed: &Fixed, cx: &mut Context<'_>, bytes: &[u8]) {
        let up = &mut self.up;
        let mut rest = bytes;
        if up.waiting.is_empty()
            && let Some(upstream) = &mut self.upstream
            && let Poll::Ready(Ok(n)) = upstream.socket.poll_write(cx, bytes)
        {
            up.sent_at = fixed.now();
            rest = bytes.get(n..).unwrap_or_default();
        }
        up.keep(fixed, rest);
    }
}

impl Up {
    /// Sends what goes before the request, together with its head.
    fn poll_preface(
        &mut self,
        upstream: &mut Upstream,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while upstream.preface.has_remaining() {
            // What is carried follows its head in one piece.
            let head = self.carried.is_none().then_some(&*self.head);
            let head = head.and_then(|head| head.get(self.head_sent..)).unwrap_or_default();
            let n = ready!(upstream.socket.poll_write_two(cx, &upstream.preface, head))?;
            let own = n.min(upstream.preface.len());
            upstream.preface.advance(own);
            self.head_sent += n - own;
        }
        Poll::Ready(Ok(()))
    }

    /// Keeps `bytes` until the backend takes them.
    fn keep(&mut self, fixed: &Fixed, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        if self.waiting.capacity() == 0 {
            self.waiting = fixed.local.spares.borrow_mut().take();
        }
        self.waiting.extend_from_slice(bytes);
    }
}
