//! The directory of all services: shared by their keepers, so that five hundred of them do not hammer the disk.
//!
//! Invariant: of all processes with the same `state_dir` only the one that serves writes. A new process writes nothing before
//! [`Store::own`], an old one nothing after [`Store::release`], and what was under way has ended by then.

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::{Duration, SystemTime};

use tokio::sync::{Semaphore, watch};
use tokio::task::JoinError;
use tokio::time::{Instant, timeout};
use tracing::warn;

use super::Memory;
use super::format::{self, MAX_BYTES, Record, Refusal, Said, SourceIdentity};
use super::name::file_name;
use super::seed::{self, Seed, SeedFile};
use crate::disk;
use crate::endpoint::ServiceName;
use crate::telemetry::cold;

/// Files written at the same time: enough to keep a disk busy, too few to block the pool of blocking threads.
const AT_ONCE: u16 = 2;

/// Between two refreshes of any services. 500 services are refreshed every four minutes instead of every minute, and
/// never more than twice a second.
const REFRESH_GAP: Duration = Duration::from_millis(500);

/// How long the start waits for one file. A disk that hangs must not hold up the start.
const READ_TIMEOUT: Duration = Duration::from_secs(1);

/// How long a hand-over waits for the writes that are under way.
const RELEASE_PATIENCE: Duration = Duration::from_secs(1);

/// Between two warnings about files that cannot be written, over all services.
const WARN_EVERY: Duration = Duration::from_secs(60);

/// The files of all services. One per process.
#[derive(Debug)]
pub struct Store {
    dir: PathBuf,
    writes: Arc<Semaphore>,
    hold: watch::Sender<Hold>,
    /// Keepers that may have something to save hold a receiver.
    busy: watch::Sender<()>,
    /// When the next refresh may happen.
    turn: Mutex<Option<Instant>>,
    trouble: Mutex<Trouble>,
    /// A read did not come back: the others are not tried.
    is_hung: AtomicBool,
    /// What the original left, for services without a file; each is asked for once.
    seeds: Mutex<HashMap<String, Seed>>,
}

/// Whose the files are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hold {
    /// Another process's: nothing is written here.
    Another,
    /// This process's.
    Ours,
    /// About to be another one's: what is not saved yet is saved now.
    Leaving,
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
    /// Opens `dir`, making it (not its parents) if need be, and reads the original's state file. Nothing is written before
    /// [`Store::own`]. Blocking: call it before anything runs.
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
            writes: Arc::new(Semaphore::new(usize::from(AT_ONCE))),
            hold: watch::Sender::new(Hold::Another),
            busy: watch::Sender::default(),
            turn: Mutex::default(),
            trouble: Mutex::default(),
            is_hung: AtomicBool::new(false),
            seeds: Mutex::new(seeds),
        }))
    }

    /// This process is the one that serves: it writes from now on.
    pub fn own(&self) {
        self.hold.send_replace(Hold::Ours);
    }

    /// Another process is about to serve: when this returns nothing is written here any more.
    pub async fn release(&self) {
        self.hold.send_if_modified(|hold| {
            let is_ours = *hold == Hold::Ours;
            if is_ours {
                *hold = Hold::Leaving;
            }
            is_ours
        });
        let saved = async {
            self.busy.closed().await;
            self.hold.send_replace(Hold::Another);
            // Each write that is under way holds one.
            drop(self.writes.acquire_many(u32::from(AT_ONCE)).await);
        };
        if timeout(RELEASE_PATIENCE, saved).await.is_err() {
            self.hold.send_replace(Hold::Another);
            warn!(
                "the disk is too slow: last known backends may be those from before the hand-over"
            );
        }
    }

    /// Whose the files are.
    pub(super) fn hold(&self) -> watch::Receiver<Hold> {
        self.hold.subscribe()
    }

    /// A hand-over waits for whoever has one.
    pub(super) fn busy(&self) -> watch::Receiver<()> {
        self.busy.subscribe()
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

    /// Replaces the file of the record's service; false: it is another process's, and is as it was.
    pub(super) async fn save(&self, record: Record) -> Result<bool, SaveError> {
        // Never closed; without a permit the disk would only see one more writer.
        let permit = Arc::clone(&self.writes).acquire_owned().await.ok();
        if *self.hold.borrow() == Hold::Another {
            return Ok(false);
        }
        let (dir, name) = (self.dir.clone(), file_name(record.service.as_str()));
        let writing = tokio::task::spawn_blocking(move || {
            // Whoever waits for the write may give up; it is under way all the same.
            let _permit = permit;
            let bytes = format::encode(&record).map_err(SaveError::Encode)?;
            disk::replace(&dir, &name, &bytes, disk::PUBLIC)
                .map_err(|source| SaveError::Write { path: dir.join(&name), source })
        });
        let saved = writing.await.map_err(SaveError::Died).and_then(|written| written);
        match &saved {
            Ok(()) => cold::last_known_saved(),
            Err(_) => cold::last_known_save_failed(),
        }
        saved.map(|()| true)
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
