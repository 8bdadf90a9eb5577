//! Everything that can fail about a new file, done before anything changes: what each service will be told, and its
//! sockets.

use std::collections::HashMap;
use std::sync::Arc;

use crate::app::fleet::Fleet;
use crate::app::inventory::Inventory;
use crate::app::service::ServiceRuntime;
use crate::config::synapse::Loaded;
use crate::config::{GeneratorRules, ServiceConfig};
use crate::endpoint::ServiceName;
use crate::proxy::listener::Listening;

/// What a running service is told.
pub(super) struct Order {
    /// What the file says.
    pub(super) file: ServiceConfig,
    /// What will be in force, and the generator config that it comes from, if it does.
    pub(super) effective: ServiceConfig,
    pub(super) generator: Option<Arc<str>>,
    /// Why the generator config is not in force any more.
    pub(super) refused: Vec<String>,
    /// `None`: nothing changes about them.
    pub(super) sockets: Option<Vec<Listening>>,
}

/// What a generator config in force comes to under the new file.
enum Generated {
    Config(Arc<str>, Box<ServiceConfig>),
    Refused(Vec<String>),
}

/// Everything that could fail has not.
#[derive(Default)]
pub(super) struct Plan {
    /// For services that run, by name.
    pub(super) orders: HashMap<ServiceName, Order>,
    /// Services to start, with their sockets.
    pub(super) added: Vec<(ServiceConfig, Vec<Listening>)>,
}

impl Fleet {
    /// Binds what has to be bound. Changes nothing: whatever is dropped is closed again.
    pub(super) fn plan(&self, loaded: &Loaded) -> Result<Plan, Vec<String>> {
        let files = &loaded.config.services;
        let generated = self.regenerated(files, loaded.generator.as_ref());
        let running: HashMap<_, _> = self.services.iter().map(|s| (s.name(), s)).collect();
        let mut inventory = self.inventory(files, &generated);
        let mut plan = Plan::default();
        let mut complaints = Vec::new();
        // What the registry says comes last: an address that the file names is the file's.
        let (last, first): (Vec<_>, Vec<_>) =
            files.iter().partition(|file| generated.contains_key(&file.name));
        for file in first.into_iter().chain(last) {
            let Some(service) = running.get(&file.name) else {
                match take(file, &mut inventory) {
                    Ok(sockets) => plan.added.push((file.clone(), sockets)),
                    Err(error) => complaints.push(format!("services.{}: {error}", file.name)),
                }
                continue;
            };
            match order(service, file, generated.get(&file.name), &mut inventory) {
                Ok(order) => drop(plan.orders.insert(file.name.clone(), order)),
                Err(error) => complaints.push(format!("services.{}: {error}", file.name)),
            }
        }
        if complaints.is_empty() { Ok(plan) } else { Err(complaints) }
    }

    /// What the generator configs in force make of the new file, for the services that have one.
    fn regenerated(
        &self,
        files: &[ServiceConfig],
        rules: &dyn GeneratorRules,
    ) -> HashMap<ServiceName, Generated> {
        let files: HashMap<_, _> = files.iter().map(|file| (&file.name, file)).collect();
        let of = |service: &ServiceRuntime| {
            let file = files.get(service.name())?;
            // Another source has generator configs of its own.
            let json = service.generator().filter(|_| file.source == service.current().source)?;
            let generated = match rules.resolve(&file.name, json) {
                Ok(resolved) => Generated::Config(Arc::clone(json), Box::new(resolved?)),
                Err(complaints) => {
                    Generated::Refused(complaints.iter().map(ToString::to_string).collect())
                }
            };
            Some((file.name.clone(), generated))
        };
        self.services.iter().filter_map(of).collect()
    }

    /// The sockets of services that will be gone or will listen elsewhere.
    fn inventory(
        &self,
        files: &[ServiceConfig],
        generated: &HashMap<ServiceName, Generated>,
    ) -> Inventory {
        let next: HashMap<_, _> = files.iter().map(|s| (&s.name, s)).collect();
        let mut inventory = Inventory::default();
        for service in &self.services {
            let name = service.name();
            let next = match generated.get(name) {
                Some(Generated::Config(_, config)) => Some(&**config),
                Some(Generated::Refused(_)) | None => next.get(name).copied(),
            };
            let is_same = |next: &ServiceConfig| next.listener == service.current().listener;
            if !next.is_some_and(is_same) || !service.is_served() {
                inventory.offer(service.sockets());
            }
        }
        inventory
    }
}

/// A generator config that is refused, or cannot listen, gives way to the file's.
fn order(
    service: &ServiceRuntime,
    file: &ServiceConfig,
    generated: Option<&Generated>,
    inventory: &mut Inventory,
) -> Result<Order, String> {
    let mut order = Order {
        file: file.clone(),
        effective: file.clone(),
        generator: None,
        refused: Vec::new(),
        sockets: None,
    };
    match generated {
        Some(Generated::Config(json, config)) => match inventory.take_for(service, config) {
            Ok(sockets) => {
                order.effective.clone_from(config);
                order.generator = Some(Arc::clone(json));
                order.sockets = sockets;
                return Ok(order);
            }
            Err(error) => order.refused.push(format!("cannot listen: {error}")),
        },
        Some(Generated::Refused(complaints)) => order.refused.clone_from(complaints),
        None => {}
    }
    let taken = inventory.take_for(service, file);
    order.sockets = taken.map_err(|error| inventory.explain(&error))?;
    Ok(order)
}

fn take(config: &ServiceConfig, inventory: &mut Inventory) -> Result<Vec<Listening>, String> {
    match &config.listener {
        Some(settings) => inventory.take(settings).map_err(|error| inventory.explain(&error)),
        None => Ok(Vec::new()),
    }
}
