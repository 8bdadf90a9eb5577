//! Slow readers, told apart from silent ones.
//!
//! The kernel calls a socket writable when a third of what it may buffer is free: more than a megabyte, for which a reader
//! of 20 kB/s needs longer than the usual 50 s. Until then nothing moves here, though the reader is not silent. But it takes
//! a few bytes whenever the reader has. So several times within a silence the socket is filled to its brim. What it takes the
//! first time says nothing: that may be the room that acknowledgements of bytes under way have left. What it takes from then
//! on its reader has made room for.

use std::io;

use bytes::{Buf, Bytes};
use rustix::net::SendFlags;

use super::pipe::Pipe;
use super::side::Side;

/// Gives `to` what waits for it, whatever the reactor knows; how much it took.
pub(super) fn creep(left: &mut Bytes, pipe: &mut Option<Pipe>, to: &Side) -> usize {
    let Some(fd) = to.fd() else {
        return 0;
    };
    let taken = match pipe {
        Some(pipe) => pipe.drain(fd),
        None if left.has_remaining() => {
            let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
            let sent = rustix::net::send(fd, left, flags).map_err(io::Error::from);
            sent.inspect(|n| {
                left.advance(*n);
                if left.is_empty() {
                    // A buffer grown for a slow peer is given back.
                    *left = Bytes::new();
                }
            })
        }
        None => return 0,
    };
    // Nothing, or an error, of which the reactor tells.
    taken.unwrap_or(0)
}
