//! A client's HTTP/2 connection: its streams are taken and given tasks, its end is decided.

use std::cell::Cell;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use h2::Reason;
use h2::server::{Builder, Connection};
use tokio::io::{AsyncRead, AsyncWrite};

use super::gauge::{Gauged, Progress, Talk};
use super::settings::{
    CLIENT_FRAMES_BYTES, EARLY_RESETS, FAREWELL, Http2Settings, LOCAL_RESETS, PENDING_RESETS,
    SEND_BUFFER_BYTES,
};
use super::stream::{self, Streams};
use crate::proxy::Timeouts;
use crate::proxy::age;
use crate::proxy::http::client::Fixed;
use crate::proxy::http::message::{HEAD_BYTES, HEADERS};
use crate::proxy::millis::Millis;
use crate::proxy::timer::Timer;
use crate::telemetry::cells::ErrorCause;

/// What a header costs beyond its bytes where HTTP/2 counts (RFC 9113 6.5.2).
const HEADER_OVERHEAD: usize = 32;

/// `SETTINGS_MAX_HEADER_LIST_SIZE`: what the limits of HTTP/1 come to as HTTP/2 counts, pseudo-headers included. More is
/// answered with 431 by the `h2` crate, before it is kept.
pub(super) fn header_list_bytes() -> u32 {
    /// `:method`, `:scheme`, `:authority`, `:path`.
    const PSEUDO: usize = 4;
    let bytes = HEAD_BYTES + (HEADERS + PSEUDO) * HEADER_OVERHEAD;
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

fn builder(settings: &Http2Settings) -> Builder {
    let mut builder = Builder::new();
    builder
        .initial_window_size(settings.window_bytes)
        .initial_connection_window_size(settings.connection_window())
        .max_frame_size(settings.frame_bytes)
        .header_table_size(settings.header_table_bytes)
        .max_concurrent_streams(settings.max_streams)
        .max_header_list_size(header_list_bytes())
        .max_pending_accept_reset_streams(PENDING_RESETS)
        .max_local_error_reset_streams(Some(LOCAL_RESETS))
        .data_frame_budget(CLIENT_FRAMES_BYTES)
        .max_send_buffer_size(SEND_BUFFER_BYTES);
    builder
}

/// Serves a connection to its end. `early` is what was read of it.
pub(super) async fn run<S>(fixed: Fixed, stream: S, early: Vec<u8>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let settings = fixed.listener.service.settings.load_full();
    let talk = Rc::new(Talk::default());
    let io = Gauged::frames(stream, early, &talk);
    let limit = settings.timeouts.http_request.or(settings.timeouts.client);
    let handshake = builder(&settings.http.http2).handshake::<_, Bytes>(io);
    let mut connection = match fixed.timer.within(limit, handshake).await {
        Some(Ok(connection)) => connection,
        Some(Err(error)) => return protocol(&fixed, &error),
        None => return fixed.cells().error(ErrorCause::ClientTimeout),
    };
    let streams = Rc::new(Streams {
        talk,
        open: Cell::new(0),
        begun: Cell::new(0),
        early_resets: Cell::new(0),
        last: Cell::new(fixed.tick()),
    });
    let age = age::ends_at(fixed.tick(), settings.max_connection_age);
    let taken = Progress::new(fixed.tick());
    let was_blocked = Cell::new(false);
    let mut served = Served { fixed, streams, age, draining_since: None, taken, was_blocked };
    let end = poll_fn(|cx| served.poll(&mut connection, cx)).await;
    let fixed = &served.fixed;
    let reason = match end {
        End::Closed => return,
        End::Broken(error) => return protocol(fixed, &error),
        End::Idle => Reason::NO_ERROR,
        End::Fault(reason) => {
            let (service, peer) = (&fixed.listener.service.name, fixed.peer);
            tracing::debug!(%service, %peer, ?reason, "connection failed");
            fixed.cells().error(ErrorCause::ClientProtocol);
            reason
        }
        End::Flood(what) => {
            let (service, peer) = (&fixed.listener.service.name, fixed.peer);
            tracing::debug!(%service, %peer, what, "client sent away");
            fixed.cells().error(ErrorCause::ClientProtocol);
            Reason::ENHANCE_YOUR_CALM
        }
    };
    connection.abrupt_shutdown(reason);
    let farewell = poll_fn(|cx| connection.poll_closed(cx));
    // Whether or not it has heard it: the connection closes.
    drop(fixed.timer.within(Some(FAREWELL), farewell).await);
}

fn protocol(fixed: &Fixed, error: &h2::Error) {
    let (service, peer) = (&fixed.listener.service.name, fixed.peer);
    tracing::debug!(%service, %peer, %error, "connection failed");
    // A client that just goes away has done nothing wrong.
    if !error.is_io() && !error.is_remote() {
        fixed.cells().error(ErrorCause::ClientProtocol);
    }
}

/// Why a connection ends.
enum End {
    /// It has ended.
    Closed,
    /// The client does not speak HTTP/2, or has gone.
    Broken(h2::Error),
    /// Nothing is asked any more.
    Idle,
    /// A frame came that cannot be one.
    Fault(Reason),
    /// The client asks too much.
    Flood(&'static str),
}

struct Served {
    fixed: Fixed,
    streams: Rc<Streams>,
    /// Then it is told to go.
    age: Millis,
    draining_since: Option<Millis>,
    /// When the client has taken something.
    taken: Progress,
    /// It had not taken all, when last seen.
    was_blocked: Cell<bool>,
}

impl Served {
    fn poll<S>(&mut self, connection: &mut Connection<S, Bytes>, cx: &mut Context<'_>) -> Poll<End>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        loop {
            match connection.poll_accept(cx) {
                Poll::Ready(Some(Ok((request, respond)))) => self.begin(request, respond),
                Poll::Ready(Some(Err(error))) => return Poll::Ready(End::Broken(error)),
                Poll::Ready(None) => return Poll::Ready(End::Closed),
                Poll::Pending if self.drains() => connection.graceful_shutdown(),
                Poll::Pending => break,
            }
        }
        if let Some(reason) = self.streams.talk.fault() {
            return Poll::Ready(End::Fault(reason));
        }
        if self.streams.talk.is_flood() {
            return Poll::Ready(End::Flood("frames that carry nothing"));
        }
        let resets = self.streams.early_resets.get();
        if resets > EARLY_RESETS && resets > self.streams.begun.get() / 2 {
            return Poll::Ready(End::Flood("streams reset at once"));
        }
        let deadline = self.deadline();
        let age = if self.draining_since.is_none() { self.age } else { Millis::NEVER };
        if !self.fixed.timer.expires(deadline.min(age)) {
            return Poll::Pending;
        }
        if deadline <= self.fixed.now() {
            return Poll::Ready(End::Idle);
        }
        // Of age since it was looked at above.
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// True when a drain begins, of the listener or because of its age: what is under way is finished, nothing else begins.
    fn drains(&mut self) -> bool {
        if self.draining_since.is_some() {
            return false;
        }
        let now = self.fixed.tick();
        let begins = self.age <= now || self.fixed.listener.is_draining();
        self.draining_since = begins.then_some(now);
        begins
    }

    fn deadline(&self) -> Millis {
        if self.streams.open.get() > 0 {
            // Each has its own.
            return Millis::NEVER;
        }
        let settings = self.fixed.listener.service.settings.load();
        let is_blocked = self.streams.talk.is_blocked();
        let was_blocked = self.was_blocked.replace(is_blocked);
        if is_blocked || was_blocked {
            self.taken.look(self.streams.talk.taken(), &self.fixed.local.clock);
        }
        if is_blocked {
            // Answers that have ended for us wait for it to read.
            return self.taken.last().after_or_never(settings.timeouts.client);
        }
        let last = self.streams.last.get().max(self.taken.last());
        if let Some(since) = self.draining_since {
            // It has been told to go; a request that it had sent before may still be on its way.
            return since.max(last).after(FAREWELL);
        }
        let Timeouts { client, http_request, http_keep_alive, .. } = settings.timeouts;
        let has_begun = self.streams.begun.get() > 0;
        let limit = if has_begun { http_keep_alive.or(http_request) } else { http_request };
        last.after_or_never(limit.or(client))
    }

    fn begin(
        &self,
        request: hyper::Request<h2::RecvStream>,
        respond: h2::server::SendResponse<Bytes>,
    ) {
        let streams = &self.streams;
        streams.open.set(streams.open.get() + 1);
        streams.begun.set(streams.begun.get().saturating_add(1));
        let of = &self.fixed;
        let Some(seat) = of.local.shared.seat(of.local.worker) else {
            return;
        };
        let (local, listener) = (Rc::clone(&of.local), Arc::clone(&of.listener));
        let (peer, entrance) = (of.peer, of.entrance.clone());
        let reached = of.reached.clone();
        let streams = Rc::clone(streams);
        // Boxed: a task moves what it runs four times, and this is large.
        drop(tokio::task::spawn_local(seat.connections.track_future(Box::pin(async move {
            // The wheel wakes the task that made the timer: this one.
            let timer = Timer::new(&local, listener.group).await;
            let fixed = Fixed { local, listener, peer, entrance, reached, timer };
            stream::serve(streams, fixed, request, respond).await;
        }))));
    }
}
