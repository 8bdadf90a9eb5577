//! What nerve may do besides reading. A reader is given a [`Registry`] and cannot reach any of this.
//!
//! Every write has one of three ends: done, refused, or *unknown* ([`WriteError::Unknown`]: the connection or the session
//! went away under the request, or the answer took too long; the request may still be executed). After an unknown end the
//! caller looks before it writes again.
//!
//! Order: requests of one session are executed in the order in which they were made; a request that was queued before the
//! connection broke is either executed before those that are sent on the next one, or never. A member answers *reads*
//! from what it has by now, which after a reconnect may be older than a write of ours; [`RegistryWriter::children`] lets
//! it catch up, and reads that follow it see at least as much. So a look that begins with `children` tells what became of
//! a write. A future that is dropped takes nothing back: its write may still be done.

use super::{Node, Registry, RegistryError};
use crate::health::BoxFuture;

/// The directory as nerve uses it.
pub trait RegistryWriter: Registry {
    /// Creates `path` with open ACL; the server appends ten digits for a sequential kind. The parent must exist.
    fn create<'a>(
        &'a self,
        path: &'a str,
        data: &'a [u8],
        kind: NodeKind,
    ) -> BoxFuture<'a, Result<Created, WriteError>>;

    /// Creates `path` and every missing parent: persistent, without data, open ACL. What exists stays as it is, its data
    /// included (the original wipes them in a race).
    fn make_path<'a>(&'a self, path: &'a str) -> BoxFuture<'a, Result<(), WriteError>>;

    /// Replaces the data of `path`, if they still have `version` (`None`: whatever they have).
    fn set_data<'a>(
        &'a self,
        path: &'a str,
        data: &'a [u8],
        version: Option<i32>,
    ) -> BoxFuture<'a, Result<(), WriteError>>;

    /// Deletes `path`, if its data still have `version` (`None`: whatever they have). False when there was nothing.
    fn delete<'a>(
        &'a self,
        path: &'a str,
        version: Option<i32>,
    ) -> BoxFuture<'a, Result<bool, WriteError>>;

    /// Deletes `path` at `version` and creates it anew as a node of this session: both or neither. Not for sequential
    /// kinds.
    fn replace<'a>(
        &'a self,
        path: &'a str,
        version: i32,
        data: &'a [u8],
        kind: NodeKind,
    ) -> BoxFuture<'a, Result<Created, WriteError>>;

    /// Names of the children of `path`; `None` when `path` does not exist. Sees every write of this session that was made
    /// before, those of unknown outcome included: the member that we are connected with is made to catch up first.
    /// Sets no watch.
    fn children<'a>(
        &'a self,
        path: &'a str,
    ) -> BoxFuture<'a, Result<Option<Vec<String>>, RegistryError>>;

    /// Paths of all ephemeral nodes of this session. `None`: the server is older than ZooKeeper 3.6 and cannot say.
    fn own_ephemerals(&self) -> BoxFuture<'_, Result<Option<Vec<String>>, RegistryError>>;
}

/// How a node lives and is named (`node_type`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum NodeKind {
    /// Ends with its session; the server numbers it. nerve's default.
    #[default]
    EphemeralSequential,
    /// Ends with its session.
    Ephemeral,
    /// Stays until it is deleted; the server numbers it.
    PersistentSequential,
    /// Stays until it is deleted.
    Persistent,
}

impl NodeKind {
    /// The server appends a number to the name.
    pub fn is_sequential(self) -> bool {
        matches!(self, Self::EphemeralSequential | Self::PersistentSequential)
    }

    /// The node ends with its session.
    pub fn is_ephemeral(self) -> bool {
        matches!(self, Self::EphemeralSequential | Self::Ephemeral)
    }

    /// The word of nerve's config.
    pub fn word(self) -> &'static str {
        match self {
            Self::EphemeralSequential => "ephemeral_sequential",
            Self::Ephemeral => "ephemeral",
            Self::PersistentSequential => "persistent_sequential",
            Self::Persistent => "persistent",
        }
    }
}

/// A node that was created just now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Created {
    /// The whole path, with the number that the server chose.
    pub path: String,
    /// The node as it was created.
    pub node: Node,
}

/// Why a write was not done, or may not have been.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// There is a node at this path.
    #[error("{path} exists")]
    Exists {
        /// The node.
        path: String,
    },
    /// The node, or the parent of one to be created, does not exist.
    #[error("{path} does not exist")]
    Missing {
        /// The node.
        path: String,
    },
    /// The data were changed since they were read.
    #[error("{path} was changed meanwhile")]
    Changed {
        /// The node.
        path: String,
    },
    /// Refused here, before anything was sent: the server would cut the connection.
    #[error("{bytes} bytes of data, at most {limit} are sent")]
    TooLarge {
        /// How many.
        bytes: usize,
        /// The bound, [`MAX_DATA_BYTES`].
        limit: usize,
    },
    /// There was no session to send it with: nothing happened.
    #[error(transparent)]
    NotSent(RegistryError),
    /// Sent, but the end is not known.
    #[error("outcome unknown")]
    Unknown(#[source] RegistryError),
    /// The server's refusal, a lack of rights included.
    #[error(transparent)]
    Refused(RegistryError),
}

/// Most data of one node, bytes. A server closes the connection, with everything in flight, on a request above its
/// `jute.maxbuffer` (1,048,575 B); this leaves room for the path.
pub const MAX_DATA_BYTES: usize = 1_000_000;

/// Refuses what is above [`MAX_DATA_BYTES`].
pub(super) fn within_bounds(data: &[u8]) -> Result<(), WriteError> {
    if data.len() > MAX_DATA_BYTES {
        return Err(WriteError::TooLarge { bytes: data.len(), limit: MAX_DATA_BYTES });
    }
    Ok(())
}
