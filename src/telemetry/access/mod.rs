//! The access log: a line for each request (HTTP) or session (TCP), as haproxy writes it or as JSON; and, in the same
//! files and sockets, haproxy's messages about the states of servers ([`StateLog`]).
//!
//! A worker says what happened in a [`Record`] of borrowed values; its [`Pen`] renders the line at once into a batch of
//! the worker's own and hands full batches, or those that have waited long enough, to one writer thread. Nothing on the
//! way blocks: when the writer does not keep up, whole batches are dropped and their lines counted.
//!
//! Who owns what: a worker its pen, the writer thread the files and sockets; an [`AccessLog`] is a plain value that the
//! control plane makes from the configuration.

mod batch;
mod clock;
mod counts;
mod format;
mod pen;
mod record;
mod states;
mod target;
#[cfg(test)]
mod testing;
mod writer;

use std::sync::Arc;

#[cfg(test)]
pub(crate) use self::pen::is_wanted;

pub use self::counts::{Loss, inherit, totals, written};
pub use self::pen::{MAX_WAIT, Pen, post_in_time};
pub use self::record::{Cause, Conns, Failure, Http, Record, Stage, Timers};
pub use self::states::{StateLog, Turn, close_states, post_states_in_time};
pub use self::target::{
    Facility, Framing, Level, MAX_LEN, MAX_RAW_LEN, Place, Tag, Target, Targets,
};
pub use self::writer::{finish, keep, reopen};

/// How one service logs. Part of its settings, replaced with them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessLog {
    /// Name of the frontend, as it stands in lines.
    pub frontend: Arc<str>,
    /// Name of the backend, as it stands in lines.
    pub backend: Arc<str>,
    /// What a line looks like. Default [`Format::Connect`], as haproxy without `option httplog` and `option tcplog`.
    pub format: Format,
    /// Where lines go; never empty.
    pub targets: Arc<Targets>,
    /// `option dontlognull`: nothing about a client that sent nothing. Default false.
    pub skip_null: bool,
    /// `option dontlog-normal`: nothing about what went well. Default false.
    pub skip_normal: bool,
    /// `option log-separate-errors`: what did not go well has level `err`, not `info`. Default false.
    pub separate_errors: bool,
    /// `capture request header`: fill [`Http::request_captures`] with the last value of each, in this order.
    pub request_captures: Box<[Capture]>,
    /// `capture response header`: fill [`Http::response_captures`].
    pub response_captures: Box<[Capture]>,
}

/// What a line looks like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Format {
    /// haproxy's line without options: `Connect from 10.0.0.1:4711 to 10.0.0.2:80 (front/HTTP)`.
    #[default]
    Connect,
    /// `option httplog`.
    Http,
    /// `option tcplog`.
    Tcp,
    /// One flat JSON object.
    Json,
}

/// `capture … header NAME len N`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capture {
    /// Name of the header as configured; compare without regard to case.
    pub name: Box<str>,
    /// Bytes of the value that are written at most; the pen cuts, so that captures may be handed over whole.
    pub max_len: usize,
}

impl AccessLog {
    /// One that writes all lines bare to `place`, with frontend and backend called `name`.
    pub fn plain(name: &str, format: Format, place: Place) -> Self {
        Self {
            frontend: name.into(),
            backend: name.into(),
            format,
            targets: Targets::shared(vec![Target::raw(place)]),
            skip_null: false,
            skip_normal: false,
            separate_errors: false,
            request_captures: Box::default(),
            response_captures: Box::default(),
        }
    }
}
