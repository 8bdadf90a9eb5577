//! One look-up's hold on its name.

use std::net::IpAddr;
use std::sync::Arc;

use super::NameCache;

/// Gives the name its next turn however the look-up ends, a panic in the resolver included.
pub(super) struct Turn {
    pub(super) cache: NameCache,
    pub(super) name: Arc<str>,
    pub(super) answer: Option<Result<Vec<IpAddr>, String>>,
}

impl Drop for Turn {
    fn drop(&mut self) {
        match self.answer.take() {
            Some(answer) => self.cache.settle(&self.name, answer),
            None if std::thread::panicking() => {
                self.cache.settle(&self.name, Err("the resolver panicked".to_owned()));
            }
            // Dropped with the task that drives the table.
            None => {}
        }
    }
}
