//! Looking for an answer: whom to ask, over which connection, and what may be asked again.
//!
//! Before a byte of the request was sent anything may be tried elsewhere. After that only what is idempotent and has no
//! body is repeated, and only while no byte of an answer has come; nothing else is ever sent twice.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

use hyper::body::{Body, Incoming};
use hyper::http::request::Parts;
use hyper::{Request, Response};

use super::body::RequestBody;
use super::client::Client;
use super::headers::{self, Upgrade};
use super::upstream::Upstream;
use crate::lb::lease::Lease;
use crate::proxy::ProxySettings;
use crate::proxy::connect::Dialer;
use crate::proxy::error::ProxyError;

/// A request looking for an answer.
pub(super) struct Asking<'a> {
    client: &'a Rc<Client>,
    dialer: Dialer<'a>,
    wanted: Upgrade,
}

/// How an attempt ended without an answer.
enum Failed {
    /// `timeout server`.
    Late,
    /// Nothing was sent: the connection had ended before. The request comes back.
    Unsent(Box<Request<RequestBody>>),
    /// The connection broke; whether a byte of an answer had come.
    Broken { error: hyper::Error, heard: bool },
}

impl<'a> Asking<'a> {
    pub(super) fn new(
        client: &'a Rc<Client>,
        settings: &'a ProxySettings,
        wanted: Upgrade,
    ) -> Self {
        Self { client, dialer: Dialer::new(&client.service, settings, client.local.worker), wanted }
    }

    /// Asks until there is an answer or no further attempt is allowed.
    pub(super) async fn ask(
        mut self,
        head: Parts,
        body: Incoming,
    ) -> Result<(Lease, Response<Incoming>), ProxyError> {
        let repeatable = self.dialer.settings.http.replay_idempotent
            && self.wanted == Upgrade::No
            && headers::is_idempotent(&head.method)
            && body.is_end_stream();
        let (spare, mut request) = if repeatable {
            let request = Request::from_parts(head.clone(), self.empty());
            (Some(head), request)
        } else {
            let body = RequestBody::new(body, Rc::clone(&self.client.progress));
            (None, Request::from_parts(head, body))
        };
        let mut lease = self.dialer.acquire()?;
        let mut fresh = false;
        loop {
            let upstream;
            (lease, upstream) = self.connection(lease, fresh).await?;
            let reused = upstream.reused;
            let addr = lease.addr();
            let failed = match self.attempt(upstream.connection, request).await {
                Ok(response) => return Ok((lease, response)),
                Err(failed) => failed,
            };
            self.client.upstream.borrow_mut().take();
            if let Some(fault) = self.client.progress.fault.get() {
                return Err(fault.into());
            }
            if !matches!(failed, Failed::Unsent(_)) {
                let cells = lease.backend().cells.of(self.dialer.worker);
                cells.response_errors.add(1);
            }
            fresh = true;
            request = match (failed, &spare) {
                (Failed::Late, _) => return Err(ProxyError::BackendTimeout { addr }),
                (Failed::Unsent(unsent), _) if self.dialer.retry.spend(lease.backend().id) => {
                    *unsent
                }
                (Failed::Broken { heard: false, .. }, Some(head))
                    if self.dialer.retry.spend(lease.backend().id) =>
                {
                    self.dialer.cells().replays.add(1);
                    Request::from_parts(head.clone(), self.empty())
                }
                (Failed::Broken { heard: false, .. } | Failed::Unsent(_), _) if reused => {
                    return Err(ProxyError::Unrepeatable { addr });
                }
                (Failed::Broken { error, .. }, _) => {
                    let source = error.into();
                    return Err(ProxyError::Backend { addr, source });
                }
                (Failed::Unsent(_), _) => {
                    let source = "closed before the request was sent".into();
                    return Err(ProxyError::Backend { addr, source });
                }
            };
            lease = self.dialer.move_on(lease)?;
        }
    }

    fn empty(&self) -> RequestBody {
        RequestBody::empty(Rc::clone(&self.client.progress))
    }

    /// A connection to the leased backend: an idle one, or a new one (then perhaps to another backend).
    async fn connection(
        &mut self,
        lease: Lease,
        fresh: bool,
    ) -> Result<(Lease, Connection), ProxyError> {
        if !fresh {
            let key = (lease.backend().id, lease.addr());
            let idle = self.client.local.upstreams.borrow_mut().take(key);
            if let Some(connection) = idle {
                lease.backend().cells.of(self.dialer.worker).reuses.add(1);
                let reused = true;
                return Ok((lease, Connection { connection, reused }));
            }
        }
        let (lease, stream) = self.dialer.connect(lease).await?;
        let connection = Upstream::new(&lease, stream).await?;
        let reused = false;
        Ok((lease, Connection { connection, reused }))
    }

    /// Sends and waits for the answer's head.
    async fn attempt(
        &self,
        mut upstream: Box<Upstream>,
        request: Request<RequestBody>,
    ) -> Result<Response<Incoming>, Failed> {
        let socket = Rc::clone(&upstream.socket);
        let before = socket.received();
        socket.touch();
        let promise = upstream.sender.try_send_request(request);
        *self.client.upstream.borrow_mut() = Some(upstream);
        let mut promise = pin!(promise);
        let answer = poll_fn(|cx| {
            if self.client.server_expired.get() {
                return Poll::Ready(Err(Failed::Late));
            }
            self.client.drive(cx);
            promise.as_mut().poll(cx).map_err(|mut error| match error.take_message() {
                Some(request) => Failed::Unsent(Box::new(request)),
                None => {
                    Failed::Broken { error: error.into_error(), heard: socket.received() != before }
                }
            })
        });
        answer.await
    }
}

/// A connection in hand.
struct Connection {
    connection: Box<Upstream>,
    /// It has served a request before.
    reused: bool,
}
