//! Follows one service's channel and keeps its file up to date.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::format::{Record, Said};
use super::store::{Hold, Store};
use super::{Memory, SavedSettings};
use crate::backoff::Backoff;
use crate::discovery::{Discovered, Membership};

/// Least time between two writes of one file.
const SAVE_EVERY: Duration = Duration::from_secs(1);

/// A word that has not changed is saved again after this time (spread by a quarter to both sides), for its age. The
/// age in a file is never more wrong than this, and a few minutes with hundreds of services.
const REFRESH_EVERY: Duration = Duration::from_secs(60);

/// Longest wait between two attempts on a disk that refuses.
const RETRY_CAP: Duration = Duration::from_secs(60);

/// How long a stop waits for a write that is under way, or for a last one.
const STOP_PATIENCE: Duration = Duration::from_secs(1);

/// Keeps the file of one service.
#[derive(Debug)]
pub(super) struct Keeper {
    store: Arc<Store>,
    settings: SavedSettings,
    /// The last word, saved or not.
    latest: Option<Record>,
    /// What the file says; `None` too while somebody else may write it.
    on_disk: Option<Record>,
    /// `latest` comes from the source, not from a file.
    is_confirmed: bool,
    /// A word from before is that of another source, or of one that has died.
    started: Instant,
    refresh: Refresh,
    failures: Backoff,
}

/// When a word that has not changed is saved again.
#[derive(Clone, Copy, Debug)]
enum Refresh {
    /// Not before.
    After(Instant),
    /// At this turn among all services.
    Turn(Instant),
    /// With the next confirmation.
    Due,
}

impl Keeper {
    pub(super) fn new(
        store: Arc<Store>,
        settings: SavedSettings,
        found: Option<(Record, Memory)>,
    ) -> Self {
        let latest = found.as_ref().map(|(record, _)| record.clone());
        let on_disk = found.filter(|(_, memory)| *memory == Memory::Own).map(|(record, _)| record);
        Self {
            store,
            settings,
            latest,
            on_disk,
            is_confirmed: false,
            started: Instant::now(),
            refresh: later(),
            failures: Backoff::new(SAVE_EVERY, RETRY_CAP),
        }
    }

    /// Runs until `stop`; then a change that is not saved yet is saved.
    pub(super) async fn follow(
        mut self,
        mut seen: watch::Receiver<Discovered>,
        stop: CancellationToken,
    ) {
        let service = self.settings.service.clone();
        let work = async {
            self.keep(&mut seen, &stop).await;
            self.take(&seen.borrow().clone());
            self.save_change().await;
        };
        let patience = async {
            stop.cancelled().await;
            sleep(STOP_PATIENCE).await;
        };
        tokio::select! {
            () = work => {}
            () = patience => warn!(service = %service, "the disk is too slow: the last known backends may be older"),
        }
    }

    async fn keep(&mut self, seen: &mut watch::Receiver<Discovered>, stop: &CancellationToken) {
        let mut was_stale = seen.borrow().stale.is_some();
        let mut hold = self.store.hold();
        let mut busy = None;
        loop {
            let found = seen.borrow_and_update().clone();
            self.tell_fresh(std::mem::replace(&mut was_stale, found.stale.is_some()), &found);
            self.take(&found);
            let whose = *hold.borrow_and_update();
            if whose == Hold::Ours {
                busy.get_or_insert_with(|| self.store.busy());
            }
            let pause = self.work(whose).await;
            if whose != Hold::Ours {
                drop(busy.take());
            }
            if let Some(pause) = pause {
                tokio::select! {
                    () = sleep(pause) => continue,
                    () = stop.cancelled() => return,
                    changed = hold.changed() => if changed.is_err() { return } else { continue },
                }
            }
            if matches!(self.refresh, Refresh::Due) {
                // Nothing was confirmed meanwhile: the age may grow.
                self.refresh = later();
            }
            tokio::select! {
                () = stop.cancelled() => return,
                changed = seen.changed() => if changed.is_err() { return },
                changed = hold.changed() => if changed.is_err() { return },
                () = sleep_until(self.refresh.at()) => self.advance_refresh(),
            }
        }
    }

