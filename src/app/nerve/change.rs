//! From what runs to what should: a comparison by service, new before old.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::fleet::{Fleet, Origin, Parts, ensemble};
use super::running::{Running, Shown, passes_on};
use super::slot::Slot;
use super::succession::predecessors;
use crate::config::nerve::NerveService;
use crate::endpoint::ServiceName;
use crate::registration::renamed::renamed;
use crate::registry::session::SessionSettings;
use crate::registry::writer::RegistryWriter;
use crate::telemetry::statsd::nerve::{Reason, client_used, watcher_launched, watcher_reaped};

/// How long the former registration of a changed service waits for the new one to stand. The original waits as long.
const OVERLAP: Duration = Duration::from_secs(30);

/// Services named in one log line.
const MAX_NAMED: usize = 10;

/// What a change came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Changes {
    pub(super) added: Vec<ServiceName>,
    pub(super) changed: Vec<ServiceName>,
    pub(super) removed: Vec<ServiceName>,
    pub(super) untouched: usize,
}

impl fmt::Display for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (what, names) in
            [("added", &self.added), ("changed", &self.changed), ("removed", &self.removed)]
        {
            if !names.is_empty() {
                let named: Vec<_> = names.iter().take(MAX_NAMED).map(ServiceName::as_str).collect();
                let more = if names.len() > MAX_NAMED { ", …" } else { "" };
                write!(f, "{} {what} ({}{more}), ", names.len(), named.join(", "))?;
            }
        }
        write!(f, "{} untouched", self.untouched)
    }
}

impl Fleet {
    /// Makes exactly `wanted` run: unchanged services notice nothing.
    ///
    /// # Errors
    /// When the system gives no thread for a session; nothing has changed then.
    pub(super) fn apply(&mut self, wanted: Vec<(NerveService, Origin)>) -> io::Result<Changes> {
        let mut registries = HashMap::new();
        let mut fresh = HashSet::new();
        for (service, _) in &wanted {
            if let Some(ensemble) = ensemble(service) {
                registries.insert(Arc::clone(ensemble), self.open(ensemble, &mut fresh)?);
            }
        }
        let mut changes = Changes::default();
        let former = std::mem::take(&mut self.services);
        let heirs = predecessors(
            &former.iter().map(|(running, _)| running.service()).collect::<Vec<_>>(),
            &wanted.iter().map(|(service, _)| service).collect::<Vec<_>>(),
        );
        let mut former: BTreeMap<usize, Running> =
            former.into_iter().map(|(running, _)| running).enumerate().collect();
        for ((service, origin), heir) in wanted.into_iter().zip(heirs) {
            let name = service.name.clone();
            let old = heir.and_then(|heir| former.remove(&heir));
            if let Some(running) = old {
                if *running.service() == service {
                    changes.untouched += 1;
                    self.services.push((running, origin));
                    continue;
                }
                tell_launch(Reason::Update, &service, &mut fresh);
                watcher_reaped(Reason::Update, running.service().name.as_str());
                changes.changed.push(name);
                let registry = registry_of(&registries, &service);
                let running = self.replace(running, service, registry);
                self.services.push((running, origin));
            } else {
                tell_launch(Reason::New, &service, &mut fresh);
                changes.added.push(name);
                let registry = registry_of(&registries, &service);
                let running = self.launch(service, registry, None);
                self.services.push((running, origin));
            }
        }
        for running in former.into_values() {
            let name = running.service().name.clone();
            watcher_reaped(Reason::Old, name.as_str());
            changes.removed.push(name);
            self.let_go(running, None);
        }
        self.show();
        self.close_unused();
        self.sweep();
        Ok(changes)
    }

