//! One request to every nerve that is there, at the same time.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::app::handover::{door, with_causes};

/// Longest wait for an answer: the server promises one within 10 s, and has 15 s at the utmost.
const PATIENCE: Duration = Duration::from_secs(20);

/// Largest answer that is read: a host with thousands of services has some megabytes.
const MAX_ANSWER_BYTES: usize = 64 * 1024 * 1024;

/// What is asked.
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub(super) method: Method,
    /// With the query.
    pub(super) path: String,
    pub(super) body: Bytes,
}

impl Call {
    pub(super) fn new(method: Method, path: String) -> Self {
        Self { method, path, body: Bytes::new() }
    }
}

/// What one nerve said.
#[derive(Debug)]
pub(super) struct Reply {
    /// Its socket.
    pub(super) socket: PathBuf,
    /// Status and body, or why there is none.
    pub(super) said: Result<(StatusCode, String), CallError>,
}

/// Why somebody who is there did not answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum CallError {
    #[error("cannot connect (run it as root, or as the user that nerve runs as)")]
    Connect(#[source] std::io::Error),
    #[error("no answer within {} s; see its log, or `nerve status`", PATIENCE.as_secs())]
    TooLate,
    #[error("the connection broke before the answer; ask again")]
    Broken(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Asks everybody; those who are gone are left out. Sorted by socket.
pub(super) async fn all(call: &Call, sockets: &[PathBuf]) -> Vec<Reply> {
    let mut asking = JoinSet::new();
    for socket in sockets {
        let (call, socket) = (call.clone(), socket.clone());
        asking.spawn(async move {
            let said = timeout(PATIENCE, ask(&call, &socket)).await;
            said.unwrap_or(Err(CallError::TooLate)).transpose().map(|said| Reply { socket, said })
        });
    }
    let mut replies: Vec<Reply> = asking.join_all().await.into_iter().flatten().collect();
    replies.sort_by(|a, b| a.socket.cmp(&b.socket));
    replies
}

/// `None`: nobody is behind the socket.
async fn ask(call: &Call, socket: &Path) -> Result<Option<(StatusCode, String)>, CallError> {
    // Waits when the other's queue is full: it hangs, then.
    let path = socket.to_owned();
    let connecting = tokio::task::spawn_blocking(move || door::connect(&path)).await;
    let connected = connecting.map_err(|error| CallError::Broken(error.into()))?;
    let Some(stream) = connected.map_err(CallError::Connect)? else {
        return Ok(None);
    };
    stream.set_nonblocking(true).map_err(CallError::Connect)?;
    let stream = UnixStream::from_std(stream).map_err(CallError::Connect)?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| CallError::Broken(error.into()))?;
    let request = Request::builder()
        .method(&call.method)
        .uri(&call.path)
        .header(HOST, "localhost")
        .header(CONTENT_TYPE, "application/json")
        .body(Full::new(call.body.clone()))
        .map_err(|error| CallError::Broken(error.into()))?;
    let exchange = async {
        let answer = sender.send_request(request).await?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), MAX_ANSWER_BYTES).collect().await?;
        Ok((status, String::from_utf8_lossy(&body.to_bytes()).into_owned()))
    };
    tokio::pin!(connection);
    // The connection must be driven; once it has ended, what was read is still there for the exchange.
    tokio::pin!(exchange);
    let said = tokio::select! {
        said = &mut exchange => said,
        _ = &mut connection => exchange.await,
    };
    said.map(Some).map_err(CallError::Broken)
}

impl CallError {
    /// With what is behind it, one line.
    pub(super) fn line(&self) -> String {
        with_causes(self)
    }
}
