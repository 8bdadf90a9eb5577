//! `/metrics`: one walk over services and backends per family.
//!
//! Hot counters are summed over the workers here; per-backend counters appear with the first use of a backend and
//! vanish with it. The cold families of the exporter's recorder come last. Order: that of `telemetry::names`, then the
//! services in file order, then the backends in balancing order: the same state gives the same text.

mod backends;
mod log;
mod queue;
mod row;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::UNIX_EPOCH;

use crate::discovery::Membership;
use crate::proxy::pulse::Pulse;
use crate::registry::{Session, SessionState};
use crate::telemetry::cells::{Cell, ErrorCause, ServiceCells, WorkerId};
use crate::telemetry::names::{self, Metric};
use crate::telemetry::render::{Exposition, Labels};

use self::row::{Row, rows};
use super::process::Usage;
use super::when::{Now, millis};
use super::{About, AdminState, RegistryEntry, ServiceEntry, diagnosis, routes};

/// The whole answer.
pub fn render(state: &AdminState) -> String {
    let now = Now::read();
    let services = state.services.load_full();
    let mut out = Exposition::new();
    process_families(&mut out, &names::BUILD_INFO, &state.about, Usage::read());
    let ready = u8::from(routes::missing(state).is_empty());
    out.family(&names::READY).sample(&Labels::none(), ready);
    families(&mut out, &services, &state.registries.load_full(), now);
    worker_family(&mut out, &services, state.about.workers);
    let warnings = state.config_warnings.load().len();
    out.family(&names::CONFIG_WARNINGS).sample(&Labels::none(), warnings);
    let differs = state.config_on_disk_differs.load(Ordering::Relaxed);
    out.family(&names::CONFIG_ON_DISK_DIFFERS).sample(&Labels::none(), u8::from(differs));
    if let Some(pulse) = state.pulse.get() {
        pulse_families(&mut out, pulse);
    }
    out.append(&state.cold.render());
    out.finish()
}

/// Facts about the process, whichever program it is: `build` is its own family.
pub(super) fn process_families(
    out: &mut Exposition,
    build: &'static Metric,
    about: &About,
    usage: Usage,
) {
    let none = Labels::none();
    out.family(build).sample(&none.with(names::VERSION, about.version), 1);
    if let Ok(start) = about.started_at.duration_since(UNIX_EPOCH) {
        let start = start.as_secs_f64();
        out.family(&names::PROCESS_START).sample(&none, start);
    }
    if let Some(cpu) = usage.cpu_seconds {
        out.family(&names::PROCESS_CPU).sample(&none, cpu);
    }
    if let Some(bytes) = usage.resident_bytes {
        out.family(&names::PROCESS_RSS).sample(&none, bytes);
    }
    if let Some(open) = usage.open_fds {
        out.family(&names::PROCESS_OPEN_FDS).sample(&none, open);
    }
    if let Some(max) = usage.max_fds {
        out.family(&names::PROCESS_MAX_FDS).sample(&none, max);
    }
}

/// Signs of life of all threads.
fn pulse_families(out: &mut Exposition, pulse: &Pulse) {
    let mut family = out.family(&names::WORKER_SILENT);
    for (worker, silent) in pulse.workers_silent_for().iter().enumerate() {
        let labels = Labels::none().with(names::WORKER, &worker.to_string());
        family.sample(&labels, silent.as_secs_f64());
    }
    let silent = pulse.control_silent_for().as_secs_f64();
    out.family(&names::CONTROL_SILENT).sample(&Labels::none(), silent);
    out.family(&names::CONTROL_STALLS).sample(&Labels::none(), pulse.control_stalls());
    out.family(&names::CONNECTION_PANICS).sample(&Labels::none(), pulse.panics());
    log::families(out);
    out.family(&names::ACCEPT_PAUSES).sample(&Labels::none(), pulse.accept_pauses());
}

