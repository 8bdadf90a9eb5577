//! What an HTTP/1 client says, judged by the HTTP/1 engine's rules before hyper reads it.
//!
//! hyper alone is too kind: it picks one of two framings, lets trailers say what only a head may, and reads bodies where old
//! servers see another request. It gets whole heads, in the one form that goes on, and bodies without extensions and with
//! plain trailers. Behind the first head that is not, it finds the end of the connection. It gets one request at a time: what
//! comes while an answer is owed waits here, the end of the connection, too (`vigil`).

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use hyper::Uri;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::vigil::Vigil;
use crate::proxy::http::message::chunked::{Keep, Malformed, Ranges};
use crate::proxy::http::message::framing::Body;
use crate::proxy::http::message::request::{self, Request, Rules};
use crate::proxy::http::message::{HEAD_BYTES, Version};
use crate::proxy::http::{Inbound, Refusal};

/// Fields that a head has more than it came with, at most: `Connection` twice, and the `Host` of an absolute target.
pub(super) const ADDED: usize = 3;

/// The connection.
#[derive(Debug)]
pub(super) struct Vetted<S> {
    io: S,
    judge: Judge,
    vigil: Rc<Vigil>,
    has_ended: bool,
    /// hyper may hold some of an answer that the socket has not taken.
    is_unflushed: bool,
    /// Why it broke, until hyper is told.
    broken: Option<io::Error>,
}

/// Bytes on their way, and what they belong to.
#[derive(Debug)]
struct Judge {
    /// Came, not judged yet.
    raw: Vec<u8>,
    /// May be read, up to here it was.
    fit: (Vec<u8>, usize),
    body: Inbound,
    ranges: Ranges,
    /// Room for a head.
    head: Vec<u8>,
    refusal: Option<Refusal>,
    /// The body under way is none.
    is_malformed: bool,
}

impl<S> Vetted<S> {
    pub(super) fn new(io: S, vigil: &Rc<Vigil>) -> Self {
        let judge = Judge {
            raw: Vec::new(),
            fit: (Vec::new(), 0),
            body: Inbound::new(Body::Empty, Keep::Framed),
            ranges: Ranges::default(),
            head: Vec::new(),
            refusal: None,
            is_malformed: false,
        };
        Self {
            io,
            judge,
            vigil: Rc::clone(vigil),
            has_ended: false,
            is_unflushed: false,
            broken: None,
        }
    }

    /// The connection, and why its last request was refused, if it was.
    pub(super) fn into_parts(self) -> (S, Option<Refusal>) {
        (self.io, self.judge.refusal)
    }
}

impl Judge {
    /// Hands on what is fit; false when nothing is.
    fn read(&mut self, buffer: &mut ReadBuf<'_>) -> bool {
        let (fit, used) = &mut self.fit;
        let rest = fit.get(*used..).unwrap_or_default();
        let n = rest.len().min(buffer.remaining());
        buffer.put_slice(rest.get(..n).unwrap_or_default());
        *used += n;
        if *used == fit.len() {
            fit.clear();
            *used = 0;
        }
        n > 0
    }

    /// Judges some of what came; false when more is needed for that.
    fn judge(&mut self, vigil: &Vigil) -> io::Result<bool> {
        if self.body.is_done() {
            return Ok(self.read_head(vigil));
        }
        if self.is_malformed {
            return Err(malformed());
        }
        let Ok(fed) = self.body.take(&self.raw, &mut self.ranges) else {
            self.is_malformed = true;
            return Err(malformed());
        };
        let (fit, _) = &mut self.fit;
        for range in self.ranges.0.drain(..) {
            fit.extend_from_slice(self.raw.get(range).unwrap_or_default());
        }
        if fed.done {
            fit.extend_from_slice(self.body.tail());
        }
        self.raw.drain(..fed.consumed);
        Ok(fed.consumed > 0)
    }

    fn read_head(&mut self, vigil: &Vigil) -> bool {
        let rules = Rules { forward_for: None, client: None, close: false };
        self.head.clear();
        match request::read(&self.raw, &rules, &mut self.head) {
            Ok(None) => false,
            Ok(Some(request)) => {
                as_said(&mut self.head, &request, &self.raw);
                if !has_uri(&self.head) {
                    self.refusal = Some(Refusal {
                        is_head: request.is_head,
                        ..Refusal::bad("a target that HTTP/2 has no form for")
                    });
                    return true;
                }
                self.fit.0.append(&mut self.head);
                self.body = Inbound::new(request.body, Keep::Framed);
                self.raw.drain(..request.len);
                vigil.ask(!request.keep_alive);
                true
            }
            Err(refusal) => {
                self.refusal = Some(refusal);
                true
            }
        }
    }
}

