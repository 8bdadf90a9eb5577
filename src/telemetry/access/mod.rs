//! The access log: a line for each request (HTTP) or session (TCP), as haproxy writes it or as JSON.
//!
//! A worker says what happened in a [`Record`] of borrowed values; its [`Pen`] renders the line at once into a batch of
//! the worker's own and hands full batches, or those that have waited long enough, to one writer thread. Nothing on the
//! way blocks: when the writer does not keep up, whole batches are dropped and their lines counted.
//!
//! Who owns what: a worker its pen, the writer thread the files and sockets; an [`AccessLog`] is a plain value that the
//! control plane makes from the configuration.

mod pen;
mod record;

use std::sync::Arc;

pub use self::pen::Pen;
pub use self::record::{Cause, Conns, Http, Record, Stage, Timers};

/// How one service logs. Part of its settings, replaced with them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessLog {
    /// Name of the frontend, as it stands in lines.
    pub frontend: Arc<str>,
    /// Name of the backend, as it stands in lines.
    pub backend: Arc<str>,
}
