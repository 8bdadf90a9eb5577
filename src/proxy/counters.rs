//! What a connection's bytes are counted under.

use std::cell::Cell;

use super::Service;
use super::relay::Meter;
use crate::lb::ending::Reason;
use crate::lb::lease::Lease;
use crate::telemetry::cells::{BackendCells, ServiceCells, WorkerId};

/// The cells of a connection: its service's and its backend's.
#[derive(Debug)]
pub(crate) struct Counters<'a> {
    service: &'a ServiceCells,
    backend: &'a BackendCells,
    lease: &'a Lease,
    up: Cell<u64>,
    down: Cell<u64>,
}

impl<'a> Counters<'a> {
    pub(crate) fn new(service: &'a Service, lease: &'a Lease, worker: WorkerId) -> Self {
        Self {
            service: service.cells.of(worker),
            backend: lease.backend().cells.of(worker),
            lease,
            up: Cell::new(0),
            down: Cell::new(0),
        }
    }

    /// Bytes of this connection: from the client, and to it.
    pub(crate) fn moved(&self) -> (u64, u64) {
        (self.up.get(), self.down.get())
    }
}

impl Meter for Counters<'_> {
    fn ended(&self) -> Option<Reason> {
        self.lease.ended()
    }

    fn to_backend(&self, n: usize) {
        let n = u64::try_from(n).unwrap_or(u64::MAX);
        self.up.set(self.up.get() + n);
        self.service.bytes_in.add(n);
        self.backend.bytes_in.add(n);
    }

    fn to_client(&self, n: usize) {
        let n = u64::try_from(n).unwrap_or(u64::MAX);
        self.down.set(self.down.get() + n);
        self.service.bytes_out.add(n);
        self.backend.bytes_out.add(n);
    }
}
