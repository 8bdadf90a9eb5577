//! Writing through the session, and what can go wrong with it.

use std::sync::{Arc, PoisonError};

use super::super::writer::{Created, NodeKind, RegistryWriter, WriteError, within_bounds};
use super::super::{RegistryError, path as names};
use super::MemoryRegistry;
use super::tree::{Fire, State, parent_and_name};
use crate::health::BoxFuture;

/// What happens to a write of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteFault {
    /// It is not executed, and nobody says so ([`WriteError::Unknown`]).
    LostRequest,
    /// It is executed, but nobody says so ([`WriteError::Unknown`]). A refusal gets lost in the same way.
    LostAnswer,
}

/// A change of the tree: what it gives and whose watches it fires.
type Change<T> = Result<(T, Vec<Fire>), WriteError>;

impl MemoryRegistry {
    /// Our next write ends like this; called again before that, the one after it.
    pub fn fail_next_write(&self, fault: WriteFault) {
        self.shared.faults.lock().unwrap_or_else(PoisonError::into_inner).push_back(fault);
    }

    /// Our session's id.
    pub fn session_id(&self) -> i64 {
        self.shared.session.borrow().id.unwrap_or_default()
    }

    /// Runs one change through the session; what it fired is delivered outside the lock.
    fn write<T>(&self, change: impl FnOnce(&mut State, i64) -> Change<T>) -> Result<T, WriteError> {
        let lost = |detail: &str| RegistryError::Unavailable {
            ensemble: Arc::clone(&self.shared.ensemble),
            detail: detail.to_owned(),
        };
        let owner = self.session_id();
        let mut state = self.lock();
        if state.view(self.shared.view).cut {
            return Err(WriteError::NotSent(lost("connection cut")));
        }
        let fault = self.shared.faults.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        if fault == Some(WriteFault::LostRequest) {
            return Err(WriteError::Unknown(lost("the request was lost")));
        }
        let changed = change(&mut state, owner);
        drop(state);
        if fault == Some(WriteFault::LostAnswer) {
            return Err(WriteError::Unknown(lost("the answer was lost")));
        }
        changed.map(|(value, fired)| {
            drop(fired);
            value
        })
    }
}

impl State {
    fn may_write(&self, path: &str) -> Result<(), WriteError> {
        self.may_read(path).map_err(WriteError::Refused)
    }

    /// Whether `path` can be created: its parent is there, may have children, and may be written.
    fn may_create(&self, path: &str) -> Result<(), WriteError> {
        let (parent, _) = parent_and_name(path).unwrap_or(("/", ""));
        self.may_write(parent)?;
        let Some(stored) = self.nodes.get(parent) else {
            return Err(WriteError::Missing { path: path.to_owned() });
        };
        if stored.node.ephemeral_owner != 0 {
            let detail = "ephemeral nodes have no children".to_owned();
            let operation = "create";
            let path = path.to_owned();
            return Err(WriteError::Refused(RegistryError::Failed { operation, path, detail }));
        }
        if self.nodes.contains_key(path) {
            return Err(WriteError::Exists { path: path.to_owned() });
        }
        Ok(())
    }

    /// Whether the data of `path` have `version`.
    fn expect_version(&self, path: &str, version: Option<i32>) -> Result<(), WriteError> {
        self.may_write(path)?;
        let Some(stored) = self.nodes.get(path) else {
            return Err(WriteError::Missing { path: path.to_owned() });
        };
        if version.is_some_and(|version| version != stored.node.version) {
            return Err(WriteError::Changed { path: path.to_owned() });
        }
        Ok(())
    }

    fn create_one(&mut self, path: &str, data: &[u8], owner: i64) -> Change<Created> {
        self.may_create(path)?;
        let fired = self.create(path, data.to_vec(), owner);
        match self.nodes.get(path) {
            Some(stored) => {
                let (path, node) = (path.to_owned(), stored.node.clone());
                Ok((Created { path, node }, fired))
            }
            None => Err(WriteError::Missing { path: path.to_owned() }),
        }
    }
}

