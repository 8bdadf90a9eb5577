//! One service of this host as it runs: its watcher, its reporter, and what is known of both.
//!
//! The watcher alone says what is wanted, until it has ended; then its owner says the last word ([`Running::deregister`]).

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::super::supervise::supervise;
use super::fleet::ensemble;
use crate::config::nerve::NerveService;
use crate::endpoint::ServiceName;
use crate::health::local::LocalRunner;
use crate::registration::claims::Claimant;
use crate::registration::view::{DownMark, WatchView};
use crate::registration::watcher::Watcher;
use crate::registration::{self, Kin, Phase, Place, Registration, Wanted, ZooKeeperPlace};
use crate::registry::Session;
use crate::registry::writer::RegistryWriter;

/// A task ends at its next wait; one that does not is a defect and is left behind.
const TASK_DEADLINE: Duration = Duration::from_secs(1);

/// What all services of the process share.
#[derive(Debug)]
pub(crate) struct Household {
    /// Whose other sessions are.
    pub(crate) kin: Arc<dyn Kin>,
    /// Every watcher and reporter.
    pub(crate) tasks: TaskTracker,
    /// Ends what belongs to no service.
    pub(crate) stop: CancellationToken,
    /// Bounds the probes under way over all services.
    pub(crate) checks: LocalRunner,
}

/// A running service. Dropping it leaves everything running; it ends by one of its two methods.
#[derive(Debug)]
pub(crate) struct Running {
    service: NerveService,
    marks: watch::Sender<Option<DownMark>>,
    wanted: watch::Sender<Wanted>,
    shown: Shown,
    watching: Work,
    reporting: Work,
    claimant: Arc<Claimant>,
    former: Option<CancellationToken>,
}

/// What a service begins with.
#[derive(Debug)]
pub(crate) struct Beginning {
    /// An announced downtime.
    pub(crate) mark: Option<DownMark>,
    /// That of the service's ensemble, `None` for a file.
    pub(crate) registry: Option<Arc<dyn RegistryWriter>>,
    /// Its reporter among the others.
    pub(crate) claimant: Arc<Claimant>,
    /// Fires when the reporter whose registration this one goes on with has ended: two at once would fight.
    pub(crate) former: Option<CancellationToken>,
}

/// What can be seen of a running service, from any thread. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Shown {
    /// Its name.
    pub(crate) name: ServiceName,
    /// Where it is registered.
    pub(crate) place: Place,
    /// Its watcher's view.
    pub(crate) view: watch::Receiver<WatchView>,
    /// Its reporter's.
    pub(crate) registration: watch::Receiver<Registration>,
    /// The ensemble and the session that its node belongs to; `None` for a file.
    pub(crate) session: Option<(Arc<str>, watch::Receiver<Session>)>,
}

/// A supervised task and its end.
#[derive(Debug)]
struct Work {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Work {
    async fn end(self, what: &'static str, name: &ServiceName) {
        self.stop.cancel();
        if timeout(TASK_DEADLINE, self.task).await.is_err() {
            tracing::error!(service = %name, task = what, "did not end in time and is left behind");
        }
    }
}

impl Running {
    /// Starts watcher and reporter.
    pub(crate) fn start(service: NerveService, with: Beginning, household: &Household) -> Self {
        let Beginning { mark, registry, claimant, former } = with;
        let (marks, wanted) = (watch::Sender::new(mark), watch::Sender::new(Wanted::Undecided));
        let (view, registration) = (watch::Sender::default(), watch::Sender::default());
        let settings = service.registration.clone();
        let shown = Shown {
            name: service.name.clone(),
            place: settings.place.clone(),
            view: view.subscribe(),
            registration: registration.subscribe(),
            session: ensemble(&service)
                .zip(registry.as_ref())
                .map(|(name, registry)| (Arc::clone(name), registry.session())),
        };
        let session = shown.session.as_ref().map(|(_, session)| session.clone());
        let watching = watch_over(&service, (&marks, &wanted, view), session, household);
        let (stop, ours) = (CancellationToken::new(), Arc::clone(&claimant));
        let (token, wishes, before) = (stop.clone(), wanted.clone(), former.clone());
        let name = ("reporter", service.name.to_string());
        let task = supervise(&household.tasks, name, stop.clone(), move || {
            let (settings, registry, ours) =
                (settings.clone(), registry.clone(), Arc::clone(&ours));
            let (wishes, registration) = (wishes.subscribe(), registration.clone());
            let (stop, before) = (token.clone(), before.clone());
            async move {
                ended(before.as_ref()).await;
                let reporter = registration::build(&settings, registry.as_ref(), &ours);
                reporter.run(wishes, registration, stop).await;
            }
        });
        let reporting = Work { stop, task };
        Self { service, marks, wanted, shown, watching, reporting, claimant, former }
    }

