//! Generator configs from the registry, applied to a running service.
//!
//! A config is in force as a whole or not at all; one that is not is shown with its reasons, and what was in force stays.

use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::ServiceRuntime;
use crate::config::ServiceConfig;
use crate::discovery::Discovered;
use crate::lb::pool::PoolCommand;
use crate::proxy::listener::BindError;
use crate::proxy::{ListenerSettings, listener};
use crate::telemetry::cold;

/// Between two tries of a generator config whose address is taken.
const BIND_RETRY: Duration = Duration::from_secs(5);

/// What became of a generator config.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// In force, or wrong for good.
    Final,
    /// Its address may be free later.
    TryAgain,
}

/// The sockets of a generator config cannot be had.
#[derive(Debug)]
struct CannotListen {
    error: io::Error,
    /// Not to be tried again when each try interrupts the service.
    verdict: Verdict,
}

impl From<io::Error> for CannotListen {
    fn from(error: io::Error) -> Self {
        Self {
            error,
            verdict: Verdict::TryAgain,
        }
    }
}

impl ServiceRuntime {
    /// Applies each new generator config. One that is gone or emptied changes nothing, as in the original: the last word
    /// stays until the next, or until a restart goes back to the file. One whose address is taken is tried again.
    pub(super) async fn follow_generator(mut self, mut discovered: watch::Receiver<Discovered>) {
        let mut seen = None;
        loop {
            let generator = discovered.borrow_and_update().generator.clone();
            let mut is_due = false;
            if let Some(json) = generator.filter(|json| seen.as_ref() != Some(json)) {
                is_due = self.regenerate(&json).await == Verdict::TryAgain;
                seen = (!is_due).then_some(json);
            }
            tokio::select! {
                () = self.context.settled.cancelled() => return,
                changed = discovered.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(BIND_RETRY), if is_due => {}
            }
        }
    }

    /// Judges a generator config; a bad one changes nothing and says everything that is wrong with it.
    async fn regenerate(&mut self, json: &str) -> Verdict {
        let resolved = self.context.generator.resolve(&self.file.name, json);
        let applied = match resolved {
            Ok(Some(config)) => self.apply(config).await,
            Ok(None) => self.apply(self.file.clone()).await,
            Err(complaints) => {
                let texts = complaints.iter().map(ToString::to_string).collect();
                self.refuse(texts);
                return Verdict::Final;
            }
        };
        match applied {
            Ok(()) => Verdict::Final,
            Err(CannotListen { error, verdict }) => {
                self.refuse(vec![format!("cannot listen: {error}")]);
                verdict
            }
        }
    }

    /// Shows why; a repeated refusal is logged once.
    fn refuse(&mut self, complaints: Vec<String>) {
        if self.refused == complaints {
            return;
        }
        cold::config_rejected();
        for complaint in &complaints {
            tracing::error!(service = %self.file.name, complaint, "generator config refused; the former stays");
        }
        self.refused = complaints;
        self.show();
    }

    async fn apply(&mut self, config: ServiceConfig) -> Result<(), CannotListen> {
        let name = config.name.clone();
        let sockets = self.sockets_for(&config).await?;
        self.service.settings.store(Arc::new(config.proxy.clone()));
        let settings = PoolCommand::Settings(Box::new(config.pool.clone()));
        if self.pool.send(settings).await.is_err() {
            tracing::error!(service = %name, "pool task is gone: its settings stay");
        }
        self.current = config;
        self.refused.clear();
        if let Some(sockets) = sockets {
            self.sockets = sockets;
            if let Err(error) = self.listen().await {
                tracing::error!(service = %name, %error, "the new listener is not served");
            }
        }
        self.show();
        tracing::info!(service = %name, "settings applied");
        Ok(())
    }

    /// Sockets for a new configuration; `None` when nothing about them changes. Addresses named again keep theirs.
    async fn sockets_for(
        &mut self,
        config: &ServiceConfig,
    ) -> Result<Option<Vec<TcpListener>>, CannotListen> {
        let is_served = config.listener.is_some() != self.sockets.is_empty();
        if config.listener == self.current.listener && is_served {
            return Ok(None);
        }
        let Some(settings) = &config.listener else {
            return Ok(Some(Vec::new()));
        };
        let (mut kept, fresh) = self.split(settings)?;
        match listener::bind(&fresh) {
            Ok(bound) => kept.extend(bound),
            Err(error) if self.is_in_our_way(&error) => {
                kept.clear();
                kept.extend(self.rebind(settings).await?);
            }
            Err(error) => return Err(io::Error::other(error).into()),
        }
        Ok(Some(kept))
    }

    /// What is bound already of `settings`, and what is not.
    fn split(
        &self,
        settings: &ListenerSettings,
    ) -> io::Result<(Vec<TcpListener>, ListenerSettings)> {
        let mut kept = Vec::new();
        let mut fresh = settings.clone();
        for socket in &self.sockets {
            let bound = socket.local_addr()?;
            if settings.addrs.iter().any(|wanted| wanted.addr == bound) {
                kept.push(socket.try_clone()?);
                fresh.addrs.retain(|wanted| wanted.addr != bound);
            }
        }
        Ok((kept, fresh))
    }

    /// `127.0.0.1:80` and `0.0.0.0:80` exclude each other.
    fn is_in_our_way(&self, error: &BindError) -> bool {
        let ports = self.sockets.iter().filter_map(|s| s.local_addr().ok());
        error.source.kind() == io::ErrorKind::AddrInUse
            && ports
                .into_iter()
                .any(|ours| ours.port() == error.addr.port())
    }

    /// Gives the old sockets up first; connections are refused for a moment. If the new ones cannot be had the old ones
    /// come back.
    async fn rebind(
        &mut self,
        settings: &ListenerSettings,
    ) -> Result<Vec<TcpListener>, CannotListen> {
        self.sockets.clear();
        self.context.workers.remove_listener(self.id).await;
        let error = match listener::bind(settings) {
            Ok(sockets) => return Ok(sockets),
            Err(error) => io::Error::other(error),
        };
        if let Some(former) = &self.current.listener {
            self.sockets = listener::bind(former).map_err(io::Error::other)?;
            self.listen().await?;
        }
        Err(CannotListen {
            error,
            verdict: Verdict::Final,
        })
    }
}
