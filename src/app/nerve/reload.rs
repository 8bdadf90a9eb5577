//! SIGHUP: the file is read again; a bad one changes nothing.

use tokio::time::Instant;

use super::fleet::Fleet;
use crate::config::nerve::{NerveConfig, load};
use crate::config::report::grouped;
use crate::telemetry::cold;

impl Fleet {
    /// Puts the file in force, or says why not.
    pub(super) async fn reload(&mut self) {
        let Some(options) = self.parts.options.clone() else {
            return;
        };
        tracing::info!(file = %options.file.display(), "reloading the configuration");
        let begun = Instant::now();
        // Files are read off this thread: checks go on.
        let loaded = tokio::task::spawn_blocking(move || load(&options)).await;
        let complaints = match loaded {
            Ok(Ok(config)) => match self.put_in_force(config) {
                Ok(()) => {
                    tracing::info!(took = ?begun.elapsed(), "configuration reloaded");
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
        self.parts.differs.send_replace(true);
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
        for complaint in &config.refused {
            tracing::error!(%complaint, "service left out");
        }
        for warning in &config.warnings {
            tracing::warn!(%warning, "configuration");
        }
        let keys = config.process.needs_restart(&former.process);
        for key in &keys {
            tracing::warn!(key, "the new value needs a restart; the former stays in use");
        }
        self.parts.differs.send_replace(!keys.is_empty());
        tracing::info!(%changes, "services");
        Ok(())
    }
}
