//! HTTP/1.x. Entered with a client connection; nothing outside knows how messages are framed.
//!
//! One task per client connection owns the backend's connection while a request is in flight: no second task, no channel,
//! and dropping the one cancels the other. `message` judges bytes and is pure; the rest reads, writes and waits. Reads go
//! into the thread's one buffer and are judged and passed on there; what must wait is kept in buffers that connections
//! lend each other, so an idle connection holds none and a usual request allocates nothing. Deadlines are on the
//! thread's wheel.
//!
//! ```text
//! client ──▶ requests.rs: the next head ──▶ serve.rs: whom to ask ──▶ exchange.rs ┬─ up.rs ───▶ backend
//!    ▲                                      │  ▲ idle connections: pool.rs      └─ down.rs ◀── backend
//!    └──── ending.rs ◀──────────────────────┘
//! ```

mod bulk;
pub(crate) mod client;
mod deadline;
mod down;
mod ending;
mod exchange;
mod inbound;
mod judge;
mod keyed;
#[cfg(test)]
mod laws;
mod logged;
pub(crate) mod message;
mod over;
pub mod pool;
mod repeat;
pub(crate) mod reply;
mod requests;
mod reuse;
pub(crate) mod room;
mod sending;
mod serve;
pub(crate) mod socket;
pub(crate) mod spares;
mod up;
mod upstream;

use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;

pub(crate) use self::client::Expiry;
use self::client::{Client, Ending, Fixed};
pub(crate) use self::exchange::{Outcome, Phase};
pub(crate) use self::inbound::Inbound;
pub(crate) use self::message::chunked::Ranges;
pub use self::message::{HEAD_BYTES, HEADERS, Refusal};
use self::serve::After;
use self::socket::Socket;
use super::accept::Accepted;
use super::http2::{self, FrontProtocol};
use super::local::Local;
use super::shared::Listener;
use super::timer::Timer;
use crate::telemetry::cells::ErrorCause;

/// Serves a connection to its end.
pub(crate) async fn serve(local: Rc<Local>, accepted: Accepted) {
    let Accepted { stream, peer, entrance, slot } = accepted;
    let timer = Timer::new(&local, slot.listener.group).await;
    let listener = Arc::clone(&slot.listener);
    let fixed = Fixed { local, listener, peer, entrance, reached: None, timer };
    let settings = fixed.listener.service.settings.load_full();
    let is_only2 = settings.http.http2.front == FrontProtocol::Http2;
    if is_only2 || fixed.listener.service.pool.has_http2() {
        return Box::pin(http2::start(fixed, slot, stream)).await;
    }
    let mut client = Client::new(Socket::Bare(stream), settings, fixed.tick());
    let last = run(&fixed, &mut client).await;
    // Boxed: what happens once per connection must not make every idle one larger.
    match last {
        After::End(Ending::Http2) => {
            let early = client.take_unused();
            let Some(stream) = client.socket.take() else {
                return fixed.cells().error(ErrorCause::Resource);
            };
            drop(client);
            return Box::pin(http2::serve(fixed, slot, stream, early)).await;
        }
        After::Next | After::End(Ending::Silent) => {}
        After::End(ending) => Box::pin(ending::end(&fixed, &mut client, ending)).await,
        After::Tunnel(tunnel) => Box::pin(ending::tunnel(&fixed, &mut client, *tunnel)).await,
    }
    drop(client);
    drop(slot);
}

/// Serves requests until one is the last.
async fn run(fixed: &Fixed, client: &mut Client) -> After {
    loop {
        let begun = match poll_fn(|cx| client.poll_request(fixed, cx)).await {
            Ok(begun) => begun,
            Err(ending) => return After::End(ending),
        };
        match serve::serve(fixed, client, begun).await {
            After::Next => client.go_on(fixed),
            last @ (After::End(_) | After::Tunnel(_)) => return last,
        }
    }
}

/// Tells the connections of a worker about changes that they do not wait for themselves: a drain wakes them all, so do
/// sessions that are to end; idle connections to backends that are no longer picked, or that hold up others, are closed. Ends when the listener
/// drains and its last connection has gone.
pub(crate) async fn watch(local: Rc<Local>, listener: Arc<Listener>) {
    let pool = &listener.service.pool;
    let mut seen = None;
    let mut ends = pool.ends();
    let end = async {
        while ends.changed().await.is_ok() {
            local.wheel.borrow().wake(listener.group);
        }
    };
    let follow = async {
        while pool.until(|view| Some(view.revision) != seen).await {
            seen = Some(pool.view().revision);
            let snapshot = pool.snapshot();
            local.upstreams.borrow_mut().follow(&listener.service.name, &snapshot);
            local.upstreams2.borrow_mut().follow(&listener.service.name, &snapshot);
        }
    };
    let room = async {
        let mut crowded = listener.crowded.subscribe();
        while crowded.changed().await.is_ok() {
            room::make_room(&local, &listener.service.name);
        }
    };
    let drain = async {
        listener.drain.cancelled().await;
        local.wheel.borrow().wake(listener.group);
        while listener.gate.open() > 0 {
            listener.gate.wait_below(1).await;
        }
    };
    // The pool may end before; the listener, which tells of crowds, does not.
    let changes = async { tokio::join!(end, follow, room) };
    tokio::select! {
        () = drain => {}
        _ = changes => {}
    }
}