    /// The session with `ensemble`; one that was not open is noted in `fresh`.
    fn open(
        &mut self,
        ensemble: &Arc<str>,
        fresh: &mut HashSet<Arc<str>>,
    ) -> io::Result<Arc<dyn RegistryWriter>> {
        let Parts { started_with, slot, sessions, .. } = &mut self.parts;
        let timeout = started_with.session_timeout;
        let mut has_heir = false;
        let settings = || {
            fresh.insert(Arc::clone(ensemble));
            let settings = session_settings(ensemble, timeout, slot.as_ref());
            has_heir = settings.heir.is_some();
            settings
        };
        let registry = sessions.open(ensemble, settings).map_err(io::Error::other)?;
        if has_heir {
            self.inherited.push((Arc::clone(ensemble), Arc::clone(&registry)));
        }
        Ok(registry)
    }

    fn launch(
        &self,
        service: NerveService,
        registry: Option<Arc<dyn RegistryWriter>>,
        former: Option<CancellationToken>,
    ) -> Running {
        let mark = self.parts.pushed.known.downs.get(service.name.as_str()).cloned();
        Running::start(service, mark, registry, former, &self.parts.household)
    }

    /// The new one beside the old one, or in its place when both mean the same node.
    fn replace(
        &mut self,
        old: Running,
        service: NerveService,
        registry: Option<Arc<dyn RegistryWriter>>,
    ) -> Running {
        let name = service.name.clone();
        if passes_on(old.service(), &service) {
            tracing::info!(service = %name, "changed; its registration stays");
            old.release();
            let ended = CancellationToken::new();
            let (kin, handed_on) =
                (Arc::clone(&self.parts.household.kin), ended.clone().drop_guard());
            let (from, to) = (old.service().registration.clone(), service.registration.clone());
            self.leaving.spawn(old.leave(move || {
                renamed(&*kin, &from, &to);
                drop(handed_on);
            }));
            return self.launch(service, registry, Some(ended));
        }
        tracing::info!(service = %name, "changed; the former registration goes when the new one stands");
        let new = self.launch(service, registry, None);
        self.let_go(old, Some(new.shown().clone()));
        new
    }

    /// Deregisters, after `successor` is settled.
    fn let_go(&mut self, running: Running, successor: Option<Shown>) {
        let patience = self.parts.config.process.stop_timeout;
        let name = running.service().name.clone();
        let ensemble = ensemble(running.service()).map(Arc::clone);
        if let Some(ensemble) = &ensemble {
            *self.still_used.entry(Arc::clone(ensemble)).or_default() += 1;
        }
        let left = self.left.0.clone();
        self.leaving.spawn(async move {
            if let Some(mut successor) = successor
                && tokio::time::timeout(OVERLAP, successor.settled()).await.is_err()
            {
                tracing::warn!(service = %name, "its new registration does not stand yet; the former one goes");
            }
            if running.deregister(patience).await {
                tracing::info!(service = %name, "deregistered");
            } else {
                tracing::error!(service = %name, "its end was not acknowledged; it ends with the session");
            }
            // The fleet listens as long as it lives; afterwards nobody needs to know.
            drop(left.send((name, ensemble)));
        });
    }
}

/// Tells statsd of a watcher that is about to run, and of the session that it uses.
fn tell_launch(reason: Reason, service: &NerveService, fresh: &mut HashSet<Arc<str>>) {
    watcher_launched(reason, service.name.as_str());
    if let Some(ensemble) = ensemble(service) {
        client_used(ensemble, fresh.remove(ensemble));
    }
}

fn registry_of(
    registries: &HashMap<Arc<str>, Arc<dyn RegistryWriter>>,
    service: &NerveService,
) -> Option<Arc<dyn RegistryWriter>> {
    ensemble(service).and_then(|name| registries.get(name)).map(Arc::clone)
}

/// How a session with `ensemble` is begun: with the one that was left in our slot, if there is one.
fn session_settings(
    ensemble: &Arc<str>,
    timeout: Duration,
    slot: Option<&Arc<Slot>>,
) -> SessionSettings {
    SessionSettings {
        timeout,
        heir: slot.and_then(|slot| slot.heir(ensemble)),
        keeper: slot.map(|slot| Arc::clone(slot) as _),
    }
}
