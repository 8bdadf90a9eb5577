//! A body's frames on their way into a stream of HTTP/2, whichever way they go.

use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::{Reason, SendStream};
use hyper::body::Frame;

use super::fields;

/// Where frames come from.
pub(super) trait Frames {
    /// Why they end too early.
    type Error;

    /// The next one. It is asked for only when there is room for it.
    fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>>;

    /// True when nothing more will come.
    fn is_end(&self) -> bool;
}

/// What happens on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Moved {
    /// A frame, or the end, has come.
    Came,
    /// So many bytes went into the stream.
    Went(usize),
}

/// What it has come to.
#[derive(Debug)]
pub(super) enum Carried<E> {
    /// All went, with the end of the stream.
    Whole,
    /// The stream has ended before.
    Nowhere,
    /// The frames ended too early: the stream waits for its end, or a reset.
    Broken(E),
}

/// A stream, and what waits for room in it.
#[derive(Debug)]
pub(super) struct Carrier {
    send: SendStream<Bytes>,
    /// Come, and not yet taken.
    chunk: Bytes,
}

impl Carrier {
    pub(super) fn new(send: SendStream<Bytes>) -> Self {
        Self { send, chunk: Bytes::new() }
    }

    /// True while something waits for whoever takes it.
    pub(super) fn is_waiting(&self) -> bool {
        !self.chunk.is_empty()
    }

    /// Ends the stream before its end.
    pub(super) fn reset(&mut self, reason: Reason) {
        self.send.send_reset(reason);
    }

    /// Moves frames as fast as they come and are taken. Ready when nothing more is to be moved.
    pub(super) fn poll<F: Frames>(
        &mut self,
        frames: &mut F,
        mut moved: impl FnMut(Moved),
        cx: &mut Context<'_>,
    ) -> Poll<Carried<F::Error>> {
        loop {
            if !self.chunk.is_empty() {
                let before = self.chunk.len();
                let is_last = frames.is_end();
                let pushed = ready!(self.push(is_last, cx));
                moved(Moved::Went(before - self.chunk.len()));
                match pushed {
                    Pushed::Some => continue,
                    Pushed::Last => return Poll::Ready(Carried::Whole),
                    Pushed::Nowhere => return Poll::Ready(Carried::Nowhere),
                }
            }
            if self.send.poll_reset(cx).is_ready() {
                return Poll::Ready(Carried::Nowhere);
            }
            let came = ready!(frames.poll_next(cx));
            moved(Moved::Came);
            let ended = match came.map(|came| came.map(Frame::into_data)) {
                Some(Ok(Ok(data))) => {
                    self.send.reserve_capacity(data.len());
                    self.chunk = data;
                    continue;
                }
                Some(Ok(Err(other))) => {
                    let mut trailers = other.into_trailers().unwrap_or_default();
                    fields::strip_answer(&mut trailers);
                    self.send.send_trailers(trailers)
                }
                None => self.send.send_data(Bytes::new(), true),
                Some(Err(error)) => return Poll::Ready(Carried::Broken(error)),
            };
            // An error means that the stream has ended already.
            return Poll::Ready(ended.map_or(Carried::Nowhere, |()| Carried::Whole));
        }
    }

    /// Sends as much of the chunk as there is room for, and the end of the stream with it if it `is_last`.
    fn push(&mut self, is_last: bool, cx: &mut Context<'_>) -> Poll<Pushed> {
        let mut room = self.send.capacity();
        while room == 0 {
            room = match ready!(self.send.poll_capacity(cx)) {
                Some(Ok(room)) => room,
                Some(Err(_)) | None => return Poll::Ready(Pushed::Nowhere),
            };
        }
        let part = self.chunk.split_to(room.min(self.chunk.len()));
        let ends = is_last && self.chunk.is_empty();
        Poll::Ready(match (self.send.send_data(part, ends), ends) {
            (Ok(()), false) => Pushed::Some,
            (Ok(()), true) => Pushed::Last,
            (Err(_), _) => Pushed::Nowhere,
        })
    }
}

/// What became of a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pushed {
    /// Some of it went.
    Some,
    /// All of it went, and the stream's end with it.
    Last,
    /// The stream has ended.
    Nowhere,
}
