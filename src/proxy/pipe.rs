//! Pipes for `splice(2)`: where bulk bytes wait between two sockets without being copied out of the kernel.
//!
//! A worker keeps a few and lends them. A pipe is held only while bytes are in it, so idle and even busy connections whose
//! peers keep up share one or two. An empty pipe is given back; one that still holds bytes belongs to nobody else ever
//! again and is closed. When no pipe can be had the bytes are copied.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::task::{Context, Poll, ready};

use rustix::pipe::{PipeFlags, SpliceFlags};
use tokio::io::Interest;
use tokio::net::TcpStream;

use super::keeper::{Keeper, Place};
use super::side::Side;

/// Bytes a pipe shall hold; measured best (spec/performance, CPU ms per GB: 64 kB 310, 256 kB 155, 1 MB 188).
pub(crate) const PIPE_BYTES: usize = 256 * 1024;

/// The least that is worth a pipe. Where the user's pages are used up (`fs.pipe-user-pages-soft`) the kernel gives pipes
/// of one or two pages: copies through the buffer are cheaper.
const LEAST_BYTES: usize = 64 * 1024;

/// Pipes that all workers may have at once: two descriptors each, and as much kernel memory as their peers are slow. Half of
/// what `fs.pipe-user-pages-soft` allows a user by default (16,384 pages, 256 pipes of this size). haproxy's `maxpipes`
/// is a quarter of `maxconn`.
pub const MAX_PIPES: u32 = 128;

/// Empty pipes that a worker keeps: as many as streams that block at about the same time.
const KEPT: usize = 16;

/// The pipes of one worker.
#[derive(Debug)]
pub(crate) struct Pipes(Keeper<Pipe>);

impl Pipes {
    /// At most `max` at once; 0: none.
    pub(crate) fn new(max: u32) -> Self {
        Self(Keeper::new(max, KEPT))
    }

    /// An empty pipe. `None` when all are in use, or the system has none that is large enough: bytes are copied then.
    pub(crate) fn take(&mut self) -> Option<Pipe> {
        self.0.take(Pipe::new)
    }

    /// How many there are, lent or not.
    #[cfg(test)]
    pub(crate) fn alive(&self) -> u32 {
        self.0.alive()
    }

    /// How many are lent.
    #[cfg(test)]
    pub(crate) fn lent(&self) -> u32 {
        self.0.lent()
    }

    /// Gives none any more: the system cannot splice these sockets.
    pub(crate) fn forbid(&mut self) {
        self.0.close();
    }

    /// Takes back; one that is not empty is closed.
    pub(crate) fn give(&mut self, pipe: Pipe) {
        if pipe.is_empty() {
            self.0.give(pipe);
        }
    }
}

/// A pipe, and how many bytes are in it.
#[derive(Debug)]
pub(crate) struct Pipe {
    read: OwnedFd,
    write: OwnedFd,
    held: usize,
    #[expect(dead_code, reason = "held: it counts as long as the pipe lives")]
    place: Place,
}

impl Pipe {
    fn new(place: Place) -> io::Result<Self> {
        let (read, write) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        // Refused to a user without pages left: then what there is decides.
        let bytes = rustix::pipe::fcntl_setpipe_size(&write, PIPE_BYTES)
            .or_else(|_| rustix::pipe::fcntl_getpipe_size(&write))?;
        if bytes < LEAST_BYTES {
            return Err(io::Error::other(format!("a pipe of {bytes} bytes is too small")));
        }
        Ok(Self { read, write, held: 0, place })
    }

    /// True without bytes in it.
    pub(crate) fn is_empty(&self) -> bool {
        self.held == 0
    }

