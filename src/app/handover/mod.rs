//! A new process in the place of a running one, without a refused connection.
//!
//! A synapse that starts with the `state_dir` of a running one asks it, over a unix socket there, for its listening
//! sockets and for what it knows. The kernel's queue of a socket belongs to both then, so there is no moment without
//! somebody who accepts. The running one serves until the new one says that it has everything; whatever goes wrong
//! before that (a bad configuration, an address that is taken, a crash) ends the new one and changes nothing.
//! Should the old one end instead, the new one has its sockets and serves alone; told to stop, it hands over first.
//!
//! | file | what |
//! |---|---|
//! | `protocol`, `descriptors` | messages; sockets |
//! | `state`, `wire`, `totals` | what travels: sets, verdicts, cursors; counters |
//! | `door` | the socket in `state_dir` |
//! | `offer` | the side that runs |
//! | `take`, `successor` | the side that starts: the conversation, the steps around it |
//!
//! Counters stay monotonic for whoever scrapes: the old one closes its admin server before it reads its totals, the new
//! one opens it after it has added them; what the old one counts while it drains follows each second.

mod descriptors;
pub(crate) mod door;
pub(crate) mod offer;
pub(crate) mod protocol;
pub(crate) mod state;
pub(crate) mod successor;
pub(crate) mod take;
pub(crate) mod totals;
mod wire;

use std::time::Duration;

use rustix::net::sockopt::socket_peercred;
use rustix::process::{Uid, geteuid};

/// Name of the socket in `state_dir`.
pub(crate) const SOCKET: &str = "handover.sock";

/// How long either side waits for a message that the other can send at once.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// How long a new process that asks waits for a change of configuration that is under way; it gives up itself after
/// [`PATIENCE`].
pub(crate) const CHANGE_PATIENCE: Duration = Duration::from_secs(5);

/// How long the old process waits for the new one to be ready: it loads snapshots and connects to ensembles meanwhile.
pub(crate) const READY_PATIENCE: Duration = Duration::from_secs(60);

/// How long a service that the old process served may take to be ready in the new one; then the hand-over is given up.
pub(crate) const SERVICE_PATIENCE: Duration = Duration::from_secs(20);

/// How long a process that is told to stop waits for the one that is about to take over: with what follows (`hard_stop_after`,
/// 30 s) it ends within what a supervisor waits (`TimeoutStopSec=45s` in our unit).
pub(crate) const STOP_PATIENCE: Duration = Duration::from_secs(10);

/// How often a process looks whether its door still leads to it.
pub(crate) const LOOK_EVERY: Duration = Duration::from_secs(5);

/// How often a draining process reports what it has counted.
pub(crate) const REPORT_EVERY: Duration = Duration::from_secs(1);

/// True when the other end belongs to root, to us, or to `owner`.
pub(crate) fn is_trusted(
    stream: impl std::os::fd::AsFd,
    owner: Option<Uid>,
) -> std::io::Result<bool> {
    let peer = socket_peercred(stream)?.uid;
    Ok(peer.is_root() || peer == geteuid() || Some(peer) == owner)
}

/// An error and what is behind it, one line.
pub(crate) fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
