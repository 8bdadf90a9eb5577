//! Ends of a client's connection: what the client may still need to know, and time to read it.

use std::future::poll_fn;
use std::task::Poll;

use bytes::Bytes;
use hyper::StatusCode;

use super::client::{Client, Ending, Fixed};
use super::logged;
use super::reply::Form;
use super::serve::Tunnel;
use super::socket::{Glance, Socket};
use crate::proxy::counters::Counters;
use crate::proxy::farewell::farewell;
use crate::proxy::relay::{self, End, Finish, Patience};
use crate::proxy::states;
use crate::telemetry::cells::ErrorCause;

/// Ends a connection that is not a tunnel.
pub(super) async fn end(fixed: &Fixed, client: &mut Client, ending: Ending) {
    let may_send = match ending {
        // HTTP/2 went elsewhere.
        Ending::Silent | Ending::Http2 => return,
        Ending::Answered => client.has_unread(),
        Ending::Refused(refusal) => {
            tracing::debug!(service = %fixed.listener.service.name, peer = %fixed.peer, %refusal, "bad request");
            client.count_end(fixed, ErrorCause::ClientProtocol);
            let status = StatusCode::from_u16(refusal.status).unwrap_or(StatusCode::BAD_REQUEST);
            say(fixed, client, status, refusal.is_head);
            logged::unbegun(fixed, client, states::REFUSED, status.as_u16());
            true
        }
        Ending::Left { partial } => {
            let status = StatusCode::BAD_REQUEST;
            if partial {
                client.count_end(fixed, ErrorCause::ClientAbort);
                // It may have finished sending alone.
                say(fixed, client, status, false);
            }
            // As haproxy logs it, whether or not anybody can read it.
            logged::unbegun(fixed, client, states::LEFT, status.as_u16());
            false
        }
        Ending::Lost => {
            client.count_end(fixed, ErrorCause::Resource);
            // Between requests nobody misses an answer, and there is no line to be written.
            if client.is_first_request || !client.inbox.is_empty() {
                let status = StatusCode::INTERNAL_SERVER_ERROR.as_u16();
                logged::unbegun(fixed, client, states::LOST, status);
            }
            return;
        }
        Ending::Late => {
            client.count_end(fixed, ErrorCause::ClientTimeout);
            let status = StatusCode::REQUEST_TIMEOUT;
            say(fixed, client, status, false);
            logged::unbegun(fixed, client, states::LATE, status.as_u16());
            true
        }
        Ending::Cut(cause) => {
            client.count_end(fixed, cause);
            if cause == ErrorCause::ClientAbort {
                return;
            }
            false
        }
    };
    let flushed = poll_fn(|cx| match client.poll_flush(fixed, cx) {
        Poll::Ready(result) => Poll::Ready(result.is_ok()),
        Poll::Pending => client.poll_slow_reader(fixed).map(|_: Result<(), _>| false),
    });
    if flushed.await && may_send {
        swallow(fixed, &mut client.socket).await;
    }
}

/// A page for a request that never became complete.
fn say(fixed: &Fixed, client: &mut Client, status: StatusCode, is_head: bool) {
    fixed.cells().requests.add(1);
    fixed.cells().bytes_in.add(client.unused());
    client.answer(fixed, status, Form { keep: false, is_head });
}

/// Says that no more comes, and swallows what the client still sends, within bounds.
async fn swallow(fixed: &Fixed, socket: &mut Socket) {
    if matches!(socket.glance(), Glance::Ended | Glance::Broken) {
        return;
    }
    if let Some(stream) = socket.take() {
        farewell(stream, &fixed.timer).await;
    }
}

/// Bytes both ways after a protocol switch.
pub(super) async fn tunnel(fixed: &Fixed, client: &mut Client, tunnel: Tunnel) {
    let Tunnel { mut upstream, early, lease, notes } = tunnel;
    let flushed = poll_fn(|cx| match client.poll_flush(fixed, cx) {
        Poll::Ready(result) => Poll::Ready(result.is_ok()),
        Poll::Pending => client.poll_slow_reader(fixed).map(|_: Result<(), _>| false),
    });
    if !flushed.await {
        let is_lost = client.socket.is_lost();
        if is_lost {
            fixed.cells().error(ErrorCause::Resource);
        }
        if let Some(mut notes) = notes {
            notes.course.state = Some(if is_lost { states::LOST_DATA } else { states::UNREAD });
            logged::write(fixed, client, notes);
        }
        return;
    }
    let unused = client.take_unused();
    let (Some(stream), Some(backend)) = (client.socket.take(), upstream.socket.take()) else {
        // Only the client's can have been refused: a backend's is in the reactor already.
        fixed.cells().error(ErrorCause::Resource);
        if let Some(mut notes) = notes {
            notes.course.state = Some(states::LOST_DATA);
            logged::write(fixed, client, notes);
        }
        return;
    };
    let meter = Counters::new(&fixed.listener.service, &lease, fixed.local.worker);
    let ends = (
        End { stream, early: Bytes::from(unused) },
        End { stream: backend, early: Bytes::from(early) },
    );
    let patience = Patience::new(&client.settings.timeouts).until(client.age);
    let (finish, unread) = relay::run(ends, &fixed.timer, patience, &meter).await;
    tracing::debug!(service = %fixed.listener.service.name, peer = %fixed.peer, ?finish, "tunnel ended");
    if let Finish::Own(_) = finish {
        fixed.cells().error(ErrorCause::Resource);
    }
    let (bytes_in, bytes_out) = meter.moved();
    // Neither counts while a client is seen off.
    drop((upstream, lease));
    if let Some(mut notes) = notes {
        fixed.tick();
        notes.course.state = Some(states::tunnel(&finish));
        notes.course.bytes_in += bytes_in;
        notes.tunnelled = bytes_out;
        logged::write(fixed, client, notes);
    }
    if let Some(stream) = unread {
        // Boxed: rare, and large.
        Box::pin(farewell(*stream, &fixed.timer)).await;
    }
}
