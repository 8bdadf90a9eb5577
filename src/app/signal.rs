//! Signals to intentions.

use tokio::signal::unix::{Signal, SignalKind, signal};

/// SIGTERM, SIGINT and SIGUSR1: each means a soft stop the first time and an immediate one the second time.
#[derive(Debug)]
pub struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
    /// haproxy's soft stop.
    user1: Signal,
}

impl StopSignals {
    /// Installs the handlers. From here on these signals no longer end the process by themselves, nor does SIGXFSZ: a
    /// file that has grown to `RLIMIT_FSIZE` refuses what is written (`EFBIG`), as a full disk does.
    ///
    /// # Errors
    /// When the system refuses a handler.
    pub fn install() -> std::io::Result<Self> {
        // Nobody listens; a handler stays for the life of the process.
        drop(signal(SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw()))?);
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            user1: signal(SignalKind::user_defined1())?,
        })
    }

    /// The name of the next one.
    pub async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.user1.recv() => "SIGUSR1",
        }
    }
}

/// SIGHUP: read the configuration again. Several that come while one is being obeyed count as one.
#[derive(Debug)]
pub struct ReloadSignal(Option<Signal>);

impl ReloadSignal {
    /// Installs the handler.
    ///
    /// # Errors
    /// When the system refuses it.
    pub fn install() -> std::io::Result<Self> {
        Ok(Self(Some(signal(SignalKind::hangup())?)))
    }

    /// Never comes; SIGHUP keeps its meaning, the end of the terminal.
    pub fn never() -> Self {
        Self(None)
    }

    /// Waits for the next one.
    pub async fn next(&mut self) {
        let come = match &mut self.0 {
            Some(signal) => signal.recv().await,
            None => None,
        };
        if come.is_none() {
            std::future::pending().await
        }
    }
}
