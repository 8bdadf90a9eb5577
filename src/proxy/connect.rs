//! Getting a connection to a backend: who is tried, how often, how long.
//!
//! The rules are haproxy's: `retries` counts attempts after the first; with `redispatch` and more than one eligible
//! backend the next attempt goes elsewhere at once, while another has room; otherwise the same backend is tried again, after a refusal with a
//! turn-around of min(1 s, `timeout connect`), after a timeout (which was a wait) at once. The judgement is `Retry`, plain values; `Dialer` waits and counts.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::Instant;

use super::error::ProxyError;
use super::every::Every;
use super::evidence::evidence;
use super::timer::Timer;
use super::trail::Trail;
use super::{ProxySettings, Redispatch, Service};
use crate::dial;
use crate::lb::lease::Lease;
use crate::lb::{BackendId, Outcome, OutcomeKind, PickContext, PickError};
use crate::telemetry::cells::{ServiceCells, WorkerId};

/// Upper bound of the wait before the same backend is tried again, haproxy's turn-around.
const TURN_AROUND: Duration = Duration::from_secs(1);

/// What to do after a failed attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// The same backend, after a pause.
    Same(Duration),
    /// Whoever is picked now, after a pause: nobody better was eligible, but that may change.
    Again(Duration),
    /// Another backend, at once; the same after a pause, should it be picked again because the others are full.
    Elsewhere,
    /// No more.
    GiveUp,
}

/// Attempts of one connection or request.
#[derive(Debug)]
pub(crate) struct Retry {
    left: u32,
    redispatch: bool,
    /// Of a request that belongs to one backend: which retries may go elsewhere.
    every: Option<Every>,
    turn_around: Duration,
    /// Backends that failed.
    pub(crate) tried: Vec<BackendId>,
}

impl Retry {
    pub(crate) fn new(settings: &ProxySettings) -> Self {
        let turn_around = settings.timeouts.connect.unwrap_or(TURN_AROUND);
        Self {
            left: settings.retries,
            redispatch: matches!(settings.redispatch, Redispatch::On { every } if every != 0),
            every: settings
                .hash
                .as_ref()
                .map(|_| Every::new(settings.redispatch, settings.retries)),
            turn_around: turn_around.min(TURN_AROUND),
            tried: Vec::new(),
        }
    }

    /// A connect to `backend` failed with `error`; `eligible` backends may be picked now.
    pub(crate) fn after_failure(
        &mut self,
        backend: BackendId,
        error: &ProxyError,
        eligible: usize,
    ) -> Next {
        let is_hopeless =
            matches!(error, ProxyError::Connect { source, .. } if dial::is_unsettled(source));
        if is_hopeless || !self.spend(backend) {
            return Next::GiveUp;
        }
        let pause = self.pause(error);
        let is_due = self.every.as_mut().map(Every::is_due);
        match (self.redispatch, is_due, eligible) {
            (true, Some(true), _) | (true, None, 2..) => Next::Elsewhere,
            (true, None, _) => Next::Again(pause),
            (true, Some(false), _) | (false, _, _) => Next::Same(pause),
        }
    }

    /// How long the backend that failed with `error` is left alone.
    fn pause(&self, error: &ProxyError) -> Duration {
        let waited = matches!(error, ProxyError::ConnectTimeout { .. });
        if waited { Duration::ZERO } else { self.turn_around }
    }

    /// Takes one retry for a request whose backend died; false when none is left.
    pub(crate) fn spend(&mut self, backend: BackendId) -> bool {
        if !self.tried.contains(&backend) {
            self.tried.push(backend);
        }
        let may = self.left > 0;
        self.left = self.left.saturating_sub(1);
        may
    }
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

    /// Connects, starting with `lease`, and with whom it worked.
    pub(crate) async fn connect(&mut self, lease: Lease) -> Result<(Lease, TcpStream), ProxyError> {
        self.introduce(lease, |_, _| Ok(())).await
    }

    /// The same; `hello` says what comes first over a connection. One that does not take it is none: another is tried.
    pub(crate) async fn introduce(
        &mut self,
        mut lease: Lease,
        hello: impl Fn(&Lease, &TcpStream) -> io::Result<()>,
    ) -> Result<(Lease, TcpStream), ProxyError> {
        loop {
            if self.settings.access_log.is_some() {
                self.trail.server = Some(Arc::clone(lease.backend()));
            }
            let error = match self.once(&lease, &hello).await {
                Ok(stream) => return Ok((lease, stream)),
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

#[cfg(test)]
mod tests;
