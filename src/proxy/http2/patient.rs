//! A connection to an HTTP/2 server that may have closed: what it said before is heard.
//!
//! A server that has answered may close without reading the rest of the request. The `h2` crate writes before it reads,
//! and takes an error of the one for the end of both.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The connection.
#[derive(Debug)]
pub(super) struct Patient<S> {
    io: S,
    /// Nobody takes what is written; reading says when it is over.
    is_deaf: bool,
}

impl<S> Patient<S> {
    pub(super) fn new(io: S) -> Self {
        Self { io, is_deaf: false }
    }

    /// `all` were to be written.
    fn wrote(
        &mut self,
        went: Poll<io::Result<usize>>,
        all: usize,
        cx: &Context<'_>,
    ) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Err(_)) = went {
            self.is_deaf = true;
            // Read on, now that there is nothing to be waited for.
            cx.waker().wake_by_ref();
            return Poll::Ready(Ok(all));
        }
        went
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.is_deaf {
            return Poll::Ready(Ok(bytes.len()));
        }
        let went = Pin::new(&mut self.io).poll_write(cx, bytes);
        self.wrote(went, bytes.len(), cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let all = parts.iter().map(|part| part.len()).sum();
        if self.is_deaf {
            return Poll::Ready(Ok(all));
        }
        let went = Pin::new(&mut self.io).poll_write_vectored(cx, parts);
        self.wrote(went, all, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    /// Has said something, and takes nothing.
    #[derive(Debug)]
    struct Closed(&'static [u8]);

    impl AsyncRead for Closed {
        fn poll_read(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            buffer: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            Pin::new(&mut self.0).poll_read(cx, buffer)
        }
    }

    impl AsyncWrite for Closed {
        fn poll_write(
            self: Pin<&mut Self>,
            _cx: &mut Context<'_>,
            _bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()))
        }

        fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[tokio::test]
    async fn what_was_said_is_heard_though_nothing_is_taken() {
        let mut io = Patient::new(Closed(b"the answer"));
        for _ in 0..2 {
            io.write_all(b"the rest of the request").await.unwrap();
        }
        let mut heard = String::new();
        io.read_to_string(&mut heard).await.unwrap();
        assert_eq!(heard, "the answer");
    }
}
