//! Last known good: what a source said last, kept in a file, for a start while the source is silent.
//!
//! A decorator around a source. Before it runs it gives the saved word, marked [`Stale`]; whoever starts it decides whether
//! that is needed, and when. The source's first word replaces it, mark included. From then on every new word is saved: one file per service, written to the side and
//! renamed, at most once a second, and every minute or so if only to say that it is still true. Silence of the source is
//! not saved, so the age in the file is the time since the source last confirmed it.
//!
//! A file that cannot be used (torn, of another service or source, too new) is refused with a warning and otherwise
//! ignored; a disk that cannot be written is a warning and a counter. Nothing here is ever fatal, and nothing here runs
//! on the data path: encoding and file work happen on blocking threads, two at a time whatever the number of services.
//!
//! An empty or missing path does not erase the last backends: the file then says both, and what is made of it at the
//! next start follows [`MembershipPolicy::keeps_previous`](super::MembershipPolicy::keeps_previous), as it does without
//! a restart.
//!
//! Owner of: the files below `state_dir/`[`DIRECTORY`], of which the process that serves is the only writer ([`Store::own`]).
//! Not used for `base`, whose list stands in the configuration.

mod format;
mod keeper;
mod name;
mod seed;
mod store;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::info;

use self::format::{Record, Said};
use self::keeper::Keeper;
use super::{Discovered, Discovery, Membership, MembershipPolicy, Memory, SourceSettings, Stale};
use crate::endpoint::{EndpointSet, ServiceName};
use crate::health::BoxFuture;

pub use self::format::SourceIdentity;
pub use self::seed::SeedFile;
pub use self::store::Store;

/// Name of the directory below `state_dir` that holds one file per service.
pub const DIRECTORY: &str = "last-known";

/// Whose word is remembered, and what is made of it.
#[derive(Clone, Debug)]
pub struct SavedSettings {
    service: ServiceName,
    source: SourceIdentity,
    keeps_previous: bool,
}

impl SavedSettings {
    /// `None` for a source that needs no memory.
    pub fn new(
        service: &ServiceName,
        source: &SourceSettings,
        policy: &MembershipPolicy,
    ) -> Option<Self> {
        Some(Self {
            service: service.clone(),
            source: SourceIdentity::of(source)?,
            keeps_previous: policy.keeps_previous(),
        })
    }
}

/// The memory of one service: its file, read once. Cheap to clone.
#[derive(Clone, Debug)]
pub struct LastKnown {
    store: Arc<Store>,
    settings: SavedSettings,
    /// What was found at start; taken by the first source that runs, so that it is not held for ever.
    found: Arc<Mutex<Option<(Record, Memory)>>>,
}

impl LastKnown {
    /// Reads the service's file; waits for the disk, but not for long. Never fails: what cannot be used is named in the
    /// log and left alone. Call within a runtime.
    pub fn load(store: Arc<Store>, settings: SavedSettings) -> Self {
        let found = store.load(&settings.service, &settings.source);
        Self { store, settings, found: Arc::new(Mutex::new(found)) }
    }

    /// Gives `inner` this memory.
    pub fn around(&self, inner: Box<dyn Discovery>) -> Box<dyn Discovery> {
        Box::new(SavedDiscovery { inner, memory: self.clone() })
    }

    fn take(&self) -> Option<(Record, Memory)> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// A source with a memory.
struct SavedDiscovery {
    inner: Box<dyn Discovery>,
    memory: LastKnown,
}

impl Discovery for SavedDiscovery {
    fn first_word(&self) -> Discovered {
        let found = self.memory.found.lock();
        let found = found.unwrap_or_else(PoisonError::into_inner);
        found.as_ref().map_or_else(Discovered::default, |(record, memory)| {
            word(record, *memory, self.memory.settings.keeps_previous)
        })
    }

    fn run(
        self: Box<Self>,
        out: watch::Sender<Discovered>,
        stop: CancellationToken,
    ) -> BoxFuture<'static, ()> {
        let found = self.memory.take();
        let LastKnown { store, settings, .. } = self.memory;
        let inner = self.inner;
        let keeper = Keeper::new(store, settings, found);
        let seen = out.subscribe();
        let over = stop.child_token();
        let source = {
            let over = over.clone();
            async move {
                inner.run(out, stop).await;
                over.cancel();
            }
        };
        Box::pin(async move {
            // Together in one task: when the source panics, both are started again.
            tokio::join!(source, Box::pin(keeper.follow(seen, over)));
        })
    }
}

/// What a record says at start.
fn word(record: &Record, memory: Memory, keeps_previous: bool) -> Discovered {
    let membership = match record.said {
        Said::Known => Membership::Known(record.endpoints.clone()),
        // Before the restart the pool served these, too.
        Said::Empty | Said::Missing if keeps_previous => {
            Membership::Known(record.endpoints.clone())
        }
        Said::Empty => Membership::Known(EndpointSet::default()),
        Said::Missing => Membership::Missing,
    };
    Discovered {
        membership,
        generator: record.generator.clone(),
        zxid: record.zxid,
        stale: Some(Stale { confirmed_at: record.confirmed_at, memory }),
        ..Discovered::default()
    }
}

/// Says that `word` serves, if it is a remembered one.
pub fn announce(service: &ServiceName, word: &Discovered) {
    let backends = match &word.membership {
        Membership::Known(set) => set.len(),
        Membership::Pending | Membership::Missing => 0,
    };
    if let Some(stale) = &word.stale {
        let age = stale.age(SystemTime::now());
        info!(service = %service, ?age, backends, "serving last known backends");
    }
}
