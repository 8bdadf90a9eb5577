//! Counters of services and backends as they stand in `/services`.

use serde::Serialize;
use serde_json::{Map, Value};

use crate::lb::handle::BackendView;
use crate::telemetry::cells::{Cell, ErrorCause};
use crate::telemetry::names;

use super::{ServiceEntry, metrics};

/// What clients saw, since the service started.
#[derive(Debug, Serialize)]
pub struct Traffic {
    /// Client connections accepted.
    pub connections: u64,
    /// Client connections open.
    pub connections_open: u64,
    /// Client connections refused.
    pub connections_refused: u64,
    /// Requests; 0 in `tcp` mode.
    pub requests: u64,
    /// Answers by class: `other`, `1xx` to `5xx`.
    pub responses: Map<String, Value>,
    /// Failures, all causes.
    pub errors: u64,
    /// Failures by cause; causes that never happened are left out.
    pub errors_by_cause: Map<String, Value>,
    /// Attempts repeated on the same backend.
    pub retries: u64,
    /// Attempts moved to another backend.
    pub redispatches: u64,
    /// Requests sent again after a backend died before its first byte.
    pub replays: u64,
    /// Bytes received from clients.
    pub bytes_in: u64,
    /// Bytes sent to clients.
    pub bytes_out: u64,
}

/// Counters of one backend.
#[derive(Debug, Serialize)]
pub struct BackendTraffic {
    /// Requests or connections given to it.
    pub requests: u64,
    /// Answers by class.
    pub responses: Map<String, Value>,
    /// Connections opened.
    pub connects: u64,
    /// Requests over an open connection.
    pub reuses: u64,
    /// Connections that could not be opened.
    pub connect_errors: u64,
    /// Answers cut, late or not HTTP.
    pub response_errors: u64,
    /// Attempts repeated on it.
    pub retries: u64,
    /// Attempts moved away from it.
    pub redispatches: u64,
    /// Bytes sent to it.
    pub bytes_in: u64,
    /// Bytes received from it.
    pub bytes_out: u64,
}

/// What clients of `entry` saw.
pub(super) fn traffic(entry: &ServiceEntry) -> Traffic {
    let cells = &entry.service.cells;
    let causes = ErrorCause::ALL.map(|cause| {
        let count = cells.sum(|c| metrics::errors(c, cause));
        (cause.label(), count)
    });
    Traffic {
        connections: cells.sum(|c| c.connections.get()),
        connections_open: cells.sum(metrics::open_connections),
        connections_refused: cells.sum(|c| c.connections_refused.get()),
        requests: cells.sum(|c| c.requests.get()),
        responses: by_class(|class| cells.sum(|c| c.responses.get(class).map_or(0, Cell::get))),
        errors: causes.iter().map(|(_, count)| count).sum(),
        errors_by_cause: causes
            .into_iter()
            .filter(|(_, count)| *count > 0)
            .map(|(cause, count)| (cause.to_owned(), count.into()))
            .collect(),
        retries: cells.sum(|c| c.retries.get()),
        redispatches: cells.sum(|c| c.redispatches.get()),
        replays: cells.sum(|c| c.replays.get()),
        bytes_in: cells.sum(|c| c.bytes_in.get()),
        bytes_out: cells.sum(|c| c.bytes_out.get()),
    }
}

fn by_class(count: impl Fn(usize) -> u64) -> Map<String, Value> {
    names::CODES
        .iter()
        .enumerate()
        .map(|(class, code)| ((*code).to_owned(), count(class).into()))
        .collect()
}

/// What was asked of `b`.
pub(super) fn backend_traffic(b: &BackendView) -> BackendTraffic {
    let cells = &b.backend.cells;
    BackendTraffic {
        requests: cells.sum(|c| c.requests.get()),
        responses: by_class(|class| cells.sum(|c| c.responses.get(class).map_or(0, Cell::get))),
        connects: cells.sum(|c| c.connects.get()),
        reuses: cells.sum(|c| c.reuses.get()),
        connect_errors: cells.sum(|c| c.connect_errors.get()),
        response_errors: cells.sum(|c| c.response_errors.get()),
        retries: cells.sum(|c| c.retries.get()),
        redispatches: cells.sum(|c| c.redispatches.get()),
        bytes_in: cells.sum(|c| c.bytes_in.get()),
        bytes_out: cells.sum(|c| c.bytes_out.get()),
    }
}
