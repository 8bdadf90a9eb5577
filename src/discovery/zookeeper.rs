//! Children of a path in ZooKeeper: one list per change, data of new children only.
//!
//! Four things are followed side by side in one task, and each publishes its own part: the *session* (trouble only), the
//! *parent* (its data may be a generator config; its creation zxid tells whether cached children are still the same
//! ones), a *generator node* elsewhere if one is configured, and the *members*.
//!
//! Invariants. Between a read and the next there is always a watch or a timer: a change between them fires the watch that
//! was set by the read. No failure publishes a membership. An event that comes alone is acted upon at once; those in a
//! burst share a read. Nothing is ever written to ZooKeeper. Watches may still get lost (it has happened in every
//! client): so every minute, and after each reconnect, the list is read again, and a sample of the children with it.

mod children;
mod faults;
mod pace;
mod parent;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use self::children::{Children, Doubt};
use self::faults::Faults;
use self::pace::{Pace, Retry, reconnected};
use self::parent::Parent;
use super::publish::{Part, Publisher, Reading};
use super::{Discovered, Discovery, Membership, ZooKeeperSourceSettings};
use crate::endpoint::ServiceName;
use crate::health::BoxFuture;
use crate::registry::{Registry, RegistryError, Session, SessionState, path};
use crate::telemetry::statsd::synapse::Watcher;

/// Time between two reads without any event, spread by a quarter to both sides. A lost watch stays unnoticed for at most
/// that long; at 1,000 hosts it costs the ensemble some 17 lists a second and service.
const VERIFY_EVERY: Duration = Duration::from_secs(60);

/// After a reconnect the list is verified within this time; the watches have fired already, so this is only a precaution
/// and can be spread.
const VERIFY_AFTER_RECONNECT: Duration = Duration::from_secs(5);

/// The first list waits this long for the first look at the parent, so that members and generator config usually come
/// together and a service is not set up twice.
const PARENT_FIRST: Duration = Duration::from_millis(250);

/// The source of a service with `discovery: {method: zookeeper}`.
#[derive(Debug)]
pub struct ZooKeeperDiscovery {
    registry: Arc<dyn Registry>,
    settings: ZooKeeperSourceSettings,
    events: Watcher,
}

impl ZooKeeperDiscovery {
    /// `registry` is the shared session with the ensemble that `settings` name; statsd events are `service`'s.
    pub fn new(
        registry: Arc<dyn Registry>,
        settings: ZooKeeperSourceSettings,
        service: &ServiceName,
    ) -> Self {
        let (ensemble, path) = (Arc::clone(&settings.ensemble), Arc::clone(&settings.path));
        let events = Watcher::new(ensemble, path, service.as_str());
        Self { registry, settings, events }
    }
}

impl Discovery for ZooKeeperDiscovery {
    fn run(
        self: Box<Self>,
        out: watch::Sender<Discovered>,
        stop: CancellationToken,
    ) -> BoxFuture<'static, ()> {
        let source = Source {
            registry: self.registry,
            settings: self.settings,
            events: self.events,
            publisher: Publisher::new(out),
            parent: Parent::default(),
        };
        Box::pin(async move {
            // Everything in `follow` is cancel safe: it only reads, and publishes between two awaits.
            tokio::select! {
                () = stop.cancelled() => {}
                () = source.follow() => {}
            }
        })
    }
}

#[derive(Debug)]
struct Source {
    registry: Arc<dyn Registry>,
    settings: ZooKeeperSourceSettings,
    events: Watcher,
    publisher: Publisher,
    parent: Parent,
}

impl Source {
    async fn follow(&self) {
        tokio::join!(
            self.follow_session(),
            Box::pin(self.follow_parent()),
            Box::pin(self.follow_generator_node()),
            Box::pin(self.follow_members()),
        );
    }

    /// Shows the session's trouble; the registry itself logs it once for all services.
    async fn follow_session(&self) {
        let mut session = self.registry.session();
        let mut generation = session.borrow().generation;
        loop {
            let trouble = session_trouble(&session.borrow_and_update(), &self.settings.ensemble);
            let former = std::mem::replace(&mut generation, session.borrow().generation);
            if former != 0 && former != generation {
                self.events.session_expired();
            }
            self.publisher.trouble(Part::Session, trouble);
            if session.changed().await.is_err() {
                // The registry ended before us: only a stop is left to come.
                return;
            }
        }
    }

