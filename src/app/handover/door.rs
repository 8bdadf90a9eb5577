//! The unix socket in `state_dir` behind which a running process waits for its successor.
//!
//! The path always leads to the process that would answer: it is bound under another name and renamed over what was
//! there, be it a stale file or the predecessor's. Whoever stops takes away only its own.

use std::fs::{DirBuilder, Permissions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener as BlockingListener, UnixStream as BlockingStream};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use tokio::net::{UnixListener, UnixStream};

use super::{SOCKET, is_trusted};

/// Longest path of a unix socket in Linux, without the closing zero.
const MAX_PATH_BYTES: usize = 107;

/// The waiting socket.
#[derive(Debug)]
pub(crate) struct Door {
    listener: UnixListener,
    path: PathBuf,
    /// Device and inode of our file.
    file: (u64, u64),
}

impl Door {
    /// Opens the door in `dir`, which is made when it is missing.
    pub(crate) fn open(dir: &Path) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o750).create(dir)?;
        let path = dir.join(SOCKET);
        let draft = dir.join(format!("{SOCKET}.{}", std::process::id()));
        // Left by a process with our number that died in between.
        if draft.exists() {
            std::fs::remove_file(&draft)?;
        }
        let listener = with_short_path(&draft, |draft| BlockingListener::bind(draft))?;
        std::fs::set_permissions(&draft, Permissions::from_mode(0o600))?;
        let file = identity(&draft)?;
        std::fs::rename(&draft, &path)?;
        listener.set_nonblocking(true)?;
        Ok(Self { listener: UnixListener::from_std(listener)?, path, file })
    }

    /// The next caller whom we may answer.
    pub(crate) async fn accept(&self) -> UnixStream {
        loop {
            match self.listener.accept().await {
                Ok((stream, _)) if is_trusted(&stream, None).unwrap_or(false) => return stream,
                Ok(_) => tracing::warn!("hand-over asked for by another user: ignored"),
                Err(error) => {
                    tracing::warn!(%error, "hand-over socket");
                    tokio::time::sleep(super::REPORT_EVERY).await;
                }
            }
        }
    }

    /// True while the path leads here.
    pub(crate) fn is_ours(&self) -> bool {
        identity(&self.path).is_ok_and(|file| file == self.file)
    }

    /// Makes the path lead here again.
    pub(crate) fn reclaim(&mut self) -> io::Result<()> {
        if self.is_ours() {
            return Ok(());
        }
        let dir = self.path.parent().map_or_else(|| PathBuf::from("/"), Path::to_owned);
        *self = Self::open(&dir)?;
        Ok(())
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        if self.is_ours()
            && let Err(error) = std::fs::remove_file(&self.path)
        {
            tracing::debug!(%error, "hand-over socket stays");
        }
    }
}

/// Knocks at the door in `dir`; `None` when nobody is behind it.
pub(crate) fn knock(dir: &Path) -> io::Result<Option<BlockingStream>> {
    connect(&dir.join(SOCKET))
}

/// Connects with `socket`; `None` when nobody is behind it. Any other error: above all, that we may not.
pub(crate) fn connect(socket: &Path) -> io::Result<Option<BlockingStream>> {
    match with_short_path(socket, |path| BlockingStream::connect(path)) {
        Ok(stream) => Ok(Some(stream)),
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound
                    | io::ErrorKind::ConnectionRefused
                    | io::ErrorKind::NotADirectory
            ) =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Calls `act` with a path to the same file that fits into a socket address: a long one goes over `/proc/self/fd`.
pub(crate) fn with_short_path<T>(
    path: &Path,
    act: impl FnOnce(&Path) -> io::Result<T>,
) -> io::Result<T> {
    if path.as_os_str().len() <= MAX_PATH_BYTES {
        return act(path);
    }
    let (Some(dir), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dir: OwnedFd = rustix::fs::open(dir, flags, Mode::empty())?;
    let number = std::os::fd::AsRawFd::as_raw_fd(&dir);
    act(&Path::new("/proc/self/fd").join(number.to_string()).join(name))
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let meta = std::fs::symlink_metadata(path)?;
    Ok((meta.dev(), meta.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory of this test, with a path of `length` bytes at least.
    fn dir(name: &str, length: usize) -> PathBuf {
        let mut dir = std::env::temp_dir().join(format!("door-{name}-{}", std::process::id()));
        while dir.as_os_str().len() < length {
            dir = dir.join("a-directory-with-a-long-name");
        }
        dir
    }

    fn tidy(name: &str) {
        std::fs::remove_dir_all(dir(name, 0)).unwrap();
    }

    #[tokio::test]
    async fn a_caller_is_let_in_even_at_the_end_of_a_long_path() {
        for (name, length) in [("short", 0), ("long", 300)] {
            let dir = dir(name, length);
            let door = Door::open(&dir).unwrap();
            let mode = std::fs::metadata(dir.join(SOCKET)).unwrap().mode();
            assert_eq!(mode & 0o777, 0o600);
            let knocking = knock(&dir).unwrap().unwrap();
            door.accept().await;
            drop((knocking, door));
            assert!(knock(&dir).unwrap().is_none(), "the file is gone");
            tidy(name);
        }
    }

    #[tokio::test]
    async fn a_stale_file_is_nobody_and_is_replaced() {
        let dir = dir("stale", 0);
        std::fs::create_dir_all(&dir).unwrap();
        drop(BlockingListener::bind(dir.join(SOCKET)).unwrap());
        assert!(knock(&dir).unwrap().is_none());
        let door = Door::open(&dir).unwrap();
        assert!(knock(&dir).unwrap().is_some());
        drop(door);
        tidy("stale");
    }

    #[tokio::test]
    async fn the_later_door_is_the_one_and_the_earlier_can_reclaim_it() {
        let dir = dir("two", 0);
        let mut first = Door::open(&dir).unwrap();
        let second = Door::open(&dir).unwrap();
        assert!(!first.is_ours() && second.is_ours());
        drop(second);
        assert!(knock(&dir).unwrap().is_none());
        first.reclaim().unwrap();
        assert!(knock(&dir).unwrap().is_some());
        drop(first);
        tidy("two");
    }
}
