//! `/metrics`: one walk over services and backends per family, piece by piece.
//!
//! Hot counters are summed over the workers here; per-backend counters appear with the first use of a backend and
//! vanish with it. The cold families of the exporter's recorder come last. Order: that of `telemetry::names`, then the
//! services in file order, then the backends in balancing order: the same state gives the same text.
//!
//! Ten thousand backends make a text of more than ten megabytes. It is never whole in memory: [`page()`] reads what there
//! is (services, backends and their states, sessions, queues, the process, ages) and [`Page`] writes from that as the
//! client takes it. Counters and what is in flight are read when their line is written: no two of them are of the same
//! instant, and to a client that reads for seconds the last ones are seconds younger than the first.

mod backends;
mod log;
mod page;
mod row;
mod services;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::UNIX_EPOCH;

use crate::proxy::pulse::Pulse;
use crate::registry::{Session, SessionState};
use crate::telemetry::cells::{Cell, ErrorCause, ServiceCells, WorkerId};
use crate::telemetry::names::{self, Metric};
use crate::telemetry::render::{Exposition, Labels};

pub use self::page::Page;
use super::process::Usage;
use super::when::Now;
use super::{About, AdminState, RegistryEntry, ServiceEntry, routes};

/// The whole answer, to be written as it is read.
pub fn page(state: &AdminState) -> Page {
    let now = Now::read();
    let services = state.services.load_full();
    let mut head = Exposition::new();
    process_families(&mut head, &names::BUILD_INFO, &state.about, Usage::read());
    let ready = u8::from(routes::missing(state).is_empty());
    head.family(&names::READY).sample(&Labels::none(), ready);
    let tail = tail(state, &services);
    families(head, &services, &state.registries.load(), now).followed_by(tail)
}

/// `head`, then everything about services, backends and registries at the moment `now`.
pub(super) fn families(
    mut head: Exposition,
    services: &[ServiceEntry],
    registries: &[RegistryEntry],
    now: Now,
) -> Page {
    head.family(&names::SERVICES).sample(&Labels::none(), services.len());
    let sessions: Vec<_> = registries
        .iter()
        .map(|entry| (Arc::clone(&entry.ensemble), entry.session.borrow().clone()))
        .collect();
    registry_families(&mut head, &SESSION_FAMILIES, &sessions, now);
    Page::new(head, row::rows(services, now))
}

/// What comes after the backends: short, however many there are.
fn tail(state: &AdminState, services: &[ServiceEntry]) -> String {
    let mut out = Exposition::new();
    worker_family(&mut out, services, state.about.workers);
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

/// Failures of one cause on one worker.
pub(super) fn errors(cells: &ServiceCells, cause: ErrorCause) -> u64 {
    cells.errors.get(cause as usize).map_or(0, Cell::get)
}
