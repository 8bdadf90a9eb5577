//! HTTP/2 on either side. Entered with a client connection, like `http`, which stays the way of HTTP/1 to HTTP/1.
//!
//! Each stream is a request like any other: a pick, a lease, retries, a line in the access log. What differs is who waits
//! for whom: many requests share a connection, to a backend too, so none of them may hold bytes that it cannot pass on.
//! Hence the invariant: **a byte is taken from one side only when the other has room for it**, and a stream that stands
//! still costs its window and nothing else.
//!
//! The `h2` crate splits connections into streams and back; it is what hyper's `http2` consists of. To HTTP/1 backends,
//! and from HTTP/1 clients of a service that has HTTP/2 servers, hyper speaks.
//!
//! ```text
//! client ─▶ server.rs: connection ─▶ stream.rs ─▶ ask.rs: whom, again ─▶ attempt.rs ─▶ upstream.rs: connections
//!        └▶ front1.rs, turn.rs: HTTP/1 ──▲    head.rs judges, upload.rs and outlet.rs are the bodies, notes.rs the log
//! ```
//!
//! The task of a client's connection owns it; each stream has a task; a connection to a backend has one that ends with it.

mod ask;
mod attempt;
mod carry;
mod dial;
mod down;
mod fields;
mod frames;
mod front1;
mod gauge;
mod head;
mod notes;
mod outlet;
mod patient;
mod plain;
mod server;
mod settings;
mod source;
mod stream;
mod turn;
mod upload;
mod upstream;
mod vetted;
mod vigil;

pub use self::settings::*;
pub(crate) use self::upstream::Upstreams;

use std::io;
use std::sync::Arc;

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use super::http::client::Fixed;
use super::slot::Slot;
use crate::telemetry::cells::ErrorCause;

/// The first line of what an HTTP/2 client says first. HTTP/1 has no such version, so nobody else says it.
const PREFACE_LINE: &[u8] = b"PRI * HTTP/2.0\r\n";

/// True when what came first is not HTTP/1 but the beginning of HTTP/2.
pub(crate) fn is_preface(came: &[u8]) -> bool {
    came.starts_with(PREFACE_LINE)
}

/// Serves a client that nobody has read from, of a listener where only HTTP/2 is spoken or of a service with HTTP/2 servers.
pub(crate) async fn start(fixed: Fixed, slot: Slot, stream: std::net::TcpStream) {
    match TcpStream::from_std(stream) {
        Ok(stream) => serve(fixed, slot, stream, Vec::new()).await,
        Err(_) => fixed.cells().error(ErrorCause::Resource),
    }
}

/// Serves a client to the end of its connection. `early` is what it has said of its next request, in either version.
pub(crate) async fn serve(mut fixed: Fixed, slot: Slot, mut stream: TcpStream, mut early: Vec<u8>) {
    settle(&mut fixed, &stream);
    let settings = fixed.listener.service.settings.load_full();
    let begun = fixed.tick();
    let is_http2 = match settings.http.http2.front {
        FrontProtocol::Http2 => true,
        FrontProtocol::Http1 => false,
        FrontProtocol::Auto => {
            let limit = settings.timeouts.http_request.or(settings.timeouts.client);
            let first = fixed.timer.within(limit, says_preface(&mut stream, &mut early)).await;
            // One that has gone before that is clear, or takes too long, ends as one that speaks HTTP/1.
            matches!(first, Some(Ok(true)))
        }
    };
    if is_http2 {
        server::run(fixed, stream, early).await;
    } else {
        front1::run(fixed, stream, (early, begun)).await;
    }
    drop(slot);
}

/// Reads until it is clear whether HTTP/2 is spoken.
async fn says_preface(stream: &mut TcpStream, early: &mut Vec<u8>) -> io::Result<bool> {
    while PREFACE_LINE.starts_with(early) && early.len() < PREFACE_LINE.len() {
        if stream.read_buf(early).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(is_preface(early))
}

/// What its streams cannot do.
fn settle(fixed: &mut Fixed, stream: &TcpStream) {
    // Many small frames: none waits for the acknowledgement of the one before. Fails on a connection that is reset
    // already: the first read tells.
    drop(stream.set_nodelay(true));
    fixed.reached = stream.local_addr().ok().map(Arc::new);
}
