//! Room at a server whose threads look after idle connections of other workers, and do not take up a new one.
//!
//! Watched is each new connection to a server with as many connections as its `maxconn`, until the first byte comes over it.

use std::convert::Infallible;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use super::client::Fixed;
use crate::endpoint::ServiceName;
use crate::lb::crowd::{Counted, Crowd};
use crate::proxy::local::Local;
use crate::proxy::shared::Listener;

/// How long a request waits for the first byte over a new connection before an idle one is asked to end, and twice as long before
/// another is, and so on: longer than a server with free hands takes for most pages, so that those keep what they have; a
/// fraction of the second from which on people notice. haproxy has no such wait: its threads take over each other's idle
/// connections.
const HELD_UP: Duration = Duration::from_millis(20);

/// Held by a connection over which nothing has come yet.
pub(crate) type Unanswered = oneshot::Sender<Infallible>;

/// Sees to it that a new connection is taken up. The caller drops what it gets as soon as something comes.
pub(crate) fn see_to(fixed: &Fixed, counted: &Counted) -> Option<Unanswered> {
    let crowd = counted.crowd();
    if !crowd.is_full() {
        return None;
    }
    let (unanswered, answered) = oneshot::channel();
    let (local, listener) = (Rc::clone(&fixed.local), Arc::clone(&fixed.listener));
    // Ends with the connection.
    drop(tokio::task::spawn_local(watch(local, listener, Arc::clone(crowd), answered)));
    Some(unanswered)
}

async fn watch(
    local: Rc<Local>,
    listener: Arc<Listener>,
    crowd: Arc<Crowd>,
    mut answered: oneshot::Receiver<Infallible>,
) {
    let mut patience = HELD_UP;
    let mut plea = None;
    while tokio::time::timeout(patience, &mut answered).await.is_err() {
        match &plea {
            None => plea = Some(crowd.plead()),
            Some(plea) => plea.repeat(),
        }
        if crowd.wants_room() {
            make_room(&local, &listener.service.name);
        }
        // Nothing of our own: others may have something.
        if crowd.wants_room() {
            listener.crowded.send_replace(());
        }
        patience = patience.saturating_mul(2);
    }
}

/// Closes a worker's idle connections of a service that are to make room.
pub(super) fn make_room(local: &Local, service: &ServiceName) {
    local.upstreams.borrow_mut().make_room(service);
    local.upstreams2.borrow_mut().make_room(service);
}
