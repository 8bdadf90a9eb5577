//! A client's socket: it tells the place that it holds when the client takes something, and ends when it takes nothing.

use std::io::{self, IoSlice};
use std::os::fd::AsFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use rustix::net::SendFlags;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use super::places::Seat;

/// A client that takes nothing of its answer for so long is let go.
pub(super) const WRITE_TIMEOUT: Duration = Duration::from_secs(5);

/// What the kernel may keep of the answers to a client, in bytes (it counts double, for its own needs): left to itself it would
/// keep 4 MB for each that does not read.
const SEND_BUFFER: usize = 128 * 1024;

/// A client's socket.
#[derive(Debug)]
pub(super) struct Client<T: AsFd> {
    stream: T,
    seat: Arc<Seat>,
    /// Until when it has to take something, when there is no room for what comes next.
    stalled: Option<Pin<Box<Sleep>>>,
}

impl<T: AsFd> Client<T> {
    pub(super) fn new(stream: T, seat: Arc<Seat>) -> Self {
        if let Err(error) = SockRef::from(&stream).set_send_buffer_size(SEND_BUFFER) {
            tracing::debug!(%error, "admin: a client's send buffer keeps its size");
        }
        Self { stream, seat, stalled: None }
    }

    /// What came of writing; `next` would be the first to go.
    fn judge(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<usize>>,
        next: &[u8],
    ) -> Poll<io::Result<usize>> {
        let Poll::Ready(written) = written else {
            let stalled =
                self.stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep(WRITE_TIMEOUT)));
            ready!(stalled.as_mut().poll(cx));
            // The kernel tells of room when a third of its buffer is free, for which a slow reader needs longer. A few bytes
            // go whenever it has read some.
            let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
            return match rustix::net::send(&self.stream, next, flags) {
                Ok(count) if count > 0 => self.judge(cx, Poll::Ready(Ok(count)), next),
                Ok(_) | Err(_) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            };
        };
        self.stalled = None;
        if written.as_ref().is_ok_and(|count| *count > 0) {
            self.seat.has_moved();
        }
        Poll::Ready(written)
    }
}

/// What it has not taken by now it will not take: the kernel would keep it in memory for minutes after a usual close.
impl<T: AsFd> Drop for Client<T> {
    fn drop(&mut self) {
        if self.stalled.is_some()
            && let Err(error) = SockRef::from(&self.stream).set_linger(Some(Duration::ZERO))
        {
            tracing::debug!(%error, "admin: a client that does not read is closed in the usual way");
        }
    }
}

impl<T: AsyncRead + AsFd + Unpin> AsyncRead for Client<T> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(cx, buf)
    }
}

impl<T: AsyncWrite + AsFd + Unpin> AsyncWrite for Client<T> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write(cx, buf);
        this.judge(cx, written, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write_vectored(cx, bufs);
        let next = bufs.iter().find(|slice| !slice.is_empty());
        this.judge(cx, written, next.map_or(&[], |slice| slice))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt as _;
    use tokio::net::UnixStream;

    use super::*;
    use crate::admin::places::Places;

    async fn try_write(client: &mut Client<UnixStream>) -> Poll<io::Result<usize>> {
        std::future::poll_fn(|cx| Poll::Ready(Pin::new(&mut *client).poll_write(cx, &[7; 1 << 16])))
            .await
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_takes_a_little_stays_and_one_that_takes_nothing_does_not() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let seat = Places::new().take().await.unwrap();
        let mut client = Client::new(ours, seat);
        while let Poll::Ready(written) = try_write(&mut client).await {
            written.unwrap();
        }
        let just_before = WRITE_TIMEOUT - Duration::from_millis(10);
        for _ in 0..3 {
            tokio::time::advance(just_before).await;
            assert!(try_write(&mut client).await.is_pending());
            // Too little for the kernel to tell of.
            theirs.read_exact(&mut [0; 1 << 16]).await.unwrap();
            assert!(try_write(&mut client).await.is_pending());
            tokio::time::advance(Duration::from_millis(20)).await;
            let Poll::Ready(written) = try_write(&mut client).await else {
                unreachable!("there is room");
            };
            assert!(written.unwrap() > 0);
            // Whatever room is left.
            assert!(try_write(&mut client).await.is_pending());
        }
        tokio::time::advance(just_before).await;
        assert!(try_write(&mut client).await.is_pending());
        tokio::time::advance(Duration::from_millis(20)).await;
        let Poll::Ready(written) = try_write(&mut client).await else {
            unreachable!("its time is up");
        };
        assert_eq!(written.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }
}
