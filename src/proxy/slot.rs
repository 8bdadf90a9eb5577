//! That a connection counts, for as long as it lasts.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::door::DoorId;
use super::shared::{Listener, Shared};
use crate::telemetry::cells::WorkerId;

/// Proof that a connection is counted: globally, in its service, at its socket and on its worker. Dropping it uncounts.
#[derive(Debug)]
pub(crate) struct Slot {
    shared: Arc<Shared>,
    pub(crate) listener: Arc<Listener>,
    worker: WorkerId,
    /// The socket that it came through.
    pub(crate) door: DoorId,
}

impl Slot {
    /// Counts for `worker`, under all limits having been entered.
    pub(super) fn take(
        shared: &Arc<Shared>,
        (listener, door): (&Arc<Listener>, DoorId),
        worker: WorkerId,
    ) -> Self {
        if let Some(seat) = shared.seat(worker) {
            seat.open.fetch_add(1, Ordering::SeqCst);
        }
        Self { shared: Arc::clone(shared), listener: Arc::clone(listener), worker, door }
    }

    /// True when the connection begins with a header of the PROXY protocol.
    pub(crate) fn accepts_proxy(&self) -> bool {
        self.listener.door(self.door).is_some_and(|door| door.accepts_proxy)
    }

    /// Counts it in the cells of its worker, whose thread alone may do so: not where it was accepted.
    pub(crate) fn begin(&self) {
        self.listener.service.cells.of(self.worker).connections.add(1);
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.shared.count_panic();
            tracing::error!(service = %self.listener.service.name, "connection task panicked");
        }
        if let Some(seat) = self.shared.seat(self.worker) {
            seat.open.fetch_sub(1, Ordering::SeqCst);
        }
        let cells = self.listener.service.cells.of(self.worker);
        cells.connections_closed.add(1);
        if let Some(door) = self.listener.door(self.door) {
            door.leave();
        }
        self.listener.gate.leave();
        self.shared.gate.leave();
    }
}
