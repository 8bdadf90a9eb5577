//! A place in `state_dir` for each nerve that runs with it.
//!
//! Several nerves with one configuration may run at once: for an upgrade (the new one first, then the old one ends), or
//! as Yelp's tooling does for every restart. Each takes a *slot*, a directory with a lock that the kernel takes away with
//! the process. A slot remembers what the next nerve in it needs: the sessions, so that it goes on with them and no node
//! vanishes, and the persistent nodes, which no session end removes.
//!
//! ```text
//! state_dir/slot-0/lock           held as long as a nerve lives in the slot
//! state_dir/slot-0/memory.json    sessions with their passwords, nodes; readable for the owner only
//! state_dir/slot-0/nerve.sock     the push API of that nerve
//! ```
//!
//! The ids of all slots together say whose a node is ([`Kin`]). Who started later has the right of way at nodes of which
//! there can be only one; the order is a generation number, so a clock that jumps changes nothing.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::fs::{FlockOperation, flock};

use super::memory::{MAX_BYTES, Memory, Persistent};
use super::socket::SLOT_PREFIX;
use crate::disk;
use crate::endpoint::ServiceName;
use crate::registration::claims::Claims;
use crate::registration::{Kin, Relation};
use crate::registry::credentials::{Credentials, SessionKeeper};

/// Nerves that may run at once with one `state_dir`. Two are usual while one replaces the other.
const MAX_SLOTS: usize = 8;

/// Name of the lock in a slot.
const LOCK: &str = "lock";

/// Name of the memory in a slot.
const MEMORY: &str = "memory.json";

/// Why there is no slot.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SlotError {
    /// The directory.
    #[error("{path}")]
    Directory {
        /// Which.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// Nerves that do not end, most likely.
    #[error("{MAX_SLOTS} nerves run with {path} already")]
    Full {
        /// The state directory.
        path: PathBuf,
    },
}

/// The slot of this process. Its memory is written here only; the others' are read.
#[derive(Debug)]
pub(crate) struct Slot {
    state_dir: PathBuf,
    dir: PathBuf,
    memory: Mutex<Memory>,
    claims: Claims,
    /// Held until the process ends.
    _lock: File,
}

impl Slot {
    /// Takes a free slot below `state_dir`: the last one that was left with sessions to go on with, else the first.
    ///
    /// # Errors
    /// When the directory cannot be used, or too many nerves run.
    pub(crate) fn take(state_dir: &Path) -> Result<Self, SlotError> {
        let at = |path: &Path| {
            let path = path.to_owned();
            move |source| SlotError::Directory { path, source }
        };
        let mut newest = 0;
        let mut best: Option<(PathBuf, File, Memory)> = None;
        for number in 0..MAX_SLOTS {
            let dir = slot_dir(state_dir, number);
            std::fs::create_dir_all(&dir).map_err(at(&dir))?;
            let memory = read(&dir);
            newest = newest.max(memory.generation);
            let Some(lock) = try_lock(&dir).map_err(at(&dir))? else {
                continue;
            };
            // Read again: who left it may have written last between our two looks.
            let memory = read(&dir);
            let is_better = best.as_ref().is_none_or(|(_, _, best)| {
                memory.has_heirs() && (!best.has_heirs() || memory.generation > best.generation)
            });
            if is_better {
                best = Some((dir, lock, memory));
            }
        }
        let full = || SlotError::Full { path: state_dir.to_owned() };
        let (dir, lock, mut memory) = best.ok_or_else(full)?;
        memory.generation = newest + 1;
        memory.pid = std::process::id();
        let slot = Self {
            state_dir: state_dir.to_owned(),
            dir,
            memory: Mutex::new(memory),
            claims: Claims::default(),
            _lock: lock,
        };
        slot.save(&slot.memory()).map_err(at(&slot.dir))?;
        Ok(slot)
    }

    /// Where the slot is.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// The session with `ensemble` that was left open here.
    pub(crate) fn heir(&self, ensemble: &str) -> Option<Credentials> {
        self.memory().heir(ensemble)
    }

    /// The session with `ensemble` was closed at the server: nobody can go on with it.
    pub(crate) fn closed(&self, ensemble: &str) {
        self.change(|memory| memory.closed(ensemble));
    }

    fn change(&self, change: impl FnOnce(&mut Memory) -> bool) {
        let mut memory = self.memory();
        if change(&mut memory)
            && let Err(error) = self.save(&memory)
        {
            let dir = self.dir.display();
            tracing::error!(%dir, %error, "state_dir cannot be written: a restart will register anew");
        }
    }

