//! SIGHUP: the file is read again; a bad one changes nothing.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::{JoinError, JoinHandle};
use tokio::time::Instant;

use super::fleet::Fleet;
use crate::config::nerve::{NerveConfig, NerveProcess, load};
use crate::config::report::{Report, grouped};
use crate::telemetry::cold;
use crate::telemetry::statsd::{self, Program};

/// A file that is being read, off this thread: commands, checks and a stop go on whatever the file system does.
#[derive(Debug)]
pub(super) struct Reading {
    task: JoinHandle<Result<NerveConfig, Report>>,
    begun: Instant,
    /// SIGHUP came once more meanwhile.
    is_outdated: bool,
}

/// What was read, and how long that took.
pub(super) type Read = (Result<Result<NerveConfig, Report>, JoinError>, Duration, bool);

/// Waits for the end of `reading`; for ever when nothing is being read. Cancelling it loses nothing.
pub(super) async fn read(reading: &mut Option<Reading>) -> Read {
    let Some(current) = reading else {
        return std::future::pending().await;
    };
    let loaded = (&mut current.task).await;
    let (took, is_outdated) = (current.begun.elapsed(), current.is_outdated);
    *reading = None;
    (loaded, took, is_outdated)
}

impl Fleet {
    /// Begins to read the file.
    pub(super) fn reload(&mut self) {
        if let Some(reading) = &mut self.reading {
            tracing::info!("the configuration is being read already; it will be read once more");
            reading.is_outdated = true;
            return;
        }
        let Some(options) = self.parts.options.clone() else {
            return;
        };
        tracing::info!(file = %options.file.display(), "reloading the configuration");
        let task = tokio::task::spawn_blocking(move || load(&options));
        self.reading = Some(Reading { task, begun: Instant::now(), is_outdated: false });
    }

    /// Puts what was read in force, or says why not.
    pub(super) fn reloaded(&mut self, (loaded, took, is_outdated): Read) {
        if is_outdated {
            return self.reload();
        }
        let complaints = match loaded {
            Ok(Ok(config)) => match self.put_in_force(config) {
                Ok(()) => {
                    tracing::info!(?took, "configuration reloaded");
                    cold::config_reloaded();
                    return;
                }
                Err(error) => vec![error],
            },
            Ok(Err(report)) => {
                for warning in grouped(report.warnings) {
                    tracing::warn!(%warning, "configuration");
                }
                report.complaints.iter().map(ToString::to_string).collect()
            }
            Err(panic) => vec![format!("loading the configuration failed: {panic}")],
        };
        for complaint in &complaints {
            tracing::error!(complaint, "configuration refused");
        }
        tracing::error!(
            complaints = complaints.len(),
            "reload refused: nothing has changed, the former configuration stays in force"
        );
        let mut remarks = (**self.parts.remarks.load()).clone();
        remarks.differs = true;
        self.parts.remarks.store(Arc::new(remarks));
        cold::config_rejected();
    }

    fn put_in_force(&mut self, new: NerveConfig) -> Result<(), String> {
        let former = std::mem::replace(&mut self.parts.config, new);
        let wanted = self.wanted();
        let changes = match self.apply(wanted) {
            Ok(changes) => changes,
            Err(error) => {
                self.parts.config = former;
                return Err(error.to_string());
            }
        };
        let config = &self.parts.config;
        statsd::configure(Program::Nerve, config.process.statsd.as_ref());
        statsd::nerve::config_updated();
        for complaint in &config.refused {
            tracing::error!(%complaint, "service left out");
        }
        for warning in &config.warnings {
            tracing::warn!(%warning, "configuration");
        }
        let undone: Vec<_> = needs_restart(&self.parts.started_with, &config.process)
            .into_iter()
            .map(|key| format!("{key}: the new value needs a restart; the former stays in use"))
            .collect();
        for remark in &undone {
            tracing::warn!(remark, "configuration");
        }
        let differs = !undone.is_empty();
        self.show_remarks(undone, differs);
        tracing::info!(%changes, "services");
        Ok(())
    }
}

/// Keys of the process with another value that a running process cannot take.
fn needs_restart(old: &NerveProcess, new: &NerveProcess) -> Vec<&'static str> {
    // Every field by name: a new one does not compile until it is judged.
    let NerveProcess {
        admin_listen,
        admin_push,
        state_dir,
        session_timeout,
        heartbeat,
        drain_delay: _,
        stop_timeout: _,
        log_format,
        statsd: _,
    } = new;
    [
        ("admin.listen", old.admin_listen != *admin_listen),
        ("admin.push", old.admin_push != *admin_push),
        ("state_dir", old.state_dir != *state_dir),
        ("zk_session_timeout", old.session_timeout != *session_timeout),
        ("heartbeat_path", old.heartbeat != *heartbeat),
        ("log.format", old.log_format != *log_format),
    ]
    .into_iter()
    .filter_map(|(key, is_other)| is_other.then_some(key))
    .collect()
}