    /// Moves what the socket has, `most` bytes of it, into the empty pipe; 0 is the socket's end. Waits while it has nothing.
    pub(crate) fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        (from, most): (&TcpStream, usize),
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(from.poll_read_ready(cx))?;
            match from.try_io(Interest::READABLE, || self.fill(from, most)) {
                // The reactor has forgotten its readiness: the next look waits.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                other => return Poll::Ready(other),
            }
        }
    }

    /// [`Pipe::poll_fill`] from a side of a relay.
    pub(super) fn poll_fill_from(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut Side,
    ) -> Poll<io::Result<usize>> {
        match from.try_unwatched(|socket| self.fill(socket, PIPE_BYTES)) {
            Some(filled) => Poll::Ready(filled),
            None => self.poll_fill(cx, (from.watched()?, PIPE_BYTES)),
        }
    }

    /// [`Pipe::poll_drain`] into a side of a relay.
    pub(super) fn poll_drain_to(
        &mut self,
        cx: &mut Context<'_>,
        to: &mut Side,
    ) -> Poll<io::Result<usize>> {
        match to.try_unwatched(|socket| self.drain(socket)) {
            Some(drained) => Poll::Ready(drained),
            None => self.poll_drain(cx, to.watched()?),
        }
    }

    /// Moves what it holds into the socket, as far as that takes it; never 0. Waits while it takes nothing.
    pub(crate) fn poll_drain(
        &mut self,
        cx: &mut Context<'_>,
        to: &TcpStream,
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(to.poll_write_ready(cx))?;
            match to.try_io(Interest::WRITABLE, || self.drain(to)) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                other => return Poll::Ready(other),
            }
        }
    }

    /// Moves what the socket has, `most` bytes of it, into the empty pipe; 0 is the socket's end.
    fn fill(&mut self, from: impl AsFd, most: usize) -> io::Result<usize> {
        // Into an empty pipe only: a full one would answer as an empty socket does, and nobody could tell whom to wait for.
        debug_assert!(self.is_empty(), "filled while it holds bytes");
        let flags = SpliceFlags::NONBLOCK | SpliceFlags::MOVE;
        let n = again(|| rustix::pipe::splice(&from, None, &self.write, None, most, flags))?;
        self.held += n;
        Ok(n)
    }

    /// Moves what it holds into the socket, as far as that takes it; never 0. Does not ask whether it takes anything.
    pub(super) fn drain(&mut self, to: impl AsFd) -> io::Result<usize> {
        let flags = SpliceFlags::NONBLOCK | SpliceFlags::MOVE;
        let n = again(|| rustix::pipe::splice(&self.read, None, &to, None, self.held, flags))?;
        if n == 0 && self.held > 0 {
            // It would be tried for ever.
            return Err(io::ErrorKind::WriteZero.into());
        }
        self.held = self.held.saturating_sub(n);
        Ok(n)
    }
}

fn again(mut call: impl FnMut() -> rustix::io::Result<usize>) -> io::Result<usize> {
    loop {
        match call() {
            Err(rustix::io::Errno::INTR) => {}
            other => return Ok(other?),
        }
    }
}

/// True when `splice` does not work with this kind of socket.
pub(crate) fn is_unsupported(error: &io::Error) -> bool {
    use rustix::io::Errno;
    [Errno::INVAL, Errno::NOSYS, Errno::OPNOTSUPP]
        .iter()
        .any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    use super::*;

    fn pair() -> (UnixStream, UnixStream) {
        let (a, b) = UnixStream::pair().unwrap();
        a.set_nonblocking(true).unwrap();
        b.set_nonblocking(true).unwrap();
        (a, b)
    }

    #[test]
    fn bytes_go_in_and_out_and_an_end_is_seen() {
        let mut pipes = Pipes::new(1);
        let ((mut source, from), (to, mut sink)) = (pair(), pair());
        let mut pipe = pipes.take().unwrap();
        assert_eq!(pipe.fill(&from, PIPE_BYTES).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        source.write_all(b"hello").unwrap();
        assert_eq!(pipe.fill(&from, PIPE_BYTES).unwrap(), 5);
        assert_eq!(pipe.drain(&to).unwrap(), 5);
        let mut got = [0; 5];
        sink.read_exact(&mut got).unwrap();
        assert_eq!(&got, b"hello");
        drop(source);
        assert_eq!(pipe.fill(&from, PIPE_BYTES).unwrap(), 0);
        assert!(pipe.is_empty());
    }

    #[test]
    fn no_more_than_allowed_are_made_and_empty_ones_come_back() {
        let mut pipes = Pipes::new(2);
        let (first, second) = (pipes.take().unwrap(), pipes.take().unwrap());
        assert!(pipes.take().is_none());
        pipes.give(first);
        assert_eq!((pipes.lent(), pipes.alive()), (1, 2));
        drop(second);
        assert_eq!((pipes.lent(), pipes.alive()), (0, 1));
        assert!(Pipes::new(0).take().is_none());
    }

    #[test]
    fn a_pipe_with_bytes_in_it_is_nobody_elses() {
        let mut pipes = Pipes::new(2);
        let (mut source, from) = pair();
        let mut pipe = pipes.take().unwrap();
        source.write_all(b"secret").unwrap();
        pipe.fill(&from, PIPE_BYTES).unwrap();
        pipes.give(pipe);
        assert_eq!((pipes.lent(), pipes.alive()), (0, 0));
    }

    #[test]
    fn a_file_that_cannot_be_spliced_is_known_as_such() {
        let mut pipe = Pipes::new(1).take().unwrap();
        let directory = std::fs::File::open("/").unwrap();
        assert!(is_unsupported(&pipe.fill(&directory, PIPE_BYTES).unwrap_err()));
    }
}
