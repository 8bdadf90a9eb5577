//! The list in the config (`base`): says once that it knows of nobody; `default_servers` come from the policy.
//!
//! Saying so matters: without a word the service would stay [`Membership::Pending`] and never become ready.

use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{Discovered, Discovery, Membership};
use crate::endpoint::EndpointSet;
use crate::health::BoxFuture;

/// The source of a service with `discovery: {method: base}`.
#[derive(Clone, Copy, Debug, Default)]
pub struct FixedDiscovery;

impl Discovery for FixedDiscovery {
    fn run(
        self: Box<Self>,
        out: watch::Sender<Discovered>,
        stop: CancellationToken,
    ) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            out.send_replace(Discovered {
                membership: Membership::Known(EndpointSet::default()),
                verified: Some(Instant::now()),
                ..Discovered::default()
            });
            stop.cancelled().await;
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn says_empty_once_and_stays_until_stopped() {
        let (out, mut seen) = watch::channel(Discovered::default());
        let stop = CancellationToken::new();
        let task = tokio::spawn(Box::new(FixedDiscovery).run(out, stop.clone()));
        seen.changed().await.unwrap();
        assert!(matches!(
            &seen.borrow_and_update().membership,
            Membership::Known(set) if set.is_empty()
        ));
        assert!(!task.is_finished());
        stop.cancel();
        task.await.unwrap();
    }
}
