//! An end that lets a client read what it was told: a close with unread bytes would be a reset, which can take an answer
//! away from under its reader.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::time::Duration;

use tokio::io::{AsyncRead as _, AsyncWriteExt as _, ReadBuf};
use tokio::net::TcpStream;

use super::timer::Timer;

/// How long a client may still send after it was told that nobody listens.
const LINGER: Duration = Duration::from_secs(1);

/// How much it may send in that time.
const LINGER_BYTES: usize = 1024 * 1024;

/// Says that no more comes, and swallows what the client still sends, within bounds.
pub(crate) async fn farewell(mut client: TcpStream, timer: &Timer) {
    let swallow = async {
        client.shutdown().await?;
        let mut left = LINGER_BYTES;
        while left > 0 {
            let read = poll_fn(|cx| {
                let mut buffer = timer.local().buffer.borrow_mut();
                let mut chunk = ReadBuf::new(&mut buffer);
                let read = Pin::new(&mut client).poll_read(cx, &mut chunk);
                read.map_ok(|()| chunk.filled().len())
            });
            match read.await? {
                0 => break,
                n => left = left.saturating_sub(n),
            }
        }
        io::Result::Ok(())
    };
    // Neither time nor errors matter any more: the connection closes either way.
    drop(timer.within(Some(LINGER), swallow).await);
}