    /// Takes over the source's word. A stale one is our own, and silence is none.
    fn take(&mut self, found: &Discovered) {
        let is_ours = found.verified.is_some_and(|at| at >= self.started);
        if found.stale.is_some() || !is_ours {
            return;
        }
        let (said, heard) = match &found.membership {
            Membership::Pending => return,
            Membership::Known(set) if set.is_empty() => (Said::Empty, None),
            Membership::Known(set) => (Said::Known, Some((set.clone(), found.zxid))),
            Membership::Missing => (Said::Missing, None),
        };
        let remembered = || {
            let latest = self.latest.as_ref()?;
            Some((latest.endpoints.clone(), latest.zxid))
        };
        let Some((endpoints, zxid)) = heard.or_else(remembered) else {
            // Never heard of anybody: nothing to remember.
            return;
        };
        self.is_confirmed = true;
        self.latest = Some(Record {
            service: self.settings.service.clone(),
            source: self.settings.source.clone(),
            said,
            confirmed_at: confirmed_at(found),
            zxid,
            generator: found.generator.clone(),
            endpoints,
        });
    }

    fn is_changed(&self) -> bool {
        match (&self.latest, &self.on_disk) {
            (None, _) => false,
            // What the original left becomes ours with the first confirmation.
            (Some(_), None) => self.is_confirmed,
            (Some(latest), Some(on_disk)) => {
                latest.said != on_disk.said
                    || latest.generator != on_disk.generator
                    || latest.endpoints.as_slice() != on_disk.endpoints.as_slice()
            }
        }
    }

    fn tell_fresh(&self, was_stale: bool, found: &Discovered) {
        if was_stale && found.stale.is_none() {
            info!(service = %self.settings.service, "discovery has spoken: no longer the last known backends");
        }
    }

    /// Saves what there is to save. `Some`: the time until more may be.
    async fn work(&mut self, whose: Hold) -> Option<Duration> {
        match whose {
            Hold::Another => {
                self.on_disk = None;
                None
            }
            Hold::Leaving => {
                self.save_change().await;
                None
            }
            // Not cut short by a stop: two writers of one file could finish in the wrong order.
            Hold::Ours if self.is_changed() || self.is_refresh() => Some(self.save().await),
            Hold::Ours => None,
        }
    }

    async fn save_change(&mut self) {
        if self.is_changed() {
            self.save().await;
        }
    }

    /// True when it is time, and there is a confirmation to be saved.
    fn is_refresh(&self) -> bool {
        let at = |record: &Option<Record>| record.as_ref().map(|record| record.confirmed_at);
        matches!(self.refresh, Refresh::Due)
            && self.is_confirmed
            && at(&self.latest) > at(&self.on_disk)
    }

    fn advance_refresh(&mut self) {
        self.refresh = match self.refresh {
            Refresh::After(_) => Refresh::Turn(self.store.next_turn()),
            Refresh::Turn(_) | Refresh::Due => Refresh::Due,
        };
    }

    /// Writes the last word; the time until the next write may follow.
    async fn save(&mut self) -> Duration {
        let Some(record) = self.latest.clone() else {
            return SAVE_EVERY;
        };
        match self.store.save(record.clone()).await {
            Ok(false) => SAVE_EVERY,
            Ok(true) => {
                if self.failures.attempts() > 0 {
                    info!(service = %self.settings.service, "last known backends are saved again");
                }
                self.failures.reset();
                self.on_disk = Some(record);
                self.refresh = later();
                SAVE_EVERY
            }
            Err(error) => {
                self.store.complain(&self.settings.service, &error);
                self.failures.next_delay().max(SAVE_EVERY)
            }
        }
    }
}

impl Refresh {
    fn at(self) -> Instant {
        match self {
            Self::After(at) | Self::Turn(at) => at,
            Self::Due => Instant::now(),
        }
    }
}

fn later() -> Refresh {
    Refresh::After(Instant::now() + REFRESH_EVERY.mul_f64(0.75 + fastrand::f64() / 2.0))
}

/// The source's clock is monotonic; files outlive it.
fn confirmed_at(found: &Discovered) -> SystemTime {
    let now = SystemTime::now();
    let age = found.verified.map(|at| at.elapsed()).unwrap_or_default();
    now.checked_sub(age).unwrap_or(now)
}
