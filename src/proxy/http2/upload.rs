//! A request's body on its way to whichever backend takes it.
//!
//! What was sent is kept, up to [`REPLAY_BYTES`] and until an answer begins, so that another backend can get it all. The
//! client's window is given back when a chunk goes on, not when it comes: a backend that does not read stops the client.

use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use hyper::HeaderMap;
use hyper::body::{Body, Frame};

use super::carry::Frames;
use super::fields;
use super::settings::REPLAY_BYTES;
use super::source::{Broken, Source};
use crate::proxy::local::Local;
use crate::proxy::millis::Millis;

/// A body, owned by its request; read through a [`Reader`] by one attempt at a time.
#[derive(Debug)]
pub(super) struct Upload {
    local: Rc<Local>,
    source: Source,
    kept: Vec<Bytes>,
    kept_bytes: usize,
    keeps: bool,
    /// All that has come is kept.
    is_whole: bool,
    trailers: Option<HeaderMap>,
    has_ended: bool,
    broken: Option<Broken>,
    attempt: u32,
    /// Whoever waits for more.
    waker: Option<Waker>,
    /// When the whole answer had gone.
    pub(super) answered: Option<Millis>,
    /// The reader has found nothing: it is the client's turn.
    pub(super) awaits_client: bool,
    /// Bytes that have come.
    pub(super) bytes: u64,
    /// When something came last.
    pub(super) active: Millis,
}

impl Upload {
    pub(super) fn new(local: &Rc<Local>, source: Source) -> Rc<RefCell<Self>> {
        let has_ended = source.is_end();
        Rc::new(RefCell::new(Self {
            active: local.clock.now(),
            local: Rc::clone(local),
            source,
            kept: Vec::new(),
            kept_bytes: 0,
            keeps: true,
            is_whole: true,
            trailers: None,
            has_ended,
            broken: None,
            attempt: 0,
            waker: None,
            answered: None,
            awaits_client: false,
            bytes: 0,
        }))
    }

    /// True when all of it has come.
    pub(super) fn is_done(&self) -> bool {
        self.has_ended
    }

    /// True when the client has broken it off.
    pub(super) fn is_broken(&self) -> bool {
        self.broken.is_some()
    }

    /// True when it was broken off because it is no body.
    pub(super) fn is_malformed(&self) -> bool {
        self.broken.is_some_and(|broken| broken.is_malformed)
    }

    /// True when nothing more will come.
    pub(super) fn is_over(&self) -> bool {
        self.has_ended || self.is_broken()
    }

    /// Nobody wants the rest: the client is told, and whoever still reads it.
    pub(super) fn abandon(&mut self) {
        if !self.is_over() {
            self.broken = Some(Broken::OFF);
            self.source = Source::Empty;
        }
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// True when another attempt can send all of it.
    pub(super) fn is_repeatable(&self) -> bool {
        self.is_whole && !self.is_broken()
    }

    /// True when there is none, or none has come yet and none will.
    pub(super) fn is_empty(&self) -> bool {
        self.has_ended && self.bytes == 0 && self.trailers.is_none()
    }

    /// No other attempt will follow.
    pub(super) fn settle(&mut self) {
        self.keeps = false;
    }

    fn poll_source(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        if self.is_over() {
            return Poll::Ready(self.broken.map(Err));
        }
        let Poll::Ready(mut came) = self.source.poll(cx) else {
            self.awaits_client = true;
            self.waker = Some(cx.waker().clone());
            return Poll::Pending;
        };
        if let Some(Ok(frame)) = &came
            && frame.trailers_ref().is_some_and(fields::is_late)
        {
            came = Some(Err(Broken { is_malformed: true }));
        }
        self.awaits_client = false;
        self.active = self.local.clock.tick();
        match &came {
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    self.bytes += data.len() as u64;
                }
                if let Some(trailers) = frame.trailers_ref() {
                    self.trailers = Some(trailers.clone());
                }
                self.has_ended = frame.is_trailers() || self.source.is_end();
            }
            Some(Err(broken)) => self.broken = Some(*broken),
            None => self.has_ended = true,
        }
        Poll::Ready(came)
    }
}

/// One attempt's way through a body, from its beginning.
#[derive(Debug)]
pub(super) struct Reader {
    upload: Rc<RefCell<Upload>>,
    attempt: u32,
    /// Of the kept chunks.
    next: usize,
    has_ended: bool,
}

impl Reader {
    /// Ends the readers before it.
    pub(super) fn new(upload: &Rc<RefCell<Upload>>) -> Self {
        let attempt = {
            let mut upload = upload.borrow_mut();
            upload.attempt += 1;
            upload.attempt
        };
        Self { upload: Rc::clone(upload), attempt, next: 0, has_ended: false }
    }

    fn keep(&mut self, upload: &mut Upload, data: Bytes) {
        if upload.keeps && upload.kept_bytes + data.len() <= REPLAY_BYTES {
            upload.kept_bytes += data.len();
            upload.kept.push(data);
            self.next += 1;
        } else {
            upload.keeps = false;
            upload.is_whole = false;
        }
    }
}

impl Frames for Reader {
    type Error = Broken;

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let upload = Rc::clone(&self.upload);
        let mut upload = upload.borrow_mut();
        if upload.attempt != self.attempt {
            return Poll::Ready(Some(Err(Broken::OFF)));
        }
        if let Some(chunk) = upload.kept.get(self.next) {
            self.next += 1;
            return Poll::Ready(Some(Ok(Frame::data(chunk.clone()))));
        }
        if !upload.keeps && !upload.kept.is_empty() {
            // Nobody will ask for them again, and they pin what they were read into.
            upload.kept = Vec::new();
            upload.is_whole = false;
            self.next = 0;
        }
        if self.has_ended {
            return Poll::Ready(None);
        }
        if upload.has_ended {
            self.has_ended = true;
            let trailers = upload.trailers.clone();
            return Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))));
        }
        let came = ready!(upload.poll_source(cx));
        if let Some(Ok(frame)) = &came {
            self.has_ended = frame.is_trailers();
            if let Some(data) = frame.data_ref() {
                self.keep(&mut upload, data.clone());
            }
        }
        Poll::Ready(came)
    }

    fn is_end(&self) -> bool {
        let upload = self.upload.borrow();
        let all_read = self.next >= upload.kept.len() && upload.has_ended;
        self.has_ended || (all_read && upload.trailers.is_none())
    }
}

/// For hyper's HTTP/1 client. How long it is stands in the head.
impl Body for Reader {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        self.poll_next(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.is_end()
    }
}
