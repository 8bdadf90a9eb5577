//! Files that are appended to, standard output included.
//!
//! A named pipe is opened without waiting for its reader, and written to without waiting long: whoever does not read it
//! costs its own lines, not those of all other targets. Standard output is shared, so it stays as it was given to us.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::OpenOptionsExt as _;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;
use tokio::time::Instant;

use super::messages::Messages;
use super::sink::{Again, SEND_WAIT, Sent};
use crate::telemetry::access::target::Place;

/// Lines hold addresses and parameters of users: not for everybody.
const MODE: u32 = 0o640;

/// A file, opened with the first line.
#[derive(Debug)]
pub(super) struct AppendFile {
    place: Place,
    file: Option<File>,
    /// It is to be opened anew.
    is_old: bool,
    /// The last write ended within a line.
    is_torn: bool,
}

impl AppendFile {
    pub(super) fn new(place: Place) -> Self {
        Self { place, file: None, is_old: false, is_torn: false }
    }

    /// Opens it anew, if it is open. With an error the old one stays, until a later write finds that it can be opened.
    pub(super) fn reopen(&mut self) -> io::Result<()> {
        let Some(file) = &mut self.file else {
            return Ok(());
        };
        self.is_old = true;
        let new = open(&self.place)?;
        if self.is_torn {
            // In the old file, if it takes it: the new one should not begin with the end of a line.
            self.is_torn = file.write_all(b"\n").is_err();
        }
        *file = new;
        self.is_old = false;
        Ok(())
    }

    /// One write for all messages; of what a full disk has taken, the whole lines count.
    pub(super) fn write(&mut self, messages: &Messages) -> Sent {
        let mut written = 0;
        let result = self.append(&messages.bytes, &mut written);
        let Err(error) = result else {
            return Sent::default();
        };
        let whole = messages.ends.iter().take_while(|end| **end <= written).count();
        let last = whole.checked_sub(1).and_then(|last| messages.ends.get(last));
        if written > 0 {
            self.is_torn = last.copied().unwrap_or(0) < written;
        }
        if error.kind() != ErrorKind::WouldBlock {
            // Opened anew: the file may have been replaced, or a network disk may be back. Not a pipe that is full: its reader
            // would be told an end.
            self.file = None;
        }
        let lost = messages.ends.len() - whole;
        Sent { lost, failed: Some((error, Again::Later)), ..Sent::default() }
    }

    fn append(&mut self, bytes: &[u8], written: &mut usize) -> io::Result<()> {
        if self.is_old {
            // The reload has said why not.
            drop(self.reopen());
        }
        let file = match &mut self.file {
            Some(file) => file,
            None => self.file.insert(open(&self.place)?),
        };
        if self.is_torn {
            file.write_all(b"\n")?;
            self.is_torn = false;
        }
        let mut until = None;
        while let Some(rest) = bytes.get(*written..).filter(|rest| !rest.is_empty()) {
            match file.write(rest) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(count) => *written += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error)
                    if error.kind() == ErrorKind::WouldBlock
                        && has_room(
                            file,
                            *until.get_or_insert_with(|| Instant::now() + SEND_WAIT),
                        )? => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// Waits for the reader of a pipe, no longer than `until`.
fn has_room(pipe: &File, until: Instant) -> io::Result<bool> {
    let wait = until.saturating_duration_since(Instant::now());
    let wait = Timespec::try_from(wait).map_err(io::Error::other)?;
    Ok(poll(&mut [PollFd::new(pipe, PollFlags::OUT)], Some(&wait))? > 0)
}

fn open(place: &Place) -> io::Result<File> {
    match place {
        Place::Stdout => Ok(io::stdout().as_fd().try_clone_to_owned()?.into()),
        Place::Stderr => Ok(io::stderr().as_fd().try_clone_to_owned()?.into()),
        Place::File(path) => {
            let at_once = OFlags::NONBLOCK.bits().cast_signed();
            let mut options = OpenOptions::new();
            options.append(true).create(true).mode(MODE).custom_flags(at_once).open(path)
        }
        Place::Udp(_) | Place::Unix(_) => Err(ErrorKind::Unsupported.into()),
    }
}
