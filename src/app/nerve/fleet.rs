//! All services of this host: the one place that starts, changes and ends them.
//!
//! A reload, an announced downtime and a pushed service are commands to one task, so nothing races. Commands end at
//! once: what takes time (a registration that is to go, a new one that must stand before the old one goes) is left to
//! tasks that are counted in `leaving`.

use std::collections::{HashMap, HashSet};
use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::super::sessions::Sessions;
use super::super::signal::ReloadSignal;
use super::command::Command;
use super::desk::Remarks;
use super::pushed::PushedStore;
use super::reload::{Reading, read};
use super::running::{Household, Running, Shown};
use super::slot::Slot;
use super::sweep;
use crate::config::Complaint;
use crate::config::nerve::{
    self, NerveConfig, NerveLoadOptions, NerveProcess, NerveService, Taken,
};
use crate::endpoint::ServiceName;
use crate::registration::Place;
use crate::registry::writer::RegistryWriter;

/// Between two looks for pushed services that were not renewed.
const EXPIRY_CHECK: Duration = Duration::from_secs(1);

/// Where a service is defined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The configuration file.
    File,
    /// The push API; forgotten at this time unless it is put again.
    Pushed {
        /// When.
        until: SystemTime,
    },
}

/// One service, as it is shown.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    /// What can be seen of it.
    pub(crate) shown: Shown,
    /// Where it is defined.
    pub(crate) origin: Origin,
}

/// The services in order; replaced whole.
pub(crate) type Entries = Arc<ArcSwap<Vec<Entry>>>;

/// What a fleet is made of.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) config: NerveConfig,
    /// What the process was started with, whatever the file says by now.
    pub(crate) started_with: NerveProcess,
    /// How SIGHUP loads it again; `None`: there is no file (demo).
    pub(crate) options: Option<NerveLoadOptions>,
    pub(crate) household: Household,
    pub(crate) slot: Option<Arc<Slot>>,
    pub(crate) pushed: PushedStore,
    pub(crate) sessions: Sessions,
    pub(crate) entries: Entries,
    pub(crate) remarks: Arc<ArcSwap<Remarks>>,
}

/// Owner of all running services.
#[derive(Debug)]
pub(crate) struct Fleet {
    pub(super) parts: Parts,
    pub(super) services: Vec<(Running, Origin)>,
    /// Registrations on their way out.
    pub(super) leaving: JoinSet<()>,
    /// Ensembles that `leaving` uses.
    pub(super) still_used: HashMap<Arc<str>, usize>,
    /// The ensembles of registrations that are gone.
    pub(super) left: (mpsc::UnboundedSender<Arc<str>>, mpsc::UnboundedReceiver<Arc<str>>),
    /// A file that is being read.
    pub(super) reading: Option<Reading>,
    /// Sessions that were begun with one that a former process left, and are not swept yet.
    pub(super) inherited: Vec<(Arc<str>, Arc<dyn RegistryWriter>)>,
}

impl Fleet {
    /// Starts every service of the configuration, and those that were pushed.
    ///
    /// # Errors
    /// When the system gives no thread for a session.
    pub(crate) fn start(parts: Parts) -> io::Result<Self> {
        let mut fleet = Self {
            parts,
            services: Vec::new(),
            leaving: JoinSet::new(),
            still_used: HashMap::new(),
            left: mpsc::unbounded_channel(),
            reading: None,
            inherited: Vec::new(),
        };
        let wanted = fleet.wanted();
        fleet.apply(wanted)?;
        fleet.show_remarks(Vec::new(), false);
        Ok(fleet)
    }

    /// Obeys until `settled`.
    pub(crate) async fn run(
        mut self,
        mut commands: mpsc::Receiver<Command>,
        mut hangup: ReloadSignal,
        settled: CancellationToken,
    ) -> Self {
        let mut expiry = tokio::time::interval(EXPIRY_CHECK);
        loop {
            tokio::select! {
                () = settled.cancelled() => {
                    self.parts.pushed.flush();
                    return self;
                }
                () = hangup.next() => self.reload(),
                read = read(&mut self.reading) => self.reloaded(read),
                Some(command) = commands.recv() => self.obey(command),
                Some(ensemble) = self.left.1.recv() => self.has_left(&ensemble),
                Some(ended) = self.leaving.join_next() => {
                    if let Err(error) = ended {
                        tracing::error!(%error, "a registration on its way out was lost sight of");
                    }
                }
                _ = expiry.tick() => self.forget_expired(),
            }
        }
    }

