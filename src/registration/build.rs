//! From settings to the reporter that serves them.

use std::sync::Arc;

use super::claims::{Claimant, Spot};
use super::file::FileReporter;
use super::told::Told;
use super::zookeeper::{ZooKeeperReporter, identity};
use super::{Kin, Place, RegistrationSettings, Reporter};
use crate::registry::writer::RegistryWriter;
use crate::telemetry::statsd::nerve::child_bytes;

/// The reporter for `settings`, which entered as `claimant`. `registry` has the session with the ensemble of a place in ZooKeeper; not needed for a file.
///
/// # Panics
/// Without a registry for a place in ZooKeeper.
#[expect(clippy::expect_used, reason = "whoever starts a service opens its ensemble first")]
pub fn build(
    settings: &RegistrationSettings,
    registry: Option<&Arc<dyn RegistryWriter>>,
    claimant: &Arc<Claimant>,
) -> Box<dyn Reporter> {
    let service = settings.service.clone();
    match &settings.place {
        Place::ZooKeeper(place) => {
            let registry = registry.expect("the ensemble is opened before its services start");
            if place.is_path_encoded {
                let chars = base64::encoded_len(settings.record.encode().len(), true);
                child_bytes(&place.ensemble, &place.path, chars.unwrap_or(usize::MAX));
            }
            let (registry, claimant) = (Arc::clone(registry), Arc::clone(claimant));
            let registry = Arc::new(Told::new(registry, (&place.ensemble, &place.path), &service));
            Box::new(ZooKeeperReporter::new(registry, claimant, service, &settings.record, place))
        }
        Place::File { path } => {
            Box::new(FileReporter::new(path.clone(), settings.record.clone(), service))
        }
    }
}

/// The reporter for `settings` among the others. All that run at once enter before any of them begins: what a twin has is
/// nobody else's.
pub fn claimant(settings: &RegistrationSettings, kin: &Arc<dyn Kin>) -> Arc<Claimant> {
    let (ensemble, parent, identity) = match &settings.place {
        Place::ZooKeeper(place) => (
            Arc::clone(&place.ensemble),
            Arc::clone(&place.path),
            identity(&settings.record, place),
        ),
        // Lines are found by what they say.
        Place::File { path } => (Arc::from(""), path.display().to_string().into(), String::new()),
    };
    let spot = Spot { service: settings.service.clone(), ensemble, parent };
    Arc::new(Claimant::enter(Arc::clone(kin), spot, identity))
}
