//! The life of one relayed connection: first request, wait for a member, bytes both ways.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy, sink};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::time::timeout;
use tracing::{debug, warn};

use super::dial::{Found, be_u32, cause};
use super::guard::{Answers, Check, Lists, Requests};

/// The first request of a client is 45 bytes; a local stranger who sends more is not ours.
const REQUEST_MAX_BYTES: usize = 1024;

/// While no member answers, the client's further bytes (its watches to restore) wait here. Above this they wait in the
/// kernel; all that is lost is the early notice that the client gave up.
const HELD_MAX_BYTES: usize = 4 << 20;

/// The first request, length included. Our client sends it with its first write.
pub(super) async fn read_request(client: &mut TcpStream) -> io::Result<Vec<u8>> {
    let read = async {
        let mut head = [0_u8; 4];
        client.read_exact(&mut head).await?;
        let length = usize::try_from(be_u32(&head)).unwrap_or(usize::MAX);
        if length > REQUEST_MAX_BYTES {
            warn!(length, "relay: a stranger's connection was closed");
            return Err(io::Error::new(io::ErrorKind::InvalidData, "not our client"));
        }
        let mut body = vec![0_u8; length];
        client.read_exact(&mut body).await?;
        Ok([&head, body.as_slice()].concat())
    };
    client_deadline(read).await
}

/// A connection that says nothing for a second is not our client's.
async fn client_deadline<T>(read: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    timeout(Duration::from_secs(1), read)
        .await
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// Collects what the client sends while it has no member; returns when the client gave up.
pub(super) async fn hold(client: &mut TcpStream, held: &mut Vec<u8>) {
    loop {
        if held.len() >= HELD_MAX_BYTES {
            return std::future::pending().await;
        }
        if !matches!(client.read_buf(held).await, Ok(read) if read > 0) {
            return;
        }
    }
}

/// Who ended a relayed connection.
#[derive(Debug)]
pub(super) enum Ended {
    /// The client went, or the member's answers could not be passed on.
    Client,
    /// The member went, for this reason.
    Member(Arc<str>),
}

/// Moves bytes both ways until either side ends, or the member lies about sizes.
pub(super) async fn pump(mut client: TcpStream, held: &[u8], mut found: Found) -> Ended {
    let lists = Lists::default();
    let mut requests = Requests::new(&lists);
    let (mut from_client, mut to_client) = client.split();
    let (mut from_member, mut to_member) = found.stream.split();
    let ended = tokio::select! {
        // The member first: when it reset the connection both directions end, and its error is the one to tell.
        biased;
        result = async {
            to_client.write_all(&found.answer).await?;
            pass(&mut from_member, &mut to_client, &mut Answers::new(&lists)).await
        } => match result {
            Ok(()) => Ended::Member("closed the connection".into()),
            Err(error) => Ended::Member(cause(&error)),
        },
        result = async {
            requests.check(held)?;
            to_member.write_all(held).await?;
            pass(&mut from_client, &mut to_member, &mut requests).await
        } => {
            debug!(?result, "relay: the client went away");
            Ended::Client
        }
    };
    if matches!(ended, Ended::Client) {
        let_go(found.stream).await;
    }
    ended
}

/// Copies one direction until its end. Chunks of 16 KiB: a registration's list fits in one or two.
async fn pass(
    from: &mut ReadHalf<'_>,
    to: &mut WriteHalf<'_>,
    check: &mut impl Check,
) -> io::Result<()> {
    let mut chunk = BytesMut::with_capacity(16 << 10);
    while from.read_buf(&mut chunk).await? > 0 {
        check.check(&chunk)?;
        to.write_all(&chunk).await?;
        chunk.clear();
    }
    Ok(())
}

/// The client's last bytes may be the request to close the session: half-close and give the member a moment to take
/// them, so that our unread bytes do not turn the close into a reset. Bounded, because a hung member never answers.
async fn let_go(mut member: TcpStream) {
    let goodbye = async {
        member.shutdown().await?;
        copy(&mut member, &mut sink()).await
    };
    match timeout(Duration::from_millis(100), goodbye).await {
        Ok(Ok(_)) => {}
        Ok(Err(error)) => debug!(%error, "relay: member went away first"),
        Err(_) => debug!("relay: member did not close in time"),
    }
}