fn malformed() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, Malformed)
}

/// True for a head whose target hyper takes: of what clients send, it has no form for some bytes that URIs must not have.
fn has_uri(head: &[u8]) -> bool {
    let target = head.split(|byte| *byte == b' ').nth(1);
    target.is_some_and(|target| Uri::try_from(target).is_ok())
}

/// Of the head that the other engine would send, what is said to this end of the connection: the client's version, its
/// target if that says a host, and whether it stays.
fn as_said(head: &mut Vec<u8>, request: &Request, raw: &[u8]) {
    let mut words = raw.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    if let (Some(method), Some(target)) = (words.next(), words.next())
        && !target.starts_with(b"/")
        && let Some(end) = head.iter().position(|byte| *byte == b'\n')
    {
        drop(head.splice(..end, [method, b" ", target, b" HTTP/1.1\r"].concat()));
    }
    let line = head.iter().position(|byte| *byte == b'\n').unwrap_or_default();
    let line = head.get_mut(..line).unwrap_or_default().trim_ascii_end().len();
    if let Some(digit) = line.checked_sub(1).and_then(|last| head.get_mut(last)) {
        *digit = request.version.digit();
    }
    let stays: &[u8] = match (request.keep_alive, request.version) {
        (true, Version::V11) => return,
        (true, Version::V10) => b"connection: keep-alive\r\n\r\n",
        (false, _) => b"connection: close\r\n\r\n",
    };
    // The last of several lines is what hyper heeds. Before the empty line:
    head.truncate(head.len().saturating_sub(2));
    head.extend_from_slice(stays);
}

impl<S: AsyncRead + Unpin> Vetted<S> {
    /// Reads what comes, through the free part of `buffer`.
    fn fill(&mut self, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.io).poll_read(cx, buffer))
            .inspect_err(|_| self.vigil.break_off())?;
        let came = buffer.filled().get(before..).unwrap_or_default();
        self.has_ended = came.is_empty();
        match (self.has_ended, self.judge.body.is_done()) {
            (false, _) => {}
            (true, true) => self.vigil.finish(),
            // The request can never become whole.
            (true, false) => self.vigil.break_off(),
        }
        self.judge.raw.extend_from_slice(came);
        buffer.set_filled(before);
        Poll::Ready(Ok(()))
    }

    /// While an answer is owed, or some of it is still held, which hyper might throw away with what it reads next: nothing for
    /// hyper, but that the connection has broken; and that once the request knows.
    fn watch(&mut self, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if let Some(error) = self.broken.take() {
            return Poll::Ready(Err(error));
        }
        while !self.has_ended && self.judge.raw.len() < HEAD_BYTES {
            match self.fill(cx, buffer) {
                Poll::Pending => break,
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => {
                    self.broken = Some(error);
                    cx.waker().wake_by_ref();
                    break;
                }
            }
        }
        self.vigil.wait(self.judge.raw.len(), cx.waker());
        Poll::Pending
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Vetted<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            let is_full = buffer.remaining() == 0;
            if is_full || this.judge.read(buffer) || this.judge.refusal.is_some() {
                return Poll::Ready(Ok(()));
            }
            let is_owed = this.vigil.is_asked() || this.is_unflushed;
            if this.judge.body.is_done() && is_owed {
                return this.watch(cx, buffer);
            }
            if !this.judge.raw.is_empty() && this.judge.judge(&this.vigil)? {
                continue;
            }
            if !this.has_ended {
                ready!(this.fill(cx, buffer))?;
            } else if this.judge.raw.is_empty() {
                return Poll::Ready(Ok(()));
            } else {
                // That it broke off is for hyper to see.
                this.judge.fit.0.append(&mut this.judge.raw);
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Vetted<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.is_unflushed = true;
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.is_unflushed = true;
        Pin::new(&mut self.io).poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    /// hyper asks for it when it has nothing more to write.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.io).poll_flush(cx))?;
        if std::mem::take(&mut self.is_unflushed) {
            self.vigil.flushed();
        }
        Poll::Ready(Ok(()))
    }

    /// Not yet: whoever owns the connection may have more to say.
    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests;
