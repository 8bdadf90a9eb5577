//! A small hyper server on the control thread. Every client is bounded: in number, in time for a request head, in time
//! for an answer, in the life of its connection.

use std::sync::Arc;
use std::time::Duration;

use hyper::body::{Body as _, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::{BoxError, Service, ServiceBuilder, ServiceExt as _};
use tracing::{debug, info, warn};

use crate::backoff::Backoff;
use crate::telemetry::cold;

use super::AdminState;
use super::routes::{Answer, Asked, Route, answer, plain};

/// Connections at the same time; further ones wait in the listener's queue.
///
/// Monitoring needs a handful. The bound keeps a leaking client from eating the descriptors that traffic needs.
pub(super) const MAX_CONNECTIONS: usize = 64;

/// Answers in the making at the same time: each may hold some megabytes.
const MAX_CONCURRENT: usize = 8;

/// Time for a request's head, and the longest idle time between requests.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);

/// Time to make an answer, waiting for others included.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// A connection is asked to end after this time, so that a client that never reads does not hold a place for ever.
const CONNECTION_LIFE: Duration = Duration::from_secs(120);

/// What a connection gets to finish once it is asked to end.
const GRACE: Duration = Duration::from_secs(2);

/// What a connection gets to ask its first question once it is asked to end.
const FIRST_REQUEST: Duration = Duration::from_millis(500);

/// Largest request body that is tolerated (and thrown away): no path takes one.
const MAX_BODY_BYTES: u64 = 64 * 1024;

/// Largest request head.
const MAX_HEAD_BYTES: usize = 16 * 1024;

/// Answers on `listener` until `stop`, then gives open connections two seconds to finish.
pub async fn serve(listener: TcpListener, state: Arc<AdminState>, stop: CancellationToken) {
    match listener.local_addr() {
        Ok(addr) => info!(%addr, "admin server ready"),
        Err(error) => warn!(%error, "admin server has no address"),
    }
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let connections = TaskTracker::new();
    let answers = answers(state);
    let mut pause = Backoff::new(Duration::from_millis(10), Duration::from_secs(1));
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = accept(&listener, &places) => accepted,
        };
        match accepted {
            Ok((stream, place)) => {
                pause.reset();
                let stop = stop.clone();
                connections.spawn(connection(stream, place, answers.clone(), stop));
            }
            Err(error) => {
                warn!(%error, "admin: cannot accept");
                tokio::select! {
                    () = stop.cancelled() => break,
                    () = tokio::time::sleep(pause.next_delay()) => {}
                }
            }
        }
    }
    connections.close();
    connections.wait().await;
}

async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> std::io::Result<(TcpStream, OwnedSemaphorePermit)> {
    let place = Arc::clone(places).acquire_owned().await.map_err(std::io::Error::other)?;
    let (stream, _peer) = listener.accept().await?;
    Ok((stream, place))
}

/// From request to answer, bounded in number and time over all connections. The time includes waiting for a place among
/// the concurrent ones. `/live` waits for nobody.
fn answers(
    state: Arc<AdminState>,
) -> impl Service<Asked, Response = Answer, Error = BoxError, Future: Send> + Clone + Send + 'static
{
    let rendering = Arc::clone(&state);
    let limited = ServiceBuilder::new()
        .concurrency_limit(MAX_CONCURRENT)
        .service_fn(move |asked: Asked| render(Arc::clone(&rendering), asked));
    ServiceBuilder::new().timeout(ANSWER_TIMEOUT).service_fn(move |asked: Asked| {
        let (state, limited) = (Arc::clone(&state), limited.clone());
        async move {
            cold::admin_request(asked.route().label());
            if *asked.route() == Route::Live {
                return Ok(answer(&state, &asked));
            }
            limited.oneshot(asked).await
        }
    })
}

/// Made on a blocking thread: the control thread has pools and checks to run.
async fn render(state: Arc<AdminState>, asked: Asked) -> Result<Answer, BoxError> {
    Ok(tokio::task::spawn_blocking(move || answer(&state, &asked)).await?)
}

async fn connection<S>(
    stream: TcpStream,
    place: OwnedSemaphorePermit,
    answers: S,
    stop: CancellationToken,
) where
    S: Service<Asked, Response = Answer, Error = BoxError> + Clone + Send + 'static,
    S::Future: Send,
{
    let spoken = CancellationToken::new();
    let first = spoken.clone();
    let service = service_fn(move |request| {
        first.cancel();
        respond(request, answers.clone())
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(MAX_HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let end = Instant::now() + CONNECTION_LIFE;
    let ended = tokio::select! {
        ended = connection.as_mut() => Some(ended),
        () = stop.cancelled() => None,
        () = tokio::time::sleep_until(end) => None,
    };
    let ended = match ended {
        Some(ended) => Some(ended),
        // Accepted, so somebody is about to ask: closing now would be an answer to nobody.
        None => tokio::select! {
            ended = connection.as_mut() => Some(ended),
            () = spoken.cancelled() => None,
            () = tokio::time::sleep(FIRST_REQUEST) => None,
        },
    };
    let ended = match ended {
        Some(ended) => ended,
        None => {
            connection.as_mut().graceful_shutdown();
            tokio::time::timeout(GRACE, connection).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = ended {
        debug!(%error, "admin: connection ended");
    }
    drop(place);
}

async fn respond<S>(
    request: Request<Incoming>,
    answers: S,
) -> Result<Answer, std::convert::Infallible>
where
    S: Service<Asked, Response = Answer, Error = BoxError>,
{
    if request.body().size_hint().lower() > MAX_BODY_BYTES {
        let text = "no path takes a body\n";
        return Ok(plain(StatusCode::PAYLOAD_TOO_LARGE, text));
    }
    let asked = Asked::new(request.method(), request.uri(), request.headers());
    let answer = answers.oneshot(asked).await.unwrap_or_else(|error| {
        warn!(error = &*error, "admin: no answer");
        plain(StatusCode::SERVICE_UNAVAILABLE, format!("no answer: {error}\n"))
    });
    Ok(answer)
}
