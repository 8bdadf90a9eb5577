//! Where a request's body comes from.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::RecvStream;
use hyper::body::{Body, Frame, Incoming};

/// Where a body comes from.
#[derive(Debug)]
pub(super) enum Source {
    /// There is none.
    Empty,
    /// A stream of an HTTP/2 connection.
    Stream(RecvStream),
    /// hyper's HTTP/1.
    Http1(Incoming),
}

impl Source {
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        match self {
            Self::Empty => Poll::Ready(None),
            Self::Stream(stream) => poll_stream(stream, cx).map_err(|_h2| Broken::OFF),
            Self::Http1(body) => Pin::new(body)
                .poll_frame(cx)
                .map_err(|error| Broken { is_malformed: is_no_body(&error) }),
        }
    }

    pub(super) fn is_end(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Stream(stream) => stream.is_end_stream(),
            Self::Http1(body) => body.is_end_stream(),
        }
    }
}

/// The next frame of a stream; its window is given back at once, since whoever asks has room for it.
pub(super) fn poll_stream(
    stream: &mut RecvStream,
    cx: &mut Context<'_>,
) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
    if let Some(data) = ready!(stream.poll_data(cx)) {
        let data = data?;
        // Fails only for more than was taken.
        drop(stream.flow_control().release_capacity(data.len()));
        return Poll::Ready(Some(Ok(Frame::data(data))));
    }
    let trailers = ready!(stream.poll_trailers(cx))?;
    Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))))
}

/// The body does not come to its end, or has gone to another backend.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the request's body broke off")]
pub(super) struct Broken {
    /// What came is no body.
    pub(super) is_malformed: bool,
}

impl Broken {
    pub(super) const OFF: Self = Self { is_malformed: false };
}

/// True when the client said what is none, rather than nothing more.
fn is_no_body(error: &hyper::Error) -> bool {
    let source = std::error::Error::source(error);
    let error = source.and_then(|source| source.downcast_ref::<std::io::Error>());
    error.is_some_and(|error| error.kind() == std::io::ErrorKind::InvalidData)
}
