//! How long a client is waited for: for its next request, and for it to take an answer.

use std::cell::RefCell;
use std::rc::Rc;

use super::Front;
use crate::proxy::http2::upload::Upload;
use crate::proxy::millis::Millis;

/// For a request that has not come yet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wait {
    /// When it began to come; before, when the last answer ended.
    pub(super) since: Millis,
    /// What had been heard then.
    pub(super) heard: u64,
    /// Something of it has come. Of the first request, as if.
    pub(super) has_begun: bool,
}

/// Why a connection ends that hyper would have served on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Over {
    /// Nothing more is asked, or nothing taken.
    Silent,
    /// A request did not come in time.
    Late,
}

impl Front {
    /// An answer has ended: the next request is waited for, once this one's body has come.
    pub(in crate::proxy::http2) fn rest(&self, now: Millis, upload: &Rc<RefCell<Upload>>) {
        if !upload.borrow().is_over() {
            self.unread.replace(Some(Rc::clone(upload)));
        }
        let waiting = self.vigil.answered();
        let heard = self.talk.heard().saturating_sub(waiting as u64);
        self.wait.set(Some(Wait { since: now, heard, has_begun: waiting > 0 }));
    }

    /// Has the connection look again at what it waits for.
    pub(in crate::proxy::http2) fn look(&self) {
        // Not yet: this only sets it.
        let _is_up = self.fixed.timer.expires(self.fixed.local.clock.tick());
    }

    /// True, with why, when time is up.
    pub(super) fn is_over(&self) -> Option<Over> {
        if self.is_left.get() || self.ended().is_some() {
            return Some(Over::Silent);
        }
        let wait = self.wait.get();
        let (deadline, over) =
            wait.map_or_else(|| (self.untaken.get(), Over::Silent), |wait| self.patience(wait));
        let is_over = self.fixed.timer.expires(deadline);
        self.is_untaken.set(is_over && wait.is_none());
        is_over.then_some(over)
    }

    /// Until when the next request must have come: as with `http`.
    fn patience(&self, mut wait: Wait) -> (Millis, Over) {
        let settings = self.fixed.listener.service.settings.load();
        let t = &settings.timeouts;
        let clock = &self.fixed.local.clock;
        let taken = self.moved.0.look(self.talk.taken(), clock);
        let heard = self.moved.1.look(self.talk.heard(), clock);
        if self.talk.is_blocked() {
            // Of the answer before.
            return (taken.after_or_never(t.client), Over::Silent);
        }
        let unread = self.unread.take();
        if let Some(upload) = unread {
            self.rest(clock.now(), &upload);
            if !upload.borrow().is_over() {
                return (Millis::NEVER, Over::Silent);
            }
            wait = Wait { since: clock.now(), heard: self.talk.heard(), has_begun: false };
        }
        if !wait.has_begun && self.talk.heard() != wait.heard {
            wait = Wait { since: heard, has_begun: true, ..wait };
            self.wait.set(Some(wait));
        }
        if wait.has_begun {
            let is_probe = settings.http.ignore_probes && self.talk.heard() == 0;
            (t.head(wait.since, heard), if is_probe { Over::Silent } else { Over::Late })
        } else {
            let since = wait.since.max(taken);
            (t.rest(since, since), Over::Silent)
        }
    }
}
