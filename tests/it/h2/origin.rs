//! HTTP/2 backends in this process, scripted by the path, and clients. Spoken by the `h2` crate, which has tests of its own.
//!
//! | path | answer |
//! |---|---|
//! | `/unary`, `/collect` | once the request has ended: the backend's name, then the number of bytes that came; trailers |
//! | `/stream/N` | N messages with the backend's name; trailers |
//! | `/echo` | every message as it comes; the request's trailers |
//! | `/refuse` | REFUSED_STREAM by backend `A`; by others as `/unary` |
//! | `/leave` | backend `A` goes away (GOAWAY) without having looked at it; others as `/unary` |
//! | `/last` | as `/unary`, on a connection that takes no more (GOAWAY) |
//! | `/hold` | nothing, until the client gives up |
//! | `/flood/N` | N times 64 kB |
//! | `/stall` | the backend's name, then nothing until the client gives up |
//! | `/early` | all of it before the request has ended, of which nothing is read |
//! | `/head` | the request's head, one line each |

use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream, client};
use hyper::{HeaderMap, Request, Response};
use tokio::net::{TcpListener, TcpStream};

/// What a backend has seen.
#[derive(Default)]
pub(super) struct Seen {
    pub(super) requests: AtomicUsize,
    pub(super) connections: AtomicUsize,
    pub(super) cancelled: AtomicUsize,
    /// Bytes that it could give away.
    pub(super) given: AtomicUsize,
}

/// A backend.
pub(super) struct Backend {
    pub(super) addr: SocketAddr,
    pub(super) seen: Arc<Seen>,
}

impl Backend {
    pub(super) fn requests(&self) -> usize {
        self.seen.requests.load(Ordering::SeqCst)
    }
}

/// Starts one at `addr`.
pub(super) async fn start(name: &'static str, addr: SocketAddr) -> Backend {
    let listener = TcpListener::bind(addr).await.expect("bind");
    let seen = Arc::new(Seen::default());
    let shown = Arc::clone(&seen);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            seen.connections.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(connection(name, stream, Arc::clone(&seen)));
        }
    });
    Backend { addr, seen: shown }
}

async fn connection(name: &'static str, stream: TcpStream, seen: Arc<Seen>) {
    // Small messages that nobody reads must not end it.
    let mut builder = h2::server::Builder::new();
    let handshake = builder.data_frame_budget(64 << 20).handshake::<_, Bytes>(stream);
    let Ok(mut connection) = handshake.await else {
        return;
    };
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        let path = request.uri().path().to_owned();
        if name == "A" && path == "/refuse" {
            respond.send_reset(Reason::REFUSED_STREAM);
            continue;
        }
        if name == "A" && path == "/leave" {
            // The last stream it will have looked at is none: raw, because the crate would not say so.
            drop(respond);
            connection.abrupt_shutdown(Reason::NO_ERROR);
            continue;
        }
        if path == "/last" {
            connection.graceful_shutdown();
        }
        tokio::spawn(serve(name, path, request, respond, Arc::clone(&seen)));
    }
}

async fn serve(
    name: &'static str,
    path: String,
    request: Request<RecvStream>,
    respond: SendResponse<Bytes>,
    seen: Arc<Seen>,
) {
    seen.requests.fetch_add(1, Ordering::SeqCst);
    if answer(name, &path, request, respond, &seen).await.is_none() {
        seen.cancelled.fetch_add(1, Ordering::SeqCst);
    }
}

