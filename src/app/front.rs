//! The admin server and its socket, which can be stopped and started again: in a hand-over only one process may answer.

use std::io;
use std::net::TcpListener;
use std::sync::Arc;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::admin::{AdminState, server};

/// The admin server. Dropping it ends it.
#[derive(Debug)]
pub(crate) struct Front {
    socket: TcpListener,
    state: Arc<AdminState>,
    running: Option<(JoinHandle<()>, CancellationToken)>,
}

impl Front {
    /// On a bound socket, not yet answering.
    pub(crate) fn new(socket: TcpListener, state: Arc<AdminState>) -> Self {
        Self { socket, state, running: None }
    }

    /// What it shows.
    pub(crate) fn state(&self) -> &Arc<AdminState> {
        &self.state
    }

    /// Answers from now on, if it does not yet.
    pub(crate) fn start(&mut self) {
        if self.running.is_some() {
            return;
        }
        let socket = self.socket.try_clone().and_then(tokio::net::TcpListener::from_std);
        match socket {
            Ok(socket) => {
                let stop = CancellationToken::new();
                let serving = server::serve(socket, Arc::clone(&self.state), stop.clone());
                self.running = Some((tokio::spawn(serving), stop));
            }
            Err(error) => tracing::error!(%error, "no admin server"),
        }
    }

    /// Accepts no more; returns when what was being answered is answered.
    pub(crate) async fn stop(&mut self) {
        if let Some((serving, stop)) = self.running.take() {
            stop.cancel();
            if let Err(error) = serving.await {
                tracing::error!(%error, "admin server");
            }
        }
    }

    /// A duplicate of the socket.
    pub(crate) fn socket(&self) -> io::Result<TcpListener> {
        self.socket.try_clone()
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        if let Some((_, stop)) = &self.running {
            stop.cancel();
        }
    }
}
