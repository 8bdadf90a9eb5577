//! What was told to nerve over the push API and must outlive it: announced downtimes and services that no file knows.
//!
//! One file in `state_dir`, shared by all nerves that run with it, so that a successor does not register a service that
//! somebody took down. Every change is read-modify-write under a lock beside it; what others wrote is taken in with it, and
//! looked for in between ([`PushedStore::refresh`]).
//!
//! An order holds at once, here, whether or not it can be written: on a full disk an operator's `down` must still work.
//! What is not written yet is kept beside `known` and tried again by every [`PushedStore::flush`]. A file that cannot be
//! understood is kept aside under another name and told: what people announced is not silently thrown away. What a running
//! process knows is never replaced by a file that is missing or damaged.

mod file;
mod record;

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use self::file::{FILE, LOCK_TRIES, identity, lock, read, read_or_set_aside};
pub(super) use self::file::{MAX_BYTES, StoreError};
use self::record::Unwritten;
pub(super) use self::record::{Pushed, PushedService};
use crate::disk::{self, Identity};
use crate::registration::view::DownMark;

/// What others wrote since somebody last asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum News {
    /// Nothing.
    #[default]
    None,
    /// Downtimes, or how long services live.
    Times,
    /// Services, and perhaps the others.
    Services,
}

/// The file. Blocking, for the time of a small write at most; without a `state_dir` it is kept in this process alone.
#[derive(Debug)]
pub(super) struct PushedStore {
    dir: Option<PathBuf>,
    /// What holds: as last read or written here, and what is not written yet.
    pub(super) known: Pushed,
    unwritten: Unwritten,
    /// Why it is not: as of the last try.
    trouble: Option<String>,
    /// The file as last read or written here. Always a new one when it changes, so this is enough to know it again.
    seen: Option<Identity>,
    news: News,
    in_file: HashSet<String>,
}

impl PushedStore {
    /// Reads what there is, which needs no right to write.
    pub(super) fn open(state_dir: Option<&Path>) -> Self {
        let mut store = Self {
            dir: state_dir.map(Path::to_owned),
            known: Pushed::default(),
            unwritten: Unwritten::default(),
            trouble: None,
            seen: None,
            news: News::None,
            in_file: HashSet::new(),
        };
        if let Some(dir) = state_dir {
            let read = match read(dir) {
                Err(StoreError::Unreadable(_)) => {
                    lock(dir, LOCK_TRIES).and_then(|lock| read_or_set_aside(dir, &lock))
                }
                read => read,
            };
            match read {
                Ok(Some((identity, pushed))) => {
                    (store.seen, store.known) = (Some(identity), pushed);
                }
                Ok(None) => {}
                Err(error) => {
                    tracing::error!(%error, "announced downtimes of an earlier run cannot be read");
                }
            }
        }
        store
    }

    /// Announces a downtime, or (`None`) its end. Holds in any case; gives why it is not written, if it is not.
    pub(super) fn mark(&mut self, service: &str, mark: Option<DownMark>) -> Option<String> {
        self.order(|orders| drop(orders.downs.insert(service.to_owned(), mark)));
        self.flush()
    }

    /// Takes a service. As [`Self::mark`].
    ///
    /// # Errors
    /// [`StoreError::TooMuch`]; then it is not taken.
    pub(super) fn put(
        &mut self,
        service: &str,
        pushed: PushedService,
    ) -> Result<Option<String>, StoreError> {
        let mut all = self.known.clone();
        all.services.insert(service.to_owned(), pushed.clone());
        all.encode()?;
        self.order(|orders| drop(orders.services.insert(service.to_owned(), Some(pushed))));
        Ok(self.flush())
    }

    /// Lets a service that is known live until then. Written by the next [`Self::flush`], with all others of that second:
    /// a thousand services that are renewed must not be a thousand writes. Should nerve be killed in between, the former
    /// time counts.
    pub(super) fn renew(&mut self, service: &str, until: SystemTime) -> Option<String> {
        if let Some(known) = self.known.services.get_mut(service) {
            known.until = until;
            self.unwritten.services.insert(service.to_owned(), Some(known.clone()));
        }
        self.trouble.clone()
    }

