//! What has become of the generator configs of a service: found, judged, refused, in force.

use std::sync::Arc;

use super::ServiceRuntime;
use crate::telemetry::cold;

impl ServiceRuntime {
    /// The last generator config that was judged.
    pub fn judged(&self) -> Option<&Arc<str>> {
        self.judged.as_ref()
    }

    /// True when that is not in force.
    pub fn is_refused(&self) -> bool {
        !self.refused.is_empty()
    }

    /// True when that could be in force later.
    pub fn is_to_be_tried_again(&self) -> bool {
        self.try_again
    }

    /// The last generator config is in force now.
    pub fn accept(&mut self) {
        self.try_again = false;
        self.refused.clear();
    }

    /// The last generator config is not in force; a repeated refusal is logged once.
    pub fn refuse(&mut self, complaints: Vec<String>, try_again: bool) {
        self.try_again = try_again;
        if self.refused == complaints {
            return;
        }
        cold::config_rejected();
        for complaint in &complaints {
            tracing::error!(service = %self.file.name, complaint, "generator config refused: it is not in force");
        }
        self.refused = complaints;
    }

    /// The generator config that is in force.
    pub fn generator(&self) -> Option<&Arc<str>> {
        self.generator.as_ref()
    }

    /// A generator config that was found and not judged yet; from now on it counts as judged.
    pub fn take_generator(&mut self) -> Option<Arc<str>> {
        let found = self.found.borrow().generator.clone();
        let new = found.filter(|json| self.judged.as_ref() != Some(json))?;
        self.judged = Some(Arc::clone(&new));
        Some(new)
    }
}
