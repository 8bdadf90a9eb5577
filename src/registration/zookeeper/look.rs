//! Looking: which children may be ours, and whose they are.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::super::{Kin, Relation};
use super::plan::{Found, Twins, Whose};
use super::shape::{Shape, is_numbered};
use crate::endpoint::ServiceName;
use crate::registry::RegistryError;
use crate::registry::writer::RegistryWriter;

/// What tells ours from others': our sessions, and the persistent nodes that we have made. Owned by the reporter.
#[derive(Debug)]
pub(super) struct Memory {
    service: ServiceName,
    kin: Arc<dyn Kin>,
    /// Sessions that were ours while this reporter ran, the current one included.
    sessions: BTreeSet<i64>,
    /// The persistent nodes that this host has made for the service, for all we know: those that were remembered when we
    /// began (a target without a number: one was asked for), and our own.
    made: BTreeSet<String>,
    /// A persistent node was asked for and the answer is open: children that were there before.
    before: Option<BTreeSet<String>>,
}

impl Memory {
    pub(super) fn new(service: ServiceName, kin: Arc<dyn Kin>, shape: &Shape) -> Self {
        let remembered = kin.remembered_node(&service, shape.parent()).unwrap_or_default();
        let made = remembered.lines().map(str::to_owned).collect();
        kin.claims().enter(&service, shape.identity());
        Self { service, kin, sessions: BTreeSet::new(), made, before: None }
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
        self.kin.relation(session)
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
        if shape.kind.is_sequential() {
            self.remember(shape, Some(shape.target()));
        } else {
            self.made.insert(shape.target());
            self.remember(shape, None);
        }
    }

    /// A persistent node of ours was made here.
    pub(super) fn made(&mut self, shape: &Shape, path: &str) {
        self.before = None;
        self.made.insert(path.to_owned());
        self.remember(shape, None);
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
        self.kin.claims().claim(&self.service, path)
    }

    /// How we stand to services that say the same.
    pub(super) fn twins(&self) -> Twins {
        let claims = self.kin.claims();
        Twins { ours: claims.node_of(&self.service), waiting: claims.waiting_twins(&self.service) }
    }

    /// There is none of ours.
    pub(super) fn give_back(&self) {
        self.kin.claims().release(&self.service);
    }

    /// Our node stands here, and no other.
    pub(super) fn stands(&mut self, shape: &Shape, path: &str) {
        if shape.kind.is_ephemeral() {
            self.forget(shape);
            return;
        }
        self.before = None;
        self.made.retain(|made| made == path);
        self.made.insert(path.to_owned());
        self.remember(shape, None);
    }

    /// There is none of ours any more.
    pub(super) fn forget(&mut self, shape: &Shape) {
        self.before = None;
        self.made.clear();
        self.remember(shape, None);
    }

    /// Persists what we have made and what we are about to make. Tells only what is news: it costs a write to the disk.
    fn remember(&self, shape: &Shape, asked_for: Option<String>) {
        let lines: BTreeSet<_> = self.made.iter().cloned().chain(asked_for).collect();
        let lines = Vec::from_iter(lines).join("\n");
        let lines = (!lines.is_empty()).then_some(lines);
        if self.kin.remembered_node(&self.service, shape.parent()) != lines {
            self.kin.remember_node(&self.service, shape.parent(), lines.as_deref());
        }
    }

    /// Whether a child of this name was made here, be it under a former instance id.
    fn has_made_name(&self, shape: &Shape, name: &str) -> bool {
        self.made.contains(&shape.child(name))
    }

    /// Whether this host has made a node without an owner.
    fn has_made(&self, shape: &Shape, found: &Found) -> bool {
        if self.made.contains(&found.path) {
            // Unless another host has taken the name since.
            return !shape.is_other_host(&found.name, &found.node.data);
        }
        if !shape.kind.is_sequential() {
            // By its name it is ours alone, unless another host uses our instance id.
            return !shape.kind.is_ephemeral()
                && shape.is_wanted_name(&found.name)
                && shape.is_same_instance(&found.node.data);
        }
        match &self.before {
            Some(before) => {
                shape.is_wanted_name(&found.name)
                    && found.node.data == shape.bytes
                    && !before.contains(&found.path)
            }
            // We were killed between the request and its answer, perhaps with another record.
            None => {
                found.is_same && self.made.iter().any(|target| is_numbered(&found.path, target))
            }
        }
    }

    fn whose(&self, shape: &Shape, found: &Found, session: i64) -> Whose {
        match found.node.ephemeral_owner {
            0 if !self.has_made(shape, found) => Whose::Of(Relation::Foreign),
            0 if self.kin.is_of_younger(&found.path) => Whose::Of(Relation::Younger),
            0 => Whose::Ours,
            owner if owner == session => Whose::Ours,
            owner => Whose::Of(self.relation(owner)),
        }
    }

    /// `found` with its owner judged anew.
    pub(super) fn judge(&self, shape: &Shape, mut found: Found, session: i64) -> Found {
        found.whose = self.whose(shape, &found, session);
        if self.kin.claims().is_anothers(&self.service, &found.path) {
            found.whose = Whose::Of(Relation::Foreign);
        }
        // What we have made for this service is ours to end, whatever it says by now. A node of our session under our name
        // that says nothing legible is ours too: if it is a sibling's, with another port, that one mends it.
        let is_legible = Shape::is_legible(&found.name, &found.node.data);
        found.is_same |= match found.whose {
            Whose::Ours => found.node.ephemeral_owner == 0 || !is_legible,
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
            let child = Found { name, path, node, whose, is_same };
            found.push(memory.judge(shape, child, session));
        }
    }
    Ok(found)
}
