//! The queue of a service as JSON.

use serde::Serialize;

use super::ServiceEntry;
use super::when::millis;

/// Who waits for a backend, and how it went.
#[derive(Debug, Serialize)]
pub struct QueueDetail {
    /// Waiting now, those for one server and no other included.
    pub length: u32,
    /// Most that have waited at a time for whichever server has room first.
    pub max: u32,
    /// Had to wait, since the start.
    pub entered: u64,
    /// Of them got a server.
    pub served: u64,
    /// Milliseconds that all of them have waited together.
    pub waited_ms: f64,
}

/// The queue of a service.
pub(super) fn queue(entry: &ServiceEntry) -> QueueDetail {
    let queue = entry.service.pool.queue();
    QueueDetail {
        length: queue.length,
        max: queue.most,
        entered: queue.entered,
        served: queue.served,
        waited_ms: millis(queue.waited * 1000),
    }
}
