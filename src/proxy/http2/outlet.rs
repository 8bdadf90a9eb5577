//! An answer's body on its way from whichever backend gives it.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::RecvStream;
use hyper::body::{Body, Frame, Incoming};

use super::carry::Frames;
use super::fields;
use super::plain::Plain;
use super::source::poll_stream;
use super::upstream::{InUse, Key};
use crate::proxy::local::Local;

/// The answer does not come to its end.
#[derive(Debug, thiserror::Error)]
#[error("the answer broke off")]
pub(super) struct Cut(#[source] Box<dyn std::error::Error + Send + Sync>);

impl Cut {
    /// The backend's sessions are ended.
    pub(super) fn ended() -> Self {
        Self(Box::new(std::io::Error::from(std::io::ErrorKind::ConnectionAborted)))
    }

    /// The backend did not go on in time.
    pub(super) fn late() -> Self {
        Self(Box::new(std::io::Error::from(std::io::ErrorKind::TimedOut)))
    }
}

/// Where an answer's body comes from.
#[derive(Debug)]
pub(super) enum Outlet {
    /// There is none.
    Empty,
    /// One of our own pages.
    Page(Bytes),
    /// A stream to an HTTP/2 backend, which counts as long as it lasts, and how many bytes are to come, if its head says so.
    Stream(RecvStream, InUse, Option<u64>),
    /// From an HTTP/1 backend.
    Http1(Incoming, Option<Spare>),
}

/// A connection to an HTTP/1 backend that may serve another request after this answer.
#[derive(Debug)]
pub(super) struct Spare {
    pub(super) key: Key,
    pub(super) plain: Plain,
}

impl Frames for Outlet {
    type Error = Cut;

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        let came = ready!(self.poll_any(cx));
        let is_bad = |frame: &Frame<Bytes>| frame.trailers_ref().is_some_and(fields::is_late);
        Poll::Ready(came.map(|came| match came {
            Ok(frame) if is_bad(&frame) => {
                Err(Cut(Box::from("trailers that only a head may have")))
            }
            came => came,
        }))
    }

    fn is_end(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Page(page) => page.is_empty(),
            Self::Stream(stream, ..) => stream.is_end_stream(),
            Self::Http1(body, _) => body.is_end_stream(),
        }
    }
}

impl Outlet {
    fn poll_any(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        match self {
            Self::Empty => Poll::Ready(None),
            Self::Page(page) => {
                let page = std::mem::take(page);
                Poll::Ready((!page.is_empty()).then(|| Ok(Frame::data(page))))
            }
            Self::Stream(stream, _, left) => {
                let came = ready!(poll_stream(stream, cx));
                if let Some(Ok(frame)) = &came {
                    let bytes = frame.data_ref().map_or(0, |data| data.len() as u64);
                    *left = left.map(|left| left.saturating_sub(bytes));
                }
                // A backend that has said all may have closed since.
                let is_whole = *left == Some(0);
                let came = came.filter(|came| came.is_ok() || !is_whole);
                Poll::Ready(came.map(|came| came.map_err(|error| Cut(Box::new(error)))))
            }
            Self::Http1(body, _) => {
                Pin::new(body).poll_frame(cx).map_err(|error| Cut(Box::new(error)))
            }
        }
    }

    /// It did not go on in time, or had to end. Perhaps the whole connection stands still, without having been told of its end: the next
    /// stream goes over another.
    pub(super) fn distrust(&self) {
        if let Self::Stream(_, stream, _) = self {
            stream.shared.retire();
        }
    }

    /// All has come: the connection waits for another request, if the backend has taken the whole of this one.
    pub(super) fn complete(&mut self, local: &Local) {
        if let Self::Http1(_, spare) = self
            && let Some(Spare { key, plain }) = spare.take()
        {
            local.upstreams2.borrow_mut().plain.put(key, plain, local.clock.now());
        }
    }
}
