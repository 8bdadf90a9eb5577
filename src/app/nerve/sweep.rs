//! After a restart: what the former process registered and this one does not know.
//!
//! A session that was taken over brings its nodes along, those of services too that have left the configuration meanwhile
//! or have another port now. No reporter looks for them, and they would stand as long as the session lives. So once every
//! service with that ensemble has found its own node, what is left over on our session is deleted.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use super::running::Shown;
use crate::backoff::Backoff;
use crate::registration::{Kin, Phase};
use crate::registry::writer::RegistryWriter;

/// Between two looks. A node that was just made is claimed by then.
const SECOND_LOOK: Duration = Duration::from_secs(1);

/// Deletes what nobody claims of the session that was taken over, once `services` know what is theirs. Ends by itself.
pub(super) async fn sweep(
    ensemble: Arc<str>,
    registry: Arc<dyn RegistryWriter>,
    services: Vec<Shown>,
    kin: Arc<dyn Kin>,
) {
    for mut service in services {
        // Undecided ones have adopted theirs, the others have made or ended it; a channel that ended needs nothing.
        let knows = |phase: Phase| {
            matches!(phase, Phase::Registered | Phase::Absent | Phase::Blocked | Phase::Unconfirmed)
        };
        drop(service.registration.wait_for(|registration| knows(registration.phase)).await);
    }
    let first = left_over(&ensemble, &*registry, &*kin).await;
    if first.is_empty() {
        return;
    }
    sleep(SECOND_LOOK).await;
    let second = left_over(&ensemble, &*registry, &*kin).await;
    for path in first.intersection(&second) {
        match registry.delete(path, None).await {
            Ok(_) => {
                tracing::info!(%ensemble, node = %path, "left over from the former process: deleted");
            }
            Err(error) => {
                tracing::warn!(%ensemble, node = %path, %error, "left over from the former process, and stays");
            }
        }
    }
}

/// Nodes of our session that no service claims.
async fn left_over(
    ensemble: &str,
    registry: &dyn RegistryWriter,
    kin: &dyn Kin,
) -> HashSet<String> {
    let mut pause = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
    loop {
        match registry.own_ephemerals().await {
            Ok(paths) => {
                let unclaimed = |path: &String| !kin.claims().is_claimed(ensemble, path);
                return paths.unwrap_or_default().into_iter().filter(unclaimed).collect();
            }
            Err(error) => tracing::debug!(%error, "what is left over cannot be asked for yet"),
        }
        sleep(pause.next_delay()).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::nerve::slot::Alone;
    use crate::endpoint::ServiceName;
    use crate::registration::claims::{Claimant, Spot};
    use crate::registry::memory::MemoryRegistry;

    #[tokio::test(start_paused = true)]
    async fn what_nobody_claims_of_our_session_is_deleted_and_nothing_else() {
        let registry = MemoryRegistry::default();
        let (ours, other) = (registry.session_id(), registry.session_id() + 1);
        registry.put_ephemeral("/p/mine", "", ours);
        registry.put_ephemeral("/p/old", "", ours);
        registry.put_ephemeral("/p/other", "", other);
        let kin: Arc<dyn Kin> = Arc::new(Alone::default());
        let (service, parent) = (ServiceName::new("web"), Arc::from("/p"));
        let spot = Spot { service, ensemble: "memory".into(), parent };
        let web = Claimant::enter(Arc::clone(&kin), spot, String::new());
        assert!(web.claim("/p/mine"));
        sweep("memory".into(), Arc::new(registry.clone()), Vec::new(), kin).await;
        assert_eq!(registry.peek_children("/p"), ["mine", "other"]);
    }
}
