//! What the reporter tells about itself.

use std::sync::Arc;
use std::time::SystemTime;

use tokio::sync::watch;

use super::super::{Phase, Registration, Wanted};

/// The only writer of a [`Registration`].
#[derive(Debug)]
pub(super) struct Publisher {
    out: watch::Sender<Registration>,
    /// The last trouble was that there is no session.
    is_unreached: bool,
}

impl Publisher {
    pub(super) fn new(out: watch::Sender<Registration>) -> Self {
        Self { out, is_unreached: false }
    }

    /// A write was acknowledged.
    pub(super) fn wrote(&self) {
        self.out.send_modify(|state| state.writes += 1);
    }

    /// There and ours.
    pub(super) fn registered(&self, node: &str, owner: i64) {
        let owner = (owner != 0).then_some(owner);
        self.enter(Phase::Registered, Some(node), owner, None);
    }

    /// Acknowledged: not there.
    pub(super) fn absent(&self) {
        self.enter(Phase::Absent, None, None, None);
    }

    /// Somebody else's node stands in our place.
    pub(super) fn blocked(&self, trouble: &str) {
        self.enter(Phase::Blocked, None, None, Some(trouble));
    }

    /// On the way; the trouble of the last try stays until it is over.
    pub(super) fn changing(&self) {
        let trouble = self.out.borrow().trouble.clone();
        self.enter(Phase::Changing, None, None, trouble.as_deref());
    }

    /// There is a session again: that there was none explains nothing any more.
    pub(super) fn reached(&mut self) {
        let is_explained = std::mem::take(&mut self.is_unreached);
        if is_explained && self.out.borrow().phase == Phase::Changing {
            self.enter(Phase::Changing, None, None, None);
        }
    }

    /// There is no session.
    pub(super) fn unreached(&mut self, wanted: Wanted, trouble: &str) {
        self.is_unreached = true;
        self.held_up(wanted, trouble);
    }

    /// The registry cannot be asked. What was acknowledged and is still wanted is not taken back. True when that is news.
    pub(super) fn held_up(&self, wanted: Wanted, trouble: &str) -> bool {
        let last = self.out.borrow().clone();
        let node = last.node.as_deref();
        match (last.phase, wanted) {
            (Phase::Registered | Phase::Unconfirmed, Wanted::Present | Wanted::Undecided) => {
                self.enter(Phase::Unconfirmed, node, last.owner, Some(trouble))
            }
            (Phase::Absent, Wanted::Absent | Wanted::Undecided)
            | (Phase::Unknown, Wanted::Undecided) => {
                self.enter(last.phase, node, last.owner, Some(trouble))
            }
            (Phase::Registered | Phase::Unconfirmed, Wanted::Absent)
            | (Phase::Absent, Wanted::Present)
            | (Phase::Unknown, Wanted::Present | Wanted::Absent)
            | (Phase::Changing | Phase::Blocked, _) => {
                self.enter(Phase::Changing, None, None, Some(trouble))
            }
        }
    }

    fn enter(
        &self,
        phase: Phase,
        node: Option<&str>,
        owner: Option<i64>,
        trouble: Option<&str>,
    ) -> bool {
        self.out.send_if_modified(|state| {
            let is_same = state.phase == phase
                && state.node.as_deref() == node
                && state.owner == owner
                && state.trouble.as_deref() == trouble;
            if is_same {
                return false;
            }
            if state.phase != phase {
                state.phase = phase;
                state.since = SystemTime::now();
            }
            state.node = node.map(Arc::from);
            state.owner = owner;
            state.trouble = trouble.map(Arc::from);
            true
        })
    }
}
