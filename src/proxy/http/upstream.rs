//! A connection to a backend, driven by whoever holds it: no task of its own, no channel to another thread.

use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, Weak};
use std::task::Context;

use hyper::client::conn::http1::{Builder, Connection, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::body::RequestBody;
use super::socket::{Glance, Io, Socket};
use super::{BUFFER_BYTES, HEAD_BYTES, HEADERS};
use crate::lb::BackendId;
use crate::lb::backend::Backend;
use crate::lb::lease::Lease;
use crate::proxy::error::ProxyError;

/// Who a connection goes to; connections are reused only for the same backend at the same address.
pub(crate) type Key = (BackendId, std::net::SocketAddr);

/// A connection to a backend.
pub(crate) struct Upstream {
    pub(crate) sender: SendRequest<RequestBody>,
    connection: Connection<TokioIo<Io>, RequestBody>,
    pub(crate) socket: Rc<Socket>,
    pub(crate) key: Key,
    /// Dead when the backend has left every snapshot.
    pub(crate) backend: Weak<Backend>,
    pub(crate) idle_since: Instant,
    /// hyper has ended; polling again would be wrong.
    ended: bool,
}

impl std::fmt::Debug for Upstream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut out = f.debug_struct("Upstream");
        out.field("key", &self.key).finish_non_exhaustive()
    }
}

impl Upstream {
    /// Wraps a fresh connection.
    pub(crate) async fn new(lease: &Lease, stream: TcpStream) -> Result<Box<Self>, ProxyError> {
        let socket = Socket::backend(stream);
        let handshake = Builder::new()
            .max_buf_size(BUFFER_BYTES)
            .max_headers(HEADERS)
            .max_header_size(HEAD_BYTES)
            .handshake(TokioIo::new(Io(Rc::clone(&socket))));
        let (sender, connection) = handshake
            .await
            .map_err(|source| ProxyError::Backend { addr: lease.addr(), source: source.into() })?;
        Ok(Box::new(Self {
            sender,
            connection,
            socket,
            key: (lease.backend().id, lease.addr()),
            backend: Arc::downgrade(lease.backend()),
            idle_since: Instant::now(),
            ended: false,
        }))
    }

    /// Moves bytes both ways as far as they go.
    pub(crate) fn drive(&mut self, cx: &mut Context<'_>) {
        if !self.ended {
            // Errors reach whoever waits for the answer.
            self.ended = Pin::new(&mut self.connection).poll(cx).is_ready();
        }
    }

    /// True when hyper has finished the last exchange and could take another.
    pub(crate) fn is_idle(&self) -> bool {
        !self.ended && self.sender.is_ready()
    }

    /// True when it can take a request: idle, open, and nothing unasked-for waits in it (which would be taken for the
    /// answer to the next request).
    pub(crate) fn is_usable(&self) -> bool {
        self.is_idle() && self.socket.glance() == Glance::Empty
    }

    /// The bare stream after an upgrade, with what hyper has read beyond the head.
    pub(crate) fn into_stream(self) -> Option<(TcpStream, bytes::Bytes)> {
        let early = self.connection.into_parts().read_buf;
        self.socket.take().map(|stream| (stream, early))
    }
}
