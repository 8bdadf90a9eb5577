//! A registration in a file: for one host without ZooKeeper.
//!
//! The file is the list that synapse's `file` discovery reads. Any number of nerves, and people, share it: each of us
//! keeps one item, known by host, port and name, and touches no other. When ours is changed or removed by somebody else it
//! is written again within [`POLL`] (not more than [`MAX_RESTORATIONS`] times a minute: two who want different things would
//! write for ever).
//!
//! A file that cannot be read as a JSON list is never written and never moved: whatever is wrong with it, its content is
//! somebody's. The trouble is shown, synapse keeps its last word, and we go on as soon as the file is mended or removed.
//!
//! The file belongs to everybody, so unlike a node in ZooKeeper it says nothing about who wrote an item: an absent service
//! is removed whoever registered it. A restart hands its item over by stopping, which leaves it there.

mod edit;
mod list;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use self::edit::{Edit, FileError};
use self::list::Line;
use super::{Phase, Registration, Reporter, Wanted};
use crate::backoff::Backoff;
use crate::disk::Identity;
use crate::endpoint::ServiceName;
use crate::health::BoxFuture;
use crate::registry::record::NerveRecord;
use crate::telemetry::statsd::nerve::report;

/// Pause between two looks: what somebody removed is back within a second. A look costs one `stat`.
pub const POLL: Duration = Duration::from_millis(500);

/// Times a minute that somebody else's change is undone.
pub const MAX_RESTORATIONS: u32 = 30;

/// The minute of [`MAX_RESTORATIONS`].
const RESTORATION_WINDOW: Duration = Duration::from_secs(60);

/// First and longest wait for the lock: an edit takes milliseconds, most of them for the disk.
const LOCK_WAITS: (Duration, Duration) = (Duration::from_millis(2), Duration::from_millis(50));

/// A lock held so long is trouble: its holder is stopped or its disk hangs.
const LOCK_PATIENCE: Duration = Duration::from_secs(2);

/// Keeps a service's item in the file.
#[derive(Debug)]
pub struct FileReporter {
    path: PathBuf,
    record: NerveRecord,
    service: ServiceName,
}

impl FileReporter {
    /// `path` is absolute; the file, and the last level of its directory, are made when there is something to write.
    pub fn new(path: PathBuf, record: NerveRecord, service: ServiceName) -> Self {
        Self { path, record, service }
    }
}

impl Reporter for FileReporter {
    fn run(
        self: Box<Self>,
        wanted: watch::Receiver<Wanted>,
        state: watch::Sender<Registration>,
        stop: CancellationToken,
    ) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            let Self { path, record, service } = *self;
            let shown: Arc<str> = path.display().to_string().into();
            match Line::new(&record) {
                Ok(line) => {
                    let target = Arc::new(Target { path, line });
                    Keeper::new(target, shown, service, state).keep(wanted, &stop).await;
                }
                Err(error) => {
                    warn!(%service, %error, "a registration that synapse could not read");
                    state.send_modify(|state| state.trouble = Some(error.to_string().into()));
                }
            }
            stop.cancelled().await;
        })
    }
}

/// What blocking threads need.
#[derive(Debug)]
struct Target {
    path: PathBuf,
    line: Line,
}

#[derive(Debug)]
struct Keeper {
    target: Arc<Target>,
    shown: Arc<str>,
    service: ServiceName,
    state: watch::Sender<Registration>,
    /// What the file was found to fulfil, and that file.
    settled: Option<(Wanted, Option<Identity>)>,
    lock_waits: Backoff,
    /// When we began to wait for the lock.
    locked_out: Option<Instant>,
    /// Restorations since the beginning of this minute.
    restored: (Instant, u32),
}

impl Keeper {
    fn new(
        target: Arc<Target>,
        shown: Arc<str>,
        service: ServiceName,
        state: watch::Sender<Registration>,
    ) -> Self {
        Self {
            target,
            shown,
            service,
            state,
            settled: None,
            lock_waits: Backoff::new(LOCK_WAITS.0, LOCK_WAITS.1),
            locked_out: None,
            restored: (Instant::now(), 0),
        }
    }

