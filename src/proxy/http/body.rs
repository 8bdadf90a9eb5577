//! Bodies on their way through: counted, watched, and wired to the life of the exchange.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};

use super::exchange::Exchange;
use super::socket::Socket;
use crate::proxy::error::ProxyError;

/// How far a client's request has come. One per client connection, reset for each request.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    /// All of the body has been read from the client.
    pub(crate) complete: Cell<bool>,
    /// Bytes of body so far.
    pub(crate) bytes: Cell<u64>,
    /// The body broke off on the client's side. What the backend's connection then does follows from it and is not the
    /// backend's fault.
    pub(crate) fault: Cell<Option<BodyFault>>,
}

/// How a client's body broke off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BodyFault {
    /// Chunks that are none.
    Malformed,
    /// The connection ended first.
    Incomplete,
}

impl BodyFault {
    /// hyper's decoders speak in kinds of I/O errors.
    fn of(error: &hyper::Error) -> Self {
        let cause = std::error::Error::source(error);
        let kind = cause.and_then(|c| c.downcast_ref::<io::Error>()).map(io::Error::kind);
        match kind {
            Some(io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput) => Self::Malformed,
            Some(_) | None => Self::Incomplete,
        }
    }
}

impl From<BodyFault> for ProxyError {
    fn from(fault: BodyFault) -> Self {
        match fault {
            BodyFault::Malformed => Self::ClientProtocol("malformed body"),
            BodyFault::Incomplete => Self::ClientAbort,
        }
    }
}

/// A client's body as hyper sends it to a backend.
#[derive(Debug)]
pub(crate) struct RequestBody {
    incoming: Option<Incoming>,
    progress: Rc<Progress>,
}

impl RequestBody {
    pub(crate) fn new(incoming: Incoming, progress: Rc<Progress>) -> Self {
        Self { incoming: Some(incoming), progress }
    }

    pub(crate) fn empty(progress: Rc<Progress>) -> Self {
        Self { incoming: None, progress }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let this = self.get_mut();
        let Some(incoming) = &mut this.incoming else {
            return Poll::Ready(None);
        };
        let frame = ready!(Pin::new(&mut *incoming).poll_frame(cx));
        if let Some(Ok(frame)) = &frame
            && let Some(data) = frame.data_ref()
        {
            add(&this.progress.bytes, data.len());
        }
        if let Some(Err(error)) = &frame {
            this.progress.fault.set(Some(BodyFault::of(error)));
        } else if frame.is_none() || incoming.is_end_stream() {
            this.progress.complete.set(true);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.as_ref().is_none_or(Incoming::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let empty = || SizeHint::with_exact(0);
        self.incoming.as_ref().map_or_else(empty, Incoming::size_hint)
    }
}

fn add(cell: &Cell<u64>, n: usize) {
    let n = u64::try_from(n).unwrap_or(u64::MAX);
    cell.set(cell.get().wrapping_add(n));
}

/// What the client reads.
#[derive(Debug)]
pub(crate) enum ResponseBody {
    /// Nothing, or nothing more.
    Empty,
    /// A page of ours.
    Page(Option<Bytes>),
    /// A backend's answer under way. Dropping it before its end cancels the exchange.
    Answer {
        /// From the backend.
        incoming: Incoming,
        /// Holds the lease.
        exchange: Exchange,
    },
    /// A backend's answer that broke off: ends with an error once what came of it is written.
    Cut(Option<ProxyError>, Rc<Socket>),
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = ProxyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ProxyError>>> {
        let this = self.get_mut();
        let (incoming, exchange) = match this {
            Self::Empty => return Poll::Ready(None),
            Self::Page(page) => return Poll::Ready(page.take().map(|p| Ok(Frame::data(p)))),
            Self::Cut(_, socket) if socket.is_write_blocked() => return Poll::Pending,
            Self::Cut(error, _) => return Poll::Ready(error.take().map(Err)),
            Self::Answer { incoming, exchange } => (incoming, exchange),
        };
        exchange.drive(cx);
        match ready!(Pin::new(&mut *incoming).poll_frame(cx)) {
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    exchange.count_out(data.len());
                }
                if incoming.is_end_stream() {
                    exchange.complete(cx);
                    *this = Self::Empty;
                }
                Poll::Ready(Some(Ok(frame)))
            }
            None => {
                exchange.complete(cx);
                *this = Self::Empty;
                Poll::Ready(None)
            }
            Some(Err(error)) => {
                let socket = exchange.client_socket();
                let error = exchange.break_off(error);
                *this = Self::Cut(Some(error), socket);
                // hyper drops what it has not yet written when a body fails: let it write first.
                cx.waker().wake_by_ref();
                Poll::Pending
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Page(page) => page.is_none(),
            // Its end must be seen, or the connection would not go back to the pool.
            Self::Answer { .. } | Self::Cut(..) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Page(page) => {
                let len = page.as_ref().map_or(0, Bytes::len);
                SizeHint::with_exact(u64::try_from(len).unwrap_or(u64::MAX))
            }
            Self::Answer { incoming, .. } => incoming.size_hint(),
            Self::Cut(..) => SizeHint::default(),
        }
    }
}
