//! The file system: bounded reads, atomic replacement, noticing changes. Blocking, except for [`Identity`]; called on
//! blocking threads only.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::{Mode, OFlags};

/// How the name of a file begins that is still being written. No service has such a file: see `name`.
const UNFINISHED: &str = ".new-";

/// An unfinished file this old belongs to a process that died; a write takes seconds at most.
const ABANDONED: Duration = Duration::from_secs(60);

/// Mode of files that anybody may read: registrations are no secrets (the registry shows them to everybody).
pub(crate) const PUBLIC: u32 = 0o644;

/// Mode of files with secrets: passwords of sessions.
pub(crate) const PRIVATE: u32 = 0o600;

/// Mode of the directory.
const DIRECTORY_MODE: u32 = 0o755;

/// A file changed within this time may change again without a new time stamp (kernels stamp by ticks, some file systems
/// by seconds): it is read again until it is older.
const RACY: Duration = Duration::from_secs(2);

/// What changes when a file is replaced or written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    device: u64,
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Identity {
    /// Taken from an open file *before* reading it: a write in between gives a newer one at the next look.
    pub(crate) fn of(metadata: &std::fs::Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            bytes: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    /// Changed (by the kernel's stamp, which nobody can set back) just now, or in the future.
    pub(crate) fn is_racy(&self) -> bool {
        let changed = SystemTime::UNIX_EPOCH
            + Duration::from_secs(u64::try_from(self.changed.0).unwrap_or_default());
        changed.elapsed().map_or(true, |age| age < RACY)
    }
}

/// Creates the directory (not its parents) unless it is there.
pub(crate) fn create_directory(dir: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(DIRECTORY_MODE).create(dir) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists || !dir.is_dir() => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// The content of a regular file, at most `most` bytes and one more. `None`: there is no such file.
pub(crate) fn read(path: &Path, most: usize) -> io::Result<Option<Vec<u8>>> {
    Ok(read_identified(path, most)?.map(|(_, bytes)| bytes))
}

/// [`read`], and what the file was then.
pub(crate) fn read_identified(path: &Path, most: usize) -> io::Result<Option<(Identity, Vec<u8>)>> {
    // Never waits for the other end of a FIFO that somebody put here.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(file) => File::from(file),
        Err(rustix::io::Errno::NOENT) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    let mut bytes = Vec::new();
    let most = u64::try_from(most).unwrap_or(u64::MAX);
    file.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
    Ok(Some((Identity::of(&metadata), bytes)))
}

/// Replaces `name` in `dir`: after this, or a crash at any point in it, the file is the old or the new one, whole.
pub(crate) fn replace(dir: &Path, name: &str, bytes: &[u8], mode: u32) -> io::Result<()> {
    let unfinished = match write_aside(dir, bytes, mode) {
        // Somebody cleaned up. Only the last level is made again: the rest is the operator's.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            create_directory(dir)?;
            write_aside(dir, bytes, mode)?
        }
        written => written?,
    };
    let renamed = std::fs::rename(&unfinished, dir.join(name));
    if renamed.is_err() {
        discard(&unfinished);
    }
    renamed
}

/// Writes a file with a name of its own, down to the disk.
pub(crate) fn write_aside(dir: &Path, bytes: &[u8], mode: u32) -> io::Result<PathBuf> {
    let path = dir.join(format!("{UNFINISHED}{}-{:016x}", std::process::id(), fastrand::u64(..)));
    write_new(&path, bytes, mode)?;
    Ok(path)
}

/// Writes a file that must not exist yet, down to the disk, and leaves it open; an unfinished one is removed.
pub(crate) fn write_new(path: &Path, bytes: &[u8], mode: u32) -> io::Result<File> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    // Without the sync a power cut could leave the new name with an empty file behind it.
    let written = file.write_all(bytes).and_then(|()| file.sync_data());
    match written {
        Ok(()) => Ok(file),
        Err(error) => {
            discard(path);
            Err(error)
        }
    }
}

/// Removes what processes that died left behind.
pub(crate) fn clean(dir: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let is_unfinished =
            entry.file_name().to_str().is_some_and(|name| name.starts_with(UNFINISHED));
        if !is_unfinished {
            continue;
        }
        let modified = entry.metadata()?.modified()?;
        if modified.elapsed().is_ok_and(|age| age >= ABANDONED) {
            discard(&entry.path());
        }
    }
    Ok(())
}

pub(crate) fn discard(path: &Path) {
    if let Err(error) = std::fs::remove_file(path) {
        tracing::debug!(path = %path.display(), %error, "an unfinished file stays behind");
    }
}
