//! One request and its answer, both ways at once: what has been sent, what has come, when it is over, what remains.

use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::Instant;

use super::client::{Begun, Client, Expiry, Fixed};
use super::inbound::Inbound;
use super::logged::Notes;
use super::message::Upgrade;
use super::message::framing::Body;
use super::message::request::Request;
use super::message::response::{Asked, Come, Recode};
use super::upstream::Upstream;
use crate::lb::ending::Reason;
use crate::lb::lease::Lease;
use crate::proxy::CloseMode;
use crate::proxy::buffer::Mark;
use crate::proxy::millis::Millis;
use crate::proxy::pipe::Pipe;
use crate::telemetry::cells::BackendCells;

/// How long a client that the reactor does not know yet may wait for its answer without being watched for its going
/// away. Most have their answer before, and need not be made known at all.
const UNWATCHED: Duration = Duration::from_millis(50);

/// The way of the request.
#[derive(Debug)]
pub(super) struct Up {
    /// The head for the backend and a short body that came with it: kept until an answer begins, to be sent again if it
    /// must.
    pub(super) head: Vec<u8>,
    pub(super) head_sent: usize,
    /// A longer body that came with the head, still where it was read. To be sent or saved before the task yields.
    pub(super) carried: Option<Mark>,
    pub(super) body: Inbound,
    /// Read and not yet taken by the backend.
    pub(super) waiting: Vec<u8>,
    pub(super) waiting_sent: usize,
    /// The same, not copied. Held only while there are bytes in it.
    pub(super) pipe: Option<Pipe>,
    /// Bytes of body so far.
    pub(super) bytes: u64,
    /// The backend takes no more.
    pub(super) is_broken: bool,
    /// The backend does not take what is to be sent.
    pub(super) is_blocked: bool,
    /// When the backend last took something, or announced that it is at work.
    pub(super) sent_at: Millis,
}

impl Up {
    /// True when the backend has all of the request.
    pub(super) fn is_done(&self) -> bool {
        self.body.is_done()
            && self.head_sent >= self.head.len()
            && self.carried.is_none()
            && self.waiting_sent >= self.waiting.len()
            && self.pipe.is_none()
    }
}

/// The way of the answer.
#[derive(Debug)]
pub(super) struct Down {
    /// A part of a head.
    pub(super) inbox: Vec<u8>,
    pub(super) phase: Phase,
    pub(super) body: Inbound,
    /// Of the body, on its way to the client. Held only while there are bytes in it.
    pub(super) pipe: Option<Pipe>,
    pub(super) recode: Recode,
    pub(super) keep_backend: bool,
    pub(super) keep_client: bool,
    /// A byte has come.
    pub(super) heard: bool,
    /// Heads that announce another.
    pub(super) interims: u16,
    /// Its status is no refusal of the request: what is still to come of that is wanted.
    pub(super) accepts: bool,
    /// When the backend last moved.
    pub(super) active: Millis,
}

/// How far the answer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Head,
    Body,
}

/// How an attempt ends.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// The answer is complete.
    Answered,
    /// The backend speaks another protocol from here on; what it said after its head.
    Switched(Vec<u8>),
    /// Nothing was sent: the connection had ended before.
    Unsent,
    /// The connection ended before an answer began.
    Unheard(std::io::Error),
    /// It ended within the answer's head.
    HalfHeard,
    /// What came is no answer.
    Nonsense(&'static str),
    /// The answer ended before its end.
    Cut(std::io::Error),
    /// The client's body is none.
    Malformed,
    /// The client has gone, or its socket is lost.
    Aborted,
    /// The backend's sessions are to end.
    Ended(Reason),
    /// Time is up.
    Expired(Expiry),
}

/// A request being served.
#[derive(Debug)]
pub(super) struct Exchange {
    pub(super) request: Request,
    pub(super) up: Up,
    pub(super) down: Down,
    pub(super) lease: Option<Lease>,
    pub(super) upstream: Option<Box<Upstream>>,
    /// For the access log: `None` when there is none.
    pub(super) notes: Option<Box<Notes>>,
    /// For the balancer; see [`PickContext`](crate::lb::PickContext).
    pub(super) hash: Option<u32>,
    /// It has been sent a second time.
    pub(super) is_replayed: bool,
    pub(super) started: Instant,
    pub(super) is_over: bool,
}

