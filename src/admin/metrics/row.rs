//! What the families are written from: each service read and labelled once.

use std::collections::HashSet;
use std::sync::Arc;

use crate::lb::handle::{BackendView, PoolView};
use crate::proxy::Mode;
use crate::telemetry::cells::{PerWorker, ServiceCells};
use crate::telemetry::names;
use crate::telemetry::render::Labels;

use super::super::ServiceEntry;
use super::super::diagnosis::{self, Counts};

/// One service with its view, read once, and its labels, escaped once.
pub(super) struct Row<'a> {
    pub(super) entry: &'a ServiceEntry,
    pub(super) cells: &'a PerWorker<ServiceCells>,
    pub(super) labels: Labels,
    pub(super) view: Arc<PoolView>,
    pub(super) counts: Counts,
    http: bool,
    backends: Vec<Labels>,
}

impl Row<'_> {
    /// The backends with their labels.
    pub(super) fn backends(&self) -> impl Iterator<Item = (&Labels, &BackendView)> {
        let views = self.view.backends.iter().map(|view| &**view);
        self.backends.iter().zip(views)
    }

    /// True in `mode http`.
    pub(super) fn is_http(&self) -> bool {
        self.http
    }
}

/// The rows of `services`, in their order.
pub(super) fn rows(services: &[ServiceEntry]) -> Vec<Row<'_>> {
    services
        .iter()
        .map(|entry| {
            let view = entry.service.pool.view();
            let labels = Labels::none().with(names::SERVICE, entry.service.name.as_str());
            Row {
                entry,
                cells: &entry.service.cells,
                counts: diagnosis::counts(&view),
                http: entry.service.settings.load().mode == Mode::Http,
                backends: backend_labels(&labels, &view),
                labels,
                view,
            }
        })
        .collect()
}

/// Server names are unique in practice, but `a_b` at `c:1` and `a` at `b_c:1` share one. A series must not appear
/// twice, so the later ones get their number in this process.
fn backend_labels(service: &Labels, view: &PoolView) -> Vec<Labels> {
    let mut seen = HashSet::with_capacity(view.backends.len());
    view.backends
        .iter()
        .map(|b| {
            let name = &*b.backend.server_name;
            if seen.insert(name) {
                service.with(names::BACKEND, name)
            } else {
                service.with(names::BACKEND, &format!("{name}#{}", b.backend.id.0))
            }
        })
        .collect()
}
