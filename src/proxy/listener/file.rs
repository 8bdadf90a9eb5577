//! The file of a unix socket: it appears whole, and goes when nobody listens on it any more.
//!
//! The socket is bound under a name of its own, given its owner and mode, and listens before it is renamed over what is
//! there: no client meets a socket that refuses it, and a file that a dead process has left is no obstacle. Whoever
//! listens there is out of reach from then on, as with haproxy.

use std::fs::{self, Permissions as Mode};
use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::net::SocketAddrUnix;

use super::ListenAddr;

/// Longest path to listen on, haproxy's limit: a process id is added for a moment, and the kernel takes 107 bytes.
pub const MAX_PATH_BYTES: usize = 97;

/// Length of an abstract name, filled up with zeros, as haproxy has it.
const ABSTRACT_BYTES: usize = 107;

/// Who may connect to a unix socket. `None`: as the process creates files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Permissions {
    /// `mode`, as of chmod.
    pub mode: Option<u32>,
    /// `uid` or `user`.
    pub uid: Option<u32>,
    /// `gid` or `group`.
    pub gid: Option<u32>,
}

/// A unix socket's file. Dropping it removes the file if that is still the same, and ours.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: Arc<Path>,
    identity: (u64, u64),
    is_ours: AtomicBool,
    /// Neither ours nor another synapse's: never removed.
    is_foreign: bool,
}

/// Lets `bind` make a listening socket under another name and renames that to `path`.
pub(super) fn place(
    path: &Path,
    permissions: Permissions,
    bind: impl FnOnce(&Path) -> io::Result<()>,
) -> io::Result<SocketFile> {
    if fs::symlink_metadata(path).is_ok_and(|there| !there.file_type().is_socket()) {
        return Err(io::Error::other("a file that is not a socket is in its place"));
    }
    let mut unfinished = path.as_os_str().to_owned();
    unfinished.push(format!(".{}", std::process::id()));
    let unfinished = PathBuf::from(unfinished);
    remove(&unfinished)?;
    let placed = bind(&unfinished)
        .and_then(|()| permissions.give(&unfinished))
        .and_then(|()| identity(&unfinished))
        .and_then(|identity| fs::rename(&unfinished, path).map(|()| identity));
    match placed {
        Ok(identity) => {
            let is_ours = AtomicBool::new(true);
            Ok(SocketFile { path: path.into(), identity, is_ours, is_foreign: false })
        }
        Err(error) => {
            // The first error is the one that tells.
            drop(remove(&unfinished));
            Err(error)
        }
    }
}

/// A name that is no file's.
pub(super) fn abstract_addr(name: &str) -> io::Result<SocketAddrUnix> {
    let mut bytes = name.as_bytes().to_vec();
    bytes.resize(ABSTRACT_BYTES.max(bytes.len()), 0);
    Ok(SocketAddrUnix::new_abstract_name(&bytes)?)
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    fs::symlink_metadata(path).map(|file| (file.dev(), file.ino()))
}

impl Permissions {
    /// True when nothing is said.
    pub fn is_empty(self) -> bool {
        self == Self::default()
    }

    /// Owner first: changing it may clear bits of the mode.
    pub(super) fn give(self, path: &Path) -> io::Result<()> {
        if self.uid.is_some() || self.gid.is_some() {
            chown(path, self.uid, self.gid)?;
        }
        match self.mode {
            Some(mode) => fs::set_permissions(path, Mode::from_mode(mode)),
            None => Ok(()),
        }
    }
}

impl SocketFile {
    /// The file of a socket that somebody else has bound and may still remove; one that `is_foreign` is never ours.
    pub(super) fn adopted(addr: &ListenAddr, is_foreign: bool) -> Option<Self> {
        let ListenAddr::Unix(path) = addr else {
            return None;
        };
        let identity = identity(path).ok()?;
        Some(Self { path: Arc::clone(path), identity, is_ours: AtomicBool::new(false), is_foreign })
    }

    /// Whether it is ours to remove.
    pub(super) fn own(&self, is_ours: bool) {
        self.is_ours.store(is_ours && !self.is_foreign, Ordering::Relaxed);
    }

    pub(super) fn is_foreign(&self) -> bool {
        self.is_foreign
    }

    /// False when it has been removed or replaced: nobody can come to the socket any more.
    pub(super) fn is_there(&self) -> bool {
        identity(&self.path).is_ok_and(|there| there == self.identity)
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if *self.is_ours.get_mut()
            && self.is_there()
            && let Err(error) = fs::remove_file(&self.path)
        {
            // As an unprivileged user in root's directory: the next start renames over it.
            tracing::debug!(path = %self.path.display(), %error, "the socket's file stays");
        }
    }
}
