//! What may be tried after a failed attempt: plain values.

use std::time::Duration;

use crate::dial;
use crate::lb::BackendId;
use crate::proxy::error::ProxyError;
use crate::proxy::every::Every;
use crate::proxy::{ProxySettings, Redispatch};

/// Upper bound of the wait before the same backend is tried again, haproxy's turn-around.
const TURN_AROUND: Duration = Duration::from_secs(1);

/// What to do after a failed attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// The same backend, after a pause.
    Same(Duration),
    /// Whoever is picked now, after a pause: nobody better was eligible, but that may change.
    Again(Duration),
    /// Another backend, at once; the same after a pause, should it be picked again because the others are full.
    Elsewhere,
    /// No more.
    GiveUp,
}

/// Attempts of one connection or request.
#[derive(Debug)]
pub(crate) struct Retry {
    pub(super) left: u32,
    redispatch: bool,
    /// Of a request that belongs to one backend: which retries may go elsewhere.
    every: Option<Every>,
    turn_around: Duration,
    /// Backends that failed.
    pub(crate) tried: Vec<BackendId>,
}

impl Retry {
    pub(crate) fn new(settings: &ProxySettings) -> Self {
        let turn_around = settings.timeouts.connect.unwrap_or(TURN_AROUND);
        Self {
            left: settings.retries,
            redispatch: matches!(settings.redispatch, Redispatch::On { every } if every != 0),
            every: settings
                .hash
                .as_ref()
                .map(|_| Every::new(settings.redispatch, settings.retries)),
            turn_around: turn_around.min(TURN_AROUND),
            tried: Vec::new(),
        }
    }

    /// A connect to `backend` failed with `error`; `eligible` backends may be picked now.
    pub(crate) fn after_failure(
        &mut self,
        backend: BackendId,
        error: &ProxyError,
        eligible: usize,
    ) -> Next {
        let is_hopeless =
            matches!(error, ProxyError::Connect { source, .. } if dial::is_unsettled(source));
        if is_hopeless || !self.spend(backend) {
            return Next::GiveUp;
        }
        let pause = self.pause(error);
        let is_due = self.every.as_mut().map(Every::is_due);
        match (self.redispatch, is_due, eligible) {
            (true, Some(true), _) | (true, None, 2..) => Next::Elsewhere,
            (true, None, _) => Next::Again(pause),
            (true, Some(false), _) | (false, _, _) => Next::Same(pause),
        }
    }

    /// How long the backend that failed with `error` is left alone.
    pub(super) fn pause(&self, error: &ProxyError) -> Duration {
        let waited = matches!(error, ProxyError::ConnectTimeout { .. });
        if waited { Duration::ZERO } else { self.turn_around }
    }

    /// Takes one retry for a request whose backend died; false when none is left.
    pub(crate) fn spend(&mut self, backend: BackendId) -> bool {
        if !self.tried.contains(&backend) {
            self.tried.push(backend);
        }
        let may = self.left > 0;
        self.left = self.left.saturating_sub(1);
        may
    }
}

#[cfg(test)]
mod tests;
