//! Where a running nerve is reached: `STATE_DIR/slot-*/nerve.sock`, one slot for each nerve of that `state_dir`.

use std::fs::Permissions;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use crate::admin::nerve::SOCKET_MODE;
use crate::app::handover::door::with_short_path;

/// Beginning of a slot's name in `state_dir`.
pub const SLOT_PREFIX: &str = "slot-";

/// Name of the socket in a slot.
pub const SOCKET: &str = "nerve.sock";

/// Opens the socket of the slot `dir`, which is ours: what a former owner left there is taken away.
///
/// # Errors
/// When the file cannot be replaced, bound or opened for others. Must run on a tokio runtime.
pub fn bind(dir: &Path) -> io::Result<tokio::net::UnixListener> {
    let path = dir.join(SOCKET);
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let listener = with_short_path(&path, |path| std::os::unix::net::UnixListener::bind(path))?;
    std::fs::set_permissions(&path, Permissions::from_mode(SOCKET_MODE))?;
    listener.set_nonblocking(true)?;
    tokio::net::UnixListener::from_std(listener)
}

/// The sockets of all slots, sorted; whether anybody is behind them is not known yet.
///
/// # Errors
/// When `state_dir` is there but cannot be read. One that is missing has no slots.
pub fn slots(state_dir: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match std::fs::read_dir(state_dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut sockets = Vec::new();
    for entry in entries {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(SLOT_PREFIX) {
            sockets.push(entry.path().join(SOCKET));
        }
    }
    sockets.sort();
    Ok(sockets)
}
