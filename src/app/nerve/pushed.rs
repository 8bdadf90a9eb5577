//! What was told to nerve over the push API and must outlive it: announced downtimes and services that no file knows.
//!
//! One file in `state_dir`, shared by all nerves that run with it, so that a successor does not register a service that
//! somebody took down. Every change is read-modify-write under a lock beside it. A file that cannot be understood is kept
//! aside under another name and told: what people announced is not silently thrown away.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::disk;
use crate::registration::view::DownMark;

/// Name of the file in `state_dir`.
const FILE: &str = "pushed.json";

/// Name of its lock.
const LOCK: &str = "pushed.lock";

/// Largest file that is read, bytes: some thousands of services.
const MAX_BYTES: usize = 4 * 1024 * 1024;

/// Version of the format.
const VERSION: u32 = 1;

/// Everything that was pushed and still holds.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Pushed {
    version: u32,
    /// Announced downtimes by service.
    pub(super) downs: BTreeMap<String, DownMark>,
    /// Services by name.
    pub(super) services: BTreeMap<String, PushedService>,
}

/// A service that was put.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(super) struct PushedService {
    /// As in the configuration file.
    pub(super) definition: Value,
    /// It is forgotten then, unless it is put again.
    pub(super) until: SystemTime,
}

impl Default for Pushed {
    fn default() -> Self {
        Self { version: VERSION, downs: BTreeMap::new(), services: BTreeMap::new() }
    }
}

impl Pushed {
    /// Forgets what does not hold any more.
    pub(super) fn expire(&mut self, now: SystemTime) {
        self.downs.retain(|_, mark| mark.holds(now));
        self.services.retain(|_, service| now < service.until);
    }
}

/// The file. Blocking; without a `state_dir` it is kept in this process alone.
#[derive(Debug)]
pub(super) struct PushedStore {
    dir: Option<PathBuf>,
    /// As last read or written here.
    pub(super) known: Pushed,
}

impl PushedStore {
    /// Reads what there is.
    pub(super) fn open(state_dir: Option<&Path>) -> Self {
        let mut store = Self { dir: state_dir.map(Path::to_owned), known: Pushed::default() };
        if let Err(error) = store.change(|_| ()) {
            tracing::error!(%error, "announced downtimes of an earlier run cannot be read");
        }
        store
    }

    /// Changes the file, whatever another process has written meanwhile.
    ///
    /// # Errors
    /// When it cannot be written: then nothing has changed.
    pub(super) fn change(&mut self, change: impl FnOnce(&mut Pushed)) -> io::Result<()> {
        let now = SystemTime::now();
        let Some(dir) = &self.dir else {
            change(&mut self.known);
            self.known.expire(now);
            return Ok(());
        };
        std::fs::create_dir_all(dir)?;
        let mut options = OpenOptions::new();
        let options = options.create(true).truncate(false).write(true).mode(disk::PRIVATE);
        let lock = options.open(dir.join(LOCK))?;
        // Held for the time of a small write by others.
        flock(&lock, FlockOperation::LockExclusive)?;
        let found = read(dir)?;
        let mut pushed = found.clone();
        pushed.expire(now);
        change(&mut pushed);
        if pushed != found {
            let bytes = serde_json::to_vec_pretty(&pushed)?;
            disk::replace(dir, FILE, &bytes, disk::PRIVATE)?;
        }
        self.known = pushed;
        Ok(())
    }
}

fn read(dir: &Path) -> io::Result<Pushed> {
    let path = dir.join(FILE);
    let Some(bytes) = disk::read(&path, MAX_BYTES)? else {
        return Ok(Pushed::default());
    };
    let error = match serde_json::from_slice::<Pushed>(&bytes) {
        Ok(pushed) if pushed.version == VERSION => return Ok(pushed),
        Ok(pushed) => format!("version {} is not {VERSION}", pushed.version),
        Err(error) => error.to_string(),
    };
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let aside = dir.join(format!("{FILE}.unreadable-{seconds}"));
    std::fs::rename(&path, &aside)?;
    tracing::error!(
        error, kept = %aside.display(),
        "announced downtimes and pushed services cannot be read; the file is kept aside"
    );
    Ok(Pushed::default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::time::Duration;

    struct Dir(PathBuf);

    impl Dir {
        fn new() -> Self {
            let name = format!("nerve-pushed-{}-{:x}", std::process::id(), fastrand::u64(..));
            Self(std::env::temp_dir().join(name))
        }
    }

    impl Drop for Dir {
        fn drop(&mut self) {
            drop(std::fs::remove_dir_all(&self.0));
        }
    }

    fn mark(until: Option<SystemTime>) -> DownMark {
        DownMark { reason: "deploy".into(), since: SystemTime::now(), until }
    }

    #[test]
    fn what_was_pushed_is_there_for_the_next_and_for_the_other() {
        let dir = Dir::new();
        let mut one = PushedStore::open(Some(&dir.0));
        let mut other = PushedStore::open(Some(&dir.0));
        let until = SystemTime::now() + Duration::from_secs(60);
        let service = PushedService { definition: json!({"host": "h", "port": 1}), until };
        one.change(|p| drop(p.downs.insert("a".into(), mark(None)))).unwrap();
        other.change(|p| drop(p.services.insert("b".into(), service.clone()))).unwrap();
        let next = PushedStore::open(Some(&dir.0));
        assert_eq!(next.known.downs.keys().collect::<Vec<_>>(), ["a"]);
        assert_eq!(next.known.services["b"], service);
    }

    #[test]
    fn what_has_expired_is_forgotten() {
        let dir = Dir::new();
        let mut store = PushedStore::open(Some(&dir.0));
        let past = SystemTime::now() - Duration::from_secs(1);
        store.change(|p| drop(p.downs.insert("a".into(), mark(Some(past))))).unwrap();
        assert!(PushedStore::open(Some(&dir.0)).known.downs.is_empty());
    }

    #[test]
    fn a_damaged_file_is_kept_aside() {
        let dir = Dir::new();
        std::fs::create_dir_all(&dir.0).unwrap();
        std::fs::write(dir.0.join(FILE), "{\"downs\":").unwrap();
        assert_eq!(PushedStore::open(Some(&dir.0)).known, Pushed::default());
        let kept = std::fs::read_dir(&dir.0).unwrap().filter_map(Result::ok);
        assert!(kept.into_iter().any(|e| e.file_name().to_string_lossy().contains("unreadable")));
    }

    #[test]
    fn without_a_directory_it_lasts_as_long_as_the_process() {
        let mut store = PushedStore::open(None);
        store.change(|p| drop(p.downs.insert("a".into(), mark(None)))).unwrap();
        assert!(store.known.downs.contains_key("a"));
    }
}
