//! A TCP client's connection: one lease, one backend, bytes until the end.

use std::cell::Cell;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Waker};

use bytes::Bytes;
use rustix::net::RecvFlags;
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::accept::Accepted;
use super::age;
use super::connect::Dialer;
use super::counters::Counters;
use super::error::ProxyError;
use super::farewell::farewell;
use super::leaving::gives_up;
use super::local::Local;
use super::peer::{Entrance, Peer, whose};
use super::relay::{self, End, Finish, Patience, Which};
use super::shared::{Busy, Listener};
use super::slot::Slot;
use super::states::{self, State};
use super::timer::Timer;
use super::trail::Trail;
use super::wheel::Group;
use super::{ProxySettings, Service};
use crate::dial;
use crate::dial::header::{self, Form};
use crate::lb::lease::Lease;
use crate::telemetry::access::{AccessLog, Record, Timers};

/// Serves a connection to its end. Without a backend it is closed.
///
/// Not an `async fn`: those keep their arguments twice, and this one's future lasts as long as the connection.
pub(crate) fn serve(
    local: Rc<Local>,
    accepted: Accepted,
    settings: Arc<ProxySettings>,
) -> impl Future<Output = ()> {
    serve_since(local, accepted, settings, Instant::now())
}

/// The same for one that was accepted earlier.
pub(crate) fn serve_since(
    local: Rc<Local>,
    accepted: Accepted,
    settings: Arc<ProxySettings>,
    since: Instant,
) -> impl Future<Output = ()> {
    let Accepted { stream, peer, entrance, slot } = accepted;
    let mut session = Session::new(&slot.listener, &settings, since);
    let fixed = Fixed { local, settings, peer, entrance, slot };
    async move {
        let forwarded = forward(&fixed, stream, &mut session).await;
        if let Err(error) = &forwarded {
            let service = fixed.service();
            service.cells.of(fixed.local.worker).error(error.cause());
            tracing::debug!(service = %service.name, peer = %fixed.peer, error = %Chain(error), "connection failed");
            if session.connected.is_none() {
                let left = session.trail.is_queued && matches!(error, ProxyError::ClientAbort);
                session.state = if left { states::LEFT_QUEUE } else { states::failed(error, None) };
            }
        }
        let (unread, group) = (session.unread.take(), session.group);
        if let Some(log) = &fixed.settings.access_log {
            session.write(&fixed, log);
        }
        if let Some(client) = unread {
            // Boxed: rare, and large.
            Box::pin(part(&fixed.local, group, client)).await;
        }
        drop(fixed);
    }
}

/// What does not change during a connection.
struct Fixed {
    local: Rc<Local>,
    settings: Arc<ProxySettings>,
    peer: Peer,
    entrance: Entrance,
    /// Given up last: the connection counts until then.
    slot: Slot,
}

impl Fixed {
    fn service(&self) -> &Service {
        &self.slot.listener.service
    }
}

async fn forward(
    fixed: &Fixed,
    client: std::net::TcpStream,
    session: &mut Session,
) -> Result<(), ProxyError> {
    let age = age::ends_at(fixed.local.clock.tick(), fixed.settings.max_connection_age);
    let timer = Timer::new(&fixed.local, session.group).await;
    // Boxed: large, and over before a connection can be idle.
    let (client, backend, lease) = Box::pin(open(fixed, client, &timer, session)).await?;
    session.connected = Some(Instant::now());
    let meter = Counters::new(fixed.service(), &lease, fixed.local.worker);
    let patience = Patience::new(&fixed.settings.timeouts).until(age);
    let finish;
    (finish, session.unread) =
        relay::run((end(client), end(backend)), &timer, patience, &meter).await;
    session.moved = meter.moved();
    session.state = states::tunnel(&finish);
    match finish {
        Finish::Done | Finish::Aged => Ok(()),
        Finish::Idle(Which::Client) => Err(ProxyError::ClientTimeout),
        Finish::Idle(Which::Backend) => {
            Err(ProxyError::BackendTimeout { addr: lease.addr().clone() })
        }
        Finish::Ended(reason) => Err(ProxyError::ended(&lease, reason)),
        Finish::Own(source) => Err(ProxyError::Resource(source)),
        Finish::Broken(Which::Client, _) => Err(ProxyError::ClientAbort),
        Finish::Broken(Which::Backend, source) => {
            Err(ProxyError::Backend { addr: lease.addr().clone(), source: source.into() })
        }
    }
}

/// Ends a session whose client may still be sending.
async fn part(local: &Rc<Local>, group: Group, client: Box<TcpStream>) {
    let timer = Timer::new(local, group).await;
    farewell(*client, &timer).await;
}

