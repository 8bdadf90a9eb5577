//! Files that are appended to, standard output included.
//!
//! A named pipe is opened without waiting for its reader, and written to without waiting long: whoever does not read it
//! costs its own lines, not those of all other targets. Standard output is shared, so it stays as it was given to us.
//!
//! A pipe takes up to [`PIPE_BUF`] bytes whole or not at all, and nothing of other writers gets between them: it is given
//! whole lines of that length. A disk that becomes full takes the beginning of a line. It stays: to cut it off could cut off what
//! another process has appended since, and programs that follow the file would read it again from its start. The next
//! line begins on a line of its own.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;
use rustix::pipe::PIPE_BUF;
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
    file: Option<Opened>,
    /// It is to be opened anew.
    is_old: bool,
    /// The last write ended within a line.
    is_torn: bool,
}

#[derive(Debug)]
struct Opened {
    file: File,
    /// Bytes in a write at most; a longer line is written alone.
    most: usize,
}

impl AppendFile {
    pub(super) fn new(place: Place) -> Self {
        Self { place, file: None, is_old: false, is_torn: false }
    }

    /// Opens it anew, if it is open. With an error the old one stays, until a later write finds that it can be opened.
    pub(super) fn reopen(&mut self) -> io::Result<()> {
        let Some(opened) = &mut self.file else {
            return Ok(());
        };
        self.is_old = true;
        let new = open(&self.place)?;
        if self.is_torn {
            // In the old file, if it takes it: the new one should not begin with the end of a line.
            self.is_torn = opened.file.write_all(b"\n").is_err();
        }
        *opened = new;
        self.is_old = false;
        Ok(())
    }

    /// One write for all messages, to a pipe one for as many as it takes in one piece; of what a full disk has taken, the
    /// whole lines count.
    pub(super) fn write(&mut self, messages: &Messages) -> Sent {
        let mut written = 0;
        let result = self.append(messages, &mut written);
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

    fn append(&mut self, messages: &Messages, written: &mut usize) -> io::Result<()> {
        if self.is_old {
            // The reload has said why not.
            drop(self.reopen());
        }
        let Opened { file, most } = match &mut self.file {
            Some(opened) => opened,
            None => self.file.insert(open(&self.place)?),
        };
        if self.is_torn {
            file.write_all(b"\n")?;
            self.is_torn = false;
        }
        let mut until = None;
        while *written < messages.bytes.len() {
            match file.write(messages.piece(*written, *most)) {
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

fn open(place: &Place) -> io::Result<Opened> {
    let file: File = match place {
        Place::Stdout => io::stdout().as_fd().try_clone_to_owned()?.into(),
        Place::Stderr => io::stderr().as_fd().try_clone_to_owned()?.into(),
        Place::File(path) => {
            let at_once = OFlags::NONBLOCK.bits().cast_signed();
            let mut options = OpenOptions::new();
            options.append(true).create(true).mode(MODE).custom_flags(at_once).open(path)?
        }
        Place::Udp(_) | Place::Unix(_) => return Err(ErrorKind::Unsupported.into()),
    };
    let is_pipe = file.metadata()?.file_type().is_fifo();
    Ok(Opened { file, most: if is_pipe { PIPE_BUF } else { usize::MAX } })
}
