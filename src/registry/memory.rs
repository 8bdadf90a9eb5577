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
mod tests {
    use super::*;
    use crate::registry::SessionState;

    async fn children(registry: &MemoryRegistry, path: &str) -> Watched<Option<Vec<String>>> {
        registry.watch_children(path).await.unwrap()
    }

    fn pending<T>(watched: &mut Watched<T>) -> bool {
        let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
        watched.changed.as_mut().poll(&mut cx).is_pending()
    }

    #[tokio::test]
    async fn a_child_watch_fires_once_for_a_create_and_for_a_delete() {
        let registry = MemoryRegistry::default();
        registry.put("/s", "");
        let mut first = children(&registry, "/s").await;
        assert_eq!(first.value, Some(vec![]));
        assert!(pending(&mut first));
        registry.put("/s/a", "1");
        first.changed.await;
        let second = children(&registry, "/s").await;
        assert_eq!(second.value, Some(vec!["a".to_owned()]));
        registry.delete("/s/a");
        second.changed.await;
    }

    #[tokio::test]
    async fn data_of_a_child_does_not_fire_the_child_watch() {
        let registry = MemoryRegistry::default();
        registry.put("/s/a", "1");
        let mut list = children(&registry, "/s").await;
        let data = registry.watch_data("/s/a").await.unwrap();
        assert!(registry.set_data("/s/a", "2"));
        data.changed.await;
        assert!(pending(&mut list));
        assert!(!registry.set_data("/s/b", "2"));
    }

    #[tokio::test]
    async fn a_watch_on_a_missing_path_waits_for_it() {
        let registry = MemoryRegistry::default();
        let missing = children(&registry, "/a/b").await;
        assert_eq!(missing.value, None);
        registry.put("/a/b/c", "");
        missing.changed.await;
        let there = children(&registry, "/a/b").await;
        registry.delete("/a");
        there.changed.await;
    }

    #[tokio::test]
    async fn a_cut_session_refuses_reads_and_delivers_watches_when_it_heals() {
        let registry = MemoryRegistry::default();
        registry.put("/s/a", "");
        let mut list = children(&registry, "/s").await;
        registry.cut();
        registry.put("/s/b", "");
        assert!(pending(&mut list));
        assert!(matches!(
            registry.watch_children("/s").await,
            Err(RegistryError::Unavailable { .. })
        ));
        assert_eq!(registry.session().borrow().state, SessionState::Disconnected);
        registry.heal();
        list.changed.await;
        assert_eq!(registry.session().borrow().generation, 1);
    }

    #[tokio::test]
    async fn an_expiry_ends_watches_and_ephemerals_and_opens_a_new_session() {
        let registry = MemoryRegistry::default();
        let own = registry.session().borrow().id.unwrap();
        registry.put_ephemeral("/s/mine", "", own);
        registry.put_ephemeral("/s/other", "", 77);
        let list = children(&registry, "/s").await;
        registry.expire();
        list.changed.await;
        registry.heal();
        assert_eq!(registry.session().borrow().generation, 2);
        assert_eq!(registry.peek_children("/s"), ["other"]);
        registry.end_session_of(77);
        assert!(registry.peek_children("/s").is_empty());
    }

    #[tokio::test]
    async fn sequence_numbers_never_repeat_under_one_parent() {
        let registry = MemoryRegistry::default();
        registry.put("/s", "");
        let first = registry.put_sequential("/s/i-1_", "", 0);
        assert_eq!(first, "/s/i-1_0000000000");
        registry.delete(&first);
        assert_eq!(registry.put_sequential("/s/i-1_", "", 0), "/s/i-1_0000000001");
    }

    #[tokio::test]
    async fn reads_many_nodes_in_order_and_tells_the_missing_and_the_forbidden() {
        let registry = MemoryRegistry::default();
        registry.put("/s/a", "1");
        let paths = ["/s/b".to_owned(), "/s/a".to_owned()];
        let nodes = registry.read_many(&paths).await.unwrap();
        assert_eq!(nodes[0], Ok(None));
        assert_eq!(nodes[1].clone().unwrap().unwrap().data, b"1");
        registry.forbid("/s/a");
        let path = "/s/a".to_owned();
        let expected = [Ok(None), Err(RegistryError::NotAuthorised { path })];
        assert_eq!(registry.read_many(&paths).await.unwrap(), expected);
    }
}
