//! Whom to ask, and what may be asked again: the rules of `http::serve`, for one request among others.
//!
//! What no backend has looked at may be tried elsewhere: a connection that could not be had or had ended, a stream that was
//! refused (REFUSED_STREAM) or came after the last one of a backend that goes away (GOAWAY); as long as all of the body
//! that was sent is kept. What may have been looked at is repeated once, and only if it is idempotent and has no body; so is
//! what a backend has not answered when its sessions are ended.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use hyper::Version;

use super::attempt::{Begun, attempt};
use super::dial::line;
use super::fields;
use super::head::Head;
use super::notes::{self, Notes};
use super::upload::Upload;
use crate::lb::BackendId;
use crate::lb::lease::Lease;
use crate::proxy::ProxySettings;
use crate::proxy::connect::Dialer;
use crate::proxy::error::ProxyError;
use crate::proxy::http::client::Fixed;
use crate::proxy::http::{Expiry, Outcome, Phase};
use crate::proxy::states;

/// A request that wants an answer.
pub(super) struct Asking<'a> {
    /// Its task's.
    pub(super) fixed: &'a Fixed,
    pub(super) settings: &'a Arc<ProxySettings>,
    pub(super) head: &'a Head,
    pub(super) upload: Rc<RefCell<Upload>>,
    /// Why the client does not want it any more, if it does not.
    pub(super) left: &'a dyn Fn(&mut Context<'_>) -> Option<ProxyError>,
}

/// An answer, and who gives it.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) begun: Begun,
    pub(super) lease: Lease,
}

impl Answer {
    /// Counts and notes it, and makes its head what a client may get in `version`.
    pub(super) fn settle(
        &mut self,
        (fixed, notes): (&Fixed, &mut Option<Box<Notes>>),
        version: Version,
    ) {
        let head = &mut self.begun.head;
        fields::strip_answer(&mut head.headers);
        head.version = version;
        let status = head.status.as_u16();
        let bytes = notes::head_bytes(&head.headers);
        fixed.cells().response(status);
        fixed.cells().bytes_out.add(bytes);
        let cells = self.lease.backend().cells.of(fixed.local.worker);
        cells.response(status);
        cells.bytes_out.add(bytes);
        if let Some(notes) = notes {
            notes.answer(head, fixed.tick());
        }
    }
}

impl Asking<'_> {
    /// True when it may be sent again after it has been sent: nothing happens twice, nothing is missing.
    pub(super) fn is_repeatable(&self) -> bool {
        self.settings.http.replay_idempotent
            && self.head.is_idempotent()
            && self.upload.borrow().is_empty()
    }
}

/// Asks until there is an answer, no further attempt is allowed, or the client gives up.
pub(super) async fn ask(
    asking: &Asking<'_>,
    notes: &mut Option<Box<Notes>>,
) -> Result<Answer, ProxyError> {
    let hashing = asking.settings.hash.as_ref();
    let hash = hashing.and_then(|it| asking.head.hash(it, asking.fixed.peer.ip()));
    let service = &asking.fixed.listener.service;
    let mut dialer = Dialer::new(service, asking.settings, &asking.fixed.timer).hashed(hash);
    let answer = {
        let mut persist = pin!(persist(asking, &mut dialer, notes));
        poll_fn(|cx| {
            // First: its body ends with it, which is not the backend's fault.
            if let Some(error) = (asking.left)(cx) {
                return Poll::Ready(Err(error));
            }
            persist.as_mut().poll(cx)
        })
        .await
    };
    asking.upload.borrow_mut().settle();
    if let Some(notes) = notes {
        notes.course.trail = dialer.trail;
        if let Err(error) = &answer {
            notes.fail(error, asking.upload.borrow().is_done());
        }
    }
    answer
}

async fn persist(
    asking: &Asking<'_>,
    dialer: &mut Dialer<'_>,
    notes: &mut Option<Box<Notes>>,
) -> Result<Answer, ProxyError> {
    let mut lease = dialer.acquire().await?;
    let mut is_replayed = false;
    loop {
        let line;
        (lease, line) = self::line(asking, dialer, lease).await?;
        if let Some(notes) = notes {
            notes.attempt(&lease, asking.fixed.now());
        }
        let outcome = match attempt(asking, &lease, line).await {
            Ok(begun) => {
                if let Some(notes) = notes {
                    // Of an attempt before.
                    notes.course.state = None;
                }
                return Ok(Answer { begun, lease });
            }
            Err(outcome) => outcome,
        };
        if let Some(notes) = notes {
            let is_sent = asking.upload.borrow().is_done();
            notes.course.state = Some(states::attempt(&outcome, Phase::Head, is_sent));
        }
        lease = again(asking, (dialer, &mut is_replayed), lease, outcome).await?;
    }
}

/// Another backend, if the request may be sent again; else what it has come to.
async fn again(
    asking: &Asking<'_>,
    (dialer, is_replayed): (&mut Dialer<'_>, &mut bool),
    failed: Lease,
    outcome: Outcome,
) -> Result<Lease, ProxyError> {
    if asking.upload.borrow().is_malformed() {
        return Err(ProxyError::ClientProtocol("malformed body"));
    }
    if matches!(outcome, Outcome::Malformed) {
        return Err(ProxyError::ClientProtocol("a host that HTTP/2 has no form for"));
    }
    if asking.upload.borrow().is_broken() {
        return Err(ProxyError::ClientAbort);
    }
    let (addr, id) = (failed.addr().clone(), failed.backend().id);
    let broken = |source| Err(ProxyError::Backend { addr: addr.clone(), source });
    let was_sent = !matches!(outcome, Outcome::Unsent);
    let is_backends = !matches!(outcome, Outcome::Expired(Expiry::Client));
    if was_sent && is_backends {
        failed.backend().cells.of(asking.fixed.local.worker).response_errors.add(1);
    }
    match outcome {
        Outcome::Unsent => {
            if asking.upload.borrow().is_repeatable() && dialer.retry.spend(id) {
                return dialer.begin_anew(failed).await;
            }
            broken(io::Error::from(io::ErrorKind::NotConnected).into())
        }
        Outcome::Unheard(error) => {
            if !may_replay(asking, dialer, is_replayed, id) {
                return broken(error.into());
            }
            dialer.begin_anew(failed).await
        }
        Outcome::Ended(reason) => {
            if !may_replay(asking, dialer, is_replayed, id) {
                return Err(ProxyError::ended(&failed, reason));
            }
            dialer.begin_anew(failed).await
        }
        Outcome::Expired(Expiry::Server) => Err(ProxyError::BackendTimeout { addr: addr.clone() }),
        Outcome::Expired(Expiry::Client) => Err(ProxyError::ClientTimeout),
        Outcome::Nonsense(why) => broken(why.into()),
        Outcome::HalfHeard => broken("the stream was reset before an answer".into()),
        Outcome::Cut(error) => broken(error.into()),
        Outcome::Answered | Outcome::Switched(_) | Outcome::Malformed | Outcome::Aborted => {
            broken("no answer".into())
        }
    }
}

/// True, and counted, when what was sent may be sent once more.
fn may_replay(
    asking: &Asking<'_>,
    dialer: &mut Dialer<'_>,
    is_replayed: &mut bool,
    id: BackendId,
) -> bool {
    if !asking.is_repeatable() || *is_replayed || !dialer.retry.spend(id) {
        return false;
    }
    *is_replayed = true;
    dialer.cells().replays.add(1);
    true
}
