//! Between the pages and the fleet: reads what is published, and places orders.
//!
//! An order is a command to the fleet; its answer is awaited by watching what the service's reporter publishes. A client
//! that hangs up changes nothing about the order.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use serde_json::Value;
use tokio::sync::{mpsc, oneshot, watch};

use super::command::{Command, Done, Refused, Reply};
use super::fleet::{Entries, Entry, Origin};
use super::pushed::MAX_BYTES;
use crate::admin::About;
use crate::admin::nerve::desk::{Desk, DeskError, DownRequest, ProcessStatus, ServiceStatus};
use crate::health::BoxFuture;
use crate::registration::Phase;
use crate::registration::view::DownMark;

/// What does not change from service to service; replaced whole by a reload.
#[derive(Clone, Debug, Default)]
pub(crate) struct Remarks {
    /// `instance_id`.
    pub(crate) instance_id: String,
    /// Services that are left out.
    pub(crate) refused: Vec<String>,
    /// Remarks about the configuration.
    pub(crate) warnings: Vec<String>,
    /// The file on disk is not the one in force.
    pub(crate) differs: bool,
}

/// The desk of a running nerve.
pub(crate) struct NerveDesk {
    entries: Entries,
    remarks: Arc<ArcSwap<Remarks>>,
    commands: mpsc::Sender<Command>,
    about: About,
    state_dir: Option<std::path::PathBuf>,
    is_stopping: AtomicBool,
}

impl fmt::Debug for NerveDesk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NerveDesk").field("about", &self.about).finish_non_exhaustive()
    }
}

impl NerveDesk {
    /// Reads `entries` and `remarks`, and writes to `commands`.
    pub(crate) fn new(
        entries: Entries,
        remarks: Arc<ArcSwap<Remarks>>,
        commands: mpsc::Sender<Command>,
        state_dir: Option<std::path::PathBuf>,
    ) -> Self {
        let about = About::now(0);
        Self { entries, remarks, commands, about, state_dir, is_stopping: AtomicBool::new(false) }
    }

    /// Not ready from now on.
    pub(crate) fn stop(&self) {
        self.is_stopping.store(true, Ordering::Relaxed);
    }

    async fn order(
        &self,
        service: &str,
        command: impl FnOnce(Reply) -> Command,
    ) -> Result<Done, DeskError> {
        let (reply, answer) = oneshot::channel();
        let stopping = || DeskError::Conflict("nerve is stopping".to_owned());
        self.commands.send(command(reply)).await.map_err(|_closed| stopping())?;
        answer.await.map_err(|_closed| stopping())?.map_err(|refused| refusal(service, refused))
    }
}

fn refusal(service: &str, refused: Refused) -> DeskError {
    match refused {
        Refused::Unknown => DeskError::Unknown(service.to_owned()),
        Refused::InFile => DeskError::Conflict(format!(
            "service {service:?} stands in the configuration file; change it there"
        )),
        Refused::Full(most) => {
            DeskError::Conflict(format!("{most} services are pushed already; delete some"))
        }
        Refused::TooMuch => DeskError::Conflict(format!(
            "all that is pushed would take more than {MAX_BYTES} bytes; delete some, or push less"
        )),
        Refused::Definition(complaints) => DeskError::Refused(complaints),
        Refused::Failed(text) => DeskError::Conflict(text),
    }
}

impl Desk for NerveDesk {
    fn services(&self) -> Vec<ServiceStatus> {
        self.entries.load().iter().map(status).collect()
    }

    fn process(&self) -> ProcessStatus {
        let remarks = self.remarks.load_full();
        let mut sessions: Vec<(Arc<str>, crate::registry::Session)> = Vec::new();
        for entry in self.entries.load().iter() {
            if let Some((ensemble, session)) = &entry.shown.session
                && !sessions.iter().any(|(known, _)| known == ensemble)
            {
                sessions.push((Arc::clone(ensemble), session.borrow().clone()));
            }
        }
        let is_stopping = self.is_stopping.load(Ordering::Relaxed);
        ProcessStatus {
            about: self.about.clone(),
            instance_id: remarks.instance_id.clone(),
            state_dir: self.state_dir.clone(),
            sessions,
            refused: remarks.refused.clone(),
            warnings: remarks.warnings.clone(),
            config_on_disk_differs: remarks.differs,
            missing: is_stopping.then(|| "stopping".to_owned()).into_iter().collect(),
        }
    }