    fn save(&self, memory: &Memory) -> io::Result<()> {
        disk::replace(&self.dir, MEMORY, &memory.encode(), disk::PRIVATE)
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        // The record is whole between two operations on it.
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whose a thing is, as the first of the other slots says that `knows` it.
    fn elsewhere(&self, knows: impl Fn(&Memory) -> bool) -> Option<Relation> {
        let ours = self.memory().generation;
        let others = (0..MAX_SLOTS).map(|number| slot_dir(&self.state_dir, number));
        others.filter(|dir| *dir != self.dir).find_map(|dir| {
            let memory = read(&dir);
            knows(&memory).then(|| match try_lock(&dir) {
                Ok(Some(_free)) => Relation::Former,
                // Held, or not to be found out: whoever may live is treated as alive.
                Ok(None) | Err(_) if memory.generation < ours => Relation::Elder,
                Ok(None) | Err(_) => Relation::Younger,
            })
        })
    }
}

impl SessionKeeper for Slot {
    fn keep(&self, ensemble: &str, session: &Credentials) {
        self.change(|memory| memory.opened(ensemble, session));
    }
}

impl Kin for Slot {
    fn claims(&self) -> &Claims {
        &self.claims
    }

    fn relation(&self, session: i64) -> Relation {
        if self.memory().knows(session) {
            return Relation::Former;
        }
        self.elsewhere(|memory| memory.knows(session)).unwrap_or(Relation::Foreign)
    }

    fn remembered_node(&self, service: &ServiceName, parent: &str) -> Option<String> {
        self.memory().node(service.as_str(), parent).map(|known| known.node.clone())
    }

    fn remember_node(&self, service: &ServiceName, parent: &str, node: Option<&str>) {
        let node = node.map(|node| Persistent {
            service: service.as_str().to_owned(),
            parent: parent.to_owned(),
            node: node.to_owned(),
        });
        self.change(|memory| memory.set_node(service.as_str(), parent, node));
    }

    fn is_of_younger(&self, node: &str) -> bool {
        let ours = self.memory().generation;
        let is_younger = |memory: &Memory| memory.generation > ours && memory.has_made(node);
        self.elsewhere(is_younger) == Some(Relation::Younger)
    }
}

/// Nobody's kin: without a `state_dir` every session but our own is foreign, and nothing is remembered.
#[derive(Debug, Default)]
pub(crate) struct Alone(Claims);

impl Kin for Alone {
    fn claims(&self) -> &Claims {
        &self.0
    }

    fn relation(&self, _session: i64) -> Relation {
        Relation::Foreign
    }

    fn remembered_node(&self, _service: &ServiceName, _parent: &str) -> Option<String> {
        None
    }

    fn remember_node(&self, _service: &ServiceName, _parent: &str, _node: Option<&str>) {}

