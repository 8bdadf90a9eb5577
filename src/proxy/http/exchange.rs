//! One request and its answer: what it costs, when it is over, what remains.

use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use hyper::body::{Body, Incoming};
use hyper::{Request, Response, StatusCode, Version};
use tokio::time::Instant;

use super::ask::Asking;
use super::body::ResponseBody;
use super::client::{Client, Phase, Tunnel};
use super::headers::{self, Upgrade};
use super::reply;
use super::socket::Socket;
use crate::lb::lease::Lease;
use crate::proxy::error::ProxyError;
use crate::proxy::tcp::Chain;
use crate::proxy::{CloseMode, ProxySettings};

/// Serves one request. An error closes the client's connection without an answer.
pub(crate) async fn serve(
    client: Rc<Client>,
    request: Request<Incoming>,
) -> Result<Response<ResponseBody>, ProxyError> {
    let started = Instant::now();
    let settings = client.service.settings.load_full();
    client.begin(&settings, request.body().is_end_stream());
    client.cells().requests.add(1);
    let mut response = match forward(&client, &settings, request, started).await {
        Ok(response) => response,
        Err(error) => give_up(&client, error, started)?,
    };
    client.cells().response(response.status().as_u16());
    if client.closing.get() || settings.http.close_mode == CloseMode::Close {
        close_unless_switching(&mut response);
    }
    Ok(response)
}

fn close_unless_switching(response: &mut Response<ResponseBody>) {
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        headers::close(response.headers_mut());
    }
}

/// The answer that we give ourselves, if any.
fn give_up(
    client: &Client,
    error: ProxyError,
    started: Instant,
) -> Result<Response<ResponseBody>, ProxyError> {
    client.cells().error(error.cause());
    tracing::debug!(service = %client.service.name, peer = %client.peer, error = %Chain(&error), "request failed");
    client.upstream.borrow_mut().take();
    let Some(status) = error.status() else {
        return Err(error);
    };
    let now = Instant::now();
    client.cells().latency.observe(now - started);
    client.cells().bytes_in.add(client.progress.bytes.get());
    client.end(now);
    Ok(reply::page(status))
}

async fn forward(
    client: &Rc<Client>,
    settings: &Arc<ProxySettings>,
    request: Request<Incoming>,
    started: Instant,
) -> Result<Response<ResponseBody>, ProxyError> {
    let (mut head, body) = request.into_parts();
    let wanted = headers::request(&mut head)?;
    if let Some(rule) = &settings.http.forward_for {
        headers::forward_for(&mut head.headers, rule, client.peer.ip());
    }
    if settings.http.close_mode != CloseMode::KeepAlive && wanted == Upgrade::No {
        headers::close(&mut head.headers);
    }
    let (lease, response) = Asking::new(client, settings, wanted).ask(head, body).await?;
    let exchange = Exchange { client: Rc::clone(client), lease: Some(lease), started, over: false };
    exchange.answer(response, wanted, settings).await
}

/// A request that has its answer's head. Holds the lease until the answer is complete; dropping it earlier means that
/// the client went away.
#[derive(Debug)]
pub(crate) struct Exchange {
    client: Rc<Client>,
    lease: Option<Lease>,
    started: Instant,
    over: bool,
}

impl Exchange {
    /// The answer for the client.
    async fn answer(
        mut self,
        response: Response<Incoming>,
        wanted: Upgrade,
        settings: &Arc<ProxySettings>,
    ) -> Result<Response<ResponseBody>, ProxyError> {
        let (mut head, incoming) = response.into_parts();
        if let Some(cells) = self.backend_cells() {
            cells.response(head.status.as_u16());
        }
        if let Err(text) = headers::response(head.status, &mut head.headers, wanted) {
            return Err(self.backend_error(text.into()));
        }
        head.version = Version::HTTP_11;
        self.client.phase.set(Phase::Answering);
        if head.status == StatusCode::SWITCHING_PROTOCOLS {
            self.switch(settings).await?;
            return Ok(Response::from_parts(head, ResponseBody::Empty));
        }
        let body = if incoming.is_end_stream() {
            poll_fn(|cx| {
                self.complete(cx);
                Poll::Ready(())
            })
            .await;
            ResponseBody::Empty
        } else {
            ResponseBody::Answer { incoming, exchange: self }
        };
        Ok(Response::from_parts(head, body))
    }

