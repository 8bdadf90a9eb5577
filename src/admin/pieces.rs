//! Bodies of answers: complete, or made piece by piece as the client takes them.
//!
//! A long page would else stand in memory whole for as long as its client takes to read it, and malloc would keep that
//! memory afterwards. Here a piece is made when the connection has room for it, on the thread that makes whole pages, too;
//! no thread waits while the client reads. A client that goes away takes its connection, and with it this body and the
//! page's maker; one that does not read is the server's to end.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::task::JoinError;

use crate::health::BoxFuture;

use super::rendering::render;

/// Makes the pieces of a page, none of them empty.
pub(super) type Source = Box<dyn Iterator<Item = Bytes> + Send>;

type Made = Result<(Option<Bytes>, Source), JoinError>;

/// The body of an answer.
pub struct AnswerBody {
    /// Made and not yet taken.
    ready: Option<Bytes>,
    /// The next piece in the making; begins when it is first polled.
    next: Option<BoxFuture<'static, Made>>,
}

impl AnswerBody {
    /// A body that is complete.
    pub(super) fn whole(text: Bytes) -> Self {
        Self { ready: (!text.is_empty()).then_some(text), next: None }
    }

    /// What `source` makes. Makes the first two pieces here and now: a page of a single one is complete, and its length
    /// is known.
    pub(super) fn in_pieces(mut source: Source) -> Self {
        let ready = source.next();
        let second = source.next();
        Self { ready, next: second.map(|second| after(second, source)) }
    }
}

/// `piece`, which is made already.
fn after(piece: Bytes, source: Source) -> BoxFuture<'static, Made> {
    Box::pin(std::future::ready(Ok((Some(piece), source))))
}

async fn make(mut source: Source) -> Made {
    render(move || (source.next(), source)).await
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = JoinError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, JoinError>>> {
        if let Some(piece) = self.ready.take() {
            return Poll::Ready(Some(Ok(Frame::data(piece))));
        }
        let Some(next) = self.next.as_mut() else {
            return Poll::Ready(None);
        };
        let made = ready!(next.as_mut().poll(cx));
        self.next = None;
        let (piece, source) = made?;
        if piece.is_some() {
            self.next = Some(Box::pin(make(source)));
        }
        Poll::Ready(piece.map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.ready.is_none() && self.next.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        let ready = self.ready.as_ref().map_or(0, Bytes::len);
        let ready = u64::try_from(ready).unwrap_or(u64::MAX);
        if self.next.is_none() {
            return SizeHint::with_exact(ready);
        }
        let mut hint = SizeHint::new();
        hint.set_lower(ready);
        hint
    }
}

impl fmt::Debug for AnswerBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ready = self.ready.as_ref().map(Bytes::len);
        f.debug_struct("AnswerBody")
            .field("ready_bytes", &ready)
            .field("goes_on", &self.next.is_some())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use http_body_util::BodyExt as _;

    use super::*;

    /// A body of the pieces `0`, `1`, …, and how many of them are made.
    fn counted(pieces: usize) -> (AnswerBody, Arc<AtomicUsize>) {
        let made = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&made);
        let source = (0..pieces).map(move |n| {
            count.fetch_add(1, Ordering::SeqCst);
            Bytes::from(n.to_string())
        });
        (AnswerBody::in_pieces(Box::new(source)), made)
    }

    #[tokio::test]
    async fn a_single_piece_is_complete_and_has_a_length() {
        let (body, made) = counted(1);
        assert_eq!(made.load(Ordering::SeqCst), 1);
        assert_eq!(body.size_hint().exact(), Some(1));
        assert_eq!(body.collect().await.unwrap().to_bytes(), "0");
        let (nothing, _) = counted(0);
        assert!(nothing.is_end_stream());
        assert_eq!(nothing.size_hint().exact(), Some(0));
    }

    #[tokio::test]
    async fn a_piece_is_made_when_it_is_asked_for() {
        let (mut body, made) = counted(5);
        assert_eq!(body.size_hint().exact(), None);
        for (piece, then) in [("0", 2), ("1", 2), ("2", 3), ("3", 4), ("4", 5)] {
            let frame = body.frame().await.unwrap().unwrap();
            assert_eq!(frame.into_data().unwrap(), piece);
            assert_eq!(made.load(Ordering::SeqCst), then);
        }
        assert!(body.frame().await.is_none());
        assert!(body.is_end_stream());
        assert!(body.frame().await.is_none());
    }

    #[tokio::test]
    async fn the_maker_goes_with_the_body() {
        let (mut body, made) = counted(5);
        body.frame().await.unwrap().unwrap();
        assert_eq!(Arc::strong_count(&made), 2);
        drop(body);
        assert_eq!(Arc::strong_count(&made), 1);
    }

    #[tokio::test]
    async fn a_maker_that_panics_is_an_error_and_not_the_end() {
        let source = (0..3).map(|n| match n {
            2 => panic!("as the test wants it"),
            n => Bytes::from(n.to_string()),
        });
        let mut body = AnswerBody::in_pieces(Box::new(source));
        for _ in 0..2 {
            body.frame().await.unwrap().unwrap();
        }
        assert!(body.frame().await.unwrap().is_err());
        assert!(body.frame().await.is_none());
    }
}
