//! `accept-proxy`: before a connection is served, its header of the PROXY protocol is read and believed.
//!
//! Exactly the header is taken from the socket, so that whoever serves the connection finds it as if it had never been
//! there. Usually the header has come with the connection: then nothing waits, and the reactor does not get to know the
//! socket earlier than without. As with haproxy the header has `timeout client`, nothing is answered to one that is bad,
//! and a connection without a good one is counted, but is no session.

use std::io;
use std::net::TcpStream;
use std::rc::Rc;
use std::sync::Arc;

use rustix::net::RecvFlags;
use tokio::time::Instant;

use super::accept::Accepted;
use super::local::Local;
use super::peer::Peer;
use super::proxy_protocol::{Header, MAX_HEADER_BYTES, Malformed, parse};
use super::tcp::Chain;
use super::timer::Timer;
use super::{Mode, http, tcp};
use crate::telemetry::access::Failure;
use crate::telemetry::cells::ErrorCause;

/// Why a connection is closed before it is served.
#[derive(Debug, thiserror::Error)]
enum Unproxied {
    /// It does not begin with a header.
    #[error("{0}")]
    Malformed(#[from] Malformed),
    /// `timeout client`, before anything has come or after a part.
    #[error("timeout while waiting for the PROXY protocol header")]
    Late { is_silent: bool },
    /// The end came within the header.
    #[error("truncated PROXY protocol header received")]
    Truncated,
    /// The end came before the header.
    #[error("connection closed while waiting for the PROXY protocol header")]
    Gone,
    /// The connection is broken.
    #[error("connection error while waiting for the PROXY protocol header")]
    Broken(#[source] io::Error),
}

impl Unproxied {
    /// haproxy's words in the access log.
    fn logged(&self) -> &'static str {
        match self {
            Self::Malformed(Malformed::Stranger) => {
                "Received something which does not look like a PROXY protocol header"
            }
            Self::Malformed(Malformed::Protocol) => {
                "Received an unhandled protocol in the PROXY protocol header"
            }
            Self::Malformed(Malformed::Invalid) => "Received an invalid PROXY protocol header",
            Self::Late { .. } => "Timeout while waiting for PROXY protocol header",
            Self::Truncated => "Truncated PROXY protocol header received",
            Self::Gone => "Connection closed while waiting for PROXY protocol header",
            Self::Broken(_) => "Connection error while waiting for PROXY protocol header",
        }
    }

    fn cause(&self) -> ErrorCause {
        match self {
            Self::Malformed(_) | Self::Truncated => ErrorCause::ClientProtocol,
            Self::Late { .. } => ErrorCause::ClientTimeout,
            Self::Gone | Self::Broken(_) => ErrorCause::ClientAbort,
        }
    }
}

/// Reads the header, then serves the connection to its end.
pub(crate) async fn serve(local: Rc<Local>, mut accepted: Accepted) {
    let since = Instant::now();
    let service = Arc::clone(&accepted.slot.listener.service);
    let header = match Box::pin(header(&local, &accepted)).await {
        Ok(header) => header,
        Err(error) => {
            service.cells.of(local.worker).error(error.cause());
            log(&local, &accepted, (&error, since));
            tracing::debug!(service = %service.name, peer = %accepted.peer, error = %Chain(&error), "no PROXY header");
            return;
        }
    };
    if let Some((client, to)) = header.addrs {
        accepted.peer = Peer::from(client);
        accepted.entrance.carried = Some(Arc::new(to));
    }
    let settings = service.settings.load_full();
    drop(service);
    // Boxed: one of the two, and what they keep is not to be doubled.
    match settings.mode {
        Mode::Tcp => Box::pin(tcp::serve_since(local, accepted, settings, since)).await,
        Mode::Http => Box::pin(http::serve(local, accepted)).await,
    }
}

fn log(local: &Local, accepted: &Accepted, (error, since): (&Unproxied, Instant)) {
    let Some(log) = &accepted.slot.listener.service.settings.load().access_log else {
        return;
    };
    let begun = local.clock.of(since);
    let failure = Failure {
        client: accepted.peer.addr(),
        socket: accepted.entrance.door.number(),
        begun: local.clock.unix(begun),
        took: local.clock.tick().since(begun),
        is_silent: matches!(error, Unproxied::Gone | Unproxied::Late { is_silent: true }),
        text: error.logged(),
    };
    local.pen.borrow_mut().write_failure(log, &failure);
}

/// Takes the header from the socket.
async fn header(local: &Rc<Local>, accepted: &Accepted) -> Result<Header, Unproxied> {
    let mut taken = Vec::new();
    if let Some(header) = take(&accepted.stream, local, &mut taken)? {
        return Ok(header);
    }
    let listener = &accepted.slot.listener;
    let limit = listener.service.settings.load().timeouts.client;
    let timer = Timer::new(local, listener.group).await;
    // The reactor watches a duplicate, so that the socket itself is as new afterwards.
    let watched = accepted.stream.try_clone().and_then(tokio::net::TcpStream::from_std);
    let watched = watched.map_err(Unproxied::Broken)?;
    let whole = async {
        loop {
            watched.readable().await.map_err(Unproxied::Broken)?;
            let none_yet = || match take(&accepted.stream, local, &mut taken) {
                Ok(Some(header)) => Ok(Ok(header)),
                Ok(None) => Err(io::ErrorKind::WouldBlock.into()),
                Err(error) => Ok(Err(error)),
            };
            if let Ok(end) = watched.try_io(tokio::io::Interest::READABLE, none_yet) {
                return end;
            }
        }
    };
    let whole = timer.within(limit, whole).await;
    whole.unwrap_or(Err(Unproxied::Late { is_silent: taken.is_empty() }))
}

/// Takes what has come of the header, and nothing behind it; `None`: it is not whole yet.
fn take(
    stream: &TcpStream,
    local: &Local,
    taken: &mut Vec<u8>,
) -> Result<Option<Header>, Unproxied> {
    let mut buffer = local.buffer.borrow_mut();
    loop {
        let room = MAX_HEADER_BYTES - taken.len().min(MAX_HEADER_BYTES);
        let room = buffer.get_mut(..room).unwrap_or_default();
        let came = match receive(stream, room, RecvFlags::PEEK)? {
            None => return Ok(None),
            Some(0) if taken.is_empty() => return Err(Unproxied::Gone),
            Some(0) => return Err(Unproxied::Truncated),
            Some(came) => came,
        };
        let had = taken.len();
        let new = room.get(..came).unwrap_or_default();
        let header = if had == 0 {
            parse(new)?
        } else {
            taken.extend_from_slice(new);
            parse(taken)?
        };
        // What was looked at is there to be taken.
        let ours = header.map_or(came, |header| header.len - had);
        let room = buffer.get_mut(..ours).unwrap_or_default();
        receive(stream, room, RecvFlags::empty())?;
        if header.is_some() {
            return Ok(header);
        }
        if had == 0 {
            taken.extend_from_slice(room);
        }
    }
}

/// `None` when there is nothing.
fn receive(
    stream: &TcpStream,
    room: &mut [u8],
    flags: RecvFlags,
) -> Result<Option<usize>, Unproxied> {
    let flags = flags | RecvFlags::DONTWAIT;
    match rustix::io::retry_on_intr(|| rustix::net::recv(stream, &mut *room, flags)) {
        Ok((_, came)) => Ok(Some(came)),
        Err(rustix::io::Errno::AGAIN) => Ok(None),
        Err(error) => Err(Unproxied::Broken(error.into())),
    }
}