    /// Hands both ends to the tunnel that the connection's task runs next.
    async fn switch(&mut self, settings: &Arc<ProxySettings>) -> Result<(), ProxyError> {
        poll_fn(|cx| {
            self.client.drive(cx);
            Poll::Ready(())
        })
        .await;
        let upstream = self.client.upstream.borrow_mut().take();
        let stream = upstream.and_then(|upstream| upstream.into_stream());
        let (Some((backend, early)), Some(lease)) = (stream, self.lease.take()) else {
            return Err(self.backend_error("protocol switch without a stream".into()));
        };
        self.finish();
        *self.client.tunnel.borrow_mut() =
            Some(Tunnel { backend, early, lease, settings: Arc::clone(settings) });
        Ok(())
    }

    /// Lets the backend's connection move.
    pub(crate) fn drive(&self, cx: &mut Context<'_>) {
        self.client.drive(cx);
    }

    /// The client's socket.
    pub(crate) fn client_socket(&self) -> Rc<Socket> {
        Rc::clone(&self.client.socket)
    }

    /// Bytes of body on their way to the client.
    pub(crate) fn count_out(&self, n: usize) {
        let n = u64::try_from(n).unwrap_or(u64::MAX);
        self.client.cells().bytes_out.add(n);
        if let Some(cells) = self.backend_cells() {
            cells.bytes_out.add(n);
        }
    }

    /// The backend has said all. Its connection is kept if it is clean; one that still takes a request whose answer
    /// came early is not.
    pub(crate) fn complete(&mut self, cx: &mut Context<'_>) {
        let upstream = self.client.upstream.borrow_mut().take();
        if let Some(mut upstream) = upstream
            && self.client.progress.complete.get()
        {
            if !upstream.is_idle() {
                upstream.drive(cx);
            }
            if upstream.is_idle() {
                self.client.local.upstreams.borrow_mut().put(upstream);
            }
        }
        self.finish();
    }

    /// The backend broke off inside its answer, or the client inside its request: the client must not take the answer for
    /// complete.
    pub(crate) fn break_off(&mut self, source: hyper::Error) -> ProxyError {
        let error = match self.client.progress.fault.get() {
            Some(fault) => {
                self.client.upstream.borrow_mut().take();
                self.finish();
                fault.into()
            }
            None => self.backend_error(source.into()),
        };
        self.client.count_end(error.cause());
        error
    }

    fn backend_error(&mut self, source: Box<dyn std::error::Error + Send + Sync>) -> ProxyError {
        let addr = self.client.upstream.borrow().as_ref().map(|u| u.key.1);
        let addr =
            addr.or_else(|| self.lease.as_ref().map(Lease::addr)).unwrap_or(self.client.peer);
        if let Some(cells) = self.backend_cells() {
            cells.response_errors.add(1);
        }
        self.client.upstream.borrow_mut().take();
        self.finish();
        ProxyError::Backend { addr, source }
    }

    /// Counts, releases the lease, and leaves the client's connection to its next request. Once only.
    fn finish(&mut self) {
        if self.over {
            return;
        }
        self.over = true;
        let bytes = self.client.progress.bytes.get();
        self.client.cells().bytes_in.add(bytes);
        if let Some(cells) = self.backend_cells() {
            cells.bytes_in.add(bytes);
        }
        let now = Instant::now();
        self.client.cells().latency.observe(now - self.started);
        self.client.end(now);
        self.lease = None;
    }

    fn backend_cells(&self) -> Option<&crate::telemetry::cells::BackendCells> {
        let worker = self.client.local.worker;
        self.lease.as_ref().map(|l| l.backend().cells.of(worker))
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        if !self.over {
            // Somebody let go of the body before its end.
            self.client.count_end(self.client.blame.get());
            self.client.upstream.borrow_mut().take();
            self.finish();
        }
    }
}
