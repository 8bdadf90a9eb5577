//! Looking: which children may be ours, and whose they are.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::super::claims::Claimant;
use super::super::{Relation, Wanted};
use super::plan::{Found, Twins, Whose};
use super::shape::{Shape, is_numbered};
use crate::registry::RegistryError;
use crate::registry::writer::RegistryWriter;

/// Ends the path of a node that was asked for and not acknowledged yet.
const ASKED: char = '?';

/// What tells ours from others': our sessions, and the persistent nodes that we have made. Owned by the reporter.
#[derive(Debug)]
pub(super) struct Memory {
    claimant: Arc<Claimant>,
    /// Sessions that were ours while this reporter ran, the current one included.
    sessions: BTreeSet<i64>,
    /// The persistent nodes that this host has made for the service, for all we know: those that were remembered when we
    /// began, and our own.
    made: BTreeSet<String>,
    /// Persistent nodes that were asked for, without the number that the server gave them, if it did.
    asked: BTreeSet<String>,
    /// What is remembered of both, as it is written.
    known: BTreeSet<String>,
    /// What former reporters of the registration had, with an owner or without.
    former: BTreeSet<String>,
    /// A persistent node was asked for and the answer is open: children that were there before.
    before: Option<BTreeSet<String>>,
}

impl Memory {
    pub(super) fn new(claimant: Arc<Claimant>) -> Self {
        let known = claimant.known();
        let asked: BTreeSet<_> =
            known.iter().filter_map(|line| line.strip_suffix(ASKED)).map(str::to_owned).collect();
        let made = known.iter().filter(|line| !line.ends_with(ASKED)).cloned().collect();
        let (former, sessions) = (claimant.former(), BTreeSet::new());
        Self { claimant, sessions, made, asked, known, former, before: None }
    }

    /// What we are about to make true.
    pub(super) fn wants(&self, wanted: Wanted) {
        self.claimant.wants(wanted);
    }

    /// This session is ours now.
    pub(super) fn enter(&mut self, session: i64) {
        self.sessions.insert(session);
    }

    /// Whose a session is that is not the current one.
    pub(super) fn relation(&self, session: i64) -> Relation {
        if self.sessions.contains(&session) {
            return Relation::Former;
        }
        self.claimant.kin().relation(session)
    }

    /// A node without an owner is about to be created. Told before, so that one whose creation is not acknowledged, even
    /// because we are killed, is known as ours.
    pub(super) fn will_make(&mut self, shape: &Shape, found: &[Found]) {
        if shape.kind.is_ephemeral() {
            return;
        }
        if self.before.is_none() {
            self.before = Some(found.iter().map(|found| found.path.clone()).collect());
        }
        let targets = if shape.kind.is_sequential() { &mut self.asked } else { &mut self.made };
        targets.insert(shape.target());
        self.remember();
    }

    /// A persistent node of ours was made here.
    pub(super) fn made(&mut self, shape: &Shape, path: &str) {
        self.before = None;
        self.asked.remove(&shape.target());
        self.made.insert(path.to_owned());
        self.remember();
    }

    /// What was found to be made here stays so, however it changes.
    pub(super) fn claim(&mut self, found: &[Found]) {
        let made = found
            .iter()
            .filter(|found| found.whose == Whose::Ours && found.node.ephemeral_owner == 0);
        self.made.extend(made.map(|found| found.path.clone()));
    }

    /// Takes this node; false when another service of this process has it.
    pub(super) fn take(&self, path: &str) -> bool {
        self.claimant.claim(path)
    }

    /// How we stand to services that say the same.
    pub(super) fn twins(&self) -> Twins {
        Twins { ours: self.claimant.node(), waiting: self.claimant.waiting_twins() }
    }

    /// There is none of ours.
    pub(super) fn give_back(&self) {
        self.claimant.release();
    }

    /// Our node stands here, and no other.
    pub(super) fn stands(&mut self, shape: &Shape, path: &str) {
        self.forget_former();
        if shape.kind.is_ephemeral() {
            self.forget();
            return;
        }
        self.before = None;
        self.asked.clear();
        self.made.retain(|made| made == path);
        self.made.insert(path.to_owned());
        self.remember();
    }

    /// There is none of ours any more.
    pub(super) fn forget(&mut self) {
        self.forget_former();
        self.before = None;
        self.asked.clear();
        self.made.clear();
        self.remember();
    }

    fn forget_former(&mut self) {
        if !self.former.is_empty() {
            self.former.clear();
            self.claimant.forget_former();
        }
    }

