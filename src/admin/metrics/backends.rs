//! Per-backend families. They vanish with their backend, because nothing here remembers a series.

use crate::telemetry::cells::{BackendCells, Cell};
use crate::telemetry::names::{self, Metric};
use crate::telemetry::render::Exposition;

use super::super::diagnosis;
use super::row::Row;

/// State of every known backend.
pub(super) fn state_families(out: &mut Exposition, rows: &[Row<'_>]) {
    let mut family = out.family(&names::BACKEND_UP);
    for (labels, backend) in rows.iter().flat_map(Row::backends) {
        family.sample(labels, u8::from(diagnosis::is_up(backend)));
    }
    let mut family = out.family(&names::BACKEND_ELIGIBLE);
    for (labels, backend) in rows.iter().flat_map(Row::backends) {
        family.sample(labels, u8::from(backend.eligible));
    }
}

/// Counters of the backends that were used at least once.
pub(super) fn traffic_families(out: &mut Exposition, rows: &[Row<'_>]) {
    let used: Vec<_> = rows
        .iter()
        .flat_map(|row| row.backends().map(move |(labels, b)| (row, labels, b)))
        .filter(|(_, _, b)| b.backend.cells.iter().next().is_some())
        .collect();
    let mut family = out.family(&names::BACKEND_IN_FLIGHT);
    for (_, labels, b) in &used {
        family.sample(labels, b.backend.in_flight.get());
    }
    let mut family = out.family(&names::BACKEND_QUEUE_LENGTH);
    for (_, labels, b) in &used {
        family.sample(labels, b.backend.in_flight.queued().0);
    }
    let mut family = out.family(&names::BACKEND_QUEUE_MOST);
    for (_, labels, b) in &used {
        family.sample(labels, b.backend.in_flight.queued().1);
    }
    let mut family = out.family(&names::BACKEND_RESPONSES);
    for (_, labels, b) in used.iter().filter(|(row, _, _)| row.is_http()) {
        for (class, code) in names::CODES.iter().enumerate() {
            let responses = b.backend.cells.sum(|c| c.responses.get(class).map_or(0, Cell::get));
            family.split(labels, names::CODE, code, responses);
        }
    }
    for (metric, cell) in COUNTERS {
        let mut family = out.family(metric);
        for (_, labels, b) in &used {
            family.sample(labels, b.backend.cells.sum(|c| cell(c).get()));
        }
    }
}

type Counter = (&'static Metric, fn(&BackendCells) -> &Cell);

const COUNTERS: [Counter; 9] = [
    (&names::BACKEND_REQUESTS, |c| &c.requests),
    (&names::BACKEND_CONNECTS, |c| &c.connects),
    (&names::BACKEND_REUSES, |c| &c.reuses),
    (&names::BACKEND_CONNECT_ERRORS, |c| &c.connect_errors),
    (&names::BACKEND_RESPONSE_ERRORS, |c| &c.response_errors),
    (&names::BACKEND_RETRIES, |c| &c.retries),
    (&names::BACKEND_REDISPATCHES, |c| &c.redispatches),
    (&names::BACKEND_RECEIVED_BYTES, |c| &c.bytes_out),
    (&names::BACKEND_SENT_BYTES, |c| &c.bytes_in),
];
