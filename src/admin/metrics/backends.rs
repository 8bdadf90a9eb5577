//! Per-backend families. They vanish with their backend, because nothing here remembers a series.

use crate::telemetry::cells::Cell;
use crate::telemetry::names::{self, Metric};
use crate::telemetry::render::Family;

use super::super::diagnosis;
use super::row::{Row, Seen};

/// A family and what one backend adds to it.
pub(super) type BackendFamily = (&'static Metric, fn(&Seen<'_>, &mut Family<'_>));

/// Families of the backends, by their place in the row, for which something holds.
pub(super) type Chapter = (fn(&Row, usize) -> bool, &'static [BackendFamily]);

/// Every family, in the page's order.
pub(super) const CHAPTERS: [Chapter; 4] = [
    (Row::has_backend, &STATE),
    (Row::has_used, &LOAD),
    (Row::has_used_http, &[(&names::BACKEND_RESPONSES, responses)]),
    (Row::has_used, &COUNTERS),
];

const STATE: [BackendFamily; 2] = [
    (&names::BACKEND_UP, |b, out| out.sample(b.labels, u8::from(diagnosis::is_up(b.view)))),
    (&names::BACKEND_ELIGIBLE, |b, out| out.sample(b.labels, u8::from(b.view.eligible))),
];

const LOAD: [BackendFamily; 3] = [
    (&names::BACKEND_IN_FLIGHT, |b, out| out.sample(b.labels, b.view.backend.in_flight.get())),
    (&names::BACKEND_QUEUE_LENGTH, |b, out| {
        out.sample(b.labels, b.view.backend.in_flight.queued().0)
    }),
    (&names::BACKEND_QUEUE_MOST, |b, out| {
        out.sample(b.labels, b.view.backend.in_flight.queued().1)
    }),
];

const COUNTERS: [BackendFamily; 9] = [
    (&names::BACKEND_REQUESTS, |b, out| out.sample(b.labels, b.sum(|c| &c.requests))),
    (&names::BACKEND_CONNECTS, |b, out| out.sample(b.labels, b.sum(|c| &c.connects))),
    (&names::BACKEND_REUSES, |b, out| out.sample(b.labels, b.sum(|c| &c.reuses))),
    (&names::BACKEND_CONNECT_ERRORS, |b, out| out.sample(b.labels, b.sum(|c| &c.connect_errors))),
    (&names::BACKEND_RESPONSE_ERRORS, |b, out| out.sample(b.labels, b.sum(|c| &c.response_errors))),
    (&names::BACKEND_RETRIES, |b, out| out.sample(b.labels, b.sum(|c| &c.retries))),
    (&names::BACKEND_REDISPATCHES, |b, out| out.sample(b.labels, b.sum(|c| &c.redispatches))),
    (&names::BACKEND_RECEIVED_BYTES, |b, out| out.sample(b.labels, b.sum(|c| &c.bytes_out))),
    (&names::BACKEND_SENT_BYTES, |b, out| out.sample(b.labels, b.sum(|c| &c.bytes_in))),
];

fn responses(b: &Seen<'_>, out: &mut Family<'_>) {
    for (class, code) in names::CODES.iter().enumerate() {
        let responses = b.view.backend.cells.sum(|c| c.responses.get(class).map_or(0, Cell::get));
        out.split(b.labels, names::CODE, code, responses);
    }
}
