//! A connection to a backend, held by the request that uses it or by the pool.

use std::sync::{Arc, Weak};
use std::task::{Context, Waker};

use bytes::Bytes;
use tokio::net::TcpStream;

use super::room::Unanswered;
use super::socket::{Glance, Socket};
use crate::dial::header::{self, Whose};
use crate::dial::{Address, Way};
use crate::endpoint::ServiceName;
use crate::lb::BackendId;
use crate::lb::backend::Backend;
use crate::lb::crowd::Counted;
use crate::lb::lease::Lease;
use crate::proxy::millis::Millis;
use crate::proxy::wheel::Entry;

/// A connection to a backend.
#[derive(Debug)]
pub(crate) struct Upstream {
    pub(crate) socket: Socket,
    pub(crate) id: BackendId,
    pub(crate) addr: Address,
    /// In what way it was opened.
    pub(crate) way: Option<Arc<Way>>,
    /// A PROXY header, as far as it has not been sent: it goes before everything else.
    pub(crate) preface: Bytes,
    pub(crate) service: ServiceName,
    /// Dead when the backend has left every snapshot.
    pub(crate) backend: Weak<Backend>,
    /// Counts it among those to its backend.
    pub(crate) counted: Counted,
    /// Somebody waits for its first byte, to see whether the backend takes it up at all.
    pub(crate) unanswered: Option<Unanswered>,
    pub(crate) idle_since: Millis,
    /// It has served more than one request.
    pub(crate) is_proven: bool,
    /// Served one.
    pub(crate) is_used: bool,
    /// Its last answer was bulk: the next one may be, too.
    pub(crate) had_bulk: bool,
    /// It was authenticated, or may have been: its backend takes what comes over it for the same user's.
    pub(crate) is_login: bool,
    /// The client for whom alone it is kept: `http-reuse never`, or [`Upstream::is_private`].
    pub(crate) owner: Option<Entry>,
}

impl Upstream {
    /// A fresh connection; `whose` is asked if it is to say so.
    pub(crate) fn new(
        lease: &Lease,
        service: &ServiceName,
        stream: TcpStream,
        whose: impl FnOnce() -> Whose,
    ) -> Box<Self> {
        let header = lease.header().map(|form| header::render(form, whose()));
        Box::new(Self {
            socket: Socket::Watched(stream),
            id: lease.backend().id,
            addr: lease.addr().clone(),
            way: lease.way().cloned(),
            preface: header.unwrap_or_default(),
            service: service.clone(),
            backend: Arc::downgrade(lease.backend()),
            counted: lease.backend().crowd.enter(),
            unanswered: None,
            idle_since: Millis(0),
            is_proven: false,
            is_used: false,
            had_bulk: false,
            is_login: false,
            owner: None,
        })
    }

    /// One that no lease was needed for.
    #[cfg(test)]
    pub(super) fn sample(socket: Socket, addr: Address) -> Box<Self> {
        Box::new(Self {
            socket,
            id: BackendId(1),
            addr,
            way: None,
            preface: Bytes::new(),
            service: ServiceName::new("web"),
            backend: Weak::new(),
            counted: Arc::<crate::lb::crowd::Crowd>::default().enter(),
            unanswered: None,
            idle_since: Millis(0),
            is_proven: false,
            is_used: false,
            had_bulk: false,
            is_login: false,
            owner: None,
        })
    }

    /// True when its backend knows whose it is, by a PROXY header or a login: it serves no other client.
    pub(crate) fn is_private(&self) -> bool {
        self.is_login || self.way.as_ref().is_some_and(|way| way.header.is_some())
    }

    /// True when nothing has come since it became idle: neither an end nor bytes that nobody asked for, which would be
    /// taken for the next answer. With `surely` the kernel is asked; without, only what the reactor has heard.
    pub(crate) fn is_usable(&self, surely: bool) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        let has_news = self.socket.poll_readable(&mut cx).is_ready();
        if !has_news && !surely {
            return true;
        }
        let is_empty = self.socket.glance() == Glance::Empty;
        if is_empty && has_news {
            self.socket.forget_readiness();
        }
        is_empty
    }
}
