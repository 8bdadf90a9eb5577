//! The next step from what there is to what is wanted. Pure: all edges are one table.

use super::super::{Relation, Wanted};
use super::shape::Shape;
use crate::registry::Node;

/// A child that may be ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) name: String,
    pub(super) path: String,
    pub(super) node: Node,
    pub(super) whose: Whose,
    /// It speaks of our service on our host, or we have made it for that.
    pub(super) is_same: bool,
    /// It was made for our registration and no twin's: it has no owner and that is remembered, or was handed on.
    pub(super) is_known: bool,
}

/// Whose a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whose {
    /// Of our session; or persistent and made by this host.
    Ours,
    /// Of another session, or (foreign) persistent and not known to be made here.
    Of(Relation),
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step<'a> {
    Create,
    /// Our bytes into our node.
    Set(&'a Found),
    /// The node in our place is given up by its session, or of another kind: one of ours in its place, atomically.
    Replace(&'a Found),
    /// One too many.
    Delete(&'a Found),
    /// Somebody else's stands in our place.
    Blocked(&'a Found),
    /// It is as it should be, with this node.
    Stands(&'a Found),
    /// It is as it should be, without one.
    Nothing,
}

/// Services of this process that say the same as ours.
#[derive(Debug, Default)]
pub(super) struct Twins {
    /// The node that we have claimed.
    pub(super) ours: Option<String>,
    /// How many of them have claimed none: so many nodes that nobody has claimed are left alone.
    pub(super) waiting: usize,
}

/// The next step.
pub(super) fn next<'a>(
    shape: &Shape,
    found: &'a [Found],
    wanted: Wanted,
    twins: &Twins,
) -> Step<'a> {
    match wanted {
        Wanted::Undecided => adopted(found).map_or(Step::Nothing, Step::Stands),
        Wanted::Absent => {
            let ours: Vec<_> = found.iter().filter(|found| is_ours_to_end(shape, found)).collect();
            let claimed = ours.iter().find(|found| twins.ours.as_ref() == Some(&found.path));
            let next = claimed.copied().or_else(|| superfluous(ours.into_iter(), twins));
            next.map_or(Step::Nothing, Step::Delete)
        }
        Wanted::Present => {
            let step = if shape.kind.is_sequential() {
                numbered(shape, found)
            } else {
                fixed(shape, found)
            };
            let Step::Stands(ours) = step else {
                return step;
            };
            // Not before ours stands: nobody is to see none.
            let extra = |other: &&Found| other.path != ours.path && is_ours_to_end(shape, other);
            superfluous(found.iter().filter(extra), twins).map_or(step, Step::Delete)
        }
    }
}

/// One that no twin waits for.
fn superfluous<'a>(all: impl Iterator<Item = &'a Found>, twins: &Twins) -> Option<&'a Found> {
    let (known, others): (Vec<_>, Vec<_>) = all.partition(|found| found.is_known);
    known.into_iter().chain(others.into_iter().skip(twins.waiting)).next()
}

/// A node of ours, whatever it says.
fn adopted(found: &[Found]) -> Option<&Found> {
    let ours = found.iter().filter(|found| found.whose == Whose::Ours && found.is_same);
    ours.max_by_key(|found| found.node.created_zxid)
}

fn is_ours_to_end(shape: &Shape, found: &Found) -> bool {
    let is_in_place = !shape.kind.is_sequential() && shape.is_wanted_name(&found.name);
    match found.whose {
        Whose::Ours | Whose::Of(Relation::Former) => found.is_same || is_in_place,
        Whose::Of(Relation::Elder | Relation::Younger | Relation::Foreign) => false,
    }
}

fn is_of_wanted_kind(shape: &Shape, found: &Found) -> bool {
    shape.kind.is_ephemeral() == (found.node.ephemeral_owner != 0)
}

/// The newest that will do: readers prefer that too.
fn numbered<'a>(shape: &Shape, found: &'a [Found]) -> Step<'a> {
    let good = found.iter().filter(|found| {
        found.whose == Whose::Ours
            && found.is_same
            && shape.is_wanted_name(&found.name)
            && is_of_wanted_kind(shape, found)
            && found.node.data == shape.bytes
    });
    good.max_by_key(|found| found.node.created_zxid).map_or(Step::Create, Step::Stands)
}

fn fixed<'a>(shape: &Shape, found: &'a [Found]) -> Step<'a> {
    let Some(there) = found.iter().find(|found| shape.is_wanted_name(&found.name)) else {
        return Step::Create;
    };
    match there.whose {
        Whose::Ours if !is_of_wanted_kind(shape, there) => Step::Replace(there),
        Whose::Ours if there.node.data == shape.bytes => Step::Stands(there),
        Whose::Ours => Step::Set(there),
        Whose::Of(Relation::Former | Relation::Elder) => Step::Replace(there),
        Whose::Of(Relation::Younger | Relation::Foreign) => Step::Blocked(there),
    }
}
