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

mod lock;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::memory::{MAX_BYTES, Memory};
use super::socket::SLOT_PREFIX;
use crate::disk;
use crate::registration::claims::{Claims, Spot};
use crate::registration::{Kin, Relation};
use crate::registry::credentials::{Credentials, SessionKeeper};

/// Nerves that may run at once with one `state_dir`. Two are usual while one replaces the other.
const MAX_SLOTS: usize = 8;

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
    /// The sessions of this process, by ensemble.
    live: Mutex<HashMap<String, i64>>,
    claims: Claims,
    /// Held until the process ends.
    _lock: File,
}

impl Slot {
    /// Takes a free slot below `state_dir`: the last one that was left with sessions to go on with, else the first.
    ///
    /// # Errors
    /// When no directory can be used, or too many nerves run. A memory that cannot be written is none: later changes
    /// are written when there is room again.
    pub(crate) fn take(state_dir: &Path) -> Result<Self, SlotError> {
        let mut newest = 0;
        let mut best: Option<(PathBuf, File, Memory)> = None;
        let mut unusable = Vec::new();
        for number in 0..MAX_SLOTS {
            let dir = slot_dir(state_dir, number);
            // A new one has nothing to go on with: it is made only when there is no other.
            if best.is_some() && !dir.exists() {
                continue;
            }
            let memory = read(&dir);
            newest = newest.max(memory.generation);
            let made = std::fs::create_dir_all(&dir);
            let lock = match made.and_then(|()| lock::take(&dir, memory.has_heirs())) {
                Ok(Some(lock)) => lock,
                Ok(None) => continue,
                Err(error) => {
                    unusable.push((dir, error));
                    continue;
                }
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
        let Some((dir, lock, mut memory)) = best else {
            let full = SlotError::Full { path: state_dir.to_owned() };
            let first = unusable.into_iter().next();
            return Err(first.map_or(full, |(path, source)| SlotError::Directory { path, source }));
        };
        for (dir, error) in unusable {
            tracing::warn!(dir = %dir.display(), %error, "this slot cannot be used and is skipped");
        }
        memory.generation = newest + 1;
        memory.pid = std::process::id();
        let slot = Self {
            state_dir: state_dir.to_owned(),
            dir,
            memory: Mutex::new(memory),
            live: Mutex::default(),
            claims: Claims::default(),
            _lock: lock,
        };
        // What stands there is still true, but for the generation: a full disk is no reason to register anew.
        slot.change(|_| true);
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
        lock_of(&self.live).remove(ensemble);
        self.change(|memory| memory.closed(ensemble));
    }

    fn change(&self, change: impl FnOnce(&mut Memory) -> bool) {
        let mut memory = self.memory();
        if change(&mut memory)
            && let Err(error) = self.save(&memory)
        {
            let dir = self.dir.display();
            tracing::error!(%dir, %error, "state_dir cannot be written: a restart may not know what has changed");
        }
    }

    fn save(&self, memory: &Memory) -> io::Result<()> {
        disk::replace(&self.dir, MEMORY, &memory.encode(), disk::PRIVATE)
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        lock_of(&self.memory)
    }

    /// Whose a thing is, as the first of the other slots says that `knows` it.
    fn elsewhere(&self, knows: impl Fn(&Memory) -> bool) -> Option<Relation> {
        let ours = self.memory().generation;
        let others = (0..MAX_SLOTS).map(|number| slot_dir(&self.state_dir, number));
        others.filter(|dir| *dir != self.dir).find_map(|dir| {
            let memory = read(&dir);
            knows(&memory).then(|| match lock::is_held(&dir) {
                Ok(false) => Relation::Former,
                // Held, or not to be found out: whoever may live is treated as alive.
                Ok(true) | Err(_) if memory.generation < ours => Relation::Elder,
                Ok(true) | Err(_) => Relation::Younger,
            })
        })
    }
}

impl SessionKeeper for Slot {
    fn keep(&self, ensemble: &str, session: &Credentials) {
        lock_of(&self.live).insert(ensemble.to_owned(), session.id);
        self.change(|memory| memory.opened(ensemble, session));
    }
}

impl Kin for Slot {
    fn claims(&self) -> &Claims {
        &self.claims
    }

    fn relation(&self, session: i64) -> Relation {
        if lock_of(&self.live).values().any(|live| *live == session) {
            // Ours, with an ensemble that is named twice: an address more, or another spelling.
            return Relation::Elder;
        }
        if self.memory().knows(session) {
            return Relation::Former;
        }
        self.elsewhere(|memory| memory.knows(session)).unwrap_or(Relation::Foreign)
    }

    fn remembered(&self, spot: &Spot) -> BTreeSet<String> {
        self.memory().nodes(spot)
    }

    fn remember(&self, spot: &Spot, made: &BTreeSet<String>, gone: &BTreeSet<String>) {
        self.change(|memory| memory.change_nodes(spot, made, gone));
    }

    fn is_of_younger(&self, ensemble: &str, node: &str) -> bool {
        let ours = self.memory().generation;
        let is_younger =
            |memory: &Memory| memory.generation > ours && memory.has_made(ensemble, node);
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

    fn remembered(&self, _spot: &Spot) -> BTreeSet<String> {
        BTreeSet::new()
    }

    fn remember(&self, _spot: &Spot, _made: &BTreeSet<String>, _gone: &BTreeSet<String>) {}

    fn is_of_younger(&self, _ensemble: &str, _node: &str) -> bool {
        false
    }
}

/// Each is whole between two operations on it.
fn lock_of<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn slot_dir(state_dir: &Path, number: usize) -> PathBuf {
    state_dir.join(format!("{SLOT_PREFIX}{number}"))
}

/// Slots whose memory cannot be used and of which this process has said so: they are read again and again.
static TOLD: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

/// Whether nothing has been said about `dir` yet.
fn is_news(dir: &Path) -> bool {
    TOLD.lock().unwrap_or_else(PoisonError::into_inner).insert(dir.to_owned())
}

/// What a slot remembers. A file that cannot be used is told, once, and taken for an empty one.
fn read(dir: &Path) -> Memory {
    let read = match disk::read(&dir.join(MEMORY), MAX_BYTES) {
        Ok(None) => return Memory::default(),
        Ok(Some(bytes)) => Memory::decode(&bytes),
        Err(error) => Err(error.to_string()),
    };
    read.unwrap_or_else(|error| {
        if is_news(dir) {
            let dir = dir.display();
            tracing::warn!(%dir, error, "the memory of this slot cannot be used and is ignored");
        }
        Memory::default()
    })
}
