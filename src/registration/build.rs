//! From settings to the reporter that serves them.

use std::sync::Arc;

use super::file::FileReporter;
use super::told::Told;
use super::zookeeper::ZooKeeperReporter;
use super::{Kin, Place, RegistrationSettings, Reporter};
use crate::registry::writer::RegistryWriter;
use crate::telemetry::statsd::nerve::child_bytes;

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
            if place.is_path_encoded {
                let chars = base64::encoded_len(settings.record.encode().len(), true);
                child_bytes(&place.ensemble, &place.path, chars.unwrap_or(usize::MAX));
            }
            let (registry, kin) = (Arc::clone(registry), Arc::clone(kin));
            let registry = Arc::new(Told::new(registry, (&place.ensemble, &place.path), &service));
            Box::new(ZooKeeperReporter::new(registry, kin, service, &settings.record, place))
        }
        Place::File { path } => {
            Box::new(FileReporter::new(path.clone(), settings.record.clone(), service))
        }
    }
}
