//! What people and monitoring see: `/live`, `/ready`, `/metrics`, `/services`, `/services/NAME`.
//!
//! Admin owns no state. It reads what others publish (the view of each pool, the session of each ensemble, the cells of
//! the workers) and shows it. Everything answers GET and HEAD only and changes nothing, so the default address is
//! loopback and there is no authentication. Rendering has a thread of its own: a scrape of ten thousand backends must delay
//! neither a pool nor a worker. `/metrics`, which may be long, is rendered as its client reads it ([`pieces`]).
//!
//! | path | answer |
//! |---|---|
//! | `/` | links and services, for people |
//! | `/live` | 200 while the control thread runs |
//! | `/ready` | 200, or 503 with what is missing |
//! | `/metrics` | Prometheus text format |
//! | `/services` | every service: JSON, or a table with `?format=text` |
//! | `/services/NAME` | every known backend with its state and the reason for it |
//!
//! That is synapse's [`site`]; nerve has one of its own (`nerve`), which also takes commands. Both stand behind the one
//! bounded [`server`].
//!
//! To add a path: a variant in `routes::Route`, an arm in `routes::answer`, a test through the real server.

mod client;
mod connection;
mod diagnosis;
mod index;
pub mod metrics;
pub mod nerve;
pub(crate) mod percent;
pub mod pieces;
mod places;
mod process;
pub mod queue;
mod rendering;
pub mod routes;
pub mod server;
pub mod services;
pub mod site;
pub mod table;
pub mod traffic;
mod when;

#[cfg(test)]
mod fixture;
#[cfg(test)]
mod tests;

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use arc_swap::ArcSwap;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::discovery::{Discovered, SourceSettings};
use crate::lb::Strategy;
use crate::proxy::pulse::Pulse;
use crate::proxy::{ListenAddr, Service};
use crate::readiness::Readiness;
use crate::registry::Session;
use crate::telemetry::cold::ColdMetrics;

/// Everything the admin server may look at. Built by `app`; lists are replaced whole by a reload.
#[derive(Debug)]
pub struct AdminState {
    /// The services in file order. Written by `app` at start and reload.
    pub services: ArcSwap<Vec<ServiceEntry>>,
    /// The ensembles in use. Written by `app` at start and reload.
    pub registries: ArcSwap<Vec<RegistryEntry>>,
    /// Remarks about the configuration in use, one line each. Written by `app` at start and reload.
    pub config_warnings: ArcSwap<Vec<String>>,
    /// True when the file was refused at the last reload, or holds values that need a restart. Written by `app`.
    pub config_on_disk_differs: AtomicBool,
    /// Signs of life of all threads. Set once by `app`.
    pub pulse: OnceLock<Pulse>,
    /// What must have happened before `/ready` says yes; discovery is looked at besides.
    pub readiness: Readiness,
    /// Counters of rare events.
    pub cold: ColdMetrics,
    /// Facts about the process.
    pub about: About,
}

impl AdminState {
    /// No services yet.
    pub fn new(about: About, readiness: Readiness, cold: ColdMetrics) -> Self {
        Self {
            services: ArcSwap::default(),
            registries: ArcSwap::default(),
            config_warnings: ArcSwap::default(),
            config_on_disk_differs: AtomicBool::new(false),
            pulse: OnceLock::new(),
            readiness,
            cold,
            about,
        }
    }
}

/// Facts about the process that do not change.
#[derive(Clone, Debug)]
pub struct About {
    /// Version of the program: `CARGO_PKG_VERSION`.
    pub version: &'static str,
    /// When it started, by the wall clock.
    pub started_at: SystemTime,
    /// When it started, for ages.
    pub started: Instant,
    /// Number of data-plane threads.
    pub workers: usize,
}

impl About {
    /// A process that starts now.
    pub fn now(workers: usize) -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION"),
            started_at: SystemTime::now(),
            started: Instant::now(),
            workers,
        }
    }
}

/// One service as admin sees it.
#[derive(Clone, Debug)]
pub struct ServiceEntry {
    /// The live service: name, settings, pool, counters.
    pub service: Arc<Service>,
    /// Addresses that are bound; empty without `port` or when disabled.
    pub listen: Vec<ListenAddr>,
    /// Where its members come from.
    pub source: SourceSettings,
    /// The source's channel. The pool's view is rebuilt on changes only; a mere confirmation shows here alone.
    pub discovered: watch::Receiver<Discovered>,
    /// How it balances.
    pub strategy: Strategy,
    /// `disabled` in the configuration: discovered and shown, without listener and checks.
    pub disabled: bool,
    /// False for a service that joined a process which served already: a reload must not take it out of rotation.
    pub awaited: bool,
    /// The generator config in force, if one is. The source may have found another since, which was refused, or none.
    pub generator: Option<Arc<str>>,
    /// What is wrong with the last generator config, if it is not in force; the former stays.
    pub refused: Vec<String>,
    /// When it was started in this process.
    pub since: Instant,
}

impl ServiceEntry {
    /// When the source last confirmed its word, changed or not.
    fn verified(&self) -> Option<Instant> {
        self.discovered.borrow().verified
    }
}

/// One ensemble as admin sees it.
#[derive(Clone, Debug)]
pub struct RegistryEntry {
    /// The connect string.
    pub ensemble: Arc<str>,
    /// State of the session with it.
    pub session: watch::Receiver<Session>,
}
