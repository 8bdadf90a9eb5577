//! From the backend to the client.

use std::io;
use std::ops::Range;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use super::client::{Client, Fixed};
use super::exchange::{Exchange, Outcome, Phase};
use super::inbound::Inbound;
use super::message::Version;
use super::message::chunked::{Fed, Keep, push_chunk};
use super::message::response::{self, Recode, Response};
use super::message::unfold::unfold;
use super::up::TURN;
use crate::proxy::millis::Millis;

/// Most heads that announce another (1xx) before the answer: a backend that sends nothing else must not keep us busy.
const INTERIMS: u16 = 100;

/// The end of a body in chunks.
const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

impl Exchange {
    /// Reads the answer and passes it on.
    pub(super) fn poll_down(
        &mut self,
        fixed: &Fixed,
        client: &mut Client,
        cx: &mut Context<'_>,
    ) -> Poll<Outcome> {
        let local = Rc::clone(&fixed.local);
        for _ in 0..TURN {
            if !self.is_flushed(client) {
                if ready!(self.poll_flush(fixed, client, cx)).is_err() {
                    return Poll::Ready(Outcome::Aborted);
                }
                // Nothing was read from the backend meanwhile: its time begins anew.
                self.down.active = fixed.tick();
            }
            if self.is_over {
                return Poll::Ready(Outcome::Answered);
            }
            match ready!(self.poll_bulk_down(fixed, client, cx)) {
                Ok(false) => {}
                Ok(true) => continue,
                Err(outcome) => return Poll::Ready(outcome),
            }
            let mut buffer = local.buffer.borrow_mut();
            let buffer = self.room(&mut buffer);
            let Some(upstream) = &mut self.upstream else {
                return Poll::Ready(Outcome::Cut(io::ErrorKind::NotConnected.into()));
            };
            let read = ready!(upstream.socket.poll_read(cx, buffer));
            if self.is_answered() {
                // It closes, or says what nobody asked for: the rest of the request is not for it.
                fixed.tick();
                self.complete(fixed, client, false);
                return Poll::Ready(Outcome::Answered);
            }
            let n = match read {
                Ok(0) => {
                    fixed.tick();
                    return Poll::Ready(self.ended(fixed, client, cx));
                }
                Ok(n) => n,
                Err(error) => return Poll::Ready(self.broke(error)),
            };
            self.hear();
            let before = std::mem::replace(&mut self.down.active, fixed.tick());
            let bytes = buffer.get(..n).unwrap_or_default();
            let moved = match self.down.phase {
                Phase::Head => self.head(fixed, client, cx, bytes),
                Phase::Body => self.body(fixed, client, cx, (bytes, before)),
            };
            if let Err(outcome) = moved {
                return Poll::Ready(outcome);
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// The backend's connection ended.
    fn ended(&mut self, fixed: &Fixed, client: &mut Client, cx: &mut Context<'_>) -> Outcome {
        if self.down.phase == Phase::Head || !matches!(self.down.body, Inbound::UntilClose) {
            return self.broke(io::ErrorKind::UnexpectedEof.into());
        }
        self.down.body = Inbound::Done;
        self.complete(fixed, client, false);
        if self.down.recode == Recode::IntoChunks && client.send(fixed, cx, LAST_CHUNK).is_err() {
            return Outcome::Aborted;
        }
        Outcome::Answered
    }

    pub(super) fn broke(&self, error: io::Error) -> Outcome {
        match (self.down.phase, self.down.heard) {
            (Phase::Head, false) => Outcome::Unheard(error),
            (Phase::Head, true) => Outcome::HalfHeard,
            (Phase::Body, _) => Outcome::Cut(error),
        }
    }

    /// Bytes of a head, and perhaps of what follows it.
    fn head(
        &mut self,
        fixed: &Fixed,
        client: &mut Client,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Result<(), Outcome> {
        if self.down.inbox.is_empty() {
            return self.heads(fixed, client, cx, bytes);
        }
        let mut inbox = std::mem::take(&mut self.down.inbox);
        inbox.extend_from_slice(bytes);
        let outcome = self.heads(fixed, client, cx, &inbox);
        fixed.local.spares.borrow_mut().give(inbox);
        outcome
    }

    /// Reads heads until the answer's.
    fn heads(
        &mut self,
        fixed: &Fixed,
        client: &mut Client,
        cx: &mut Context<'_>,
        mut input: &[u8],
    ) -> Result<(), Outcome> {
        let asked = self.asked(fixed, client);
        loop {
            let outbox = client.outbox(fixed);
            let before = outbox.len();
            let read = match response::read(input, &asked, outbox) {
                Ok(read) => read,
                Err(why) => {
                    outbox.truncate(before);
                    let plain = unfold(input).ok_or(Outcome::Nonsense(why))?;
                    return self.heads(fixed, client, cx, &plain);
                }
            };
            let Some(response) = read else {
                if self.down.inbox.capacity() == 0 {
                    self.down.inbox = fixed.local.spares.borrow_mut().take();
                }
                self.down.inbox.extend_from_slice(input);
                return flush(fixed, client, cx);
            };
            let sent = if response.is_changed { outbox.len() - before } else { response.len };
            if !response.is_interim() {
                let answer = (response, input, sent);
                return self.answer(fixed, client, cx, answer).inspect_err(|outcome| {
                    // Nothing of it was sent: another answer can be given.
                    if matches!(outcome, Outcome::Nonsense(_)) {
                        client.outbox(fixed).truncate(before);
                    }
                });
            }
            let (head, rest) = input.split_at_checked(response.len).unwrap_or((input, b""));
            if asked.version == Version::V10 {
                // It would not know what to do with it.
                outbox.truncate(before);
            } else {
                if !response.is_changed {
                    outbox.extend_from_slice(head);
                }
                self.count_out(fixed, sent);
            }
            self.down.interims += 1;
            self.up.sent_at = fixed.now();
            if self.down.interims > INTERIMS {
                return Err(Outcome::Nonsense("too many interim answers"));
            }
            input = rest;
        }
    }

    /// The answer's head has come.
    fn answer(
        &mut self,
        fixed: &Fixed,
        client: &mut Client,
        cx: &mut Context<'_>,
        (response, input, sent): (Response, &[u8], usize),
    ) -> Result<(), Outcome> {
        let (head, rest) = input.split_at_checked(response.len).unwrap_or((input, b""));
        let keep = if response.recode == Recode::No { Keep::Framed } else { Keep::Data };
        let mut body = Inbound::new(response.body, keep);
        self.note_bulk(&body);
        if let Some(upstream) = &mut self.upstream {
            upstream.is_login |= response.is_login;
        }
        let local = Rc::clone(&fixed.local);
        let mut ranges = local.ranges.borrow_mut();
        ranges.0.clear();
        let fed =
            body.take(rest, &mut ranges).map_err(|_| Outcome::Nonsense("malformed chunks"))?;
        fixed.cells().response(response.status);
        if let Some(cells) = self.backend_cells(fixed) {
            cells.response(response.status);
        }
        if let (Some(notes), Some(log)) = (&mut self.notes, &client.settings.access_log) {
            notes.answer(log, fixed.now(), (response.status, head));
        }
        if response.status == 101 {
            self.count_out(fixed, sent);
            return Err(Outcome::Switched(rest.to_vec()));
        }
        let down = &mut self.down;
        down.phase = Phase::Body;
        down.accepts = response::accepts_request(response.status);
        down.body = body;
        (down.recode, down.keep_backend, down.keep_client) =
            (response.recode, response.keep_backend, response.keep_client);
        let head = if response.is_changed { b"" } else { head };
        // Counted together.
        let fed = Fed { data: fed.data + sent, ..fed };
        self.pass_on(fixed, client, cx, (fed, head, rest, &ranges.0))
    }

    /// Bytes of the body. What does not go on, as extensions of chunks, is no sign of life: it was last seen to move `before`.
    fn body(
        &mut self,
        fixed: &Fixed,
        client: &mut Client,
        cx: &mut Context<'_>,
        (bytes, before): (&[u8], Millis),
    ) -> Result<(), Outcome> {
        let local = Rc::clone(&fixed.local);
        let mut ranges = local.ranges.borrow_mut();
        ranges.0.clear();
        let taken = self.down.body.take(bytes, &mut ranges);
        let fed = taken.map_err(|malformed| Outcome::Cut(io::Error::other(malformed)))?;
        if ranges.0.is_empty() && !fed.done {
            self.down.active = before;
        }
        self.pass_on(fixed, client, cx, (fed, b"", bytes, &ranges.0))
    }

    /// What was taken of the body, and the head that goes before it as it came.
    fn pass_on(
        &mut self,
        fixed: &Fixed,
        client: &mut Client,
        cx: &mut Context<'_>,
        (fed, head, bytes, ranges): (Fed, &[u8], &[u8], &[Range<usize>]),
    ) -> Result<(), Outcome> {
        self.count_out(fixed, fed.data);
        if fed.done {
            // Before the client can know: whoever has the answer finds it counted.
            self.said_all(fixed, client, bytes.len() == fed.consumed);
        }
        let sent = self.deliver(fixed, client, cx, (head, bytes, ranges));
        sent.map_err(|_| Outcome::Aborted)?;
        if self.is_over { Err(Outcome::Answered) } else { Ok(()) }
    }

    fn deliver(
        &self,
        fixed: &Fixed,
        client: &mut Client,
        cx: &mut Context<'_>,
        (head, bytes, ranges): (&[u8], &[u8], &[Range<usize>]),
    ) -> io::Result<()> {
        let part = |range: &Range<usize>| bytes.get(range.clone()).unwrap_or_default();
        let tail = self.down.body.tail();
        match ranges {
            [] if tail.is_empty() && !head.is_empty() => return client.send(fixed, cx, head),
            [one] if self.down.recode != Recode::IntoChunks && tail.is_empty() => {
                if head.is_empty() {
                    return client.send(fixed, cx, part(one));
                }
                return client.send_two(fixed, cx, (head, part(one)));
            }
            _ => {}
        }
        let outbox = client.outbox(fixed);
        outbox.extend_from_slice(head);
        for range in ranges {
            if self.down.recode == Recode::IntoChunks {
                push_chunk(outbox, part(range));
            } else {
                outbox.extend_from_slice(part(range));
            }
        }
        outbox.extend_from_slice(tail);
        flush(fixed, client, cx).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

/// Sends what waits, as far as it goes.
fn flush(fixed: &Fixed, client: &mut Client, cx: &mut Context<'_>) -> Result<(), Outcome> {
    match client.poll_flush(fixed, cx) {
        Poll::Ready(Err(_)) => Err(Outcome::Aborted),
        Poll::Ready(Ok(())) | Poll::Pending => Ok(()),
    }
}