/// Client connections per data-plane thread: shows an uneven spread.
fn worker_family(out: &mut Exposition, services: &[ServiceEntry], workers: usize) {
    let mut family = out.family(&names::WORKER_CONNECTIONS);
    for worker in 0..workers {
        let open: u64 = services
            .iter()
            .filter_map(|entry| entry.service.cells.peek(WorkerId(worker)))
            .map(open_connections)
            .sum();
        let labels = Labels::none().with(names::WORKER, &worker.to_string());
        family.sample(&labels, open);
    }
}

/// Connections open on one worker. The two counters are read one after the other: never below zero.
pub(super) fn open_connections(cells: &ServiceCells) -> u64 {
    let closed = cells.connections_closed.get();
    cells.connections.get().saturating_sub(closed)
}

/// Everything about services, backends and registries at the moment `now`.
pub(super) fn families(
    out: &mut Exposition,
    services: &[ServiceEntry],
    registries: &[RegistryEntry],
    now: Now,
) {
    out.family(&names::SERVICES).sample(&Labels::none(), services.len());
    let sessions: Vec<_> = registries
        .iter()
        .map(|entry| (Arc::clone(&entry.ensemble), entry.session.borrow().clone()))
        .collect();
    registry_families(out, &SESSION_FAMILIES, &sessions, now);
    let rows = rows(services);
    traffic_families(out, &rows);
    http_families(out, &rows);
    set_families(out, &rows);
    discovery_families(out, &rows, now);
    backends::state_families(out, &rows);
    backends::traffic_families(out, &rows);
}