    async fn follow_members(&self) {
        let mut children = Children::new(self.settings.decode.clone());
        let mut session = self.registry.session();
        let mut retry = Retry::new(self.registry.session());
        let mut pace = Pace::new(self.settings.jitter);
        let mut doubt = Doubt::Usual;
        if tokio::time::timeout(PARENT_FIRST, self.parent.tried.notified()).await.is_err() {
            debug!(path = %self.settings.path, "no answer about the parent yet, listing without");
        }
        loop {
            pace.mark();
            session.mark_unchanged();
            let generation = session.borrow().generation;
            match self.refresh(&mut children, &mut doubt).await {
                Ok(changed) => {
                    retry.reset();
                    doubt = self.until_stale(&children, changed, &mut session).await;
                    let now = session.borrow().clone();
                    if now.generation != generation || now.state != SessionState::Connected {
                        // The watch ended with its session; nothing says that somebody came or went.
                        doubt = Doubt::Usual;
                    }
                    pace.rest().await;
                }
                Err(error) => {
                    if doubt == Doubt::Changed && matches!(error, RegistryError::Unavailable { .. })
                    {
                        // The "event" was the end of the session: no reason to read every child again.
                        doubt = Doubt::Usual;
                    }
                    self.complain(Part::Members, &error);
                    retry.wait(&error).await;
                }
            }
        }
    }

    /// One list, the data that is missing, one publication. `doubt` is left at what a retry should start with.
    async fn refresh(
        &self,
        children: &mut Children,
        doubt: &mut Doubt,
    ) -> Result<BoxFuture<'static, ()>, RegistryError> {
        let begun = Instant::now();
        self.events.discovers();
        let listed = self.registry.watch_children(&self.settings.path).await;
        let listed = listed.inspect_err(|_error| self.events.listing_failed())?;
        self.events.listing_took(begun.elapsed());
        let Some(names) = listed.value else {
            children.clear();
            self.publish(Reading::new(Membership::Missing));
            return Ok(listed.changed);
        };
        let differs = children.set_names(names);
        if *doubt == Doubt::Changed {
            // An announced change that the names do not show: a child was replaced under its own name.
            *doubt = if differs { Doubt::Usual } else { Doubt::All };
        }
        children.enter_incarnation(self.parent.incarnation());
        self.read(children, *doubt).await?;
        self.publish(children.reading());
        self.events.discovery_took(begun.elapsed());
        Ok(listed.changed)
    }

    /// Reads what `children` need.
    async fn read(&self, children: &mut Children, doubt: Doubt) -> Result<(), RegistryError> {
        let names = children.due(doubt);
        if names.is_empty() {
            return Ok(());
        }
        let paths: Vec<_> =
            names.iter().map(|name| path::child(&self.settings.path, name)).collect();
        let begun = Instant::now();
        let nodes = self.registry.read_many(&paths).await?;
        self.events.reading_took(begun.elapsed());
        let mut faults = Faults::new(&self.settings.path);
        for (name, node) in names.iter().zip(nodes) {
            let is_read = node.is_ok();
            let fault = match node {
                Ok(node) => children.store(name, node),
                Err(error) => children.refuse(name, &error),
            };
            if let Some(fault) = fault {
                faults.log(name, fault);
                self.events.child_unusable(is_read);
            }
        }
        faults.summarise();
        Ok(())
    }

    /// Waits until the last list is (or may be) outdated, and tells how much to doubt.
    async fn until_stale(
        &self,
        children: &Children,
        changed: BoxFuture<'static, ()>,
        session: &mut watch::Receiver<Session>,
    ) -> Doubt {
        let replaced = async {
            loop {
                self.parent.replaced.notified().await;
                if self.parent.incarnation() != children.incarnation() {
                    break;
                }
            }
        };
        let back = async {
            reconnected(session).await;
            tokio::time::sleep(VERIFY_AFTER_RECONNECT.mul_f64(fastrand::f64())).await;
        };
        tokio::select! {
            () = changed => Doubt::Changed,
            () = replaced => Doubt::Usual,
            () = back => Doubt::Usual,
            () = tokio::time::sleep(verify_after()) => Doubt::Sample,
        }
    }

    fn complain(&self, part: Part, error: &RegistryError) {
        let is_new = self.publisher.trouble(part, Some(error.to_string().into()));
        // No session is the registry's news, not that of five hundred services.
        if is_new && !matches!(error, RegistryError::Unavailable { .. }) {
            warn!(path = %self.settings.path, %error, "discovery is in trouble, the last word stays");
        }
    }

    fn publish(&self, reading: Reading) {
        if self.publisher.members(reading) {
            debug!(path = %self.settings.path, "discovery has recovered");
        }
    }
}

/// `None`: usable.
fn session_trouble(session: &Session, ensemble: &str) -> Option<Arc<str>> {
    let state = match session.state {
        SessionState::Connected => return None,
        SessionState::Connecting => "connecting to",
        SessionState::Disconnected => "disconnected from",
        SessionState::Expired => "session expired, opening a new one with",
        SessionState::AuthFailed => "credentials refused by",
    };
    let cause = session.last_error.as_deref();
    Some(match cause {
        Some(cause) => format!("{state} {ensemble}: {cause}").into(),
        None => format!("{state} {ensemble}").into(),
    })
}

fn verify_after() -> Duration {
    VERIFY_EVERY.mul_f64(0.75 + fastrand::f64() / 2.0)
}