/// Answers; `None` when the client gave up.
#[expect(clippy::cognitive_complexity, reason = "a script with an arm for each path")]
async fn answer(
    name: &'static str,
    path: &str,
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    seen: &Seen,
) -> Option<()> {
    let (parts, mut body) = request.into_parts();
    let head =
        || Response::builder().header("content-type", "application/grpc").body(()).expect("head");
    let number = || path.rsplit('/').next().and_then(|n| n.parse().ok()).unwrap_or(0_usize);
    match path.split('/').nth(1).unwrap_or_default() {
        "hold" => {
            poll_fn(|cx| respond.poll_reset(cx)).await.ok();
            None
        }
        "stall" => {
            let mut send = respond.send_response(head(), false).ok()?;
            push(&mut send, Bytes::from_static(name.as_bytes())).await?;
            poll_fn(|cx| send.poll_reset(cx)).await.ok();
            None
        }
        "early" => early(respond, head(), body).await,
        "stream" => {
            let mut send = respond.send_response(head(), false).ok()?;
            for _ in 0..number() {
                push(&mut send, Bytes::from_static(name.as_bytes())).await?;
            }
            send.send_trailers(status()).ok()
        }
        "flood" => {
            let mut send = respond.send_response(head(), false).ok()?;
            for _ in 0..number() {
                push(&mut send, Bytes::from(vec![b'x'; 65_536])).await?;
                seen.given.fetch_add(65_536, Ordering::SeqCst);
            }
            send.send_trailers(status()).ok()
        }
        "echo" => {
            let mut send = respond.send_response(head(), false).ok()?;
            while let Some(data) = body.data().await {
                let data = data.ok()?;
                body.flow_control().release_capacity(data.len()).ok()?;
                push(&mut send, data).await?;
            }
            let trailers = body.trailers().await.ok()?;
            send.send_trailers(trailers.unwrap_or_else(status)).ok()
        }
        "head" => {
            let mut text = format!("{} {}\n", parts.method, parts.uri);
            for (name, value) in &parts.headers {
                text.push_str(&format!("{name}: {}\n", value.to_str().expect("text")));
            }
            let mut send = respond.send_response(head(), false).ok()?;
            push(&mut send, Bytes::from(text)).await?;
            send.send_trailers(status()).ok()
        }
        _ => {
            let bytes = collect(&mut body).await?.0.len();
            let mut send = respond.send_response(head(), false).ok()?;
            push(&mut send, Bytes::from(format!("{name} {bytes}"))).await?;
            send.send_trailers(status()).ok()
        }
    }
}

async fn early(
    mut respond: SendResponse<Bytes>,
    head: Response<()>,
    mut body: RecvStream,
) -> Option<()> {
    respond.send_response(head, true).ok()?;
    while body.data().await?.is_ok() {}
    None
}

fn status() -> HeaderMap {
    HeaderMap::from_iter([("grpc-status".parse().expect("name"), "0".parse().expect("value"))])
}

/// Sends a chunk as there is room.
pub(super) async fn push(send: &mut SendStream<Bytes>, mut data: Bytes) -> Option<()> {
    while !data.is_empty() {
        send.reserve_capacity(data.len());
        let room = poll_fn(|cx| send.poll_capacity(cx)).await?.ok()?;
        send.send_data(data.split_to(room.min(data.len())), false).ok()?;
    }
    Some(())
}

/// A body to its end, with its trailers.
pub(super) async fn collect(body: &mut RecvStream) -> Option<(Vec<u8>, HeaderMap)> {
    let mut all = Vec::new();
    while let Some(data) = body.data().await {
        let data = data.ok()?;
        body.flow_control().release_capacity(data.len()).ok()?;
        all.extend_from_slice(&data);
    }
    let trailers = body.trailers().await.ok()?;
    Some((all, trailers.unwrap_or_default()))
}

/// A client's connection.
pub(super) async fn connect(addr: SocketAddr) -> client::SendRequest<Bytes> {
    let stream = TcpStream::connect(addr).await.expect("connect");
    let mut builder = client::Builder::new();
    // Wide: one stream that is not read must not stop the others here, in the client.
    builder.initial_connection_window_size(64 << 20).data_frame_budget(64 << 20);
    // Until it is told how many streams it may open.
    builder.initial_max_send_streams(100);
    let (sender, connection) = builder.handshake(stream).await.expect("handshake");
    tokio::spawn(connection);
    sender
}

/// A request's head.
pub(super) fn post(path: &str) -> Request<()> {
    let uri = format!("http://test.example{path}");
    Request::post(uri).header("te", "trailers").body(()).expect("request")
}

/// What came of a request: status, body, trailers.
#[derive(Debug)]
pub(super) struct Got {
    pub(super) status: u16,
    pub(super) body: String,
    pub(super) trailers: HeaderMap,
}

/// Asks with a body and reads the whole answer.
pub(super) async fn ask(
    sender: &client::SendRequest<Bytes>,
    path: &str,
    body: &'static [u8],
) -> Result<Got, h2::Error> {
    let mut sender = sender.clone().ready().await?;
    let (response, mut send) = sender.send_request(post(path), body.is_empty())?;
    if !body.is_empty() {
        send.send_data(Bytes::from_static(body), true)?;
    }
    let (head, mut body) = response.await?.into_parts();
    let mut all = Vec::new();
    while let Some(data) = body.data().await {
        let data = data?;
        body.flow_control().release_capacity(data.len())?;
        all.extend_from_slice(&data);
    }
    let trailers = body.trailers().await?.unwrap_or_default();
    let body = String::from_utf8_lossy(&all).into_owned();
    Ok(Got { status: head.status.as_u16(), body, trailers })
}
