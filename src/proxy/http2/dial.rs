//! A line to a leased backend: one that stands, or a new one.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::ask::Asking;
use super::patient::Patient;
use super::plain::Plain;
use super::settings::{BACKEND_FRAMES_BYTES, Http2Settings, RESETS_KEPT, SEND_BUFFER_BYTES};
use super::upstream::{Found, InUse, Key, Shared};
use crate::dial::{self, header};
use crate::lb::Protocol;
use crate::lb::lease::Lease;
use crate::proxy::connect::Dialer;
use crate::proxy::error::ProxyError;
use crate::proxy::http::message::{HEAD_BYTES, HEADERS};
use crate::proxy::http::room;
use crate::proxy::{CloseMode, Reuse};

/// A way to ask a backend one thing.
#[derive(Debug)]
pub(super) enum Line {
    /// A stream of a connection to an HTTP/2 backend.
    Stream(InUse),
    /// A connection to an HTTP/1 backend.
    Http1(Plain),
}

/// A line to the leased backend or, if that cannot be reached, to another.
pub(super) async fn line(
    asking: &Asking<'_>,
    dialer: &mut Dialer<'_>,
    lease: Lease,
) -> Result<(Lease, Line), ProxyError> {
    let name = &asking.fixed.listener.service.name;
    let whose = asking.fixed.whose();
    let key = Key::of(&lease, name, whose);
    let mut opener = None;
    let standing = match lease.protocol() {
        Protocol::Http1 => idle(asking, &key).await.map(Line::Http1),
        Protocol::Http2 => loop {
            let max = asking.settings.http.http2.max_streams;
            let local = &asking.fixed.local;
            let found = local.upstreams2.borrow_mut().share(local, &key, max);
            match found {
                Found::Room(stream) => break Some(Line::Stream(stream)),
                // Without a connection each tries for itself: one after the other they would wait for ever longer.
                Found::Opening(opening) => {
                    if !opening.wait().await {
                        break None;
                    }
                }
                Found::Nothing(it) => {
                    opener = Some(it);
                    break None;
                }
            }
        },
    };
    if let Some(line) = standing {
        lease.backend().cells.of(asking.fixed.local.worker).reuses.add(1);
        return Ok((lease, line));
    }
    let hello = |lease: &Lease, stream: &TcpStream| match lease.header() {
        Some(form) => dial::announce(stream, &header::render(form, whose), true),
        None => Ok(()),
    };
    let (lease, stream) = dialer.introduce(lease, hello).await?;
    let key = Key::of(&lease, name, whose);
    let line = match lease.protocol() {
        Protocol::Http1 => first(asking, &lease, stream).await.map(Line::Http1),
        Protocol::Http2 => share(asking, stream, key.clone()).await.map(Line::Stream),
    };
    // A connection to another backend, which was asked instead, is none for those who wait.
    if let (Ok(Line::Stream(_)), Some(opener)) = (&line, opener)
        && opener.is_for(&key)
    {
        opener.succeed();
    }
    match line {
        Ok(line) => Ok((lease, line)),
        Err(source) => Err(ProxyError::Backend { addr: lease.addr().clone(), source }),
    }
}

/// An idle connection, if the request may go over one. One that cannot be sent twice goes over none that has ended
/// unnoticed: the reactor is asked before.
async fn idle(asking: &Asking<'_>, key: &Key) -> Option<Plain> {
    let http = &asking.settings.http;
    let is_fresh_wanted = http.close_mode != CloseMode::KeepAlive || http.reuse == Reuse::Never;
    if is_fresh_wanted {
        return None;
    }
    loop {
        let local = &asking.fixed.local;
        let plain = local.upstreams2.borrow_mut().plain.take(key, local.clock.now())?;
        if asking.is_repeatable() {
            return Some(plain);
        }
        tokio::task::yield_now().await;
        if plain.sender.is_ready() {
            return Some(plain);
        }
    }
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// hyper's HTTP/1 over a new connection.
async fn first<S>(asking: &Asking<'_>, lease: &Lease, stream: S) -> Result<Plain, Failure>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + 'static,
{
    let mut builder = http1::Builder::new();
    // Its buffer holds the head and what comes with it.
    builder.max_headers(HEADERS).max_buf_size(HEAD_BYTES + 1024);
    // As the HTTP/1 engine takes them.
    builder.allow_obsolete_multiline_headers_in_responses(true);
    let (sender, connection) = builder.handshake(TokioIo::new(stream)).await?;
    let counted = lease.backend().crowd.enter();
    let unanswered = room::see_to(asking.fixed, &counted);
    let plain = Plain { sender, crowd: Arc::clone(counted.crowd()), unanswered };
    drop(tokio::task::spawn_local(async move {
        let _until_its_end = counted;
        if let Err(error) = connection.await {
            tracing::debug!(%error, "connection to a backend ended");
        }
    }));
    Ok(plain)
}

/// HTTP/2 over a new connection, for all streams to come.
async fn share<S>(asking: &Asking<'_>, stream: S, key: Key) -> Result<InUse, Failure>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + 'static,
{
    let settings = &asking.settings.http.http2;
    let (sender, connection) = builder(settings).handshake(Patient::new(stream)).await?;
    let is_over = Rc::new(Cell::new(false));
    let shared = Shared::new(key, sender, &is_over);
    drop(tokio::task::spawn_local(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "connection to a backend ended");
        }
        is_over.set(true);
    }));
    let local = &asking.fixed.local;
    Ok(local.upstreams2.borrow_mut().add(local, shared))
}

fn builder(settings: &Http2Settings) -> h2::client::Builder {
    let mut builder = h2::client::Builder::new();
    builder
        .enable_push(false)
        .initial_window_size(settings.window_bytes)
        .initial_connection_window_size(settings.connection_window())
        .max_frame_size(settings.frame_bytes)
        .header_table_size(settings.header_table_bytes)
        .max_header_list_size(super::server::header_list_bytes())
        // Frames that were under way when a stream was given up are nobody's fault, and never forgiven once counted.
        .max_local_error_reset_streams(None)
        .max_concurrent_reset_streams(RESETS_KEPT)
        .initial_max_send_streams(usize::try_from(settings.max_streams).unwrap_or(usize::MAX))
        .data_frame_budget(BACKEND_FRAMES_BYTES)
        .max_send_buffer_size(SEND_BUFFER_BYTES);
    builder
}
