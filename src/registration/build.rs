//! From settings to the reporter that serves them.

use std::sync::Arc;

use super::file::FileReporter;
use super::zookeeper::ZooKeeperReporter;
use super::{Kin, Place, RegistrationSettings, Reporter};
use crate::registry::writer::RegistryWriter;

/// The reporter for `settings`. `registry` has the session with the ensemble of a place in ZooKeeper; not needed for a file.
///
/// # Panics
/// Without a registry for a place in ZooKeeper.
#[expect(clippy::expect_used, reason = "whoever starts a service opens its ensemble first")]
pub fn build(
    settings: &RegistrationSettings,
    registry: Option<&Arc<dyn RegistryWriter>>,
    kin: &Arc<dyn Kin>,
) -> Box<dyn Reporter> {
    let service = settings.service.clone();
    match &settings.place {
        Place::ZooKeeper(place) => {
            let registry = registry.expect("the ensemble is opened before its services start");
            let (registry, kin) = (Arc::clone(registry), Arc::clone(kin));
            Box::new(ZooKeeperReporter::new(registry, kin, service, &settings.record, place))
        }
        Place::File { path } => {
            Box::new(FileReporter::new(path.clone(), settings.record.clone(), service))
        }
    }
}
