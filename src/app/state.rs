//! `state_dir`: made ready while the process may still do so, and given to the sources as their memory.
//!
//! Never fatal: without a state directory, or with one that cannot be written, synapse serves as it always did; only the
//! next start knows less.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{AtFlags, CWD, Gid, Uid, chownat};

use super::process::identity;
use super::service::MakeDiscovery;
use crate::config::{ProcessSettings, ServiceConfig};
use crate::discovery::saved::{DIRECTORY, LastKnown, SavedSettings, Store};

/// Mode of a state directory that is made here.
const MODE: u32 = 0o755;

/// Opens the memory of all services. Must run before privileges are dropped: what it makes below a directory of root
/// then belongs to the user that will write it.
pub(super) fn open(process: &ProcessSettings) -> Option<Arc<Store>> {
    let state_dir = process.state_dir.as_deref()?;
    let owner = identity(process.user.as_deref(), process.group.as_deref());
    let dir = state_dir.join(DIRECTORY);
    let opened = provide(state_dir, owner)
        .and_then(|()| provide(&dir, owner))
        .and_then(|()| Store::open(dir, process.seed.as_ref()));
    opened
        .inspect_err(|error| {
            let state_dir = state_dir.display();
            tracing::warn!(%state_dir, %error, "state_dir cannot be used: nothing is remembered across restarts");
        })
        .ok()
}

/// Makes a directory with its parents, for `owner` if that is somebody else. One that is there stays as it is, but for
/// our own below it, which an earlier start may have made as root.
fn provide(dir: &Path, owner: Option<(u32, u32)>) -> io::Result<()> {
    let is_new = !dir.exists();
    DirBuilder::new().recursive(true).mode(MODE).create(dir)?;
    let Some((uid, gid)) = owner.filter(|_| is_new || dir.ends_with(DIRECTORY)) else {
        return Ok(());
    };
    let metadata = std::fs::symlink_metadata(dir)?;
    if metadata.is_dir() && (metadata.uid(), metadata.gid()) != (uid, gid) {
        let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
        chownat(CWD, dir, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
    }
    Ok(())
}

/// Gives the source of a service its memory; `make` as it is for one that needs none.
pub(super) fn remembering(
    store: Option<&Arc<Store>>,
    config: &ServiceConfig,
    make: MakeDiscovery,
) -> MakeDiscovery {
    let policy = &config.pool.membership;
    let settings = SavedSettings::new(&config.name, &config.source, policy);
    let (Some(store), Some(settings)) = (store, settings) else {
        return make;
    };
    let memory = LastKnown::load(Arc::clone(store), settings);
    Arc::new(move || memory.around(make()))
}
