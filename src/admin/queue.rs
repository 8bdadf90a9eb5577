//! The queue of a service as JSON.

use std::num::NonZeroU32;

use serde::Serialize;

use super::ServiceEntry;
use super::when::millis;
use crate::lb::handle::BackendView;

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

/// Limits of a server besides `maxconn`, and who waits for it.
#[derive(Debug, Serialize)]
pub struct ServerQueue {
    /// `minconn`: the limit while the service is not busy.
    pub minconn: Option<u32>,
    /// `maxqueue`; `null`: any number may wait for it.
    pub maxqueue: Option<u32>,
    /// Percent of its share that it takes in its slow start, 100 after it.
    pub throttle: u64,
    /// Waiting for this server and no other.
    pub queued: u32,
    /// Most that have waited for it at a time.
    pub queued_max: u32,
}

/// What concerns one server.
pub(super) fn server_queue(backend: &BackendView) -> ServerQueue {
    let settings = &backend.settings;
    let (queued, queued_max) = backend.backend.in_flight.queued();
    ServerQueue {
        minconn: settings.elastic.map(|elastic| elastic.min.get()),
        maxqueue: settings.max_queue.map(NonZeroU32::get),
        throttle: backend.ramp.percent(),
        queued,
        queued_max,
    }
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
