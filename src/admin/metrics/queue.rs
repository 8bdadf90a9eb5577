//! Families about the queues of services.

use super::row::Row;
use crate::telemetry::names;
use crate::telemetry::render::Exposition;

/// Who waits for a backend, and how long.
pub(super) fn families(out: &mut Exposition, rows: &[Row<'_>]) {
    let queues: Vec<_> =
        rows.iter().map(|row| (&row.labels, row.entry.service.pool.queue())).collect();
    let mut family = out.family(&names::QUEUE_LENGTH);
    for (labels, queue) in &queues {
        family.sample(labels, queue.length);
    }
    let mut family = out.family(&names::QUEUE_MOST);
    for (labels, queue) in &queues {
        family.sample(labels, queue.most);
    }
    let mut family = out.family(&names::QUEUED);
    for (labels, queue) in &queues {
        family.sample(labels, queue.entered);
    }
    let mut family = out.family(&names::QUEUE_SERVED);
    for (labels, queue) in &queues {
        family.sample(labels, queue.served);
    }
    let mut family = out.family(&names::QUEUE_WAIT);
    for (labels, queue) in &queues {
        family.sample(labels, queue.waited.as_secs_f64());
    }
}
