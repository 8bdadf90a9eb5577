//! The lock of a slot: the kernel's, so it goes with the process.
//!
//! Whoever lives in a slot holds it exclusively. Who only wants to know whether somebody does asks for a share, so that
//! those who look do not see each other; a look may still be in the way of a nerve that starts in that instant, which is
//! why a slot that is worth it is tried for some milliseconds.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};

use crate::disk;

/// Name of the lock in a slot.
const LOCK: &str = "lock";

/// Attempts at a slot with sessions to go on with. Together with [`PAUSE`] far longer than a look takes, and short enough
/// for the start of a nerve whose predecessor still runs.
const ATTEMPTS: u32 = 5;

/// Between two attempts.
const PAUSE: Duration = Duration::from_millis(10);

/// The lock of the slot `dir`; `None` when another process holds it. Dropping it gives it back. `is_precious`: it is tried
/// for up to 40 ms, blocking.
///
/// # Errors
/// When the file cannot be opened or locked.
pub(super) fn take(dir: &Path, is_precious: bool) -> io::Result<Option<File>> {
    let mut options = OpenOptions::new();
    let file = options.create(true).truncate(false).write(true).mode(disk::PRIVATE);
    let file = file.open(dir.join(LOCK))?;
    for _ in 1..ATTEMPTS {
        if !is_precious || is_got(&file, FlockOperation::NonBlockingLockExclusive)? {
            break;
        }
        #[expect(clippy::disallowed_methods, reason = "at the start, before anything else runs")]
        std::thread::sleep(PAUSE);
    }
    // Who has it already gets it again.
    Ok(is_got(&file, FlockOperation::NonBlockingLockExclusive)?.then_some(file))
}

/// Whether a process lives in the slot `dir`.
///
/// # Errors
/// When that cannot be found out.
pub(super) fn is_held(dir: &Path) -> io::Result<bool> {
    match File::open(dir.join(LOCK)) {
        Ok(file) => Ok(!is_got(&file, FlockOperation::NonBlockingLockShared)?),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

fn is_got(file: &File, operation: FlockOperation) -> io::Result<bool> {
    match flock(file, operation) {
        Ok(()) => Ok(true),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_looks_is_not_seen_by_others_who_look_and_does_not_cost_a_slot() {
        let dir = std::env::temp_dir().join(format!("nerve-lock-{:x}", fastrand::u64(..)));
        std::fs::create_dir(&dir).unwrap();
        assert!(!is_held(&dir).unwrap(), "no lock, nobody there");
        drop(take(&dir, false).unwrap().unwrap());
        let look = File::open(dir.join(LOCK)).unwrap();
        assert!(is_got(&look, FlockOperation::NonBlockingLockShared).unwrap());
        assert!(!is_held(&dir).unwrap());
        assert!(take(&dir, false).unwrap().is_none());
        let starting = std::thread::scope(|scope| {
            let starting = scope.spawn(|| take(&dir, true).unwrap());
            drop(look);
            starting.join().unwrap()
        });
        assert!(starting.is_some() && is_held(&dir).unwrap());
        assert!(take(&dir, true).unwrap().is_none());
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