/// Finds a backend and connects; gives the client's socket back with it.
async fn open(
    fixed: &Fixed,
    client: std::net::TcpStream,
    timer: &Timer,
    session: &mut Session,
) -> Result<(TcpStream, TcpStream, Lease), ProxyError> {
    let client = TcpStream::from_std(client).map_err(ProxyError::Resource)?;
    let hash = fixed.settings.hash.as_ref().and_then(|by| by.of_client(fixed.peer.ip()));
    let mut dialer = Dialer::new(fixed.service(), &fixed.settings, timer).hashed(hash);
    dialer.client = Some(&client);
    let is_overlooked = Cell::new(false);
    let on_close = fixed.settings.http.abort_on_close;
    let connected = tokio::select! {
        biased;
        connected = connect(fixed, &client, &mut dialer) => connected,
        () = gives_up(&client, on_close, &is_overlooked) => Err(ProxyError::ClientAbort),
    };
    session.trail = dialer.trail;
    match connected {
        Ok((lease, backend)) if is_overlooked.get() => {
            // A reactor that meets a socket for the first time tells of what waits.
            let again = client.into_std().and_then(TcpStream::from_std);
            Ok((again.map_err(ProxyError::Resource)?, backend, lease))
        }
        Ok((lease, backend)) => Ok((client, backend, lease)),
        Err(error) => {
            session.moved.0 = waiting(&client, &mut fixed.local.buffer.borrow_mut());
            session.unread = (session.moved.0 > 0).then(|| Box::new(client));
            Err(error)
        }
    }
}

/// Finds a backend and connects to it.
async fn connect(
    fixed: &Fixed,
    client: &TcpStream,
    dialer: &mut Dialer<'_>,
) -> Result<(Lease, TcpStream), ProxyError> {
    let lease = dialer.acquire().await?;
    let hello = |lease: &Lease, backend: &TcpStream| {
        lease.header().map_or(Ok(()), |form| say(fixed, form, client, backend))
    };
    dialer.introduce(lease, hello).await
}

/// Says to `backend` whose connection it is.
fn say(fixed: &Fixed, form: Form, client: &TcpStream, backend: &TcpStream) -> io::Result<()> {
    let reached = fixed.entrance.reached(|| client.local_addr().ok());
    let header = header::render(form, whose(fixed.peer, reached));
    // Whoever waits for the client's bytes asks again.
    let mut cx = Context::from_waker(Waker::noop());
    let follows = client.poll_read_ready(&mut cx).is_ready();
    dial::announce(backend, &header, follows)
}

/// What the access log says about a session.
#[derive(Debug)]
struct Session {
    accepted: Instant,
    connected: Option<Instant>,
    trail: Trail,
    moved: (u64, u64),
    state: State,
    busy: Option<Busy>,
    group: Group,
    /// The client's socket, when it has said what nobody has read.
    unread: Option<Box<TcpStream>>,
}

impl Session {
    fn new(listener: &Arc<Listener>, settings: &ProxySettings, accepted: Instant) -> Self {
        Self {
            accepted,
            connected: None,
            trail: Trail::default(),
            moved: (0, 0),
            state: states::DONE,
            group: listener.group,
            busy: settings.access_log.as_ref().map(|_| Busy::new(listener)),
            unread: None,
        }
    }

    fn write(mut self, fixed: &Fixed, log: &Arc<AccessLog>) {
        let Fixed { local, peer, entrance, slot, .. } = fixed;
        drop(self.busy.take());
        let at = |time| local.clock.of(time);
        let accepted = at(self.accepted);
        let chosen = self.trail.chosen.map_or(accepted, at);
        let server = self.trail.server.as_ref();
        let waited = server.is_some() || self.trail.is_queued;
        let (cause, stage) = self.state;
        let record = Record {
            client: peer.addr(),
            local: entrance.local(&slot.listener),
            socket: entrance.door.number(),
            begun: local.clock.unix(accepted),
            server: server.map(|backend| &*backend.server_name),
            timers: Timers {
                request: None,
                queue: waited.then(|| chosen.since(accepted)),
                connect: self.connected.map(|time| at(time).since(chosen)),
                response: None,
                total: local.clock.tick().since(accepted),
            },
            bytes_out: self.moved.1,
            bytes_in: self.moved.0,
            cause,
            stage,
            conns: local.conns(&slot.listener, server),
            retries: self.trail.retries,
            redispatched: self.trail.redispatched,
            queued: (self.trail.ahead.server, self.trail.ahead.backend),
            http: None,
        };
        local.log(log, &record);
    }
}

/// Bytes that the client has sent and nobody has read: `option dontlognull` is about clients that sent none.
fn waiting(client: &TcpStream, buffer: &mut [u8]) -> u64 {
    let peeked = rustix::net::recv(client, buffer, RecvFlags::PEEK | RecvFlags::DONTWAIT);
    peeked.map_or(0, |(_, count)| u64::try_from(count).unwrap_or(u64::MAX))
}

fn end(stream: TcpStream) -> End {
    End { stream, early: Bytes::new() }
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
