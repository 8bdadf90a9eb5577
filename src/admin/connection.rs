//! A connection from its place to its end.

use std::convert::Infallible;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::client::Client;
use super::places::Seat;
use super::site::Answer;

/// Time for a request's head, and the longest idle time between requests.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);

/// A connection is asked to end after this time, so that a client that reads a little now and then does not hold a place
/// (and what its page is written from) for ever.
pub(super) const CONNECTION_LIFE: Duration = Duration::from_secs(120);

/// Time for a command, waiting for others included: what a site promises (nerve: 10 s) and some. No answer takes longer.
pub(super) const COMMAND_TIMEOUT: Duration = Duration::from_secs(15);

/// What a connection gets to finish once it is asked to end.
const GRACE: Duration = Duration::from_secs(2);

/// What a connection gets to ask its first question once it is asked to end.
const FIRST_REQUEST: Duration = Duration::from_millis(500);

/// Largest request head.
const MAX_HEAD_BYTES: usize = 16 * 1024;

/// Answers what a client asks until it ends, takes nothing, is there for too long, has to make room, or until `stop`.
pub(super) async fn connection<T, R, F>(
    stream: T,
    seat: Arc<Seat>,
    respond: R,
    stop: CancellationToken,
) where
    T: AsyncRead + AsyncWrite + AsFd + Unpin + Send + 'static,
    R: Fn(Request<Incoming>) -> F,
    F: Future<Output = Result<Answer, Infallible>> + Send,
{
    let client = Client::new(stream, Arc::clone(&seat));
    let to_end = async {
        tokio::select! {
            () = stop.cancelled() => GRACE,
            // Its answer may be in the making. Once it is made, a client that does not take it makes room.
            () = seat.wanted() => COMMAND_TIMEOUT + GRACE,
            () = tokio::time::sleep_until(Instant::now() + CONNECTION_LIFE) => GRACE,
        }
    };
    tokio::select! {
        () = serve(client, respond, to_end) => {}
        () = seat.needed() => debug!("admin: a client that does not move makes room for another"),
    }
}

/// Until the client ends; `to_end` tells when it is asked to, and what it gets to finish.
async fn serve<T, R, F>(client: Client<T>, respond: R, to_end: impl Future<Output = Duration>)
where
    T: AsyncRead + AsyncWrite + AsFd + Unpin + Send + 'static,
    R: Fn(Request<Incoming>) -> F,
    F: Future<Output = Result<Answer, Infallible>> + Send,
{
    let spoken = CancellationToken::new();
    let first = spoken.clone();
    let service = hyper::service::service_fn(move |request| {
        first.cancel();
        respond(request)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(MAX_HEAD_BYTES)
        .serve_connection(TokioIo::new(client), service);
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => Ok(ended),
        grace = to_end => Err(grace),
    };
    let ended = match ended {
        Ok(ended) => Ok(ended),
        // Accepted, so somebody is about to ask: closing now would be an answer to nobody.
        Err(grace) => tokio::select! {
            ended = connection.as_mut() => Ok(ended),
            () = spoken.cancelled() => Err(grace),
            () = tokio::time::sleep(FIRST_REQUEST) => Err(grace),
        },
    };
    let ended = match ended {
        Ok(ended) => ended,
        Err(grace) => {
            connection.as_mut().graceful_shutdown();
            tokio::time::timeout(grace, connection).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = ended {
        debug!(%error, "admin: connection ended");
    }
}
