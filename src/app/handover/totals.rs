//! Counters on their way: all of them once, then what was added since.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::admin::ServiceEntry;
use crate::endpoint::Endpoint;
use crate::lb::queue::QueueView;
use crate::telemetry::access;
use crate::telemetry::cells::{Named, PerWorker, ServiceCells};
use crate::telemetry::cold::{self, ColdCount, ColdMetrics};

/// Counters by name; those that are all zero are left out.
type Counts = BTreeMap<String, Vec<u64>>;

/// What a process has counted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Totals {
    services: BTreeMap<String, ServiceTotals>,
    /// Rare events.
    cold: Vec<ColdCount>,
    /// See [`access::totals`].
    #[serde(default)]
    log_lines: [u64; 4],
}

/// What a process that is relieved has to say, again and again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Report {
    /// What it has counted and not yet reported.
    #[serde(flatten)]
    pub(crate) totals: Totals,
    /// It was told to read its file again, and has not: the one that has taken over is to do it. Said once it has; one of a
    /// version without this field does not hear it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) reload: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct ServiceTotals {
    counts: Counts,
    /// By host, port and name.
    backends: BTreeMap<String, Counts>,
    /// Of its queue: entered, served, microseconds waited.
    #[serde(default)]
    queue: [u64; 3],
}

impl Totals {
    /// Everything counted so far, what was inherited included.
    pub(crate) fn read(entries: &[ServiceEntry], cold: &ColdMetrics) -> Self {
        let services = entries.iter().map(|entry| {
            let view = entry.service.pool.view();
            let backends = view.backends.iter().map(|view| {
                let backend = &view.backend;
                (key(&backend.endpoint), counts(&backend.cells))
            });
            let totals = ServiceTotals {
                counts: counts(&entry.service.cells),
                queue: queue_counts(&entry.service.pool.queue()),
                backends: backends.filter(|(_, counts)| !counts.is_empty()).collect(),
            };
            (entry.service.name.to_string(), totals)
        });
        Self { services: services.collect(), cold: cold.counts(), log_lines: access::totals() }
    }

    /// What `self` has beyond `before`.
    pub(crate) fn since(&self, before: &Self) -> Self {
        let nothing = ServiceTotals::default();
        let services = self.services.iter().map(|(name, now)| {
            let then = before.services.get(name).unwrap_or(&nothing);
            let backends = now.backends.iter().map(|(backend, counts)| {
                let then = then.backends.get(backend);
                (backend.clone(), added(counts, then))
            });
            let totals = ServiceTotals {
                counts: added(&now.counts, Some(&then.counts)),
                queue: more(now.queue, then.queue),
                backends: backends.filter(|(_, counts)| !counts.is_empty()).collect(),
            };
            (name.clone(), totals)
        });
        let then = |now: &ColdCount| {
            let same = before.cold.iter().find(|c| c.name == now.name && c.labels == now.labels);
            same.map_or(0, |c| c.count)
        };
        let cold = self
            .cold
            .iter()
            .map(|now| ColdCount { count: now.count.saturating_sub(then(now)), ..now.clone() });
        let cold = cold.filter(|more| more.count > 0);
        let log_lines = more(self.log_lines, before.log_lines);
        Self { services: services.collect(), cold: cold.collect(), log_lines }
    }

    /// Adds everything to what this process counts. Services and backends that are not known here are gone, and their
    /// counters with them. Control thread only.
    pub(crate) fn add_to(&self, entries: &[ServiceEntry]) {
        for entry in entries {
            let Some(totals) = self.services.get(entry.service.name.as_str()) else {
                continue;
            };
            add_service(&entry.service.cells, &totals.counts);
            entry.service.pool.inherit_queue(totals.queue);
            for view in &entry.service.pool.view().backends {
                if let Some(counts) = totals.backends.get(&key(&view.backend.endpoint)) {
                    add(view.backend.cells.inherited(), counts);
                }
            }
        }
        for count in &self.cold {
            cold::inherit(count);
        }
        access::inherit(self.log_lines);
    }
}

fn key(endpoint: &Endpoint) -> String {
    let (host, port, name) = endpoint.identity();
    format!("{host} {port} {name}")
}

fn counts<T: Named + Default>(cells: &PerWorker<T>) -> Counts {
    let mut sums: BTreeMap<&'static str, Vec<u64>> = BTreeMap::new();
    for cells in cells.iter() {
        for (name, cells) in cells.named() {
            let sum = sums.entry(name).or_insert_with(|| vec![0; cells.len()]);
            for (sum, cell) in sum.iter_mut().zip(cells) {
                *sum = sum.wrapping_add(cell.get());
            }
        }
    }
    let used = sums.into_iter().filter(|(_, sum)| sum.iter().any(|n| *n > 0));
    used.map(|(name, sum)| (name.to_owned(), sum)).collect()
}

/// See [`Queue::inherit`](crate::lb::queue::Queue::inherit).
fn queue_counts(queue: &QueueView) -> [u64; 3] {
    let waited_us = u64::try_from(queue.waited.as_micros()).unwrap_or(u64::MAX);
    [queue.entered, queue.served, waited_us]
}

fn more<const N: usize>(now: [u64; N], then: [u64; N]) -> [u64; N] {
    let mut more = now;
    for (more, then) in more.iter_mut().zip(then) {
        *more = more.saturating_sub(then);
    }
    more
}

fn added(now: &Counts, then: Option<&Counts>) -> Counts {
    let differences = now.iter().map(|(name, now)| {
        let then = then.and_then(|then| then.get(name)).map_or(&[][..], Vec::as_slice);
        let then = then.iter().copied().chain(std::iter::repeat(0));
        let more = now.iter().zip(then).map(|(now, then)| now.saturating_sub(then));
        (name.clone(), more.collect::<Vec<_>>())
    });
    differences.filter(|(_, more)| more.iter().any(|n| *n > 0)).collect()
}

fn add<T: Named>(cells: &T, counts: &Counts) {
    for (name, cells) in cells.named() {
        for (cell, count) in cells.iter().zip(counts.get(name).into_iter().flatten()) {
            cell.add(*count);
        }
    }
}

/// Connections of the other process are not open in this one: as many are closed as were accepted.
fn add_service(cells: &PerWorker<ServiceCells>, counts: &Counts) {
    let cells = cells.inherited();
    add(cells, counts);
    let accepted = cells.connections.get();
    let difference = accepted.wrapping_sub(cells.connections_closed.get());
    cells.connections_closed.add(difference);
}
