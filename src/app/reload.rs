//! SIGHUP: the file is read again, and what is different about it is put in force.
//!
//! First everything that can fail: read, judge, open sessions, bind. Any complaint, and nothing has changed at all. Then
//! new before old: added services are started, changed ones are told, removed ones end. Untouched services notice
//! nothing: sockets, connections, counters and health stay.

mod plan;

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use self::plan::{Order, Plan};
use super::fleet::Fleet;
use super::service::{MakeDiscovery, ServiceRuntime};
use crate::config::diff::{ConfigDiff, change, diff};
use crate::config::report::{Report, grouped};
use crate::config::synapse::{LoadOptions, Loaded, load};
use crate::config::{ProcessSettings, ServiceConfig};
use crate::endpoint::ServiceName;
use crate::proxy::listener::Listening;
use crate::telemetry::statsd::{self, Program};
use crate::telemetry::{access, cold};

/// New services listen when they know their backends, but no later than this: a service that takes over another one's
/// port must not answer 503 for the time that a registry takes. What is remembered of the source serves after that, not
/// before: it may be of any age.
const FIRST_WORD: Duration = Duration::from_secs(1);

impl Fleet {
    /// Puts the file in force, or says why not.
    pub(super) async fn reload(&mut self) {
        let Some(options) = self.options.clone() else {
            return;
        };
        tracing::info!(file = %options.file.display(), "reloading the configuration");
        let begun = Instant::now();
        match self.try_reload(options).await {
            Ok((diff, mut undone)) => {
                for remark in restart_remarks(&diff) {
                    tracing::warn!(remark, "configuration");
                    undone.push(remark);
                }
                self.show_warnings(&undone);
                self.show_differs(!undone.is_empty());
                tracing::info!(
                    added = ?names(&diff.added),
                    removed = ?names(&diff.removed),
                    changed = ?diff.changed.iter().take(MAX_NAMED).map(|c| format!("{} ({})", c.name, c.what)).collect::<Vec<_>>(),
                    untouched = diff.untouched.len(),
                    took = ?begun.elapsed(),
                    "configuration reloaded"
                );
                statsd::synapse::config_updated();
                access::keep(self.log_targets()).await;
                // Last: whoever waits for it finds everything done.
                cold::config_reloaded();
            }
            Err(complaints) => {
                self.show_differs(true);
                for complaint in &complaints {
                    tracing::error!(complaint, "configuration refused");
                }
                tracing::error!(
                    complaints = complaints.len(),
                    "reload refused: nothing has changed, the former configuration stays in force"
                );
                statsd::synapse::config_refused();
                cold::config_rejected();
            }
        }
    }

    /// Of all services.
    fn log_targets(&self) -> HashSet<access::Target> {
        let lists = self.config.services.iter().flat_map(|service| {
            let requests = service.proxy.access_log.as_ref().map(|log| &log.targets);
            requests.into_iter().chain(service.pool.states.as_ref().map(|log| &log.targets))
        });
        lists.flat_map(|targets| targets.list()).cloned().collect()
    }

    async fn try_reload(
        &mut self,
        options: LoadOptions,
    ) -> Result<(ConfigDiff, Vec<String>), Vec<String>> {
        // Files are read and templates rendered off the control thread: checks and discovery go on.
        let loaded = tokio::task::spawn_blocking(move || load(&options)).await;
        let loaded = loaded
            .map_err(|panic| vec![format!("loading the configuration failed: {panic}")])?
            .map_err(refused)?;
        for warning in grouped(loaded.config.warnings.clone()) {
            tracing::warn!(%warning, "configuration");
        }
        let diff = diff(&self.config, &loaded.config);
        let plan = self.plan(&loaded)?;
        let former = self.opened.clone();
        let put = match self.registries.open(&loaded.config.services) {
            Ok(opened) => {
                self.opened = opened;
                self.put_in_force(loaded, plan).await
            }
            Err(error) => Err(error.to_string()),
        };
        match put {
            Ok(undone) => Ok((diff, undone)),
            Err(error) => {
                self.registries.retain(&self.config.services);
                self.opened = former;
                Err(vec![error])
            }
        }
    }

