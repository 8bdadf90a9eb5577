//! Per-service families.

use crate::telemetry::cells::{Cell, ErrorCause};
use crate::telemetry::names::{self, Metric};
use crate::telemetry::render::Family;

use super::row::Row;
use super::{errors, open_connections};

/// A family and what one service adds to it.
pub(super) type ServiceFamily = (&'static Metric, fn(&Row, &mut Family<'_>));

/// Families of the services for which something holds.
pub(super) type Chapter = (fn(&Row) -> bool, &'static [ServiceFamily]);

/// Every family, in the page's order.
pub(super) const CHAPTERS: [Chapter; 4] = [
    (Row::is_any, &TRAFFIC),
    (Row::is_http, &HTTP),
    (Row::is_any, &SETS),
    (Row::is_discovered, &DISCOVERY),
];

const TRAFFIC: [ServiceFamily; 14] = [
    (&names::CONNECTIONS, |row, out| out.sample(&row.labels, row.sum(|c| &c.connections))),
    (&names::CONNECTIONS_OPEN, |row, out| {
        out.sample(&row.labels, row.service.cells.sum(open_connections))
    }),
    (&names::CONNECTIONS_REFUSED, |row, out| {
        out.sample(&row.labels, row.sum(|c| &c.connections_refused))
    }),
    (&names::RECEIVED_BYTES, |row, out| out.sample(&row.labels, row.sum(|c| &c.bytes_in))),
    (&names::SENT_BYTES, |row, out| out.sample(&row.labels, row.sum(|c| &c.bytes_out))),
    (&names::ERRORS, errors_by_cause),
    (&names::RETRIES, |row, out| out.sample(&row.labels, row.sum(|c| &c.retries))),
    (&names::REDISPATCHES, |row, out| out.sample(&row.labels, row.sum(|c| &c.redispatches))),
    (&names::QUEUE_LENGTH, |row, out| out.sample(&row.labels, row.queue.length)),
    (&names::QUEUE_MOST, |row, out| out.sample(&row.labels, row.queue.most)),
    (&names::QUEUED, |row, out| out.sample(&row.labels, row.queue.entered)),
    (&names::QUEUE_SERVED, |row, out| out.sample(&row.labels, row.queue.served)),
    (&names::QUEUE_WAIT, |row, out| out.sample(&row.labels, row.queue.waited.as_secs_f64())),
    (&names::OUTCOMES_DROPPED, |row, out| {
        out.sample(&row.labels, row.service.pool.outcomes_dropped())
    }),
];

/// Families that make no sense in `mode tcp`.
const HTTP: [ServiceFamily; 4] = [
    (&names::HTTP_REQUESTS, |row, out| out.sample(&row.labels, row.sum(|c| &c.requests))),
    (&names::HTTP_RESPONSES, responses),
    (&names::HTTP_REPLAYS, |row, out| out.sample(&row.labels, row.sum(|c| &c.replays))),
    (&names::HTTP_DURATION, durations),
];

const SETS: [ServiceFamily; 6] = [
    (&names::MEMBERSHIP_CHANGES, |row, out| out.sample(&row.labels, row.view.membership_changes)),
    (&names::HEALTH_CHANGES, |row, out| out.sample(&row.labels, row.view.health_changes)),
    (&names::BACKENDS_KNOWN, |row, out| out.sample(&row.labels, row.counts.known)),
    (&names::BACKENDS_UP, |row, out| out.sample(&row.labels, row.counts.up)),
    (&names::BACKENDS_ELIGIBLE, |row, out| out.sample(&row.labels, row.counts.eligible)),
    (&names::SERVICE_DISABLED, |row, out| out.sample(&row.labels, u8::from(row.is_disabled))),
];

const DISCOVERY: [ServiceFamily; 6] = [
    (&names::DISCOVERY_MALFORMED, |row, out| {
        out.sample(&row.labels, row.view.discovered.malformed_total)
    }),
    (&names::DISCOVERY_AGE, |row, out| out.sample(&row.labels, row.verified_age_s)),
    (&names::DISCOVERY_TROUBLE, |row, out| {
        out.sample(&row.labels, u8::from(row.view.discovered.trouble.is_some()))
    }),
    (&names::DISCOVERY_PENDING, |row, out| out.sample(&row.labels, u8::from(is_pending(row)))),
    (&names::DISCOVERY_STALE, |row, out| {
        out.sample(&row.labels, u8::from(row.view.discovered.stale.is_some()))
    }),
    (&names::DISCOVERY_STALE_AGE, |row, out| out.sample(&row.labels, row.stale_age_s)),
];

fn errors_by_cause(row: &Row, out: &mut Family<'_>) {
    for cause in ErrorCause::ALL {
        let errors = row.service.cells.sum(|c| errors(c, cause));
        out.split(&row.labels, names::CAUSE, cause.label(), errors);
    }
}

fn responses(row: &Row, out: &mut Family<'_>) {
    for (class, code) in names::CODES.iter().enumerate() {
        let responses = row.service.cells.sum(|c| c.responses.get(class).map_or(0, Cell::get));
        out.split(&row.labels, names::CODE, code, responses);
    }
}

fn durations(row: &Row, out: &mut Family<'_>) {
    let histograms: Vec<_> = row.service.cells.iter().map(|c| &c.latency).collect();
    out.histogram(&row.labels, histograms.into_iter());
}

/// The source has not spoken in this process.
fn is_pending(row: &Row) -> bool {
    let discovered = &row.view.discovered;
    !discovered.is_heard() || discovered.stale.is_some()
}
