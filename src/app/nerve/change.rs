//! From what runs to what should: a comparison by service, new before old.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::fleet::{Fleet, Origin, Parts, ensemble};
use super::running::{Beginning, Running, Shown, passes_on};
use super::slot::Slot;
use super::succession::predecessors;
use crate::config::nerve::NerveService;
use crate::endpoint::ServiceName;
use crate::registration::claimant;
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
        // All enter before one of them begins.
        let mut next = Vec::with_capacity(wanted.len());
        for ((service, origin), heir) in wanted.into_iter().zip(heirs) {
            let step = match heir.and_then(|heir| former.remove(&heir)) {
                Some(old) if *old.service() == service => Next::Untouched(old),
                Some(old) => Next::Changed(old, self.beginning(&service, &registries)),
                None => Next::Added(self.beginning(&service, &registries)),
            };
            next.push((service, origin, step));
        }
        for (service, origin, step) in next {
            let running = self.take_step(service, step, &mut changes, &mut fresh);
            self.services.push((running, origin));
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

    fn beginning(
        &self,
        service: &NerveService,
        registries: &HashMap<Arc<str>, Arc<dyn RegistryWriter>>,
    ) -> Beginning {
        let mark = self.parts.pushed.known.downs.get(service.name.as_str()).cloned();
        let registry = ensemble(service).and_then(|name| registries.get(name)).map(Arc::clone);
        let claimant = claimant(&service.registration, &self.parts.household.kin);
        Beginning { mark, registry, claimant, former: None }
    }

    fn take_step(
        &mut self,
        service: NerveService,
        step: Next,
        changes: &mut Changes,
        fresh: &mut HashSet<Arc<str>>,
    ) -> Running {
        match step {
            Next::Untouched(running) => {
                changes.untouched += 1;
                running
            }
            Next::Changed(old, with) => {
                tell_launch(Reason::Update, &service, fresh);
                watcher_reaped(Reason::Update, old.service().name.as_str());
                changes.changed.push(service.name.clone());
                self.replace(old, service, with)
            }
            Next::Added(with) => {
                tell_launch(Reason::New, &service, fresh);
                changes.added.push(service.name.clone());
                Running::start(service, with, &self.parts.household)
            }
        }
    }

    /// The new one beside the old one, or in its place when both mean the same node.
    fn replace(&mut self, old: Running, service: NerveService, mut with: Beginning) -> Running {
        let name = service.name.clone();
        if passes_on(old.service(), &service) {
            tracing::info!(service = %name, "changed; its registration stays");
            old.release();
            let ended = CancellationToken::new();
            let heir = (Arc::clone(&with.claimant), ended.clone().drop_guard());
            with.former = Some(ended);
            self.leaving.spawn(old.leave(Some(heir)));
            return Running::start(service, with, &self.parts.household);
        }
        tracing::info!(service = %name, "changed; the former registration goes when the new one stands");
        let new = Running::start(service, with, &self.parts.household);
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
            if let Some(ensemble) = ensemble {
                // The fleet listens as long as it lives; afterwards nobody needs to know.
                drop(left.send(ensemble));
            }
        });
    }
}

/// What becomes of a service that is wanted.
enum Next {
    Untouched(Running),
    Changed(Running, Beginning),
    Added(Beginning),
}

/// Tells statsd of a watcher that is about to run, and of the session that it uses.
fn tell_launch(reason: Reason, service: &NerveService, fresh: &mut HashSet<Arc<str>>) {
    watcher_launched(reason, service.name.as_str());
    if let Some(ensemble) = ensemble(service) {
        client_used(ensemble, fresh.remove(ensemble));
    }
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
