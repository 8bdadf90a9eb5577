//! An answer's body on its way into a client's stream, and what is left of the request on its way to the backend.

use std::cell::RefCell;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::{Reason, SendStream};

use super::attempt::Pump;
use super::carry::{Carried, Carrier, Moved};
use super::gauge::Talk;
use super::outlet::Outlet;
use super::upload::Upload;
use crate::lb::lease::Lease;
use crate::proxy::ProxySettings;
use crate::proxy::http::client::Fixed;
use crate::proxy::http::{Expiry, Outcome};
use crate::proxy::millis::Millis;

/// An answer's body under way, and what is left of the request's.
#[derive(Debug)]
pub(super) struct Down<'a> {
    fixed: &'a Fixed,
    settings: &'a ProxySettings,
    talk: &'a Talk,
    lease: &'a Lease,
    upload: &'a Rc<RefCell<Upload>>,
    pump: Option<Pump>,
    outlet: Outlet,
    carrier: Carrier,
    client_moved: Millis,
    backend_moved: Millis,
    /// Handed to the client.
    pub(super) bytes: u64,
}

impl<'a> Down<'a> {
    pub(super) fn new(
        (fixed, settings): (&'a Fixed, &'a ProxySettings),
        (talk, lease): (&'a Talk, &'a Lease),
        upload: &'a Rc<RefCell<Upload>>,
        (outlet, pump, send): (Outlet, Option<Pump>, SendStream<Bytes>),
    ) -> Self {
        let now = fixed.now();
        Self {
            fixed,
            settings,
            talk,
            lease,
            upload,
            pump,
            outlet,
            carrier: Carrier::new(send),
            client_moved: now,
            backend_moved: now,
            bytes: 0,
        }
    }

    /// Moves bytes both ways until the answer ends, or is to end.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Outcome> {
        if let Some(pump) = &mut self.pump
            && pump.poll(cx).is_ready()
        {
            self.pump = None;
        }
        if let Poll::Ready(outcome) = self.move_on(cx) {
            return Poll::Ready(outcome);
        }
        if let Some(reason) = self.lease.ended() {
            return Poll::Ready(Outcome::Ended(reason));
        }
        let (expiry, deadline) = self.deadline();
        if self.fixed.timer.expires(deadline) {
            return Poll::Ready(Outcome::Expired(expiry));
        }
        Poll::Pending
    }

    fn move_on(&mut self, cx: &mut Context<'_>) -> Poll<Outcome> {
        let Self { carrier, outlet, fixed, talk, client_moved, backend_moved, bytes, .. } = self;
        let moved = |moved| match moved {
            Moved::Came => *backend_moved = fixed.tick(),
            Moved::Went(n) => {
                *client_moved = fixed.now();
                *bytes += n as u64;
                talk.add_useful(n as u64);
            }
        };
        Poll::Ready(match ready!(carrier.poll(outlet, moved, cx)) {
            Carried::Whole => Outcome::Answered,
            Carried::Nowhere => Outcome::Aborted,
            Carried::Broken(error) => Outcome::Cut(std::io::Error::other(error)),
        })
    }

    /// Whose turn it is, and until when: as with HTTP/1.
    fn deadline(&self) -> (Expiry, Millis) {
        let t = &self.settings.timeouts;
        let upload = self.upload.borrow();
        if self.carrier.is_waiting() {
            return (Expiry::Client, self.client_moved.after_or_never(t.client));
        }
        let both = self.client_moved.max(self.backend_moved).max(upload.active);
        if !upload.is_done() && upload.awaits_client {
            return Expiry::of_upload(t, both);
        }
        (Expiry::Server, self.backend_moved.max(upload.active).after_or_never(t.server))
    }

    /// Leaves the stream so that its client cannot take a part for the whole.
    pub(super) fn end(mut self, outcome: &Outcome) {
        match outcome {
            Outcome::Answered if self.upload.borrow().is_done() => {
                self.outlet.complete(&self.fixed.local);
            }
            Outcome::Answered | Outcome::Aborted => {}
            Outcome::Expired(Expiry::Client) => self.carrier.reset(Reason::CANCEL),
            Outcome::Expired(Expiry::Server) | Outcome::Ended(_) => {
                self.outlet.distrust();
                self.carrier.reset(Reason::INTERNAL_ERROR);
            }
            Outcome::Cut(_)
            | Outcome::Switched(_)
            | Outcome::Unsent
            | Outcome::Unheard(_)
            | Outcome::HalfHeard
            | Outcome::Nonsense(_)
            | Outcome::Malformed => self.carrier.reset(Reason::INTERNAL_ERROR),
        }
    }
}
