//! Ends of connections. One that lets a client read what it was told: a close with unread bytes would be a reset, which can
//! take an answer away from under its reader. And one that is to be a reset.

use std::future::poll_fn;
use std::io;
use std::os::fd::AsFd;
use std::pin::Pin;
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::TcpStream;

use super::local::Local;
use super::timer::Timer;

/// How long a client may still send after it was told that nobody listens.
const LINGER: Duration = Duration::from_secs(1);

/// How much it may send in that time.
const LINGER_BYTES: usize = 1024 * 1024;

/// Says that no more comes, and swallows what the client still sends, within bounds.
pub(crate) async fn farewell(mut client: TcpStream, timer: &Timer) {
    let swallow = swallow(&mut client, timer.local());
    // Neither time nor errors matter any more: the connection closes either way.
    drop(timer.within(Some(LINGER), swallow).await);
}

/// The same without a bound in time.
pub(crate) async fn swallow<S>(client: &mut S, local: &Local) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    client.shutdown().await?;
    let mut left = LINGER_BYTES;
    while left > 0 {
        let read = poll_fn(|cx| {
            let mut buffer = local.buffer.borrow_mut();
            let mut chunk = ReadBuf::new(&mut buffer);
            let read = Pin::new(&mut *client).poll_read(cx, &mut chunk);
            read.map_ok(|()| chunk.filled().len())
        });
        match read.await? {
            0 => break,
            n => left = left.saturating_sub(n),
        }
    }
    Ok(())
}

/// The close of `socket`, which follows, will be a reset.
pub(crate) fn reset(socket: impl AsFd) {
    if let Err(error) = SockRef::from(&socket).set_linger(Some(Duration::ZERO)) {
        tracing::debug!(%error, "reset");
    }
}
