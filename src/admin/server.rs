//! A small hyper server on the control thread. Every client is bounded: in number, in time for a request head, in time
//! for an answer, in the life of its connection.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::{Body as _, Incoming};
use hyper::server::conn::http1;
use hyper::{Request, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::timeout::error::Elapsed;
use tower::{BoxError, Service, ServiceBuilder, ServiceExt as _, service_fn};
use tracing::{debug, info, warn};

use crate::backoff::Backoff;

use super::rendering;
use super::site::{Answer, Asked, Lane, Peer, Site, plain};

/// Connections at the same time; further ones wait in the listener's queue.
///
/// Monitoring needs a handful. The bound keeps a leaking client from eating the descriptors that traffic needs.
pub(super) const MAX_CONNECTIONS: usize = 64;

/// Answers in the making or about to be at the same time: each may hold some megabytes. Those that are made as they are
/// read count until they begin.
const MAX_CONCURRENT: usize = 8;

/// Time for a request's head, and the longest idle time between requests.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);

/// Time to make an answer, waiting for others included.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// Commands at the same time. They wait for a registry and cost next to nothing meanwhile; the rest of the connections
/// stays free for those who want to see why it takes so long.
const MAX_COMMANDS: usize = 32;

/// Time for a command, waiting for others included: what a site promises (nerve: 10 s) and some.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(15);

/// A connection is asked to end after this time, so that a client that never reads does not hold a place (and what its
/// page is written from) for ever.
pub(super) const CONNECTION_LIFE: Duration = Duration::from_secs(120);

/// What a connection gets to finish once it is asked to end.
const GRACE: Duration = Duration::from_secs(2);

/// What a connection gets to ask its first question once it is asked to end.
const FIRST_REQUEST: Duration = Duration::from_millis(500);

/// Largest request body: a command's; the others' are tolerated up to here and thrown away.
pub(crate) const MAX_BODY_BYTES: usize = 64 * 1024;

/// Time for the body of a command.
const BODY_TIMEOUT: Duration = Duration::from_secs(5);

/// Largest request head.
const MAX_HEAD_BYTES: usize = 16 * 1024;

/// Where clients come in.
pub trait Listen: Send + Sync + 'static {
    /// A connection.
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    /// The next client, and who it is.
    fn next(&self) -> impl Future<Output = io::Result<(Self::Stream, Peer)>> + Send;

    /// Its address or path, for the log.
    fn place(&self) -> String;
}

impl Listen for TcpListener {
    type Stream = TcpStream;

    async fn next(&self) -> io::Result<(TcpStream, Peer)> {
        let (stream, peer) = self.accept().await?;
        Ok((stream, Peer::Tcp(peer)))
    }

    fn place(&self) -> String {
        self.local_addr().map_or_else(|error| error.to_string(), |addr| addr.to_string())
    }
}

impl Listen for UnixListener {
    type Stream = UnixStream;

    async fn next(&self) -> io::Result<(UnixStream, Peer)> {
        let (stream, _) = self.accept().await?;
        let uid = stream.peer_cred().ok().map(|credentials| credentials.uid());
        Ok((stream, Peer::Unix { uid }))
    }

    fn place(&self) -> String {
        let addr = self.local_addr().ok();
        let path = addr.as_ref().and_then(|addr| addr.as_pathname());
        path.map_or_else(|| String::from("a unix socket"), |path| path.display().to_string())
    }
}

