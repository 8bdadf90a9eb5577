//! How a request went, for its line in the access log, in whichever version it came. Times are those that the engines have
//! looked up anyway.

use std::sync::Arc;

use super::error::ProxyError;
use super::http::client::Fixed;
use super::millis::Millis;
use super::shared::Busy;
use super::states::{self, State};
use super::trail::Trail;
use crate::lb::backend::Backend;
use crate::lb::lease::Lease;
use crate::telemetry::access::{AccessLog, Http, Record, Stage, Timers};

/// A request's way, from its first byte to its line.
#[derive(Debug, Default)]
pub(crate) struct Course {
    /// When its first byte came.
    first: Millis,
    /// When its head was whole.
    head: Millis,
    /// When the connection to the backend stood.
    connected: Option<Millis>,
    answered: Option<Millis>,
    /// Bytes taken from the client.
    pub(crate) bytes_in: u64,
    pub(crate) status: Option<u16>,
    pub(crate) state: Option<State>,
    pub(crate) trail: Trail,
    server: Option<Arc<Backend>>,
    /// Its connection has served another.
    pub(crate) is_reused: bool,
    busy: Option<Busy>,
}

/// What was said, as the log wants it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Said<'a> {
    /// The request line.
    pub(crate) line: Option<&'a [u8]>,
    pub(crate) request_captures: &'a [Option<&'a [u8]>],
    pub(crate) response_captures: &'a [Option<&'a [u8]>],
    /// Bytes given to the client.
    pub(crate) bytes_out: u64,
}

impl Course {
    /// Begins that of a request whose head has come, whole now; `first`: when its first byte came. `self` is empty.
    pub(crate) fn begin(&mut self, fixed: &Fixed, first: Millis, bytes_in: u64) {
        debug_assert!(self.server.is_none() && self.state.is_none() && self.status.is_none());
        self.first = first;
        self.head = fixed.now();
        self.bytes_in = bytes_in;
        self.busy = Some(Busy::new(&fixed.listener));
    }

    /// Empties it, field by field: moving a new one into its place costs more than a line's text.
    pub(crate) fn clear(&mut self) {
        let Self {
            first,
            head,
            connected,
            answered,
            bytes_in,
            status,
            state,
            trail,
            server,
            is_reused,
            busy,
        } = self;
        (*first, *head, *connected, *answered) = Default::default();
        (*bytes_in, *status, *state, *is_reused) = Default::default();
        trail.clear();
        *server = None;
        *busy = None;
    }

    /// A connection to a backend stands.
    pub(crate) fn attempt(&mut self, lease: &Lease, now: Millis) {
        self.server = Some(Arc::clone(lease.backend()));
        self.connected = Some(now);
    }

    /// True when one stood.
    pub(crate) fn is_connected(&self) -> bool {
        self.connected.is_some()
    }

    /// The answer's head has come.
    pub(crate) fn answer(&mut self, status: u16, now: Millis) {
        self.answered = Some(now);
        self.status = Some(status);
    }

    /// No backend's answer will come.
    pub(crate) fn fail(&mut self, error: &ProxyError) {
        if states::is_before_attempt(error) {
            self.connected = None;
        }
        let left =
            self.trail.is_queued && matches!(error, ProxyError::ClientAbort | ProxyError::GivenUp);
        let state = if left { states::LEFT_QUEUE } else { states::failed(error, self.state) };
        if state.1 == Stage::Connect {
            // An attempt that had stood before was not the last.
            self.connected = None;
        }
        self.state = Some(state);
    }

    /// See [`Timers`]; `end` is the end. As haproxy counts them: `Tc` from the choice of the backend that was connected
    /// to, pauses between attempts included, `Tr` from the connection on.
    fn timers(&self, fixed: &Fixed, end: Millis) -> Timers {
        let is_asked = self.server.is_some() || self.trail.server.is_some() || self.trail.is_queued;
        let chosen = self.trail.chosen.map_or(self.head, |chosen| fixed.local.clock.of(chosen));
        let connected = self.connected.map(|connected| connected.max(chosen));
        Timers {
            request: Some(self.head.since(self.first)),
            queue: is_asked.then(|| chosen.since(self.head)),
            connect: connected.map(|connected| connected.since(chosen)),
            response: self.answered.map(|at| at.since(connected.unwrap_or(at))),
            total: end.since(self.first),
        }
    }

    /// Writes the line of a request that ended at `end`.
    pub(crate) fn write(
        &mut self,
        fixed: &Fixed,
        log: &Arc<AccessLog>,
        (said, end): (Said<'_>, Millis),
    ) {
        drop(self.busy.take());
        let former = self.server.as_ref().filter(|_| !self.trail.is_queued);
        let asked = self.trail.server.as_ref().or(former);
        let (cause, stage) = self.state.unwrap_or(states::DONE);
        let record = Record {
            client: fixed.peer.addr(),
            local: fixed.local_addr(),
            socket: fixed.entrance.door.number(),
            begun: fixed.local.clock.unix(self.first),
            server: asked.map(|backend| &*backend.server_name),
            timers: self.timers(fixed, end),
            bytes_out: said.bytes_out,
            bytes_in: self.bytes_in,
            cause,
            stage,
            conns: fixed.local.conns(&fixed.listener, asked),
            retries: self.trail.retries,
            redispatched: self.trail.redispatched,
            queued: (self.trail.ahead.server, self.trail.ahead.backend),
            http: Some(Http {
                line: said.line,
                status: self.status,
                request_captures: said.request_captures,
                response_captures: said.response_captures,
                reused: self.is_reused,
            }),
        };
        fixed.local.log(log, &record);
    }
}

/// What came of what never became a request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unbegun {
    /// When its first byte came, or its connection.
    pub(crate) since: Millis,
    pub(crate) bytes_in: u64,
    pub(crate) bytes_out: u64,
    pub(crate) state: State,
    pub(crate) status: u16,
    /// Its connection has served a request.
    pub(crate) is_reused: bool,
}

impl Unbegun {
    /// Writes its line.
    pub(crate) fn write(self, fixed: &Fixed, log: &Arc<AccessLog>) {
        let (cause, stage) = self.state;
        let record = Record {
            client: fixed.peer.addr(),
            local: fixed.local_addr(),
            socket: fixed.entrance.door.number(),
            begun: fixed.local.clock.unix(self.since),
            server: None,
            timers: Timers { total: fixed.tick().since(self.since), ..Timers::default() },
            bytes_out: self.bytes_out,
            bytes_in: self.bytes_in,
            cause,
            stage,
            conns: fixed.local.conns(&fixed.listener, None),
            retries: 0,
            redispatched: false,
            queued: (0, 0),
            http: Some(Http {
                line: None,
                status: Some(self.status),
                request_captures: &[],
                response_captures: &[],
                reused: self.is_reused,
            }),
        };
        fixed.local.log(log, &record);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_failed_to_connect_at_last_shows_no_time_of_an_attempt_before() {
        let lost = || ProxyError::Resource(std::io::ErrorKind::OutOfMemory.into());
        for (attempt, connected) in [
            (Some(states::LOST_DATA), Some(Millis(5))),
            (Some((crate::telemetry::access::Cause::Server, Stage::Headers)), None),
            (None, None),
        ] {
            let mut course =
                Course { connected: Some(Millis(5)), state: attempt, ..Course::default() };
            course.fail(&lost());
            assert_eq!(course.connected, connected, "{attempt:?}");
        }
    }
}
