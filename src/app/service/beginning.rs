//! What a service begins with: what another process knew, or a memory of its source.
//!
//! A process that starts has nothing better than the memory, so that serves at once. A service that joins a process which
//! serves already lets its source speak first: the memory may be of any age, and nobody misses the service yet.

use std::sync::Arc;

use super::{MakeDiscovery, ServiceRuntime};
use crate::config::ServiceConfig;
use crate::discovery::{Discovered, saved};
use crate::lb::pool::state::PoolState;

/// What a service begins with.
#[derive(Debug)]
pub enum Beginning {
    /// The process starts; a former one may have counted, and found its members elsewhere.
    Start(Option<PoolState>),
    /// A reload adds it; `/ready` does not wait for it.
    Reload,
    /// A former process knew it.
    HandOver(Box<Inherited>),
}

/// What a former process knew about a service.
#[derive(Debug)]
pub struct Inherited {
    /// What was in force: the file, or the generator config in use there.
    pub config: ServiceConfig,
    /// That generator config.
    pub generator: Option<Arc<str>>,
    /// Discovery's last word there.
    pub word: Discovered,
    /// Verdicts and the rest.
    pub pool: PoolState,
}

/// What is remembered of a source that has not run yet.
pub(super) fn remembered(discovery: &MakeDiscovery) -> Option<Discovered> {
    Some(discovery().first_word()).filter(|word| word.stale.is_some())
}

impl ServiceRuntime {
    /// True while something is remembered that serves only if the source stays silent.
    pub fn remembers(&self) -> bool {
        self.remembered.is_some()
    }

    /// The source has had its time. If it has said nothing, what is remembered serves until it does; else that is forgotten.
    pub async fn recall(&mut self) {
        let Some(word) = self.remembered.take() else {
            return;
        };
        let is_silent = self.found.send_if_modified(|found| {
            let is_silent = !found.is_heard();
            if is_silent {
                *found = Discovered {
                    generator: found.generator.take().or_else(|| word.generator.clone()),
                    trouble: found.trouble.take(),
                    ..word.clone()
                };
            }
            is_silent
        });
        if is_silent {
            saved::announce(&self.file.name, &word);
            // A client that is accepted finds it.
            self.service.pool.wait_ready().await;
        }
    }
}
