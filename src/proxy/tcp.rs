//! A TCP client's connection: one lease, one backend, bytes until the end.

use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use tokio::net::TcpStream;

use super::accept::Accepted;
use super::connect::Dialer;
use super::error::ProxyError;
use super::local::Local;
use super::relay::{self, End, Finish, Meter, Patience, Which};
use super::timer::Timer;
use super::{ProxySettings, Service};
use crate::lb::lease::Lease;
use crate::telemetry::cells::{BackendCells, ServiceCells, WorkerId};

/// Serves a connection to its end. Without a backend it is closed.
pub(crate) async fn serve(local: Rc<Local>, accepted: Accepted, settings: Arc<ProxySettings>) {
    let Accepted { stream, peer, slot } = accepted;
    let service = Arc::clone(&slot.listener.service);
    if let Err(error) = forward(&local, stream, &service, &settings).await {
        service.cells.of(local.worker).error(error.cause());
        tracing::debug!(service = %service.name, %peer, error = %Chain(&error), "connection failed");
    }
    drop(slot);
}

async fn forward(
    local: &Rc<Local>,
    client: std::net::TcpStream,
    service: &Service,
    settings: &ProxySettings,
) -> Result<(), ProxyError> {
    // Only a full reactor can refuse; the connection is lost then.
    let client = TcpStream::from_std(client).map_err(|_io| ProxyError::ClientAbort)?;
    let timer = Timer::new(local).await;
    let mut dialer = Dialer::new(service, settings, &timer);
    let lease = dialer.acquire()?;
    let (lease, backend) = dialer.connect(lease).await?;
    let meter = Counters::new(service, &lease, local.worker);
    let patience = Patience::new(&settings.timeouts);
    let finish = relay::run((end(client), end(backend)), &timer, patience, &meter).await;
    match finish {
        Finish::Done => Ok(()),
        Finish::Idle => Err(ProxyError::ClientTimeout),
        Finish::Broken(Which::Client, _) => Err(ProxyError::ClientAbort),
        Finish::Broken(Which::Backend, source) => {
            Err(ProxyError::Backend { addr: lease.addr(), source: source.into() })
        }
    }
}

fn end(stream: TcpStream) -> End {
    End { stream, early: Bytes::new() }
}

/// The cells of a connection: its service's and its backend's.
#[derive(Debug)]
pub(crate) struct Counters<'a> {
    service: &'a ServiceCells,
    backend: &'a BackendCells,
}

impl<'a> Counters<'a> {
    pub(crate) fn new(service: &'a Service, lease: &'a Lease, worker: WorkerId) -> Self {
        Self { service: service.cells.of(worker), backend: lease.backend().cells.of(worker) }
    }
}

impl Meter for Counters<'_> {
    fn to_backend(&self, n: usize) {
        let n = u64::try_from(n).unwrap_or(u64::MAX);
        self.service.bytes_in.add(n);
        self.backend.bytes_in.add(n);
    }

    fn to_client(&self, n: usize) {
        let n = u64::try_from(n).unwrap_or(u64::MAX);
        self.service.bytes_out.add(n);
        self.backend.bytes_out.add(n);
    }
}

/// An error with its causes on one line.
pub(crate) struct Chain<'a>(pub(crate) &'a dyn std::error::Error);

impl std::fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)?;
        let mut source = self.0.source();
        while let Some(cause) = source {
            write!(f, ": {cause}")?;
            source = cause.source();
        }
        Ok(())
    }
}
