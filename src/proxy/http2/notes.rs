//! What the access log says about a request that came or went over HTTP/2.

use std::ops::Range;
use std::sync::Arc;

use hyper::http::{request, response};
use hyper::{HeaderMap, Version};

use crate::lb::backend::Backend;
use crate::lb::lease::Lease;
use crate::proxy::connect::Trail;
use crate::proxy::error::ProxyError;
use crate::proxy::http::client::Fixed;
use crate::proxy::http::{Outcome, Phase};
use crate::proxy::millis::Millis;
use crate::proxy::shared::Busy;
use crate::proxy::states::{self, State};
use crate::telemetry::access::{AccessLog, Http, Record, Timers};

/// A captured value's place in the text.
type Captured = Option<Range<usize>>;

/// Notes about one request; there are none without an access log.
#[derive(Debug)]
pub(super) struct Notes {
    log: Arc<AccessLog>,
    /// The request line, then captured values.
    text: Vec<u8>,
    line: Range<usize>,
    request_captures: Vec<Captured>,
    response_captures: Vec<Captured>,
    first: Millis,
    connected: Option<Millis>,
    answered: Option<Millis>,
    pub(super) bytes_in: u64,
    pub(super) bytes_out: u64,
    pub(super) status: Option<u16>,
    pub(super) state: Option<State>,
    pub(super) trail: Trail,
    server: Option<Arc<Backend>>,
    is_reused: bool,
    busy: Option<Busy>,
}

impl Notes {
    /// Of a request that has come. `is_reused`: its connection has served another.
    pub(super) fn begin(
        fixed: &Fixed,
        log: &Arc<AccessLog>,
        parts: &request::Parts,
        is_reused: bool,
    ) -> Box<Self> {
        let mut text = Vec::new();
        let version = if parts.version == Version::HTTP_2 { "HTTP/2.0" } else { "HTTP/1.1" };
        // haproxy shows the whole target of HTTP/2: scheme, host and path.
        text.extend_from_slice(format!("{} {} {version}", parts.method, parts.uri).as_bytes());
        let line = 0..text.len();
        let names = log.request_captures.iter().map(|capture| &*capture.name);
        let request_captures = capture(&parts.headers, names, &mut text);
        Box::new(Self {
            log: Arc::clone(log),
            line,
            request_captures,
            response_captures: Vec::new(),
            first: fixed.now(),
            connected: None,
            answered: None,
            bytes_in: head_bytes(&parts.headers) + text.len() as u64,
            bytes_out: 0,
            status: None,
            state: None,
            trail: Trail::default(),
            server: None,
            is_reused,
            busy: Some(Busy::new(&fixed.listener)),
            text,
        })
    }

    /// A line to a backend stands.
    pub(super) fn attempt(&mut self, lease: &Lease, now: Millis) {
        self.server = Some(Arc::clone(lease.backend()));
        self.connected = Some(now);
    }

    /// The answer's head has come.
    pub(super) fn answer(&mut self, head: &response::Parts, now: Millis) {
        self.answered = Some(now);
        self.status = Some(head.status.as_u16());
        self.bytes_out += head_bytes(&head.headers);
        let log = Arc::clone(&self.log);
        let names = log.response_captures.iter().map(|capture| &*capture.name);
        self.response_captures = capture(&head.headers, names, &mut self.text);
    }

    /// No backend's answer will come.
    pub(super) fn fail(&mut self, error: &ProxyError, is_sent: bool) {
        if self.trail.is_queued && matches!(error, ProxyError::ClientAbort) {
            self.connected = None;
            self.state = Some(states::LEFT_QUEUE);
            return;
        }
        if matches!(error, ProxyError::ClientAbort) && self.connected.is_some() {
            self.state = Some(states::attempt(&Outcome::Aborted, Phase::Head, is_sent));
            return;
        }
        if states::is_before_attempt(error) {
            self.connected = None;
        }
        self.state = Some(states::failed(error, self.state));
    }

    /// As haproxy counts them: see `http::logged`.
    fn timers(&self, fixed: &Fixed, end: Millis) -> Timers {
        let is_asked = self.server.is_some() || self.trail.server.is_some() || self.trail.is_queued;
        let chosen = self.trail.chosen.map_or(self.first, |chosen| fixed.local.clock.of(chosen));
        let connected = self.connected.map(|connected| connected.max(chosen));
        Timers {
            // A head comes whole.
            request: Some(0),
            queue: is_asked.then(|| chosen.since(self.first)),
            connect: connected.map(|connected| connected.since(chosen)),
            response: self.answered.map(|at| at.since(connected.unwrap_or(at))),
            total: end.since(self.first),
        }
    }

    /// Writes the line.
    pub(super) fn write(mut self: Box<Self>, fixed: &Fixed) {
        drop(self.busy.take());
        let former = self.server.as_ref().filter(|_| !self.trail.is_queued);
        let asked = self.trail.server.as_ref().or(former);
        let at = |captured: &Captured| captured.clone().and_then(|range| self.text.get(range));
        let request: Vec<_> = self.request_captures.iter().map(at).collect();
        let response: Vec<_> = self.response_captures.iter().map(at).collect();
        let (cause, stage) = self.state.unwrap_or(states::DONE);
        let record = Record {
            client: fixed.peer.addr(),
            local: fixed.local_addr(),
            socket: fixed.entrance.door.number(),
            begun: fixed.local.clock.unix(self.first),
            server: asked.map(|backend| &*backend.server_name),
            timers: self.timers(fixed, fixed.tick()),
            bytes_out: self.bytes_out,
            bytes_in: self.bytes_in,
            cause,
            stage,
            conns: fixed.local.conns(&fixed.listener, asked),
            retries: self.trail.retries,
            redispatched: self.trail.redispatched,
            queued: (self.trail.ahead.server, self.trail.ahead.backend),
            http: Some(Http {
                line: self.text.get(self.line.clone()),
                status: self.status,
                request_captures: &request,
                response_captures: &response,
                reused: self.is_reused,
            }),
        };
        fixed.local.log(&self.log, &record);
    }
}

/// Bytes of lines in HTTP/1, which is what haproxy counts.
fn head_bytes(headers: &HeaderMap) -> u64 {
    let line = |(name, value): (&hyper::header::HeaderName, &hyper::header::HeaderValue)| {
        name.as_str().len() + value.len() + 4
    };
    headers.iter().map(line).sum::<usize>() as u64
}

/// The last value of each of `names`.
fn capture<'n>(
    headers: &HeaderMap,
    names: impl Iterator<Item = &'n str>,
    text: &mut Vec<u8>,
) -> Vec<Captured> {
    let mut place = |name: &str| {
        let value = headers.get_all(name).iter().next_back()?;
        let start = text.len();
        text.extend_from_slice(value.as_bytes());
        Some(start..text.len())
    };
    names.map(&mut place).collect()
}
