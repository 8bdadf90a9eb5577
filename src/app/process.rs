//! What the process asks of the kernel before it serves, descriptors and an unprivileged identity, and what the workers may
//! have of it.

use rustix::process::{Gid, Resource, Rlimit, Uid, getgid, getrlimit, getuid, setrlimit};
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};

use crate::config::{ProcessSettings, accounts};
use crate::proxy::lull;
use crate::proxy::pipe::MAX_PIPES;
use crate::proxy::rate::FAST;
use crate::proxy::worker::WorkerSettings;

/// Descriptors kept for everything that is not a client connection: checks, sessions, admin, logs; a quarter of fewer than
/// four times as many.
const RESERVED_DESCRIPTORS: u64 = 256;

/// Fewer connections at a time than this are hardly meant: it is said at the start.
const FEW_CONNECTIONS: u32 = 256;

/// Raises the soft descriptor limit to the hard one and returns it.
///
/// A proxy needs two descriptors per connection; the usual soft limit of 1,024 would stop it at 500.
pub fn raise_descriptor_limit() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if limit.current != limit.maximum
        && let Err(error) = setrlimit(Resource::Nofile, raised)
    {
        tracing::warn!(%error, "the descriptor limit stays as it is");
        return limit.current.unwrap_or(u64::MAX);
    }
    limit.maximum.unwrap_or(u64::MAX)
}

/// What the workers are told, within what `descriptors` allow beside the listeners of so many services.
pub fn worker_settings(
    process: &ProcessSettings,
    descriptors: u64,
    services: usize,
) -> WorkerSettings {
    let count = process.workers.get();
    // Each worker accepts from its own descriptor of every listener; two addresses (v4, v6) are the usual case.
    let listeners = services.saturating_mul(2).saturating_mul(count.saturating_add(1));
    let pipes = pipe_limit(process.max_pipes, descriptors, count);
    let per_worker = 2 * u64::from(pipes) + u64::from(lull::MOST);
    let others = listeners as u64 + per_worker * count as u64;
    WorkerSettings {
        max_connections: Some(connection_limit(process.max_connections, descriptors, others)),
        max_pipes: Some(pipes),
        gives_way: process.give_way,
        lull: process.bulk_lull,
        fast: FAST,
    }
}

/// Client connections that `descriptors` allow: two each, after those reserved and those of `listeners`.
///
/// A configured `global maxconn` that needs more is lowered, as haproxy refuses it.
fn connection_limit(configured: Option<u32>, descriptors: u64, listeners: u64) -> u32 {
    let reserved = RESERVED_DESCRIPTORS.min(descriptors / 4);
    let free = descriptors.saturating_sub(reserved).saturating_sub(listeners);
    let possible = u32::try_from(free / 2).unwrap_or(u32::MAX).max(1);
    match configured {
        None if possible < FEW_CONNECTIONS => {
            tracing::warn!(
                possible,
                descriptors,
                listeners,
                "only so many connections at a time: the descriptor limit is too low; raise LimitNOFILE (ulimit -Hn)"
            );
        }
        Some(wanted) if wanted > possible => {
            tracing::warn!(
                wanted,
                possible,
                descriptors,
                "global maxconn is lowered: the descriptor limit is too low"
            );
        }
        Some(_) | None => {}
    }
    configured.unwrap_or(possible).min(possible)
}

/// Pipes that each of `workers` may have for bulk TCP: `configured` ones shared among them, or the built-in number, but
/// never more than take one descriptor in sixteen from the connections.
fn pipe_limit(configured: Option<u32>, descriptors: u64, workers: usize) -> u32 {
    let workers = u32::try_from(workers).unwrap_or(u32::MAX).max(1);
    let wanted = configured.unwrap_or(MAX_PIPES).div_ceil(workers);
    let most = descriptors / 16 / 2 / u64::from(workers);
    wanted.min(u32::try_from(most).unwrap_or(u32::MAX))
}

/// Gives up root for `user` and `group`. Must run before the first thread is started: the kernel's identity belongs to
/// a thread, and only threads started later inherit it.
///
/// Without root, or for a user this host does not know, the process stays what it is and says so.
///
/// # Errors
/// A system call that refuses although the user is known: the caller must not go on as root.
pub fn drop_privileges(user: Option<&str>, group: Option<&str>) -> std::io::Result<()> {
    if !getuid().is_root() || (user.is_none() && group.is_none()) {
        return Ok(());
    }
    let account = user.and_then(accounts::user);
    if let (Some(name), None) = (user, &account) {
        tracing::warn!(
            user = name,
            "no such user on this host: privileges are kept; create it or remove `user`"
        );
        return Ok(());
    }
    let gid = match group {
        Some(name) => accounts::group(name),
        None => account.as_ref().and_then(|ids| ids.1),
    };
    if let Some(gid) = gid.and_then(Gid::from_raw_checked) {
        set_thread_groups(&[gid])?;
        set_thread_res_gid(gid, gid, gid)?;
    } else if let Some(name) = group {
        tracing::warn!(group = name, "no such group on this host: the group is kept");
    }
    if let Some(uid) = account.map(|ids| ids.0).and_then(Uid::from_raw_checked) {
        set_thread_res_uid(uid, uid, uid)?;
    }
    tracing::info!(?user, ?group, "privileges dropped");
    Ok(())
}

/// The identity that [`drop_privileges`] will leave, if it leaves another one.
pub(super) fn identity(user: Option<&str>, group: Option<&str>) -> Option<(u32, u32)> {
    if !getuid().is_root() {
        return None;
    }
    let account = user.map(accounts::user);
    // An unknown user keeps everything as it is.
    let account = match account {
        Some(None) => return None,
        Some(Some(ids)) => Some(ids),
        None => None,
    };
    let gid = match group {
        Some(name) => accounts::group(name),
        None => account.and_then(|ids| ids.1),
    };
    if account.is_none() && gid.is_none() {
        return None;
    }
    let uid = account.map_or_else(|| getuid().as_raw(), |ids| ids.0);
    Some((uid, gid.unwrap_or_else(|| getgid().as_raw())))
}

trait FromRawChecked: Sized {
    /// `None` for the reserved value -1.
    fn from_raw_checked(raw: u32) -> Option<Self>;
}

impl FromRawChecked for Gid {
    fn from_raw_checked(raw: u32) -> Option<Self> {
        (raw != u32::MAX).then(|| Self::from_raw(raw))
    }
}

impl FromRawChecked for Uid {
    fn from_raw_checked(raw: u32) -> Option<Self> {
        (raw != u32::MAX).then(|| Self::from_raw(raw))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_fit_into_the_descriptors() {
        assert_eq!(connection_limit(None, 1_256, 0), 500);
        assert_eq!(connection_limit(Some(100), 1_256, 0), 100);
        assert_eq!(connection_limit(Some(4_096), 1_256, 200), 400);
        assert_eq!(connection_limit(None, 256, 20), 86);
        assert_eq!(connection_limit(None, 10, 5), 1);
    }

    #[test]
    fn pipes_leave_descriptors_to_connections() {
        assert_eq!(pipe_limit(None, 20_000, 2), MAX_PIPES / 2);
        assert_eq!(pipe_limit(None, 1024, 2), 16);
        assert_eq!(pipe_limit(Some(5), 20_000, 2), 3);
        assert_eq!(pipe_limit(Some(0), 20_000, 2), 0);
    }
}
