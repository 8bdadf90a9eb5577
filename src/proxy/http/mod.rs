//! HTTP/1.x. Entered with a client connection; nothing outside knows how messages are framed.
//!
//! One task per client connection drives hyper's server side, and with it the backend connection that serves the
//! current request: no second task, no hand-over, and dropping the one cancels the other. Idle backend connections
//! wait in the worker's pool. The task also watches the one timer and asks the state what has expired.

mod ask;
mod body;
mod client;
mod exchange;
mod headers;
mod message;
pub mod pool;
mod reply;
mod socket;
mod upstream;

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::StatusCode;
use hyper::server::conn::http1::{Builder, Connection};
use hyper::service::{HttpService, service_fn};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep_until, timeout};

use self::body::ResponseBody;
use self::client::{Client, Expiry, Phase, Tunnel};
use self::socket::{Glance, Io};
use super::accept::Accepted;
use super::local::Local;
use super::relay::{self, End};
use super::shared::Listener;
use super::tcp::{Chain, Counters, idle_timeout};
use crate::telemetry::cells::ErrorCause;

/// Largest head: haproxy's `tune.bufsize` less `tune.maxrewrite`.
pub const HEAD_BYTES: usize = 15_360;

/// Most headers in a head: haproxy's `tune.http.maxhdr`.
pub const HEADERS: usize = 101;

/// Most bytes that hyper buffers per direction and connection; it grows there only under load.
const BUFFER_BYTES: usize = 128 * 1024;

/// How long a client may still send after an answer that did not wait for its request; a close with unread bytes would
/// be a reset, which can take the answer away from under its reader.
const LINGER: Duration = Duration::from_secs(1);

/// How much it may send in that time.
const LINGER_BYTES: usize = 1024 * 1024;

/// Why a connection ends.
enum Ending {
    /// hyper is done with it.
    Served(hyper::Result<()>),
    /// Drained while idle, or the keep-alive time has passed.
    Silent,
    /// The client has reset it.
    Aborted,
    /// Time is up.
    Expired(Expiry),
}

/// Serves a connection to its end.
pub(crate) async fn serve(local: Rc<Local>, accepted: Accepted) {
    let Accepted { stream, peer, slot } = accepted;
    let Ok(stream) = TcpStream::from_std(stream) else {
        return;
    };
    let listener = Arc::clone(&slot.listener);
    let client = Client::new(local, Arc::clone(&listener.service), peer, stream);
    let requests = Rc::clone(&client);
    let service = service_fn(move |request| exchange::serve(Rc::clone(&requests), request));
    let io = TokioIo::new(Io(Rc::clone(&client.socket)));
    // No `pipeline_flush`: it holds an answer back while a further request waits, and swallows hyper's own 400.
    let mut connection = Builder::new()
        .half_close(true)
        .auto_date_header(false)
        .max_buf_size(BUFFER_BYTES)
        .max_headers(HEADERS)
        .max_header_size(HEAD_BYTES)
        .serve_connection(io, service);
    let ending = drive(&client, &listener, &mut connection).await;
    let tunnel = client.tunnel.take();
    match (ending, tunnel) {
        (Ending::Served(Ok(())), Some(tunnel)) => {
            let early = connection.into_parts().read_buf;
            run_tunnel(&client, tunnel, early).await;
        }
        (ending, _) => {
            let phase = client.phase.get();
            if let Ending::Expired(expiry) = &ending {
                client.blame.set(expiry.cause());
            }
            // Cancels what is under way, and closes the backend's connection with it.
            drop(connection);
            client.upstream.borrow_mut().take();
            close(&client, phase, ending).await;
        }
    }
    drop(slot);
}

/// Runs the connection until it ends one way or the other.
async fn drive<S>(
    client: &Client,
    listener: &Listener,
    connection: &mut Connection<TokioIo<Io>, S>,
) -> Ending
where
    S: HttpService<hyper::body::Incoming, ResBody = ResponseBody>,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    // Registers this task once; later only the flag is looked at, because polling takes a lock.
    let mut drained = pin!(listener.drain.cancelled());
    let mut registered = false;
    let mut timer = pin!(sleep_until(Instant::now()));
    let mut armed = None;
    poll_fn(|cx| {
        loop {
            if !registered {
                registered = drained.as_mut().poll(cx).is_pending();
            }
            if listener.is_draining() && !client.closing.replace(true) {
                if client.is_busy() {
                    Pin::new(&mut *connection).graceful_shutdown();
                } else if client.is_at_rest() {
                    let rest = listener.rest();
                    if rest.is_zero() {
                        return Poll::Ready(Ending::Silent);
                    }
                    client.rest_until.set(Some(Instant::now() + rest));
                }
            }
            if let Poll::Ready(result) = Pin::new(&mut *connection).poll(cx) {
                return Poll::Ready(Ending::Served(result));
            }
            if client.is_busy() && !client.progress.complete.get() {
                // The upload goes on even while nobody takes the answer.
                client.drive(cx);
            }
            if client.is_aborted(cx) {
                return Poll::Ready(Ending::Aborted);
            }
            match poll_expiry(cx, client, timer.as_mut(), &mut armed) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Expiry::Server)
                    if client.phase.get() == Phase::Waiting
                        && !client.server_expired.replace(true) =>
                {
                    // The waiting request answers 504 when it is polled next: now.
                }
                Poll::Ready(Expiry::KeepAlive) => return Poll::Ready(Ending::Silent),
                Poll::Ready(expiry) => return Poll::Ready(Ending::Expired(expiry)),
            }
        }
    })
    .await
}

