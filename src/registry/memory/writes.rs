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
mod tests;
