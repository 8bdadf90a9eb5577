//! The file and its lock. Blocking.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::{FlockOperation, flock};

use super::record::{Pushed, VERSION};
use crate::disk::{self, Identity};

/// Name of the file in `state_dir`.
pub(super) const FILE: &str = "pushed.json";

/// Name of its lock.
pub(super) const LOCK: &str = "pushed.lock";

/// Largest file that is read, and so the largest that is written, bytes: some thousands of services.
pub(in crate::app::nerve) const MAX_BYTES: usize = 4 * 1024 * 1024;

/// Tries to get the lock, which others hold for the time of a small write. Together with [`LOCK_WAIT`] they bound how long
/// a stopped sibling can hold up our control thread: a tenth of a second, once. From then on there is one try at a time.
pub(super) const LOCK_TRIES: u32 = 10;

/// Between two of them.
const LOCK_WAIT: Duration = Duration::from_millis(10);

/// Why the file is not as it should be.
#[derive(Debug, thiserror::Error)]
pub(in crate::app::nerve) enum StoreError {
    /// The system's word.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// More than [`MAX_BYTES`].
    #[error("what was pushed takes more than {MAX_BYTES} bytes")]
    TooMuch,
    /// Somebody has the lock.
    #[error("another nerve holds {LOCK}")]
    Busy,
    /// Not a file of ours.
    #[error("{FILE} cannot be understood: {0}")]
    Unreadable(String),
}

pub(super) fn identity(dir: &Path) -> Option<Identity> {
    std::fs::metadata(dir.join(FILE)).ok().as_ref().map(Identity::of)
}

/// Dropped with the file. Waits where it stands: orders keep their sequence, and [`LOCK_TRIES`] bound it.
#[expect(
    clippy::disallowed_methods,
    reason = "a tenth of a second at most; orders are obeyed in turn"
)]
pub(super) fn lock(dir: &Path, tries: u32) -> Result<File, StoreError> {
    let mut options = OpenOptions::new();
    let options = options.create(true).truncate(false).write(true).mode(disk::PRIVATE);
    let file = options.open(dir.join(LOCK))?;
    for left in (0..tries).rev() {
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(file),
            Err(rustix::io::Errno::WOULDBLOCK) if left > 0 => std::thread::sleep(LOCK_WAIT),
            Err(rustix::io::Errno::WOULDBLOCK) => {}
            Err(error) => return Err(StoreError::Io(error.into())),
        }
    }
    Err(StoreError::Busy)
}

/// Without a lock: the file is replaced whole.
pub(super) fn read(dir: &Path) -> Result<Option<(Identity, Pushed)>, StoreError> {
    let Some((identity, bytes)) = disk::read_identified(&dir.join(FILE), MAX_BYTES)? else {
        return Ok(None);
    };
    if bytes.len() > MAX_BYTES {
        return Err(StoreError::TooMuch);
    }
    match serde_json::from_slice::<Pushed>(&bytes) {
        Ok(pushed) if pushed.version == VERSION => Ok(Some((identity, pushed))),
        Ok(pushed) => {
            Err(StoreError::Unreadable(format!("version {} is not {VERSION}", pushed.version)))
        }
        Err(error) => Err(StoreError::Unreadable(error.to_string())),
    }
}

/// A file that cannot be understood gets another name. Only under the lock: else it could be the next one, which can.
pub(super) fn read_or_set_aside(
    dir: &Path,
    _lock: &File,
) -> Result<Option<(Identity, Pushed)>, StoreError> {
    let error = match read(dir) {
        Err(StoreError::Unreadable(error)) => error,
        read => return read,
    };
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let aside = dir.join(format!("{FILE}.unreadable-{seconds}"));
    std::fs::rename(dir.join(FILE), &aside)?;
    tracing::error!(
        error, kept = %aside.display(),
        "announced downtimes and pushed services cannot be read; the file is kept aside"
    );
    Ok(None)
}