/// Ready when the state's deadline has passed. The timer is moved only to an earlier time, or when it has fired.
fn poll_expiry(
    cx: &mut Context<'_>,
    client: &Client,
    mut timer: Pin<&mut Sleep>,
    armed: &mut Option<Instant>,
) -> Poll<Expiry> {
    loop {
        let Some((expiry, at)) = client.deadline() else {
            return Poll::Pending;
        };
        if armed.is_none_or(|armed| at < armed) {
            timer.as_mut().reset(at);
            *armed = Some(at);
        }
        if timer.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
        *armed = None;
        if at <= Instant::now() {
            return Poll::Ready(expiry);
        }
    }
}

/// Ends a connection that is not a tunnel, telling the client what it may need to know. `phase` is where it stood.
async fn close(client: &Client, phase: Phase, ending: Ending) {
    match ending {
        Ending::Silent => {}
        Ending::Aborted => client.count_end(ErrorCause::ClientAbort),
        Ending::Served(Ok(())) => {
            if !client.progress.complete.get() || client.socket.glance() == Glance::Bytes {
                linger(client).await;
            }
        }
        Ending::Served(Err(error)) => ended_badly(client, &error).await,
        Ending::Expired(expiry) => {
            client.count_end(expiry.cause());
            let unanswered = phase != Phase::Answering && !client.socket.is_write_blocked();
            if unanswered && expiry == Expiry::Client {
                say(client, StatusCode::REQUEST_TIMEOUT).await;
            }
        }
    }
}

/// hyper's reasons to end: counts what nobody has counted yet, and leaves the client time to read what was said.
async fn ended_badly(client: &Client, error: &hyper::Error) {
    tracing::debug!(service = %client.service.name, peer = %client.peer, error = %Chain(error), "client connection");
    if error.is_parse() {
        // hyper has answered 400 or its like.
        client.count_end(ErrorCause::ClientProtocol);
        client.cells().response(400);
        linger(client).await;
    } else if !error.is_user() {
        client.count_end(ErrorCause::ClientAbort);
    }
}

/// Writes a page on a connection whose request never became complete.
async fn say(client: &Client, status: StatusCode) {
    client.cells().response(status.as_u16());
    let Some(stream) = client.socket.take() else {
        return;
    };
    // Room for a page is there: nothing was written before.
    match stream.try_write(&reply::raw(status)) {
        Ok(_) => swallow(client, stream).await,
        Err(error) => tracing::debug!(%error, "late answer"),
    }
}

async fn linger(client: &Client) {
    if let Some(stream) = client.socket.take() {
        swallow(client, stream).await;
    }
}

/// Says that no more comes, and swallows what the client still sends, within bounds.
async fn swallow(client: &Client, mut stream: TcpStream) {
    let swallow = async {
        stream.shutdown().await?;
        let mut left = LINGER_BYTES;
        while left > 0 {
            let n = poll_fn(|cx| {
                let mut buffer = client.local.buffer.borrow_mut();
                let mut chunk = ReadBuf::new(&mut buffer);
                Pin::new(&mut stream).poll_read(cx, &mut chunk).map_ok(|()| chunk.filled().len())
            })
            .await?;
            if n == 0 {
                break;
            }
            left = left.saturating_sub(n);
        }
        std::io::Result::Ok(())
    };
    // Neither time nor errors matter any more: the connection closes either way.
    drop(timeout(LINGER, swallow).await);
}

/// Bytes both ways after a protocol switch.
async fn run_tunnel(client: &Rc<Client>, tunnel: Tunnel, early: bytes::Bytes) {
    let Tunnel { backend, early: backend_early, lease, settings } = tunnel;
    let Some(stream) = client.socket.take() else {
        return;
    };
    let meter = Counters::new(&client.service, &lease, client.local.worker);
    let ends = (End { stream, early }, End { stream: backend, early: backend_early });
    let idle = idle_timeout(&settings.timeouts);
    let finish = relay::run(ends.0, ends.1, &client.local.buffer, idle, &meter).await;
    tracing::debug!(service = %client.service.name, peer = %client.peer, ?finish, "tunnel ended");
}