    fn down<'a>(
        &'a self,
        service: &'a str,
        request: DownRequest,
    ) -> BoxFuture<'a, Result<ServiceStatus, DeskError>> {
        Box::pin(async move {
            let since = SystemTime::now();
            let until = request.lasting.map(|lasting| since + lasting);
            let mark = DownMark { reason: request.reason, since, until };
            let marked = mark.clone();
            let name = service.to_owned();
            let Done { mut entry, remark } = self
                .order(service, |reply| Command::Mark { service: name, mark: Some(mark), reply })
                .await?;
            // The mark may have ended by the time it is looked for: then its end is as good.
            let seen = |view: &crate::registration::view::WatchView| {
                view.down.as_ref() == Some(&marked) || !marked.holds(SystemTime::now())
            };
            awaited(entry.shown.view.wait_for(seen).await)?;
            let absent = entry.shown.registration.wait_for(|r| r.phase == Phase::Absent).await;
            awaited(absent)?;
            Ok(remarked(&entry, remark))
        })
    }

    fn up<'a>(&'a self, service: &'a str) -> BoxFuture<'a, Result<ServiceStatus, DeskError>> {
        Box::pin(async move {
            let name = service.to_owned();
            let Done { mut entry, remark } = self
                .order(service, |reply| Command::Mark { service: name, mark: None, reply })
                .await?;
            awaited(entry.shown.view.wait_for(|view| view.down.is_none()).await)?;
            entry.shown.settled().await;
            Ok(remarked(&entry, remark))
        })
    }

    fn put<'a>(
        &'a self,
        service: &'a str,
        definition: Value,
        ttl: Duration,
    ) -> BoxFuture<'a, Result<ServiceStatus, DeskError>> {
        Box::pin(async move {
            let (until, name) = (SystemTime::now() + ttl, service.to_owned());
            let Done { mut entry, remark } = self
                .order(service, |reply| Command::Put { service: name, definition, until, reply })
                .await?;
            entry.shown.settled().await;
            Ok(remarked(&entry, remark))
        })
    }

    fn delete<'a>(&'a self, service: &'a str) -> BoxFuture<'a, Result<(), DeskError>> {
        Box::pin(async move {
            let name = service.to_owned();
            let Done { mut entry, .. } =
                self.order(service, |reply| Command::Delete { service: name, reply }).await?;
            // The channel ends with the service: gone, one way or the other.
            drop(entry.shown.registration.wait_for(|r| r.phase == Phase::Absent).await);
            Ok(())
        })
    }
}

/// A channel that ended: the service was removed or replaced while its order was carried out.
fn awaited<T>(result: Result<T, watch::error::RecvError>) -> Result<(), DeskError> {
    let changed = || "the service was changed meanwhile; look at its status".to_owned();
    result.map(drop).map_err(|_closed| DeskError::Conflict(changed()))
}

/// The answer to a command: done, and what there is to say about it besides.
fn remarked(entry: &Entry, remark: Option<String>) -> ServiceStatus {
    let mut status = status(entry);
    if let Some(remark) = remark {
        let reason = &status.watch.reason;
        status.watch.reason =
            if reason.is_empty() { remark.into() } else { format!("{reason}; {remark}").into() };
    }
    status
}

fn status(entry: &Entry) -> ServiceStatus {
    let shown = &entry.shown;
    ServiceStatus {
        name: shown.name.clone(),
        watch: shown.view.borrow().clone(),
        registration: shown.registration.borrow().clone(),
        place: shown.place.clone(),
        session: shown.session.as_ref().map(|(_, session)| session.borrow().clone()),
        pushed_until: match entry.origin {
            Origin::File => None,
            Origin::Pushed { until } => Some(until),
        },
    }
}
