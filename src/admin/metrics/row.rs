//! What the families are written from: each service read and labelled once.

use std::collections::HashSet;
use std::sync::Arc;

use crate::lb::handle::{BackendView, PoolView};
use crate::lb::queue::QueueView;
use crate::proxy::{Mode, Service};
use crate::telemetry::cells::{BackendCells, Cell, ServiceCells};
use crate::telemetry::names;
use crate::telemetry::render::Labels;

use super::super::ServiceEntry;
use super::super::diagnosis::{self, Counts};
use super::super::when::{Now, millis};

/// One service with its view, read once, and its labels, escaped once.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) service: Arc<Service>,
    pub(super) labels: Labels,
    pub(super) view: Arc<PoolView>,
    pub(super) counts: Counts,
    pub(super) queue: QueueView,
    /// `disabled` in the configuration.
    pub(super) is_disabled: bool,
    /// Seconds since its source last confirmed its word, or since its start.
    pub(super) verified_age_s: f64,
    /// Age in seconds of a set from before the start; 0 when the set is of now.
    pub(super) stale_age_s: f64,
    is_http: bool,
    is_discovered: bool,
    /// Which of the view's backends were used at least once.
    used: Vec<bool>,
    /// Which of the view's backends have the server name of an earlier one; hardly ever any.
    twins: HashSet<usize>,
}

/// A backend of a row, with its labels.
#[derive(Debug)]
pub(super) struct Seen<'r> {
    pub(super) labels: &'r Labels,
    pub(super) view: &'r BackendView,
}

impl Row {
    fn read(entry: &ServiceEntry, now: Now) -> Self {
        let view = entry.service.pool.view();
        let stale = view.discovered.stale.as_ref();
        Self {
            service: Arc::clone(&entry.service),
            labels: Labels::none().with(names::SERVICE, entry.service.name.as_str()),
            counts: diagnosis::counts(&view),
            queue: entry.service.pool.queue(),
            is_disabled: entry.disabled,
            verified_age_s: now.age_s(entry.verified().unwrap_or(entry.since)),
            stale_age_s: stale.map_or(0.0, |stale| millis(stale.age(now.system))),
            is_http: entry.service.settings.load().mode == Mode::Http,
            is_discovered: !diagnosis::is_fixed(entry),
            used: view.backends.iter().map(|b| is_used(b)).collect(),
            twins: twins(&view),
            view,
        }
    }

    /// True for every row.
    pub(super) fn is_any(&self) -> bool {
        true
    }

    /// True in `mode http`.
    pub(super) fn is_http(&self) -> bool {
        self.is_http
    }

    /// True unless its list is fixed: the age of such a list would grow for ever and page somebody.
    pub(super) fn is_discovered(&self) -> bool {
        self.is_discovered
    }

    /// True for every backend.
    pub(super) fn has_backend(&self, index: usize) -> bool {
        index < self.used.len()
    }

    /// True for a backend that was used at least once.
    pub(super) fn has_used(&self, index: usize) -> bool {
        self.used.get(index).is_some_and(|used| *used)
    }

    /// The same, in `mode http`.
    pub(super) fn has_used_http(&self, index: usize) -> bool {
        self.is_http && self.has_used(index)
    }

    /// A counter over all workers.
    pub(super) fn sum(&self, cell: fn(&ServiceCells) -> &Cell) -> u64 {
        self.service.cells.sum(|c| cell(c).get())
    }

    /// The backend at `index`; its labels are written into `labels`.
    pub(super) fn backend<'r>(&'r self, index: usize, labels: &'r mut Labels) -> Option<Seen<'r>> {
        let view = self.view.backends.get(index)?;
        let name = &*view.backend.server_name;
        if self.twins.contains(&index) {
            let name = format!("{name}#{}", view.backend.id.0);
            labels.set(&self.labels, names::BACKEND, &name);
        } else {
            labels.set(&self.labels, names::BACKEND, name);
        }
        Some(Seen { labels, view })
    }
}

impl Seen<'_> {
    /// A counter over all workers.
    pub(super) fn sum(&self, cell: fn(&BackendCells) -> &Cell) -> u64 {
        self.view.backend.cells.sum(|c| cell(c).get())
    }
}

/// The rows of `services`, in their order.
pub(super) fn rows(services: &[ServiceEntry], now: Now) -> Vec<Row> {
    services.iter().map(|entry| Row::read(entry, now)).collect()
}

fn is_used(backend: &BackendView) -> bool {
    backend.backend.cells.iter().next().is_some()
}

/// Server names are unique in practice, but `a_b` at `c:1` and `a` at `b_c:1` share one. A series must not appear
/// twice, so the later ones get their number in this process.
fn twins(view: &PoolView) -> HashSet<usize> {
    let mut seen = HashSet::with_capacity(view.backends.len());
    let backends = view.backends.iter().enumerate();
    backends.filter(|(_, b)| !seen.insert(&*b.backend.server_name)).map(|(at, _)| at).collect()
}