impl Exchange {
    pub(super) fn new(begun: Begun, fixed: &Fixed) -> Self {
        let (now, started) = (fixed.now(), fixed.local.clock.instant());
        Self {
            request: begun.request,
            up: Up {
                head: begun.head,
                head_sent: 0,
                carried: begun.carried,
                body: begun.body,
                waiting: Vec::new(),
                waiting_sent: 0,
                pipe: None,
                bytes: begun.bytes,
                is_broken: false,
                is_blocked: false,
                sent_at: now,
            },
            down: Down {
                inbox: Vec::new(),
                phase: Phase::Head,
                body: Inbound::Done,
                pipe: None,
                recode: Recode::No,
                keep_backend: false,
                keep_client: false,
                heard: false,
                interims: 0,
                accepts: false,
                active: now,
            },
            lease: None,
            upstream: None,
            notes: begun.notes,
            hash: begun.hash,
            is_replayed: false,
            started,
            is_over: false,
        }
    }

    /// Starts an attempt over `upstream`.
    pub(super) fn attempt(&mut self, lease: Lease, upstream: Box<Upstream>, now: Millis) {
        if let Some(notes) = &mut self.notes {
            notes.attempt(&lease, now);
        }
        self.lease = Some(lease);
        self.upstream.insert(upstream).is_login |= self.request.is_login;
        self.up.head_sent = 0;
        self.up.is_broken = false;
        self.up.sent_at = now;
        self.down.active = now;
    }

    /// Something has come over the backend's connection.
    pub(super) fn hear(&mut self) {
        if !self.down.heard {
            self.down.heard = true;
            if let Some(upstream) = &mut self.upstream {
                upstream.unanswered = None;
            }
        }
    }

    /// Moves bytes both ways until the attempt ends.
    pub(super) fn poll(
        &mut self,
        fixed: &Fixed,
        client: &mut Client,
        cx: &mut Context<'_>,
    ) -> Poll<Outcome> {
        if let Some(reason) = self.lease.as_ref().and_then(Lease::ended) {
            return Poll::Ready(Outcome::Ended(reason));
        }
        // What is over waits for its client alone.
        if !self.is_over
            && let Some(outcome) = self.poll_up(fixed, client, cx)
        {
            return Poll::Ready(outcome);
        }
        if self.is_answered() && (self.up.is_done() || self.up.is_broken) {
            self.complete(fixed, client, true);
        }
        if let Poll::Ready(outcome) = self.poll_down(fixed, client, cx) {
            return Poll::Ready(outcome);
        }
        loop {
            if self.up.body.is_done() && client.is_aborted(cx, true) {
                return Poll::Ready(Outcome::Aborted);
            }
            let (expiry, deadline) = self.deadline(client);
            let look = client.socket.is_bare().then(|| self.up.sent_at.after(UNWATCHED));
            if !fixed.timer.expires(deadline.min(look.unwrap_or(Millis::NEVER))) {
                return Poll::Pending;
            }
            if look.is_none() || deadline <= fixed.now() {
                return Poll::Ready(Outcome::Expired(expiry));
            }
            if client.socket.watch().is_err() {
                return Poll::Ready(Outcome::Aborted);
            }
        }
    }

    /// What decides about the answer's head.
    pub(super) fn asked(&self, fixed: &Fixed, client: &Client) -> Asked {
        let stays =
            client.settings.http.close_mode != CloseMode::Close && !client.is_leaving(fixed);
        Asked {
            is_head: self.request.is_head,
            version: self.request.version,
            sent: self.request.sent,
            // Within the request nothing can be switched: the rest of it would be the new protocol's.
            upgrade: if self.up.is_done() { self.request.upgrade } else { Upgrade::No },
            // The rest of a request that its backend does not take is not read.
            keep_alive: self.request.keep_alive
                && stays
                && (self.up.body.is_done() || !self.up.is_broken),
            come: match self.up.bytes {
                _ if self.up.body.is_done() => Come::All,
                0 => Come::Head,
                _ => Come::Part,
            },
        }
    }

    /// True when the client takes the end of its connection for the end of the answer under way.
    pub(super) fn ends_by_close(&self) -> bool {
        let down = &self.down;
        down.phase == Phase::Body
            && (down.recode == Recode::OutOfChunks
                || (down.recode == Recode::No && matches!(down.body, Inbound::UntilClose)))
    }

    /// The counters of the backend in hand.
    pub(super) fn backend_cells(&self, fixed: &Fixed) -> Option<&BackendCells> {
        self.lease.as_ref().map(|lease| lease.backend().cells.of(fixed.local.worker))
    }

    /// True when the request may be sent again after it has been sent: nothing happens twice, nothing is missing.
    pub(super) fn is_repeatable(&self, client: &Client) -> bool {
        client.settings.http.replay_idempotent
            && self.request.upgrade == Upgrade::No
            && self.request.is_idempotent
            && self.request.body == Body::Empty
    }
}
