//! Room at a server whose threads look after idle connections of other workers, and do not take up a new one.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use super::client::Fixed;
use super::upstream::Upstream;
use crate::lb::lease::Lease;

/// How long a request waits for its answer over a new connection beyond the server's `maxconn` before an idle one is asked to end:
/// longer than a server with free hands takes for most, so that those keep what they have; a fraction of the second from
/// which on people notice. haproxy has no such wait: its threads take over each other's idle connections.
const HELD_UP: Duration = Duration::from_millis(20);

/// Held by a connection that is new, or in its first exchange.
pub(crate) type Unanswered = oneshot::Sender<Infallible>;

/// Sees to it that a new connection is taken up.
pub(super) fn see_to(fixed: &Fixed, lease: &Lease, upstream: &mut Upstream) {
    let max = fixed.listener.service.pool.max_connections(lease.backend());
    if !upstream.standing.crowd().is_beyond(max) {
        return;
    }
    let (unanswered, answered) = oneshot::channel();
    upstream.unanswered = Some(unanswered);
    let crowd = Arc::clone(upstream.standing.crowd());
    let listener = Arc::clone(&fixed.listener);
    drop(tokio::task::spawn_local(async move {
        let is_held_up = tokio::time::timeout(HELD_UP, answered).await.is_err();
        if is_held_up && crowd.is_beyond(max) {
            crowd.ask_for_room();
            listener.crowded.send_replace(());
        }
    }));
}
