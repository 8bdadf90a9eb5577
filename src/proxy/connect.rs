//! Getting a connection to a backend: who is tried, how often, how long.
//!
//! The rules are haproxy's: `retries` counts attempts after the first; with `redispatch` and more than one eligible
//! backend the next attempt goes elsewhere at once, while another has room; otherwise the same backend is tried again, after a refusal with a
//! turn-around of min(1 s, `timeout connect`), after a timeout (which was a wait) at once. The judgement is `Retry`, plain values; `Dialer` waits and counts.

mod retry;

use std::convert::Infallible;
use std::io;
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio::time::Instant;

use self::retry::{Next, Retry};
use super::error::ProxyError;
use super::evidence::evidence;
use super::timer::Timer;
use super::trail::Trail;
use super::{ProxySettings, Service};
use crate::dial;
use crate::lb::lease::Lease;
use crate::lb::{Outcome, OutcomeKind, PickContext, PickError};
use crate::telemetry::cells::{ServiceCells, WorkerId};

/// A connection to a backend.
#[derive(Debug)]
pub(crate) enum Found<T> {
    /// It was made.
    Fresh(TcpStream),
    /// It was there.
    Known(T),
}

/// Opens connections on behalf of one client connection (TCP) or request (HTTP).
#[derive(Debug)]
pub(crate) struct Dialer<'a> {
    pub(crate) service: &'a Service,
    pub(crate) settings: &'a ProxySettings,
    /// Its connection's.
    pub(super) timer: &'a Timer,
    pub(crate) retry: Retry,
    pub(crate) trail: Trail,
    /// What the balancer wants to know of the request; see [`PickContext::hash`].
    hash: Option<u32>,
    /// A TCP client, who has left when it closes while it waits in a queue. HTTP looks after its clients itself.
    pub(crate) client: Option<&'a TcpStream>,
}

impl<'a> Dialer<'a> {
    pub(crate) fn new(service: &'a Service, settings: &'a ProxySettings, timer: &'a Timer) -> Self {
        let retry = Retry::new(settings);
        let trail = Trail::default();
        Self { service, settings, timer, retry, trail, hash: None, client: None }
    }

    /// The same for a request or client with this number.
    pub(crate) fn hashed(self, hash: Option<u32>) -> Self {
        Self { hash, ..self }
    }

    fn worker(&self) -> WorkerId {
        self.timer.local().worker
    }