/// The families about sessions: connected, how many, since when. Each program has its own.
pub(super) type SessionFamilies = [&'static Metric; 3];

const SESSION_FAMILIES: SessionFamilies =
    [&names::REGISTRY_CONNECTED, &names::REGISTRY_SESSIONS, &names::REGISTRY_STATE_AGE];

/// The sessions, by the ensemble's connect string.
pub(super) fn registry_families(
    out: &mut Exposition,
    [connected, opened, age]: &SessionFamilies,
    sessions: &[(Arc<str>, Session)],
    now: Now,
) {
    let sessions: Vec<_> = sessions
        .iter()
        .map(|(ensemble, session)| (Labels::none().with(names::ENSEMBLE, ensemble), session))
        .collect();
    let mut family = out.family(connected);
    for (labels, session) in &sessions {
        let connected = u8::from(session.state == SessionState::Connected);
        family.sample(labels, connected);
    }
    let mut family = out.family(opened);
    for (labels, session) in &sessions {
        family.sample(labels, session.generation);
    }
    let mut family = out.family(age);
    for (labels, session) in &sessions {
        family.sample(labels, now.age_s(session.since));
    }
}

fn traffic_families(out: &mut Exposition, rows: &[Row<'_>]) {
    sums(out, &names::CONNECTIONS, rows, |c| &c.connections);
    let mut family = out.family(&names::CONNECTIONS_OPEN);
    for row in rows {
        family.sample(&row.labels, row.cells.sum(open_connections));
    }
    sums(out, &names::CONNECTIONS_REFUSED, rows, |c| &c.connections_refused);
    sums(out, &names::RECEIVED_BYTES, rows, |c| &c.bytes_in);
    sums(out, &names::SENT_BYTES, rows, |c| &c.bytes_out);
    let mut family = out.family(&names::ERRORS);
    for row in rows {
        for cause in ErrorCause::ALL {
            let errors = row.cells.sum(|c| errors(c, cause));
            family.split(&row.labels, names::CAUSE, cause.label(), errors);
        }
    }
    sums(out, &names::RETRIES, rows, |c| &c.retries);
    sums(out, &names::REDISPATCHES, rows, |c| &c.redispatches);
    queue::families(out, rows);
    let mut family = out.family(&names::OUTCOMES_DROPPED);
    for row in rows {
        let dropped = row.entry.service.pool.outcomes_dropped();
        family.sample(&row.labels, dropped);
    }
}

/// Failures of one cause on one worker.
pub(super) fn errors(cells: &ServiceCells, cause: ErrorCause) -> u64 {
    cells.errors.get(cause as usize).map_or(0, Cell::get)
}

fn sums(
    out: &mut Exposition,
    metric: &'static Metric,
    rows: &[Row<'_>],
    cell: impl Fn(&ServiceCells) -> &Cell,
) {
    let mut family = out.family(metric);
    for row in rows {
        family.sample(&row.labels, row.cells.sum(|c| cell(c).get()));
    }
}

/// Families that make no sense in `mode tcp`.
fn http_families(out: &mut Exposition, rows: &[Row<'_>]) {
    let http = || rows.iter().filter(|row| row.is_http());
    let mut family = out.family(&names::HTTP_REQUESTS);
    for row in http() {
        family.sample(&row.labels, row.cells.sum(|c| c.requests.get()));
    }
    let mut family = out.family(&names::HTTP_RESPONSES);
    for row in http() {
        for (class, code) in names::CODES.iter().enumerate() {
            let responses = row.cells.sum(|c| c.responses.get(class).map_or(0, Cell::get));
            family.split(&row.labels, names::CODE, code, responses);
        }
    }
    let mut family = out.family(&names::HTTP_REPLAYS);
    for row in http() {
        family.sample(&row.labels, row.cells.sum(|c| c.replays.get()));
    }
    let mut family = out.family(&names::HTTP_DURATION);
    for row in http() {
        let histograms: Vec<_> = row.cells.iter().map(|c| &c.latency).collect();
        family.histogram(&row.labels, histograms.into_iter());
    }
}

fn set_families(out: &mut Exposition, rows: &[Row<'_>]) {
    let mut family = out.family(&names::MEMBERSHIP_CHANGES);
    for row in rows {
        family.sample(&row.labels, row.view.membership_changes);
    }
    let mut family = out.family(&names::HEALTH_CHANGES);
    for row in rows {
        family.sample(&row.labels, row.view.health_changes);
    }
    let mut family = out.family(&names::BACKENDS_KNOWN);
    for row in rows {
        family.sample(&row.labels, row.counts.known);
    }
    let mut family = out.family(&names::BACKENDS_UP);
    for row in rows {
        family.sample(&row.labels, row.counts.up);
    }
    let mut family = out.family(&names::BACKENDS_ELIGIBLE);
    for row in rows {
        family.sample(&row.labels, row.counts.eligible);
    }
    let mut family = out.family(&names::SERVICE_DISABLED);
    for row in rows {
        family.sample(&row.labels, u8::from(row.entry.disabled));
    }
}

/// Only for services that have something to discover: the age of a fixed list would grow for ever and page somebody.
fn discovery_families(out: &mut Exposition, rows: &[Row<'_>], now: Now) {
    let found = || rows.iter().filter(|row| !diagnosis::is_fixed(row.entry));
    let mut family = out.family(&names::DISCOVERY_MALFORMED);
    for row in found() {
        family.sample(&row.labels, row.view.discovered.malformed_total);
    }
    let mut family = out.family(&names::DISCOVERY_AGE);
    for row in found() {
        let verified = row.entry.verified().unwrap_or(row.entry.since);
        family.sample(&row.labels, now.age_s(verified));
    }
    let mut family = out.family(&names::DISCOVERY_TROUBLE);
    for row in found() {
        let trouble = u8::from(row.view.discovered.trouble.is_some());
        family.sample(&row.labels, trouble);
    }
    let mut family = out.family(&names::DISCOVERY_PENDING);
    for row in found() {
        let discovered = &row.view.discovered;
        let pending =
            matches!(discovered.membership, Membership::Pending) || discovered.stale.is_some();
        family.sample(&row.labels, u8::from(pending));
    }
    let mut family = out.family(&names::DISCOVERY_STALE);
    for row in found() {
        let stale = row.view.discovered.stale.is_some();
        family.sample(&row.labels, u8::from(stale));
    }
    let mut family = out.family(&names::DISCOVERY_STALE_AGE);
    for row in found() {
        let stale = row.view.discovered.stale.as_ref();
        let age = stale.map_or(0.0, |stale| millis(stale.age(now.system)));
        family.sample(&row.labels, age);
    }
}
