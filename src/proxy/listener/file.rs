//! The file of a unix socket: it appears whole, and goes when nobody listens on it any more.
//!
//! A socket is bound under a name of its own (a draft), given its owner and mode, and listens. It is renamed over what is
//! there only when everything else of the configuration stands ([`SocketFile::place`]): a start or a reload that comes to
//! nothing takes nobody's path away, no client meets a socket that refuses it or is open to more than it should be, and a
//! file that a dead process has left is no obstacle. Whoever listens there is out of reach from then on, as with haproxy.

use std::fs::{self, Permissions as Mode};
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{CWD, OFlags, RenameFlags, renameat_with};
use rustix::net::SocketAddrUnix;

/// Longest path to listen on, haproxy's limit: the draft's name has nine bytes more, and the kernel takes 107.
pub const MAX_PATH_BYTES: usize = 97;

/// Longest abstract name, the kernel's limit; shorter ones are filled up with zeros, as haproxy does.
pub const MAX_ABSTRACT_BYTES: usize = 107;

/// Names that are tried for a draft. They are random; that even the second is taken is no chance.
const DRAFTS: usize = 4;

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

/// Device and inode: what tells a file from another one in its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The device.
    pub dev: u64,
    /// The inode.
    pub ino: u64,
}

/// A unix socket's file. Dropping it removes the file if that is still the same, and ours.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: Arc<Path>,
    identity: Identity,
    /// What it was given.
    permissions: Permissions,
    /// Its name until it is placed.
    draft: PathBuf,
    is_placed: AtomicBool,
    is_ours: AtomicBool,
}

/// Lets `bind` make a socket under another name, gives that its permissions and lets it `listen`.
pub(super) fn draft(
    path: &Path,
    permissions: Permissions,
    bind: impl Fn(&Path) -> io::Result<()>,
    listen: impl FnOnce() -> io::Result<()>,
) -> io::Result<SocketFile> {
    must_be_replaceable(path)?;
    let draft = bound(path, bind)?;
    match permissions.give(&draft).and_then(|identity| listen().map(|()| identity)) {
        Ok(identity) => Ok(SocketFile {
            path: path.into(),
            identity,
            permissions,
            draft,
            is_placed: AtomicBool::new(false),
            is_ours: AtomicBool::new(true),
        }),
        Err(error) => {
            // The first error is the one that tells.
            drop(fs::remove_file(&draft));
            Err(error)
        }
    }
}

fn must_be_replaceable(path: &Path) -> io::Result<()> {
    if fs::symlink_metadata(path).is_ok_and(|there| !there.file_type().is_socket()) {
        return Err(io::Error::other("a file that is not a socket is in its place"));
    }
    Ok(())
}

/// Nothing that is there is removed for it: whoever may write there may have made it.
fn bound(path: &Path, bind: impl Fn(&Path) -> io::Result<()>) -> io::Result<PathBuf> {
    let mut tries = 1;
    loop {
        let draft = beside(path);
        match bind(&draft) {
            Ok(()) => return Ok(draft),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && tries < DRAFTS => tries += 1,
            Err(error) => return Err(error),
        }
    }
}

/// A name that nobody else thinks of; process ids are alike from container to container.
fn beside(path: &Path) -> PathBuf {
    let [a, b, c, d, ..] = RandomState::new().build_hasher().finish().to_ne_bytes();
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{:08x}", u32::from_ne_bytes([a, b, c, d])));
    PathBuf::from(name)
}

/// A name that is no file's.
pub(super) fn abstract_addr(name: &str) -> io::Result<SocketAddrUnix> {
    let mut bytes = name.as_bytes().to_vec();
    bytes.resize(MAX_ABSTRACT_BYTES.max(bytes.len()), 0);
    Ok(SocketAddrUnix::new_abstract_name(&bytes)?)
}

impl Identity {
    fn of(path: &Path) -> io::Result<Self> {
        fs::symlink_metadata(path).map(|file| Self { dev: file.dev(), ino: file.ino() })
    }
}

impl Permissions {
    /// True when nothing is said.
    pub fn is_empty(self) -> bool {
        self == Self::default()
    }

    /// To the socket at `path`, whatever becomes of its name meanwhile: not through a link to another file. Owner first:
    /// changing it may clear bits of the mode.
    fn give(self, path: &Path) -> io::Result<Identity> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file: OwnedFd = rustix::fs::open(path, flags, rustix::fs::Mode::empty())?;
        // The kernel's link to what is open, not to a name.
        let open = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
        let file = fs::File::from(file);
        let found = file.metadata()?;
        if !found.file_type().is_socket() {
            return Err(io::Error::other("another file has taken its place"));
        }
        if self.uid.is_some() || self.gid.is_some() {
            chown(&open, self.uid, self.gid)?;
        }
        if let Some(mode) = self.mode {
            fs::set_permissions(&open, Mode::from_mode(mode))?;
        }
        Ok(Identity { dev: found.dev(), ino: found.ino() })
    }
}

impl SocketFile {
    /// The file of a socket that somebody else has bound and may still remove. `identity`: what is there, if that is not
    /// known.
    pub(super) fn adopted(
        path: &Arc<Path>,
        identity: Option<Identity>,
        permissions: Permissions,
    ) -> Option<Self> {
        let identity = identity.or_else(|| Identity::of(path).ok())?;
        Some(Self {
            path: Arc::clone(path),
            identity,
            permissions,
            draft: PathBuf::new(),
            is_placed: AtomicBool::new(true),
            is_ours: AtomicBool::new(false),
        })
    }

    /// Renames the draft to its path; once.
    pub(super) fn place(&self) -> io::Result<()> {
        if self.is_placed() {
            return Ok(());
        }
        must_be_replaceable(&self.path)?;
        fs::rename(&self.draft, &self.path)?;
        self.is_placed.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// True once clients can find it.
    pub(super) fn is_placed(&self) -> bool {
        self.is_placed.load(Ordering::Relaxed)
    }

    /// Whether it is ours to remove.
    pub(super) fn own(&self, is_ours: bool) {
        self.is_ours.store(is_ours, Ordering::Relaxed);
    }

    pub(super) fn identity(&self) -> Identity {
        self.identity
    }

    pub(super) fn permissions(&self) -> Permissions {
        self.permissions
    }

    fn name(&self) -> &Path {
        if self.is_placed() { &self.path } else { &self.draft }
    }

    /// False when it has been removed or replaced: nobody can come to the socket any more.
    pub(super) fn is_there(&self) -> bool {
        Identity::of(self.name()).is_ok_and(|there| there == self.identity)
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if *self.is_ours.get_mut()
            && self.is_there()
            && let Err(error) = remove(self.name(), self.identity)
        {
            // As an unprivileged user in root's directory: the next start renames over it.
            tracing::debug!(path = %self.name().display(), %error, "the socket's file stays");
        }
    }
}

/// Removes the file, if it is that one: looking and removing are two steps, and another process may come in between. So
/// it is looked at under a name of our own, and goes back if it is somebody else's.
fn remove(path: &Path, identity: Identity) -> io::Result<()> {
    let aside = beside(path);
    fs::rename(path, &aside)?;
    if Identity::of(&aside)? != identity {
        match renameat_with(CWD, &aside, CWD, path, RenameFlags::NOREPLACE) {
            // Replaced again meanwhile, as it would have been without us.
            Err(rustix::io::Errno::EXIST) => {}
            other => return Ok(other?),
        }
    }
    fs::remove_file(&aside)
}

#[cfg(test)]
mod tests;