    /// Persists what we have made and what we are about to make.
    fn remember(&mut self) {
        let asked = self.asked.iter().map(|target| format!("{target}{ASKED}"));
        self.known = self.made.iter().cloned().chain(asked).collect();
        self.claimant.know(&self.known);
    }

    /// Whether a nerve that started after us has this node without an owner as its own.
    pub(super) fn is_of_younger(&self, shape: &Shape, path: &str) -> bool {
        !shape.kind.is_ephemeral() && self.claimant.is_of_younger(path)
    }

    /// Whether a child of this name was made here, be it under a former instance id.
    fn has_made_name(&self, shape: &Shape, name: &str) -> bool {
        let path = shape.child(name);
        self.made.contains(&path) || self.former.contains(&path)
    }

    /// Whether this host has made a node without an owner.
    fn has_made(&self, shape: &Shape, found: &Found) -> bool {
        if self.made.contains(&found.path) {
            // Unless another host has taken the name since.
            return !shape.is_other_host(&found.name, &found.node.data);
        }
        if !shape.kind.is_sequential() && shape.is_wanted_name(&found.name) {
            // By its name it is ours alone, unless another host uses our instance id.
            return !shape.kind.is_ephemeral() && shape.is_same_instance(&found.node.data);
        }
        match &self.before {
            Some(before) if shape.kind.is_sequential() => {
                shape.is_wanted_name(&found.name)
                    && found.node.data == shape.bytes
                    && !before.contains(&found.path)
            }
            // Who asked was killed, or ended, between the request and its answer, perhaps with another record or kind.
            Some(_) | None => {
                found.is_same && self.asked.iter().any(|target| is_numbered(&found.path, target))
            }
        }
    }

    fn whose(&self, shape: &Shape, found: &Found, session: i64) -> Whose {
        match found.node.ephemeral_owner {
            0 if !self.has_made(shape, found) => Whose::Of(Relation::Foreign),
            0 if self.claimant.is_of_younger(&found.path) => Whose::Of(Relation::Younger),
            0 => Whose::Ours,
            owner if owner == session => Whose::Ours,
            owner => Whose::Of(self.relation(owner)),
        }
    }

    /// `found` with its owner judged anew.
    pub(super) fn judge(&self, shape: &Shape, mut found: Found, session: i64) -> Found {
        found.whose = self.whose(shape, &found, session);
        if self.claimant.is_anothers(&found.path) {
            found.whose = Whose::Of(Relation::Foreign);
        }
        let is_handed_on = self.former.contains(&found.path);
        let is_known = self.known.contains(&found.path) || is_handed_on;
        found.is_known = found.whose == Whose::Ours && is_known;
        // What we have made for this service is ours to end, whatever it says by now. A node of our session under our name
        // that says nothing legible is ours too: if it is a sibling's, with another port, that one mends it.
        let is_legible = Shape::is_legible(&found.name, &found.node.data);
        found.is_same |= match found.whose {
            Whose::Ours => found.node.ephemeral_owner == 0 || !is_legible || is_handed_on,
            Whose::Of(Relation::Former) => !is_legible,
            Whose::Of(Relation::Elder | Relation::Younger | Relation::Foreign) => false,
        };
        found
    }
}

/// All children that may be ours; empty as well when the path does not exist.
pub(super) async fn look(
    registry: &dyn RegistryWriter,
    (shape, memory): (&Shape, &Memory),
    session: i64,
) -> Result<Vec<Found>, RegistryError> {
    let names = registry.children(shape.parent()).await?.unwrap_or_default();
    let may_be_ours = |name: &String| shape.may_be_ours(name) || memory.has_made_name(shape, name);
    let names: Vec<_> = names.into_iter().filter(may_be_ours).collect();
    let paths: Vec<_> = names.iter().map(|name| shape.child(name)).collect();
    if paths.is_empty() {
        return Ok(Vec::new());
    }
    let nodes = registry.read_many(&paths).await?;
    let mut found = Vec::with_capacity(names.len());
    for ((name, path), node) in names.into_iter().zip(paths).zip(nodes) {
        // `None`: gone since the list was read.
        if let Some(node) = node? {
            let is_same = shape.is_same_identity(&name, &node.data);
            let whose = Whose::Of(Relation::Foreign);
            let child = Found { name, path, node, whose, is_same, is_known: false };
            found.push(memory.judge(shape, child, session));
        }
    }
    Ok(found)
}
