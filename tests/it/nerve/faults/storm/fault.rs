//! The kinds of faults, and what one of them explains.

use tokio::time::Instant;

use super::super::BACK_WITHIN;
use super::super::witness::Look;
use super::SESSION;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Connections,
    MemberStopped,
    AllStopped,
    MemberKilled,
    NodeDeleted,
    NerveStopped,
    NerveKilled,
    NerveLeft,
}

pub(super) const ALL: [Kind; 8] = [
    Kind::Connections,
    Kind::MemberStopped,
    Kind::AllStopped,
    Kind::MemberKilled,
    Kind::NodeDeleted,
    Kind::NerveStopped,
    Kind::NerveKilled,
    Kind::NerveLeft,
];

/// Cheap ones are more frequent: they last a moment.
pub(super) const WEIGHTED: [Kind; 16] = [
    Kind::Connections,
    Kind::Connections,
    Kind::Connections,
    Kind::NodeDeleted,
    Kind::NodeDeleted,
    Kind::NodeDeleted,
    Kind::NerveKilled,
    Kind::NerveKilled,
    Kind::NerveKilled,
    Kind::NerveLeft,
    Kind::NerveLeft,
    Kind::NerveStopped,
    Kind::NerveStopped,
    Kind::MemberStopped,
    Kind::MemberKilled,
    Kind::AllStopped,
];

/// A fault that was.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fault {
    pub(super) kind: Kind,
    /// The place whose node was deleted; all others concern every place.
    pub(super) place: Option<usize>,
    pub(super) from: Instant,
    pub(super) to: Instant,
}

impl Fault {
    /// Whether it had begun before a look ended.
    pub(super) fn concerns(&self, place: usize, look: Look) -> bool {
        self.from <= look.to && self.place.is_none_or(|only| only == place)
    }

    /// Whether it explains that a look misses a node.
    pub(super) fn explains(&self, place: usize, look: Look) -> bool {
        self.concerns(place, look) && look.from <= self.to + BACK_WITHIN
    }

    /// What it was, when seen from `at`.
    pub(super) fn until(&self, at: Instant) -> String {
        let began = at.saturating_duration_since(self.from);
        let ended = at.saturating_duration_since(self.to);
        format!("{:?} {began:?} to {ended:?} earlier", self.kind)
    }

    /// Whether it takes neither session nor node away.
    pub(super) fn spares(&self) -> bool {
        match self.kind {
            Kind::Connections | Kind::MemberStopped | Kind::MemberKilled => true,
            Kind::NerveKilled | Kind::NerveLeft => self.to - self.from < SESSION / 2,
            Kind::AllStopped | Kind::NodeDeleted | Kind::NerveStopped => false,
        }
    }
}