    /// Its settings.
    pub(crate) fn service(&self) -> &NerveService {
        &self.service
    }

    /// What can be seen of it.
    pub(crate) fn shown(&self) -> &Shown {
        &self.shown
    }

    /// Announces a downtime, or (`None`) its end.
    pub(crate) fn mark(&self, mark: Option<DownMark>) {
        self.marks.send_if_modified(|current| {
            let changed = *current != mark;
            *current = mark;
            changed
        });
    }

    /// Takes the registration away and ends. False when that was not acknowledged within `patience`.
    pub(crate) async fn deregister(mut self, patience: Duration) -> bool {
        let name = self.service.name.clone();
        self.watching.end("watcher", &name).await;
        self.wanted.send_replace(Wanted::Absent);
        let absent = self.shown.registration.wait_for(|r| r.phase == Phase::Absent);
        let is_gone = matches!(timeout(patience, absent).await, Ok(Ok(_)));
        self.reporting.end("reporter", &name).await;
        is_gone
    }

    /// From now on the registration is not touched any more; [`Running::leave`] comes next.
    pub(crate) fn release(&self) {
        self.reporting.stop.cancel();
    }

    /// Ends and leaves the registration as it is, to the heir if there is one in this process: it waits for the guard.
    pub(crate) async fn leave(self, heir: Option<(Arc<Claimant>, DropGuard)>) {
        // Ours may not have begun: what is handed on must have been handed to us.
        ended(self.former.as_ref()).await;
        // The reporter first: what the watcher says in its last moment must not be acted upon.
        self.reporting.end("reporter", &self.service.name).await;
        if let Some((heir, handed_on)) = heir {
            self.claimant.hand_on(&heir);
            drop(handed_on);
        }
        self.watching.end("watcher", &self.service.name).await;
    }
}

impl Shown {
    /// Waits until it is known whether this service is to be registered, and that was done.
    pub(crate) async fn settled(&mut self) {
        // Channels end with their tasks, which live as long as the service: an end settles it too.
        loop {
            let wanted = self.view.borrow_and_update().wanted;
            let phase = self.registration.borrow_and_update().phase;
            if wanted.is_met_by(phase) {
                return;
            }
            let changed = tokio::select! {
                changed = self.view.changed() => changed,
                changed = self.registration.changed() => changed,
            };
            if changed.is_err() {
                return;
            }
        }
    }
}

async fn ended(former: Option<&CancellationToken>) {
    if let Some(former) = former {
        former.cancelled().await;
    }
}

fn watch_over(
    service: &NerveService,
    (marks, wanted, view): (
        &watch::Sender<Option<DownMark>>,
        &watch::Sender<Wanted>,
        watch::Sender<WatchView>,
    ),
    session: Option<watch::Receiver<Session>>,
    household: &Household,
) -> Work {
    let stop = CancellationToken::new();
    let (token, marks, wanted) = (stop.clone(), marks.clone(), wanted.clone());
    let (settings, runner) = (service.checks.clone(), household.checks.clone());
    let (limits, name) = (service.limits.clone(), service.name.clone());
    let who = ("watcher", name.to_string());
    let task = supervise(&household.tasks, who, stop.clone(), move || {
        let watcher = Watcher::new(&settings, &runner, limits.clone(), name.clone());
        let watcher = watcher.over(session.clone());
        watcher.run(marks.subscribe(), wanted.clone(), view.clone(), token.clone())
    });
    Work { stop, task }
}

/// Whether the reporter of `new` takes what `old` has registered for its own: then it goes on with it (or makes a new node
/// first and ends the old one), and `old` leaves. Two at once would fight. Otherwise `new` gets one of its own, and `old`
/// takes its away afterwards.
pub(crate) fn passes_on(old: &NerveService, new: &NerveService) -> bool {
    let (old, new) = (&old.registration, &new.registration);
    let (a, b) = (&old.record, &new.record);
    let is_same_identity = (&a.host, &a.port, &a.name) == (&b.host, &b.port, &b.name);
    match (&old.place, &new.place) {
        (Place::ZooKeeper(old), Place::ZooKeeper(new)) => {
            let is_plain =
                |place: &ZooKeeperPlace| !place.kind.is_sequential() && !place.is_path_encoded;
            let is_same_name = is_plain(old) && is_plain(new) && a.name == b.name;
            let is_same_parent = (&old.ensemble, &old.path) == (&new.ensemble, &new.path);
            is_same_parent && (is_same_identity || is_same_name)
        }
        (Place::File { path: old }, Place::File { path: new }) => old == new && is_same_identity,
        (Place::ZooKeeper(_), Place::File { .. }) | (Place::File { .. }, Place::ZooKeeper(_)) => {
            false
        }
    }
}