    /// Forgets a service and its downtime. As [`Self::mark`].
    pub(super) fn delete(&mut self, service: &str) -> Option<String> {
        self.order(|orders| {
            orders.services.insert(service.to_owned(), None);
            orders.downs.insert(service.to_owned(), None);
        });
        self.flush()
    }

    fn order(&mut self, order: impl FnOnce(&mut Unwritten)) {
        order(&mut self.unwritten);
        self.unwritten.apply(&mut self.known);
    }

    /// The services of the configuration file: their downtimes do not end with a pushed service of the same name.
    pub(super) fn keep_marks_of(&mut self, in_file: HashSet<String>) {
        self.in_file = in_file;
    }

    /// Forgets what does not hold any more; the file follows with its next change. True when a service has ended.
    pub(super) fn expire(&mut self, now: SystemTime) -> bool {
        let over = self.known.expire(now, &self.in_file);
        for name in &over {
            self.unwritten.services.remove(name);
            if !self.in_file.contains(name) {
                self.unwritten.downs.remove(name);
            }
        }
        !over.is_empty()
    }

    /// What others have written since the last call.
    pub(super) fn news(&mut self) -> News {
        std::mem::take(&mut self.news)
    }

    /// Writes what is not written yet. When that fails it stays so, and the reason is given and logged once.
    pub(super) fn flush(&mut self) -> Option<String> {
        let failed = match self.dir.clone() {
            Some(dir) if !self.unwritten.is_empty() => self.write(&dir).err(),
            Some(_) | None => None,
        };
        let Some(error) = failed else {
            self.unwritten = Unwritten::default();
            if self.trouble.take().is_some() {
                tracing::info!(
                    "what was announced and pushed is remembered across a restart again"
                );
            }
            return None;
        };
        let trouble =
            format!("not remembered across a restart: state_dir cannot be written: {error}");
        if self.trouble.is_none() {
            tracing::warn!(trouble, "announced downtimes and pushed services");
        }
        self.trouble = Some(trouble.clone());
        Some(trouble)
    }

    fn write(&mut self, dir: &Path) -> Result<(), StoreError> {
        std::fs::create_dir_all(dir)?;
        // On the control thread, so that orders keep their sequence: bounded by the tries and by the size of the file.
        let lock = lock(dir, if self.trouble.is_some() { 1 } else { LOCK_TRIES })?;
        let found = read_or_set_aside(dir, &lock)?.map(|(_, pushed)| pushed);
        let mut pushed = found.clone().unwrap_or_else(|| self.known.clone());
        pushed.expire(SystemTime::now(), &self.in_file);
        self.unwritten.apply(&mut pushed);
        if found.as_ref() != Some(&pushed) {
            disk::replace(dir, FILE, &pushed.encode()?, disk::PRIVATE)?;
        }
        // Nobody else writes before the lock is dropped.
        self.seen = identity(dir);
        self.adopt(pushed);
        Ok(())
    }

    /// Reads the file again when somebody else has written it.
    pub(super) fn refresh(&mut self) {
        let Some(dir) = self.dir.clone() else {
            return;
        };
        let there = identity(&dir);
        if there.is_none() || there == self.seen {
            return;
        }
        match read(&dir) {
            Ok(Some((identity, mut pushed))) => {
                self.seen = Some(identity);
                pushed.expire(SystemTime::now(), &self.in_file);
                self.unwritten.apply(&mut pushed);
                self.adopt(pushed);
            }
            Ok(None) => {}
            Err(error) => {
                // Told once for each file.
                self.seen = there;
                tracing::error!(%error, "what another nerve was told cannot be read; what is known here stays");
            }
        }
    }

    fn adopt(&mut self, pushed: Pushed) {
        let news = if !self.known.has_definitions_of(&pushed) {
            News::Services
        } else if self.known != pushed {
            News::Times
        } else {
            News::None
        };
        self.news = self.news.max(news);
        self.known = pushed;
    }
}

#[cfg(test)]
mod tests;