    /// New before old. An error means that nothing has changed; what could not be done later is in the list.
    async fn put_in_force(&mut self, loaded: Loaded, plan: Plan) -> Result<Vec<String>, String> {
        let mut orders = plan.orders;
        let added = self.start_added(plan.added).await?;
        let mut undone = Vec::new();
        let mut removed = Vec::new();
        for service in &mut self.services {
            match orders.remove(service.name()) {
                Some(order) => {
                    let source = (order.effective.source != service.current().source)
                        .then(|| (self.make_source)(&order.file, &self.opened));
                    undone.extend(obey(service, order, source).await);
                }
                None => removed.push(service.name().clone()),
            }
        }
        for name in removed {
            if let Some(index) = self.services.iter().position(|s| *s.name() == name) {
                tracing::info!(service = %name, "service removed");
                self.services.remove(index).end().await;
            }
        }
        self.services.extend(added);
        let places = loaded.config.services.iter().enumerate();
        let places: HashMap<_, _> = places.map(|(place, s)| (s.name.clone(), place)).collect();
        self.services.sort_by_key(|service| places.get(service.name()).copied());
        // Another source, and nothing was known before.
        first_words(self.services.iter_mut().filter(|service| service.remembers())).await;
        let running = std::mem::replace(&mut self.config, loaded.config).process;
        // The rest is what the process was started with, whatever the file says by now.
        let ProcessSettings { hard_stop_after, statsd, .. } = self.config.process.clone();
        statsd::configure(Program::Synapse, statsd.as_ref());
        self.config.process = ProcessSettings { hard_stop_after, statsd, ..running };
        self.rules = loaded.generator;
        self.registries.retain(&self.config.services);
        // What was refused may be right under the new file.
        self.retry_generators(ServiceRuntime::is_refused).await;
        self.show_registries();
        self.show_services();
        Ok(undone)
    }

    /// All added services listen, or none of them runs.
    async fn start_added(
        &mut self,
        added: Vec<(ServiceConfig, Vec<Listening>)>,
    ) -> Result<Vec<ServiceRuntime>, String> {
        let mut started = Vec::new();
        for (config, sockets) in added {
            tracing::info!(service = %config.name, "service added");
            started.push((self.start_service(config), sockets));
        }
        let heard =
            started.iter_mut().filter(|(it, sockets)| !sockets.is_empty() || it.remembers());
        first_words(heard.map(|(service, _)| service)).await;
        let mut services = Vec::new();
        let mut failed = None;
        for (mut service, sockets) in started {
            if failed.is_none()
                && let Err(error) = service.listen(sockets).await
            {
                failed = Some(format!("services.{}: cannot listen: {error}", service.name()));
            }
            services.push(service);
        }
        if failed.is_none() {
            failed = services.iter_mut().flat_map(ServiceRuntime::settle).next();
        }
        let Some(error) = failed else {
            return Ok(services);
        };
        for service in services {
            service.end().await;
        }
        Err(error)
    }
}

/// Waits for the sources of `services`, which have just started. Late is no failure: then a service has what is remembered, or
/// no backends, as at the start of the process.
async fn first_words(services: impl Iterator<Item = &mut ServiceRuntime>) {
    let deadline = Instant::now() + FIRST_WORD;
    for service in services {
        drop(timeout_at(deadline, service.pool().wait_ready()).await);
        service.recall().await;
    }
}

/// Tells a running service. What cannot be done is logged and given back.
async fn obey(
    service: &mut ServiceRuntime,
    order: Order,
    source: Option<MakeDiscovery>,
) -> Option<String> {
    let mut undone = None;
    if source.is_some() {
        service.leave_source().await;
    }
    service.set_file(order.file);
    let is_changed = change(service.current(), &order.effective).any() || order.sockets.is_some();
    if is_changed
        && let Err(error) = service.apply(order.effective, order.generator, order.sockets).await
    {
        tracing::error!(service = %service.name(), %error, "the new listener is not served; the former one is");
        undone = Some(format!(
            "services.{}: the former listener is still served: {error}",
            service.name()
        ));
    }
    if let Some(discovery) = source {
        service.begin_source(discovery);
    } else if !order.refused.is_empty() {
        service.refuse(order.refused, true);
    }
    undone
}

/// Everything that is wrong with a file, one line each; its remarks are logged.
fn refused(report: Report) -> Vec<String> {
    for warning in grouped(report.warnings) {
        tracing::warn!(%warning, "configuration");
    }
    report.complaints.iter().map(ToString::to_string).collect()
}

fn restart_remarks(diff: &ConfigDiff) -> Vec<String> {
    let keys = diff.needs_restart.iter();
    keys.map(|key| format!("{key}: the new value needs a restart; the former stays in use"))
        .collect()
}

/// Services named in one log line.
const MAX_NAMED: usize = 10;

fn names(services: &[ServiceName]) -> Vec<&str> {
    let named = services.iter().take(MAX_NAMED);
    named.map(ServiceName::as_str).collect()
}
