//! The directory of all services: shared by their keepers, so that five hundred of them do not hammer the disk.

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::{Duration, SystemTime};

use tokio::sync::Semaphore;
use tokio::task::JoinError;
use tokio::time::Instant;
use tracing::warn;

use super::Memory;
use super::format::{self, MAX_BYTES, Record, Refusal, Said, SourceIdentity};
use super::name::file_name;
use super::seed::{self, Seed, SeedFile};
use crate::disk;
use crate::endpoint::ServiceName;
use crate::telemetry::cold;

/// Files written at the same time: enough to keep a disk busy, too few to block the pool of blocking threads.
const AT_ONCE: usize = 2;

/// Between two refreshes of any services. 500 services are refreshed every four minutes instead of every minute, and
/// never more than twice a second.
const REFRESH_GAP: Duration = Duration::from_millis(500);

/// How long the start waits for one file. A disk that hangs must not hold up the start.
const READ_TIMEOUT: Duration = Duration::from_secs(1);

/// Between two warnings about files that cannot be written, over all services.
const WARN_EVERY: Duration = Duration::from_secs(60);

/// The files of all services. One per process.
#[derive(Debug)]
pub struct Store {
    dir: PathBuf,
    writes: Semaphore,
    /// When the next refresh may happen.
    turn: Mutex<Option<Instant>>,
    trouble: Mutex<Trouble>,
    /// A read did not come back: the others are not tried.
    is_hung: AtomicBool,
    /// What the original left, for services without a file; each is asked for once.
    seeds: Mutex<HashMap<String, Seed>>,
}

#[derive(Debug, Default)]
struct Trouble {
    warned: Option<Instant>,
    suppressed: u64,
}

/// Why a file was not written.
#[derive(Debug, thiserror::Error)]
pub(super) enum SaveError {
    #[error("it cannot be put into a file: {0}")]
    Encode(#[source] Refusal),
    #[error("{}: {source}", path.display())]
    Write {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("the writing thread died")]
    Died(#[source] JoinError),
}

impl Store {
    /// Opens `dir`, making it (not its parents) if need be, and reads the original's state file. Blocking: call it
    /// before anything runs.
    ///
    /// # Errors
    /// When the directory cannot be made. An unusable state file is only a warning.
    pub fn open(dir: PathBuf, seed: Option<&SeedFile>) -> io::Result<Arc<Self>> {
        disk::create_directory(&dir)?;
        if let Err(error) = disk::clean(&dir) {
            warn!(dir = %dir.display(), %error, "unfinished files stay behind");
        }
        let seeds = seed.map(read_seed).unwrap_or_default();
        Ok(Arc::new(Self {
            dir,
            writes: Semaphore::new(AT_ONCE),
            turn: Mutex::default(),
            trouble: Mutex::default(),
            is_hung: AtomicBool::new(false),
            seeds: Mutex::new(seeds),
        }))
    }

    /// What is known about a service from before the start: its own file, else the original's.
    pub(super) fn load(
        &self,
        service: &ServiceName,
        source: &SourceIdentity,
    ) -> Option<(Record, Memory)> {
        let seed = lock(&self.seeds).remove(service.as_str());
        match self.read(service, source) {
            Ok(Some(record)) => return Some((record, Memory::Own)),
            Ok(None) => {}
            Err(refusal) => {
                cold::last_known_refused(refusal.label());
                let file = self.path(service);
                let reason = with_source(&refusal);
                warn!(service = %service, file = %file.display(), reason, "last known backends refused");
            }
        }
        let Seed { endpoints, confirmed_at } = seed?;
        let record = Record {
            service: service.clone(),
            source: source.clone(),
            said: Said::Known,
            confirmed_at,
            zxid: None,
            generator: None,
            endpoints,
        };
        Some((record, Memory::SynapseStateFile))
    }

    /// Usually some microseconds. The file is read on a thread of its own, so that a disk that hangs is given up.
    fn read(
        &self,
        service: &ServiceName,
        source: &SourceIdentity,
    ) -> Result<Option<Record>, Refusal> {
        if self.is_hung.load(Ordering::Relaxed) {
            return Err(Refusal::Unreadable(io::ErrorKind::TimedOut.into()));
        }
        let path = self.path(service);
        let (service, source) = (service.clone(), source.clone());
        let (answer, answered) = mpsc::sync_channel(1);
        let reading = move || match disk::read(&path, MAX_BYTES).map_err(Refusal::Unreadable)? {
            Some(bytes) => format::decode(&bytes, &service, &source).map(Some),
            None => Ok(None),
        };
        tokio::task::spawn_blocking(move || {
            // Nobody listens any more when it took too long.
            answer.send(reading()).ok()
        });
        answered.recv_timeout(READ_TIMEOUT).unwrap_or_else(|_late| {
            self.is_hung.store(true, Ordering::Relaxed);
            Err(Refusal::Unreadable(io::ErrorKind::TimedOut.into()))
        })
    }

    /// Replaces the file of the record's service.
    pub(super) async fn save(&self, record: Record) -> Result<(), SaveError> {
        // Never closed; without a permit the disk would only see one more writer.
        let _permit = self.writes.acquire().await.ok();
        let (dir, name) = (self.dir.clone(), file_name(record.service.as_str()));
        let writing = tokio::task::spawn_blocking(move || {
            let bytes = format::encode(&record).map_err(SaveError::Encode)?;
            disk::replace(&dir, &name, &bytes)
                .map_err(|source| SaveError::Write { path: dir.join(&name), source })
        });
        let saved = writing.await.map_err(SaveError::Died).and_then(|written| written);
        match &saved {
            Ok(()) => cold::last_known_saved(),
            Err(_) => cold::last_known_save_failed(),
        }
        saved
    }

    /// Takes the next turn for a refresh.
    pub(super) fn next_turn(&self) -> Instant {
        let mut turn = lock(&self.turn);
        let now = Instant::now();
        let mine = turn.map_or(now, |next| next.max(now));
        *turn = Some(mine + REFRESH_GAP);
        mine
    }

    /// Says that a file cannot be written, not more often than the log bears.
    pub(super) fn complain(&self, service: &ServiceName, error: &SaveError) {
        let mut trouble = lock(&self.trouble);
        if trouble.warned.is_some_and(|at| at.elapsed() < WARN_EVERY) {
            trouble.suppressed += 1;
            return;
        }
        let suppressed = std::mem::take(&mut trouble.suppressed);
        trouble.warned = Some(Instant::now());
        warn!(service = %service, %error, suppressed, "last known backends cannot be saved; traffic goes on");
    }

    fn path(&self, service: &ServiceName) -> PathBuf {
        self.dir.join(file_name(service.as_str()))
    }
}

fn read_seed(file: &SeedFile) -> HashMap<String, Seed> {
    seed::read(file, SystemTime::now()).unwrap_or_else(|reason| {
        cold::last_known_refused("state_file");
        warn!(file = %file.path.display(), reason, "haproxy.state_file_path refused");
        HashMap::new()
    })
}

fn with_source(refusal: &Refusal) -> String {
    match std::error::Error::source(refusal) {
        Some(source) => format!("{refusal}: {source}"),
        None => refusal.to_string(),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