    async fn keep(mut self, mut wanted: watch::Receiver<Wanted>, stop: &CancellationToken) {
        while !stop.is_cancelled() {
            let wish = *wanted.borrow_and_update();
            // Not interrupted by the stop: an edit that landed after our end could undo what a successor wrote.
            let pause = match wish {
                Wanted::Undecided => self.watch().await,
                Wanted::Present | Wanted::Absent => self.step(wish).await,
            };
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                Ok(()) = wanted.changed() => {}
                () = sleep(pause) => {}
            }
        }
    }

    /// Only says what is there: an item of ours, whatever else it says, or none.
    async fn watch(&mut self) -> Duration {
        match self.look(Wanted::Absent).await {
            Ok(true) => self.settle(Wanted::Absent, false),
            Ok(false) => self.settle(Wanted::Present, false),
            Err(error) => return self.complain(Wanted::Undecided, &error.to_string()),
        }
        POLL
    }

    /// Looks and does what is to be done; how long to wait before the next look.
    async fn step(&mut self, wish: Wanted) -> Duration {
        match self.look(wish).await {
            Ok(true) => {
                self.settle(wish, false);
                POLL
            }
            Ok(false) => self.mend(wish).await,
            Err(error) => self.complain(wish, &error.to_string()),
        }
    }

    /// True when the file is as wanted.
    async fn look(&mut self, wish: Wanted) -> Result<bool, FileError> {
        let known = self.settled.filter(|(former, _)| *former == wish).and_then(|(_, file)| file);
        let look = self
            .blocking(move |target| {
                edit::look(&target.path, &target.line, wish == Wanted::Present, known)
            })
            .await?;
        if look.is_right {
            self.settled = Some((wish, look.identity));
        }
        Ok(look.is_right)
    }

    async fn mend(&mut self, wish: Wanted) -> Duration {
        if self.settled.is_some_and(|(former, _)| former == wish) && !self.may_restore() {
            return self.complain(wish, "somebody else changes our item again and again");
        }
        let edit = self
            .blocking(move |target| edit::edit(&target.path, &target.line, wish == Wanted::Present))
            .await;
        match edit {
            Ok(Edit::Busy) => return self.wait_for_lock(wish),
            Ok(Edit::Written) => self.settle(wish, true),
            Ok(Edit::Unneeded) => self.settle(wish, false),
            Err(error) => return self.complain(wish, &error.to_string()),
        }
        self.settled = Some((wish, None));
        POLL
    }

    /// Whether somebody else's change may be undone now.
    fn may_restore(&mut self) -> bool {
        if self.restored.0.elapsed() >= RESTORATION_WINDOW {
            self.restored = (Instant::now(), 0);
        }
        let is_first_try = self.locked_out.is_none();
        if is_first_try && self.restored.1 >= MAX_RESTORATIONS {
            return false;
        }
        self.restored.1 += u32::from(is_first_try);
        true
    }

    fn wait_for_lock(&mut self, wish: Wanted) -> Duration {
        let since = *self.locked_out.get_or_insert_with(Instant::now);
        if since.elapsed() >= LOCK_PATIENCE {
            self.complain(wish, "another process holds the lock and does not let go");
        }
        self.lock_waits.next_delay()
    }

    /// The file is as wanted.
    fn settle(&mut self, wish: Wanted, has_written: bool) {
        self.lock_waits.reset();
        self.locked_out = None;
        let is_present = wish == Wanted::Present;
        let phase = if is_present { Phase::Registered } else { Phase::Absent };
        let (former, is_new) = self.show(phase, None, u64::from(has_written));
        if has_written {
            report(true, self.service.as_str());
        }
        if is_new && !(former == Phase::Unconfirmed && is_present) {
            info!(service = %self.service, path = %self.shown, "{}", if is_present {
                "registered"
            } else {
                "not registered"
            });
        }
    }

    /// Shows trouble, and logs it when it is another one.
    fn complain(&self, wish: Wanted, trouble: &str) -> Duration {
        let former = self.state.borrow().phase;
        let was_there = matches!(former, Phase::Registered | Phase::Unconfirmed);
        let phase = match wish {
            Wanted::Present | Wanted::Undecided if was_there => Phase::Unconfirmed,
            Wanted::Undecided => Phase::Unknown,
            Wanted::Present | Wanted::Absent => Phase::Changing,
        };
        if wish != Wanted::Undecided {
            report(false, self.service.as_str());
        }
        if self.show(phase, Some(trouble), 0).1 {
            warn!(service = %self.service, path = %self.shown, trouble, "the file is not as wanted");
        }
        POLL
    }

    /// The former phase, and whether anything is new.
    fn show(&self, phase: Phase, trouble: Option<&str>, writes: u64) -> (Phase, bool) {
        let former = self.state.borrow().phase;
        let is_there = matches!(phase, Phase::Registered | Phase::Unconfirmed);
        let is_new = self.state.send_if_modified(|state| {
            let is_new = state.phase != phase || state.trouble.as_deref() != trouble || writes > 0;
            if state.phase != phase {
                state.since = SystemTime::now();
            }
            if is_new {
                state.phase = phase;
                state.node = is_there.then(|| Arc::clone(&self.shown));
                state.trouble = trouble.map(Arc::from);
                state.writes += writes;
            }
            is_new
        });
        (former, is_new)
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Target) -> Result<T, FileError> + Send + 'static,
    ) -> Result<T, FileError> {
        let target = Arc::clone(&self.target);
        tokio::task::spawn_blocking(move || work(&target))
            .await
            .unwrap_or_else(|error| Err(FileError::Io(error.into())))
    }
}