impl RegistryWriter for MemoryRegistry {
    fn create<'a>(
        &'a self,
        path: &'a str,
        data: &'a [u8],
        kind: NodeKind,
    ) -> BoxFuture<'a, Result<Created, WriteError>> {
        Box::pin(async move {
            within_bounds(data)?;
            self.write(|state, session| {
                let owner = if kind.is_ephemeral() { session } else { 0 };
                if !kind.is_sequential() {
                    return state.create_one(path, data, owner);
                }
                state.may_create(&format!("{path}0"))?;
                let (number, _) = state.next_sequence(path);
                state.create_one(&format!("{path}{number:010}"), data, owner)
            })
        })
    }

    fn make_path<'a>(&'a self, path: &'a str) -> BoxFuture<'a, Result<(), WriteError>> {
        Box::pin(async move {
            self.write(|state, _| {
                let mut fired = Vec::new();
                let mut level = String::new();
                for name in path.split('/').filter(|name| !name.is_empty()) {
                    level = names::child(&level, name);
                    match state.create_one(&level, b"", 0) {
                        Ok((_, more)) => fired.extend(more),
                        Err(WriteError::Exists { .. }) => {}
                        Err(error) => return Err(error),
                    }
                }
                Ok(((), fired))
            })
        })
    }

    fn set_data<'a>(
        &'a self,
        path: &'a str,
        data: &'a [u8],
        version: Option<i32>,
    ) -> BoxFuture<'a, Result<(), WriteError>> {
        Box::pin(async move {
            within_bounds(data)?;
            self.write(|state, _| {
                state.expect_version(path, version)?;
                Ok(((), state.set(path, data.to_vec())))
            })
        })
    }

    fn delete<'a>(
        &'a self,
        path: &'a str,
        version: Option<i32>,
    ) -> BoxFuture<'a, Result<bool, WriteError>> {
        Box::pin(async move {
            self.write(|state, _| match state.expect_version(path, version) {
                Ok(()) => Ok((true, state.remove(path))),
                Err(WriteError::Missing { .. }) => Ok((false, Vec::new())),
                Err(error) => Err(error),
            })
        })
    }

    fn replace<'a>(
        &'a self,
        path: &'a str,
        version: i32,
        data: &'a [u8],
        kind: NodeKind,
    ) -> BoxFuture<'a, Result<Created, WriteError>> {
        Box::pin(async move {
            within_bounds(data)?;
            self.write(|state, session| {
                state.expect_version(path, Some(version))?;
                let mut fired = state.remove(path);
                let owner = if kind.is_ephemeral() { session } else { 0 };
                let (created, more) = state.create_one(path, data, owner)?;
                fired.extend(more);
                Ok((created, fired))
            })
        })
    }

    fn children<'a>(
        &'a self,
        path: &'a str,
    ) -> BoxFuture<'a, Result<Option<Vec<String>>, RegistryError>> {
        Box::pin(async move {
            self.shared.reads.list();
            let state = self.readable(path)?;
            Ok(state.nodes.get(path).map(|stored| stored.children.iter().cloned().collect()))
        })
    }

    fn own_ephemerals(&self) -> BoxFuture<'_, Result<Option<Vec<String>>, RegistryError>> {
        Box::pin(async move {
            let owner = self.session_id();
            let state = self.readable("/")?;
            let ours =
                state.nodes.iter().filter(|(_, stored)| stored.node.ephemeral_owner == owner);
            Ok(Some(ours.map(|(path, _)| path.clone()).collect()))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::Registry;

    const KIND: NodeKind = NodeKind::Ephemeral;

    /// The inherent methods of the same names act on the server.
    fn session(registry: &MemoryRegistry) -> &dyn RegistryWriter {
        registry
    }

    fn missing(path: &str) -> WriteError {
        WriteError::Missing { path: path.to_owned() }
    }

    #[tokio::test]
    async fn nodes_are_created_replaced_and_deleted_at_their_version() {
        let registry = MemoryRegistry::default();
        let own = registry.session_id();
        assert_eq!(registry.create("/a/b", b"1", KIND).await, Err(missing("/a/b")));
        registry.make_path("/a").await.unwrap();
        registry.put("/a", "kept");
        registry.make_path("/a").await.unwrap();
        assert_eq!(registry.peek("/a").unwrap().data, b"kept");
        let created = registry.create("/a/b", b"1", KIND).await.unwrap();
        assert_eq!((created.path.as_str(), created.node.ephemeral_owner), ("/a/b", own));
        let exists = WriteError::Exists { path: "/a/b".into() };
        assert_eq!(registry.create("/a/b", b"1", KIND).await, Err(exists));
        session(&registry).set_data("/a/b", b"2", Some(0)).await.unwrap();
        let changed = WriteError::Changed { path: "/a/b".into() };
        assert_eq!(session(&registry).delete("/a/b", Some(0)).await, Err(changed.clone()));
        let other = registry.another();
        assert_eq!(other.replace("/a/b", 0, b"3", KIND).await, Err(changed));
        let taken = other.replace("/a/b", 1, b"3", KIND).await.unwrap();
        assert_eq!(taken.node.ephemeral_owner, other.session_id());
        assert_ne!(taken.node.ephemeral_owner, own);
        assert_eq!(session(&registry).delete("/a/b", Some(0)).await, Ok(true));
        assert_eq!(session(&registry).delete("/a/b", None).await, Ok(false));
        assert_eq!(session(&registry).set_data("/a/b", b"", None).await, Err(missing("/a/b")));
    }

    #[tokio::test]
    async fn sequential_nodes_are_numbered_and_ephemerals_end_with_their_session() {
        let registry = MemoryRegistry::default();
        registry.make_path("/s").await.unwrap();
        let kind = NodeKind::EphemeralSequential;
        let first = registry.create("/s/i_", b"", kind).await.unwrap();
        let kind = NodeKind::PersistentSequential;
        let second = registry.another().create("/s/i_", b"", kind).await.unwrap();
        assert_eq!((&*first.path, &*second.path), ("/s/i_0000000000", "/s/i_0000000001"));
        assert_eq!(second.node.ephemeral_owner, 0);
        registry.expire();
        assert_eq!(registry.peek_children("/s"), ["i_0000000001"]);
        assert!(matches!(
            session(&registry).delete(&second.path, None).await,
            Err(WriteError::NotSent(_))
        ));
        let before = registry.session_id();
        registry.heal();
        assert_ne!(registry.session_id(), before);
        assert_eq!(session(&registry).delete(&second.path, None).await, Ok(true));
    }

    #[tokio::test]
    async fn sessions_on_one_tree_see_each_other_and_break_apart() {
        let first = MemoryRegistry::default();
        let second = first.another();
        let seen = first.watch_children("/").await.unwrap();
        second.cut();
        first.make_path("/a").await.unwrap();
        seen.changed.await;
        let held = first.watch_children("/a").await.unwrap();
        assert!(matches!(second.children("/").await, Err(RegistryError::Unavailable { .. })));
        second.heal();
        second.create("/a/b", b"", KIND).await.unwrap();
        held.changed.await;
        assert_eq!(first.children("/a").await, Ok(Some(vec!["b".to_owned()])));
        second.give_up();
        second.heal();
        assert_eq!(first.peek_children("/a"), ["b"], "the server does not know yet");
    }

    #[tokio::test]
    async fn lost_requests_and_lost_answers_look_the_same() {
        let registry = MemoryRegistry::default();
        registry.fail_next_write(WriteFault::LostRequest);
        registry.fail_next_write(WriteFault::LostAnswer);
        for there in [false, true] {
            let end = registry.create("/a", b"", KIND).await;
            assert!(matches!(end, Err(WriteError::Unknown(_))), "{end:?}");
            assert_eq!(registry.peek("/a").is_some(), there);
        }
        registry.forbid("/a");
        assert!(matches!(session(&registry).delete("/a", None).await, Err(WriteError::Refused(_))));
    }
}