    fn is_of_younger(&self, _node: &str) -> bool {
        false
    }
}

fn slot_dir(state_dir: &Path, number: usize) -> PathBuf {
    state_dir.join(format!("{SLOT_PREFIX}{number}"))
}

/// The lock of a slot; `None` when a process holds it. Dropping it gives it back.
fn try_lock(dir: &Path) -> io::Result<Option<File>> {
    let mut options = OpenOptions::new();
    let file = options.create(true).truncate(false).write(true).mode(disk::PRIVATE);
    let file = file.open(dir.join(LOCK))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(file)),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// What a slot remembers. A file that cannot be used is told and taken for an empty one.
fn read(dir: &Path) -> Memory {
    let read = match disk::read(&dir.join(MEMORY), MAX_BYTES) {
        Ok(None) => return Memory::default(),
        Ok(Some(bytes)) => Memory::decode(&bytes),
        Err(error) => Err(error.to_string()),
    };
    read.unwrap_or_else(|error| {
        let dir = dir.display();
        tracing::warn!(%dir, error, "the memory of this slot cannot be used and is ignored");
        Memory::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENSEMBLE: &str = "zk1:2181";

    struct Dir(PathBuf);

    impl Dir {
        fn new() -> Self {
            let name = format!("nerve-slot-{}-{:x}", std::process::id(), fastrand::u64(..));
            Self(std::env::temp_dir().join(name))
        }
    }

    impl Drop for Dir {
        fn drop(&mut self) {
            drop(std::fs::remove_dir_all(&self.0));
        }
    }

    fn session(id: i64) -> Credentials {
        Credentials { id, password: vec![u8::try_from(id).unwrap(); 16] }
    }

    #[test]
    fn the_next_process_in_a_slot_goes_on_with_its_sessions() {
        let dir = Dir::new();
        let first = Slot::take(&dir.0).unwrap();
        assert_eq!(first.heir(ENSEMBLE), None);
        first.keep(ENSEMBLE, &session(7));
        first.keep(ENSEMBLE, &session(8));
        drop(first);
        let second = Slot::take(&dir.0).unwrap();
        assert_eq!(second.heir(ENSEMBLE), Some(session(8)));
        assert_eq!(second.relation(7), Relation::Former);
        assert_eq!(second.relation(9), Relation::Foreign);
        second.closed(ENSEMBLE);
        drop(second);
        let third = Slot::take(&dir.0).unwrap();
        assert_eq!(third.heir(ENSEMBLE), None);
        assert_eq!(third.relation(8), Relation::Former, "closed, but still known");
    }

    #[test]
    fn two_at_once_have_slots_of_their_own_and_the_younger_has_the_right_of_way() {
        let dir = Dir::new();
        let old = Slot::take(&dir.0).unwrap();
        old.keep(ENSEMBLE, &session(1));
        let new = Slot::take(&dir.0).unwrap();
        assert_ne!(old.dir(), new.dir());
        new.keep(ENSEMBLE, &session(2));
        assert_eq!(new.relation(1), Relation::Elder);
        assert_eq!(old.relation(2), Relation::Younger);
        drop(old);
        assert_eq!(new.relation(1), Relation::Former);
    }

    #[test]
    fn a_persistent_node_is_of_the_youngest_that_runs_and_remembers_it() {
        let dir = Dir::new();
        let name = ServiceName::new("batch");
        let old = Slot::take(&dir.0).unwrap();
        let new = Slot::take(&dir.0).unwrap();
        for slot in [&old, &new] {
            slot.remember_node(&name, "/p", Some("/p/i_\n/p/j_"));
        }
        assert!(old.is_of_younger("/p/i_") && old.is_of_younger("/p/j_"));
        assert!(!old.is_of_younger("/p/i") && !new.is_of_younger("/p/i_"));
        drop(new);
        assert!(!old.is_of_younger("/p/i_"), "who is dead has no right of way");
    }

    #[test]
    fn the_slot_that_was_left_last_is_taken_first() {
        let dir = Dir::new();
        let old = Slot::take(&dir.0).unwrap();
        let new = Slot::take(&dir.0).unwrap();
        old.keep(ENSEMBLE, &session(1));
        new.keep(ENSEMBLE, &session(2));
        let wanted = new.dir().to_owned();
        old.closed(ENSEMBLE);
        drop((old, new));
        let next = Slot::take(&dir.0).unwrap();
        assert_eq!(next.dir(), wanted);
        assert_eq!(next.heir(ENSEMBLE), Some(session(2)));
    }

    #[test]
    fn more_than_eight_are_refused() {
        let dir = Dir::new();
        let all: Vec<_> = (0..MAX_SLOTS).map(|_| Slot::take(&dir.0).unwrap()).collect();
        let refused = Slot::take(&dir.0).unwrap_err();
        assert!(refused.to_string().starts_with("8 nerves run with"), "{refused}");
        drop(all);
    }

    #[test]
    fn a_damaged_memory_is_no_memory() {
        let dir = Dir::new();
        let slot = Slot::take(&dir.0).unwrap();
        let file = slot.dir().join(MEMORY);
        drop(slot);
        for damage in [&b"{"[..], b"", b"\xff", b"[]", b"{\"version\":9}"] {
            std::fs::write(&file, damage).unwrap();
            let slot = Slot::take(&dir.0).unwrap();
            assert_eq!(slot.heir(ENSEMBLE), None);
        }
    }

    #[test]
    fn persistent_nodes_are_remembered_and_secrets_are_private() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = Dir::new();
        let slot = Slot::take(&dir.0).unwrap();
        let name = ServiceName::new("batch");
        slot.remember_node(&name, "/p", Some("/p/i_0000000001"));
        let file = slot.dir().join(MEMORY);
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        drop(slot);
        let slot = Slot::take(&dir.0).unwrap();
        assert_eq!(slot.remembered_node(&name, "/p").as_deref(), Some("/p/i_0000000001"));
        slot.remember_node(&name, "/p", None);
        assert_eq!(slot.remembered_node(&name, "/p"), None);
    }
}
