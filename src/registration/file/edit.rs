//! Looking into the shared file and changing it. Blocking.
//!
//! Readers need no lock: the file is replaced whole. Writers hold `FILE.lock` (`flock`, which the kernel drops with its
//! holder) from reading to replacing, so that nobody's change is lost. The lock file stays for ever: removing it would let
//! two writers hold two of them.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use super::list::{Line, List, NotAList};
use crate::disk::{self, Identity, PUBLIC};

/// Largest file that is edited, bytes; as much as synapse reads.
const MAX_FILE_BYTES: usize = 16 * 1024 * 1024;

/// Why the file is not as wanted.
#[derive(Debug, thiserror::Error)]
pub(super) enum FileError {
    /// The file system's word.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// Nothing that we could add to without losing something: it stays as it is.
    #[error(transparent)]
    NotAList(#[from] NotAList),
    /// More than [`MAX_FILE_BYTES`].
    #[error("more than {MAX_FILE_BYTES} bytes")]
    TooLarge,
}

/// What a look brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Look {
    /// The line is there, or not there, as wanted.
    pub(super) is_right: bool,
    /// The file, when its identity is enough to know it again.
    pub(super) identity: Option<Identity>,
}

/// How an edit ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Edit {
    /// The file is as wanted and down on the disk.
    Written,
    /// It was already.
    Unneeded,
    /// Somebody else is editing.
    Busy,
}

/// Whether the file is as wanted; not read if it is still the one that was `known` to be.
///
/// # Errors
/// [`FileError`].
pub(super) fn look(
    path: &Path,
    line: &Line,
    is_wanted: bool,
    known: Option<Identity>,
) -> Result<Look, FileError> {
    if known.is_some() && fs::metadata(path).ok().as_ref().map(Identity::of) == known {
        return Ok(Look { is_right: true, identity: known });
    }
    let (identity, list) = read(path)?;
    let is_right = list.is_right(line, is_wanted);
    Ok(Look { is_right, identity: identity.filter(|identity| is_right && !identity.is_racy()) })
}

/// Makes the file as wanted, unless somebody else is at it.
///
/// # Errors
/// [`FileError`]; the file is the old or the new one, whole.
pub(super) fn edit(path: &Path, line: &Line, is_wanted: bool) -> Result<Edit, FileError> {
    // A link stays a link, and all names of a file have one lock.
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let Some(_lock) = lock(&path)? else {
        return Ok(Edit::Busy);
    };
    let (_, list) = read(&path)?;
    if list.is_right(line, is_wanted) {
        return Ok(Edit::Unneeded);
    }
    replace(&path, list.render(line, is_wanted).as_bytes())?;
    Ok(Edit::Written)
}

/// A missing file is an empty list.
fn read(path: &Path) -> Result<(Option<Identity>, List), FileError> {
    let Some((identity, text)) = disk::read_identified(path, MAX_FILE_BYTES)? else {
        return Ok((None, List::default()));
    };
    if text.len() > MAX_FILE_BYTES {
        return Err(FileError::TooLarge);
    }
    Ok((Some(identity), List::parse(&text)?))
}

/// `None` when somebody else has it.
fn lock(path: &Path) -> io::Result<Option<File>> {
    let name = beside(path, ".lock");
    let open = || OpenOptions::new().create(true).truncate(false).write(true).open(&name);
    let file = match open() {
        // A directory below /run is gone after a boot. Only the last level is made again: the rest is the operator's.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            disk::create_directory(directory(path))?;
            open()?
        }
        opened => opened?,
    };
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(file)),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Under the lock, so the unfinished file has a fixed name and a crash leaves at most one.
fn replace(path: &Path, text: &[u8]) -> io::Result<()> {
    let unfinished = beside(path, ".new");
    match fs::remove_file(&unfinished) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let file = disk::write_new(&unfinished, text, PUBLIC)?;
    // Whatever our umask says: synapse may run as somebody else.
    let replaced = file
        .set_permissions(Permissions::from_mode(PUBLIC))
        .and_then(|()| fs::rename(&unfinished, path));
    if replaced.is_err() {
        disk::discard(&unfinished);
    }
    replaced?;
    // Without it a power cut could bring the old file back after we said that the new one is there.
    File::open(directory(path))?.sync_all()
}

fn directory(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."))
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}
