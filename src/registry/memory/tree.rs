//! The tree itself and its watches. Every change gives the watches that it fired, to be delivered outside the lock.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use tokio::sync::oneshot;

use super::super::{Node, RegistryError, Watched, path as names};

/// The server's side, and the watches of all sessions.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) nodes: BTreeMap<String, Stored>,
    zxid: i64,
    /// By the number of the view.
    pub(super) views: BTreeMap<u64, View>,
    /// The last session id that was given out.
    pub(super) last_session: i64,
    pub(super) forbidden: HashSet<String>,
}

/// What the server keeps for one session and its successors.
#[derive(Debug, Default)]
pub(super) struct View {
    pub(super) child_watches: HashMap<String, Vec<Fire>>,
    pub(super) data_watches: HashMap<String, Vec<Fire>>,
    /// Fired while the session was cut: delivered by `heal`.
    pub(super) undelivered: Vec<Fire>,
    pub(super) cut: bool,
}

impl View {
    /// Ends all watches, as the end of a session does.
    pub(super) fn end(&mut self) -> Vec<Fire> {
        let watches = [&mut self.child_watches, &mut self.data_watches];
        let mut ended: Vec<_> =
            watches.into_iter().flat_map(HashMap::drain).flat_map(|(_, fires)| fires).collect();
        ended.append(&mut self.undelivered);
        ended
    }
}

#[derive(Debug)]
pub(super) struct Stored {
    pub(super) node: Node,
    pub(super) children: BTreeSet<String>,
    next_sequence: u32,
}

/// What is watched of a node.
#[derive(Clone, Copy)]
enum Kind {
    Children,
    Data,
}

/// Dropping it fires as well: a watch can end early, but never be forgotten.
pub(super) type Fire = oneshot::Sender<()>;

impl State {
    pub(super) fn create(&mut self, path: &str, data: Vec<u8>, owner: i64) -> Vec<Fire> {
        let mut fired = Vec::new();
        if let Some((parent, name)) = parent_and_name(path) {
            if !self.nodes.contains_key(parent) {
                fired = self.create(parent, Vec::new(), 0);
            }
            if let Some(stored) = self.nodes.get_mut(parent) {
                stored.children.insert(name.to_owned());
            }
            fired.extend(self.fire(parent, Kind::Children));
        }
        self.zxid += 1;
        let node = Node {
            data,
            created_zxid: self.zxid,
            modified_zxid: self.zxid,
            ephemeral_owner: owner,
            version: 0,
        };
        let stored = Stored { node, children: BTreeSet::new(), next_sequence: 0 };
        self.nodes.insert(path.to_owned(), stored);
        // A child watch on a missing node is an exists watch.
        fired.extend(self.fire(path, Kind::Children));
        fired.extend(self.fire(path, Kind::Data));
        fired
    }

    /// Takes the watches on `path`; those of a cut session stay here until it heals.
    fn fire(&mut self, path: &str, kind: Kind) -> Vec<Fire> {
        let mut fired = Vec::new();
        for view in self.views.values_mut() {
            let watches = match kind {
                Kind::Children => &mut view.child_watches,
                Kind::Data => &mut view.data_watches,
            };
            let ours = watches.remove(path).unwrap_or_default();
            if view.cut { view.undelivered.extend(ours) } else { fired.extend(ours) }
        }
        fired
    }

    pub(super) fn view(&mut self, number: u64) -> &mut View {
        self.views.entry(number).or_default()
    }

    /// A session id that nobody had.
    pub(super) fn next_session(&mut self) -> i64 {
        self.last_session += 1;
        self.last_session
    }

    pub(super) fn set(&mut self, path: &str, data: Vec<u8>) -> Vec<Fire> {
        self.zxid += 1;
        if let Some(stored) = self.nodes.get_mut(path) {
            stored.node.data = data;
            stored.node.modified_zxid = self.zxid;
            stored.node.version += 1;
        }
        self.fire(path, Kind::Data)
    }

    pub(super) fn remove(&mut self, path: &str) -> Vec<Fire> {
        let Some(stored) = self.nodes.get(path) else {
            return Vec::new();
        };
        let children: Vec<_> =
            stored.children.iter().map(|name| names::child(path, name)).collect();
        let mut fired: Vec<_> = children.iter().flat_map(|child| self.remove(child)).collect();
        let Some((parent, name)) = parent_and_name(path) else {
            return fired;
        };
        self.zxid += 1;
        self.nodes.remove(path);
        if let Some(stored) = self.nodes.get_mut(parent) {
            stored.children.remove(name);
        }
        for watched in [path, parent] {
            fired.extend(self.fire(watched, Kind::Children));
        }
        fired.extend(self.fire(path, Kind::Data));
        fired
    }

    pub(super) fn delete_owned(&mut self, owner: i64) -> Vec<Fire> {
        let owned: Vec<_> = self
            .nodes
            .iter()
            .filter(|(_, stored)| owner != 0 && stored.node.ephemeral_owner == owner)
            .map(|(path, _)| path.clone())
            .collect();
        owned.iter().flat_map(|path| self.remove(path)).collect()
    }

    /// The parent's next number; the parent is created if need be, as everywhere here.
    pub(super) fn next_sequence(&mut self, prefix: &str) -> (u32, Vec<Fire>) {
        let parent = prefix.rsplit_once('/').map_or("", |(parent, _)| parent);
        let parent = if parent.is_empty() { "/" } else { parent };
        let fired = if self.nodes.contains_key(parent) {
            Vec::new()
        } else {
            self.create(parent, Vec::new(), 0)
        };
        let number = self.nodes.get_mut(parent).map_or(0, |stored| {
            let number = stored.next_sequence;
            stored.next_sequence += 1;
            number
        });
        (number, fired)
    }

    pub(super) fn may_read(&self, path: &str) -> Result<(), RegistryError> {
        if self.forbidden.contains(path) {
            return Err(RegistryError::NotAuthorised { path: path.to_owned() });
        }
        Ok(())
    }
}

/// `None` for the root.
pub(super) fn parent_and_name(path: &str) -> Option<(&str, &str)> {
    match path.rsplit_once('/') {
        Some((_, "")) | None => None,
        Some(("", name)) => Some(("/", name)),
        Some(both) => Some(both),
    }
}

pub(super) fn watched<T>(
    watches: &mut HashMap<String, Vec<Fire>>,
    path: &str,
    value: T,
) -> Watched<T> {
    let (fire, fired) = oneshot::channel();
    let waiting = watches.entry(path.to_owned()).or_default();
    // A reader that went away leaves its end behind: without this, re-reading grows the list for ever.
    waiting.retain(|fire| !fire.is_closed());
    waiting.push(fire);
    Watched {
        value,
        changed: Box::pin(async move {
            // Fired or dropped: both mean "read again".
            drop(fired.await);
        }),
    }
}
