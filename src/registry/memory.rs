//! The in-memory twin of ZooKeeper: the tree, one-shot watches and a session that can be cut, healed and expired.
//!
//! For tests, benches and `synapse demo`; it keeps nothing across a restart. One [`MemoryRegistry`] is one session (and its
//! successors) with one ensemble; [`MemoryRegistry::another`] opens a further one on the same tree. The inherent methods
//! act *on the server* (they work while the session is cut), the [`Registry`] and
//! [`RegistryWriter`](super::writer::RegistryWriter) methods act through the session. As in ZooKeeper, a watch that fires
//! while the session is cut is delivered when it heals, and an expiry ends all watches.
//!
//! All state sits behind one mutex that is held for a few map operations and never across an await. Watches are fired
//! after it is released.

mod reads;
mod sessions;
mod tree;
mod writes;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

pub use self::reads::ReadCounts;
use self::reads::Reads;
use self::tree::{Fire, State, watched};
pub use self::writes::WriteFault;
use super::{Node, NodeRead, Registry, RegistryError, Session, Watched};
use crate::health::BoxFuture;

/// A registry in memory. Cheap to clone; clones are the same session.
#[derive(Clone, Debug)]
pub struct MemoryRegistry {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// What errors call the ensemble.
    ensemble: Arc<str>,
    /// The server: shared by all sessions.
    state: Arc<Mutex<State>>,
    /// Our place in [`State::views`].
    view: u64,
    session: watch::Sender<Session>,
    reads: Reads,
    /// What happens to our next writes, in order.
    faults: Mutex<VecDeque<WriteFault>>,
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).views.remove(&self.view);
    }
}

impl Default for MemoryRegistry {
    fn default() -> Self {
        Self::new("memory")
    }
}

impl MemoryRegistry {
    /// An empty registry with a connected session; `ensemble` is its name in errors.
    pub fn new(ensemble: impl Into<Arc<str>>) -> Self {
        let mut state = State::default();
        state.create("/", Vec::new(), 0);
        Self::open(ensemble.into(), Arc::new(Mutex::new(state)))
    }

    /// Creates `path` (with its parents) or replaces its data.
    pub fn put(&self, path: &str, data: impl Into<Vec<u8>>) {
        self.put_ephemeral(path, data, 0);
    }

    /// As [`Self::put`], owned by session `owner` (0: nobody) if it has to be created.
    pub fn put_ephemeral(&self, path: &str, data: impl Into<Vec<u8>>, owner: i64) {
        let data = data.into();
        self.change(|state| {
            if state.nodes.contains_key(path) {
                state.set(path, data)
            } else {
                state.create(path, data, owner)
            }
        });
    }

    /// Creates `prefix` plus the parent's next ten-digit number; gives the whole path.
    pub fn put_sequential(&self, prefix: &str, data: impl Into<Vec<u8>>, owner: i64) -> String {
        let data = data.into();
        let mut path = String::new();
        self.change(|state| {
            let (number, mut fired) = state.next_sequence(prefix);
            path = format!("{prefix}{number:010}");
            fired.extend(state.create(&path, data, owner));
            fired
        });
        path
    }

    /// Replaces the data of an existing node; false when there is none.
    pub fn set_data(&self, path: &str, data: impl Into<Vec<u8>>) -> bool {
        let data = data.into();
        let mut found = false;
        self.change(|state| {
            found = state.nodes.contains_key(path);
            if found { state.set(path, data) } else { Vec::new() }
        });
        found
    }

    /// Deletes `path` and everything below it; false when there was nothing. The root stays, but is emptied.
    pub fn delete(&self, path: &str) -> bool {
        let mut found = false;
        self.change(|state| {
            found = state.nodes.contains_key(path);
            state.remove(path)
        });
        found
    }

    /// Deletes the ephemerals of session `owner`, as the server does when that session ends.
    pub fn end_session_of(&self, owner: i64) {
        self.change(|state| state.delete_owned(owner));
    }

    /// From now on reading or writing `path`, or creating a child of it, is not authorised.
    pub fn forbid(&self, path: &str) {
        self.lock().forbidden.insert(path.to_owned());
    }

    /// Lifts [`Self::forbid`].
    pub fn permit(&self, path: &str) {
        self.lock().forbidden.remove(path);
    }

    /// What was read so far.
    pub fn reads(&self) -> ReadCounts {
        self.shared.reads.counts()
    }

    /// A node as the server has it.
    pub fn peek(&self, path: &str) -> Option<Node> {
        self.lock().nodes.get(path).map(|stored| stored.node.clone())
    }

    /// Names of the children as the server has them.
    pub fn peek_children(&self, path: &str) -> Vec<String> {
        self.lock()
            .nodes
            .get(path)
            .map(|stored| stored.children.iter().cloned().collect())
            .unwrap_or_default()
    }

    /// Runs one change and delivers what it fired, outside the lock.
    fn change(&self, change: impl FnOnce(&mut State) -> Vec<Fire>) {
        let fired = change(&mut self.lock());
        drop(fired);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic while holding it would be a bug of ours; the tree itself is whole between two map operations.
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The state, if a read of `path` is possible now.
    fn readable(&self, path: &str) -> Result<MutexGuard<'_, State>, RegistryError> {
        let mut state = self.lock();
        if state.view(self.shared.view).cut {
            return Err(RegistryError::Unavailable {
                ensemble: Arc::clone(&self.shared.ensemble),
                detail: "connection cut".to_owned(),
            });
        }
        state.may_read(path)?;
        Ok(state)
    }
}

impl Registry for MemoryRegistry {
    fn watch_children<'a>(
        &'a self,
        path: &'a str,
    ) -> BoxFuture<'a, Result<Watched<Option<Vec<String>>>, RegistryError>> {
        Box::pin(async move {
            self.shared.reads.list();
            let mut state = self.readable(path)?;
            let children =
                state.nodes.get(path).map(|stored| stored.children.iter().cloned().collect());
            Ok(watched(&mut state.view(self.shared.view).child_watches, path, children))
        })
    }

    fn watch_data<'a>(
        &'a self,
        path: &'a str,
    ) -> BoxFuture<'a, Result<Watched<Option<Node>>, RegistryError>> {
        Box::pin(async move {
            let mut state = self.readable(path)?;
            let node = state.nodes.get(path).map(|stored| stored.node.clone());
            Ok(watched(&mut state.view(self.shared.view).data_watches, path, node))
        })
    }

    fn read_many<'a>(
        &'a self,
        paths: &'a [String],
    ) -> BoxFuture<'a, Result<Vec<NodeRead>, RegistryError>> {
        Box::pin(async move {
            let count = u64::try_from(paths.len()).unwrap_or(u64::MAX);
            self.shared.reads.nodes(count);
            let state = self.readable("")?;
            Ok(paths
                .iter()
                .map(|path| {
                    state.may_read(path)?;
                    Ok(state.nodes.get(path).map(|stored| stored.node.clone()))
                })
                .collect())
        })
    }

    fn session(&self) -> watch::Receiver<Session> {
        self.shared.session.subscribe()
    }
}

#[cfg(test)]
mod tests;