/// Answers on `listener` until `stop`, then gives open connections two seconds to finish.
pub async fn serve<S: Site>(listener: impl Listen, site: Arc<S>, stop: CancellationToken) {
    info!(addr = listener.place(), "admin server ready");
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let connections = TaskTracker::new();
    let answers = answers(Arc::clone(&site));
    let mut pause = Backoff::new(Duration::from_millis(10), Duration::from_secs(1));
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = accept(&listener, &places) => accepted,
        };
        match accepted {
            Ok((stream, peer, place)) => {
                pause.reset();
                let (site, answers, stop) = (Arc::clone(&site), answers.clone(), stop.clone());
                let respond =
                    move |request| respond(request, peer, Arc::clone(&site), answers.clone());
                connections.spawn(connection(stream, place, respond, stop));
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

async fn accept<L: Listen>(
    listener: &L,
    places: &Arc<Semaphore>,
) -> io::Result<(L::Stream, Peer, OwnedSemaphorePermit)> {
    let place = Arc::clone(places).acquire_owned().await.map_err(io::Error::other)?;
    let (stream, peer) = listener.next().await?;
    Ok((stream, peer, place))
}

/// From request to answer, bounded in number and time over all connections. The time includes waiting for a place among
/// the concurrent ones. What is answered at once (`/live`) waits for nobody.
fn answers<S: Site>(
    site: Arc<S>,
) -> impl Service<Asked, Response = Answer, Error = BoxError, Future: Send> + Clone + Send + 'static
{
    let rendering = Arc::clone(&site);
    let pages = ServiceBuilder::new()
        .concurrency_limit(MAX_CONCURRENT)
        .service_fn(move |asked: Asked| render(Arc::clone(&rendering), asked));
    let acting = Arc::clone(&site);
    let commands = ServiceBuilder::new()
        .concurrency_limit(MAX_COMMANDS)
        .service_fn(move |asked: Asked| act(Arc::clone(&acting), asked));
    service_fn(move |asked: Asked| {
        let (site, pages, commands) = (Arc::clone(&site), pages.clone(), commands.clone());
        async move {
            site.count(asked.path());
            match site.lane(&asked.head.method, asked.path()) {
                Lane::Instant => Ok(site.page(&asked)),
                Lane::Rendering => within(ANSWER_TIMEOUT, pages.oneshot(asked)).await,
                Lane::Command => within(COMMAND_TIMEOUT, commands.oneshot(asked)).await,
            }
        }
    })
}

async fn within(
    time: Duration,
    answer: impl Future<Output = Result<Answer, BoxError>>,
) -> Result<Answer, BoxError> {
    tokio::time::timeout(time, answer).await.map_err(|_| Elapsed::new())?
}

async fn render<S: Site>(site: Arc<S>, asked: Asked) -> Result<Answer, BoxError> {
    Ok(rendering::render(move || site.page(&asked)).await?)
}

async fn act<S: Site>(site: Arc<S>, asked: Asked) -> Result<Answer, BoxError> {
    Ok(site.act(asked).await)
}

async fn connection<T, R, F>(
    stream: T,
    place: OwnedSemaphorePermit,
    respond: R,
    stop: CancellationToken,
) where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
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

async fn respond<S: Site, A>(
    request: Request<Incoming>,
    peer: Peer,
    site: Arc<S>,
    answers: A,
) -> Result<Answer, Infallible>
where
    A: Service<Asked, Response = Answer, Error = BoxError>,
{
    let (head, body) = request.into_parts();
    let takes_body = site.lane(&head.method, head.uri.path()) == Lane::Command;
    let body = match read(body, takes_body).await {
        Ok(body) => body,
        Err(refusal) => return Ok(refusal),
    };
    let asked = Asked { head, body, peer };
    let answer = answers.oneshot(asked).await.unwrap_or_else(|error| {
        warn!(error = &*error, "admin: no answer");
        plain(StatusCode::SERVICE_UNAVAILABLE, format!("no answer: {error}\n"))
    });
    Ok(answer)
}

/// The body of a command; nothing of others.
async fn read(body: Incoming, is_taken: bool) -> Result<Bytes, Answer> {
    let too_large = || {
        let text = if is_taken {
            format!("a body has {MAX_BODY_BYTES} bytes at most\n")
        } else {
            String::from("no path takes a body\n")
        };
        plain(StatusCode::PAYLOAD_TOO_LARGE, text)
    };
    if body.size_hint().lower() > u64::try_from(MAX_BODY_BYTES).unwrap_or(u64::MAX) {
        return Err(too_large());
    }
    if !is_taken {
        return Ok(Bytes::new());
    }
    let body = Limited::new(body, MAX_BODY_BYTES).collect();
    match tokio::time::timeout(BODY_TIMEOUT, body).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large()),
        Ok(Err(error)) => {
            let text = format!("the body did not arrive: {error}\n");
            Err(plain(StatusCode::BAD_REQUEST, text))
        }
        Err(_) => Err(plain(StatusCode::REQUEST_TIMEOUT, "the body did not arrive in time\n")),
    }
}
