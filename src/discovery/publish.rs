//! How sources publish: only what changed wakes the pool; a mere confirmation updates `verified` silently.
//!
//! Several parts of one source can be in trouble at once (session, members, generator config). Each part owns its slot;
//! the first in the order of [`Part`] is shown, because it usually explains the others.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;
use tokio::time::Instant;

use super::{Discovered, MAX_SHOWN_MALFORMED, Membership};

/// What can be in trouble, most fundamental first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Session,
    Members,
    Parent,
    Generator,
}

/// One complete and successful reading of the members.
#[derive(Debug)]
pub(super) struct Reading {
    pub(super) membership: Membership,
    /// The first [`MAX_SHOWN_MALFORMED`] of them.
    pub(super) malformed: Vec<(String, String)>,
    pub(super) malformed_total: usize,
    /// The newest change among the members.
    pub(super) zxid: Option<i64>,
}

impl Reading {
    pub(super) fn new(membership: Membership) -> Self {
        Self { membership, malformed: Vec::new(), malformed_total: 0, zxid: None }
    }

    /// Counts a member that cannot be used, and shows it while there is room.
    pub(super) fn add_malformed(&mut self, name: String, reason: String) {
        self.malformed_total += 1;
        if self.malformed.len() < MAX_SHOWN_MALFORMED {
            self.malformed.push((name, reason));
        }
    }
}

/// The writing end of a source.
#[derive(Debug)]
pub(super) struct Publisher {
    out: watch::Sender<Discovered>,
    troubles: Mutex<Troubles>,
}

impl Publisher {
    pub(super) fn new(out: watch::Sender<Discovered>) -> Self {
        Self { out, troubles: Mutex::default() }
    }

    /// Publishes a reading. It ends the trouble with the members (true when there was some) and takes the place of a
    /// remembered word, or of a former source's.
    pub(super) fn members(&self, reading: Reading) -> bool {
        let was_in_trouble = self.lock().of(Part::Members).is_some();
        let trouble = self.note(Part::Members, None);
        self.out.send_if_modified(|last| {
            last.verified = Some(Instant::now());
            last.zxid = reading.zxid;
            let was_stale = last.stale.take().is_some();
            let was_former = last.former.take().is_some();
            let same = !was_stale
                && !was_former
                && same_word(&last.membership, &reading.membership)
                && last.malformed_total == reading.malformed_total
                && *last.malformed == *reading.malformed
                && last.trouble == trouble;
            if same {
                return false;
            }
            last.membership = reading.membership;
            last.malformed = reading.malformed.into();
            last.malformed_total = reading.malformed_total;
            last.trouble = trouble;
            true
        });
        was_in_trouble
    }

    /// The source was looked at and still says what it said; it ends the trouble with the members.
    pub(super) fn confirm(&self) {
        let trouble = self.note(Part::Members, None);
        self.out.send_if_modified(|last| {
            last.verified = Some(Instant::now());
            replace(&mut last.trouble, trouble)
        });
    }

    /// Publishes the generator config.
    pub(super) fn generator(&self, generator: Option<Arc<str>>) {
        self.out.send_if_modified(|last| replace(&mut last.generator, generator));
    }

    /// Enters or leaves (`None`) trouble. True when this part's text is new.
    pub(super) fn trouble(&self, part: Part, text: Option<Arc<str>>) -> bool {
        let is_new = *self.lock().of(part) != text;
        let trouble = self.note(part, text);
        self.out.send_if_modified(|last| replace(&mut last.trouble, trouble));
        is_new
    }

    /// Stores the part's trouble and gives the one to show.
    fn note(&self, part: Part, text: Option<Arc<str>>) -> Option<Arc<str>> {
        let mut troubles = self.lock();
        *troubles.of(part) = text;
        let Troubles { session, members, parent, generator } = &*troubles;
        session.as_ref().or(members.as_ref()).or(parent.as_ref()).or(generator.as_ref()).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, Troubles> {
        self.troubles.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug, Default)]
struct Troubles {
    session: Option<Arc<str>>,
    members: Option<Arc<str>>,
    parent: Option<Arc<str>>,
    generator: Option<Arc<str>>,
}

impl Troubles {
    fn of(&mut self, part: Part) -> &mut Option<Arc<str>> {
        match part {
            Part::Session => &mut self.session,
            Part::Members => &mut self.members,
            Part::Parent => &mut self.parent,
            Part::Generator => &mut self.generator,
        }
    }
}

fn same_word(a: &Membership, b: &Membership) -> bool {
    match (a, b) {
        (Membership::Known(a), Membership::Known(b)) => a.same_members(b),
        (Membership::Pending, Membership::Pending) | (Membership::Missing, Membership::Missing) => {
            true
        }
        (Membership::Pending | Membership::Known(_) | Membership::Missing, _) => false,
    }
}

/// Assigns; true when that made a difference.
fn replace<T: PartialEq>(place: &mut T, value: T) -> bool {
    let differs = *place != value;
    if differs {
        *place = value;
    }
    differs
}