    pub(crate) fn cells(&self) -> &'a ServiceCells {
        self.service.cells.of(self.worker())
    }

    /// What the balancer is told.
    pub(super) fn context(&self) -> PickContext<'_> {
        PickContext { avoid: &self.retry.tried, hash: self.hash, busy: None }
    }

    /// Picks a backend, those that failed last; while all are full it waits for its turn.
    ///
    /// # Errors
    /// Nobody is eligible, `timeout queue` has passed, or the client of a TCP session has left.
    pub(crate) async fn acquire(&mut self) -> Result<Lease, ProxyError> {
        let lease = match self.service.pool.acquire(self.context()) {
            // Boxed: rare, and large.
            Err(PickError::AllFull { .. }) => Box::pin(self.wait()).await?,
            picked => picked?,
        };
        lease.backend().cells.of(self.worker()).requests.add(1);
        Ok(lease)
    }

    /// Connects, starting with `lease`, and with whom it worked. A request that is sent elsewhere may go over a connection that
    /// `known` has for it, while it may be sent again, should that be dead.
    pub(crate) async fn connect_or<T>(
        &mut self,
        lease: Lease,
        known: impl Fn(&Lease) -> Option<T>,
    ) -> Result<(Lease, Found<T>), ProxyError> {
        self.try_all(lease, |_, _| Ok(()), known).await
    }

    /// The same; `hello` says what comes first over a connection. One that does not take it is none: another is tried.
    pub(crate) async fn introduce(
        &mut self,
        lease: Lease,
        hello: impl Fn(&Lease, &TcpStream) -> io::Result<()>,
    ) -> Result<(Lease, TcpStream), ProxyError> {
        let (lease, Found::Fresh(stream)) =
            self.try_all(lease, hello, |_| None::<Infallible>).await?;
        Ok((lease, stream))
    }

    async fn try_all<T>(
        &mut self,
        mut lease: Lease,
        hello: impl Fn(&Lease, &TcpStream) -> io::Result<()>,
        known: impl Fn(&Lease) -> Option<T>,
    ) -> Result<(Lease, Found<T>), ProxyError> {
        let mut failed = None;
        loop {
            if self.settings.access_log.is_some() {
                self.trail.server = Some(Arc::clone(lease.backend()));
            }
            if failed.is_some_and(|failed| failed != lease.backend().id)
                && self.retry.left > 0
                && let Some(found) = known(&lease)
            {
                return Ok((lease, Found::Known(found)));
            }
            let error = match self.once(&lease, &hello).await {
                Ok(stream) => return Ok((lease, Found::Fresh(stream))),
                Err(error) => error,
            };
            let backend = lease.backend().id;
            tracing::debug!(service = %self.service.name, backend = %lease.addr(), %error, "connect");
            let eligible = self.service.pool.eligible();
            let next = self.retry.after_failure(backend, &error, eligible);
            // Before the pause, in which the client may leave.
            self.trail.retries += u32::from(next != Next::GiveUp);
            match next {
                Next::Same(pause) => {
                    self.count_retry(&lease);
                    self.timer.sleep(pause).await;
                    lease.backend().cells.of(self.worker()).requests.add(1);
                }
                Next::Again(pause) => {
                    self.timer.sleep(pause).await;
                    lease = self.move_on(lease).await?;
                }
                Next::Elsewhere => {
                    lease = self.move_on(lease).await?;
                    if lease.backend().id == backend {
                        // All others are full. Without a pause a dead server would empty the queue in no time.
                        self.timer.sleep(self.retry.pause(&error)).await;
                    }
                }
                Next::GiveUp => return Err(error),
            }
            failed = Some(backend);
        }
    }

    /// Gives up `failed` and picks anew.
    async fn move_on(&mut self, failed: Lease) -> Result<Lease, ProxyError> {
        let backend = failed.backend().clone();
        drop(failed);
        let lease = self.acquire().await?;
        if lease.backend().id == backend.id {
            if self.retry.left == 0 {
                self.trail.chosen = Some(Instant::now());
            }
            self.count_retry(&lease);
        } else {
            self.trail.chosen = Some(Instant::now());
            self.trail.redispatched = true;
            backend.cells.of(self.worker()).redispatches.add(1);
            self.cells().redispatches.add(1);
        }
        Ok(lease)
    }

    /// The same after `failed` had been connected to: a new beginning.
    pub(crate) async fn begin_anew(&mut self, failed: Lease) -> Result<Lease, ProxyError> {
        self.trail.retries += 1;
        let lease = self.move_on(failed).await?;
        self.trail.chosen = Some(Instant::now());
        Ok(lease)
    }

    fn count_retry(&self, lease: &Lease) {
        lease.backend().cells.of(self.worker()).retries.add(1);
        self.cells().retries.add(1);
    }

    async fn once(
        &self,
        lease: &Lease,
        hello: impl Fn(&Lease, &TcpStream) -> io::Result<()>,
    ) -> Result<TcpStream, ProxyError> {
        let addr = lease.addr();
        let cells = lease.backend().cells.of(self.worker());
        // Without a limit the kernel gives up by itself after its SYN retries, about two minutes.
        let limit = self.settings.timeouts.connect;
        let connecting = dial::connect(addr, lease.way().map(|way| &**way));
        let Some(connected) = self.timer.within(limit, connecting).await else {
            cells.connect_errors.add(1);
            self.report(lease, OutcomeKind::ConnectFailed);
            return Err(ProxyError::ConnectTimeout { addr: addr.clone() });
        };
        connected
            .and_then(|stream| hello(lease, &stream).map(|()| stream))
            .inspect(|stream| {
                cells.connects.add(1);
                if addr.inet().is_some() {
                    // Fails on a connection that is reset already: the first read tells.
                    drop(stream.set_nodelay(true));
                }
            })
            .map_err(|source| {
                cells.connect_errors.add(1);
                if let Some(kind) = evidence(&source) {
                    self.report(lease, kind);
                }
                ProxyError::Connect { addr: addr.clone(), source }
            })
    }

    fn report(&self, lease: &Lease, kind: OutcomeKind) {
        let (backend, addr) = (lease.backend().id, lease.addr().clone());
        self.service.pool.report(Outcome { backend, addr, kind });
    }
}