    /// What should run: the file's services, then those that were pushed.
    pub(super) fn wanted(&mut self) -> Vec<(NerveService, Origin)> {
        let in_file = self.parts.config.services.iter().map(|s| s.name.to_string()).collect();
        self.parts.pushed.keep_marks_of(in_file);
        self.parts.pushed.expire(SystemTime::now());
        let mut taken = Taken::default();
        let services = &self.parts.config.services;
        let mut wanted: Vec<_> =
            services.iter().map(|service| (service.clone(), Origin::File)).collect();
        let mut names: HashSet<ServiceName> = wanted.iter().map(|(s, _)| s.name.clone()).collect();
        for (service, _) in &wanted {
            // The file's own places do not clash: they have been compared when it was loaded.
            drop(taken.add(service));
        }
        for (name, pushed) in &self.parts.pushed.known.services {
            match self.resolve(name, &pushed.definition, &mut taken) {
                Ok(service) if names.insert(service.name.clone()) => {
                    wanted.push((service, Origin::Pushed { until: pushed.until }));
                }
                Ok(_) => tracing::warn!(
                    service = name,
                    "pushed, but the file has it now: the file counts"
                ),
                Err(complaints) => {
                    let complaints: Vec<_> = complaints.iter().map(ToString::to_string).collect();
                    tracing::error!(service = name, ?complaints, "pushed earlier, refused now");
                }
            }
        }
        wanted
    }

    fn has_left(&mut self, ensemble: &Arc<str>) {
        if let Some(count) = self.still_used.get_mut(ensemble) {
            *count -= 1;
            if *count == 0 {
                self.still_used.remove(ensemble);
                self.close_unused();
            }
        }
    }

    /// Ends what a former process has registered in the sessions that it left to us, and nobody here knows.
    pub(super) fn sweep(&mut self) {
        for (ensemble, registry) in std::mem::take(&mut self.inherited) {
            let services = self.services.iter().map(|(running, _)| running.shown());
            let theirs = services
                .filter(|shown| shown.session.as_ref().is_some_and(|(name, _)| *name == ensemble));
            let work = sweep::sweep(
                Arc::clone(&ensemble),
                registry,
                theirs.cloned().collect(),
                Arc::clone(&self.parts.household.kin),
            );
            let stop = self.parts.household.stop.clone();
            self.parts.household.tasks.spawn(stop.run_until_cancelled_owned(work));
        }
    }

    /// A pushed definition as the service that it makes. It must not stand where another one stands.
    pub(super) fn resolve(
        &self,
        name: &str,
        definition: &Value,
        taken: &mut Taken,
    ) -> Result<NerveService, Vec<Complaint>> {
        let config = &self.parts.config;
        let resolved =
            nerve::service(name, definition, &config.instance_id, &config.defaults, false);
        let complaint = |text: String| {
            let file = Arc::from(format!("definition of {name:?}"));
            vec![Complaint { file, path: String::new(), text }]
        };
        let services = resolved.map_err(|report| report.complaints)?;
        let [service] = <[NerveService; 1]>::try_from(services)
            .map_err(|_many| complaint("load_test_concurrency is for the file only".to_owned()))?;
        taken.add(&service).map_err(complaint)?;
        Ok(service)
    }

    pub(super) fn close_unused(&mut self) {
        let Self { parts, services, still_used, .. } = self;
        let used: HashSet<Arc<str>> = services
            .iter()
            .filter_map(|(running, _)| ensemble(running.service()).map(Arc::clone))
            .chain(still_used.keys().map(Arc::clone))
            .collect();
        let slot = parts.slot.clone();
        parts.sessions.retain(
            |name| used.contains(name),
            move |name| {
                if let Some(slot) = &slot {
                    slot.closed(name);
                }
            },
        );
    }

    /// Shows what there is to say about the configuration in force; `more`: what cannot be put in force.
    pub(super) fn show_remarks(&self, more: Vec<String>, differs: bool) {
        let config = &self.parts.config;
        let mut warnings: Vec<_> = config.warnings.iter().map(ToString::to_string).collect();
        warnings.extend(more);
        self.parts.remarks.store(Arc::new(Remarks {
            instance_id: config.instance_id.clone(),
            refused: config.refused.iter().map(ToString::to_string).collect(),
            warnings,
            differs,
        }));
    }

    pub(super) fn show(&self) {
        let entry = |(running, origin): &(Running, Origin)| Entry {
            shown: running.shown().clone(),
            origin: *origin,
        };
        self.parts.entries.store(Arc::new(self.services.iter().map(entry).collect()));
    }
}

/// The ensemble that a service is registered with; `None` for a file.
pub(super) fn ensemble(service: &NerveService) -> Option<&Arc<str>> {
    match &service.registration.place {
        Place::ZooKeeper(place) => Some(&place.ensemble),
        Place::File { .. } => None,
    }
}
