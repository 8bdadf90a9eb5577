//! A small hyper server on the control thread. Every client is bounded: in number (`places`), in time for a request
//! head, for making its answer and for taking it, in the life of its connection (`connection`).

use std::convert::Infallible;
use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::{Body as _, Incoming};
use hyper::{Request, StatusCode};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::timeout::error::Elapsed;
use tower::{BoxError, Service, ServiceBuilder, ServiceExt as _, service_fn};
use tracing::{info, warn};

use crate::backoff::Backoff;

use super::connection::{COMMAND_TIMEOUT, connection};
use super::places::{Places, Seat};
use super::rendering;
use super::site::{Answer, Asked, Lane, Peer, Site, plain};

/// Answers in the making or about to be at the same time: each may hold some megabytes. Those that are made as they are
/// read count until they begin.
const MAX_CONCURRENT: usize = 8;

/// Time to make an answer, waiting for others included.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// Commands at the same time. They wait for a registry and cost next to nothing meanwhile; the rest of the connections
/// stays free for those who want to see why it takes so long.
const MAX_COMMANDS: usize = 32;

/// Largest request body: a command's; the others' are tolerated up to here and thrown away.
pub(crate) const MAX_BODY_BYTES: usize = 64 * 1024;

/// Time for the body of a command.
const BODY_TIMEOUT: Duration = Duration::from_secs(5);

/// Where clients come in.
pub trait Listen: Send + Sync + 'static {
    /// A connection.
    type Stream: AsyncRead + AsyncWrite + AsFd + Unpin + Send + 'static;

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
    let places = Places::new();
    let connections = TaskTracker::new();
    let answers = answers(Arc::clone(&site));
    let mut pause = Backoff::new(Duration::from_millis(10), Duration::from_secs(1));
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.next() => accepted,
        };
        // Accepted, it is answered even if a stop comes: that frees places.
        let seated = match accepted {
            Ok((stream, peer)) => places.take().await.map(|seat| (stream, peer, seat)),
            Err(error) => Err(error),
        };
        match seated {
            Ok((stream, peer, seat)) => {
                pause.reset();
                let (site, answers, stop) = (Arc::clone(&site), answers.clone(), stop.clone());
                let asked_by = Caller { peer, seat: Arc::clone(&seat) };
                let respond = move |request| {
                    respond(request, asked_by.clone(), Arc::clone(&site), answers.clone())
                };
                connections.spawn(connection(stream, seat, respond, stop));
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

/// Who asks, and the place that is kept for it.
#[derive(Clone)]
struct Caller {
    peer: Peer,
    seat: Arc<Seat>,
}

async fn respond<S: Site, A>(
    request: Request<Incoming>,
    Caller { peer, seat }: Caller,
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
    let busy = seat.busy();
    let answer = answers.oneshot(asked).await.unwrap_or_else(|error| {
        warn!(error = &*error, "admin: no answer");
        plain(StatusCode::SERVICE_UNAVAILABLE, format!("no answer: {error}\n"))
    });
    drop(busy);
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
