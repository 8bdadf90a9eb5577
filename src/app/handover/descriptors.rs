//! Descriptors from process to process, in chunks that the kernel takes.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream as BlockingStream;
use std::time::Duration;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::protocol::{MAX_MESSAGE_BYTES, ProtocolError};

/// Descriptors in one system message; the kernel's bound is 253.
pub(super) const CHUNK: usize = 200;

/// Sends descriptors, a byte with each chunk.
pub(crate) async fn send_descriptors(
    stream: &UnixStream,
    descriptors: &[BorrowedFd<'_>],
    patience: Duration,
) -> Result<(), ProtocolError> {
    for chunk in descriptors.chunks(CHUNK) {
        let sent = stream.async_io(Interest::WRITABLE, || send_chunk(stream, chunk));
        timeout(patience, sent).await.map_err(|_elapsed| ProtocolError::Silent(patience))??;
    }
    Ok(())
}

fn send_chunk(stream: &UnixStream, chunk: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(CHUNK))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !ancillary.push(SendAncillaryMessage::ScmRights(chunk)) {
        return Err(io::Error::other("no room for a chunk of descriptors"));
    }
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    sendmsg(stream, &[IoSlice::new(&[0])], &mut ancillary, flags)?;
    Ok(())
}

/// Receives `wanted` descriptors, close-on-exec.
pub(crate) fn receive_descriptors(
    stream: &BlockingStream,
    wanted: usize,
) -> Result<Vec<OwnedFd>, ProtocolError> {
    let mut descriptors = Vec::with_capacity(wanted.min(MAX_MESSAGE_BYTES / CHUNK));
    while descriptors.len() < wanted {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(CHUNK))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let mut byte = [0];
        let flags = RecvFlags::CMSG_CLOEXEC;
        let before = descriptors.len();
        let received = rustix::io::retry_on_intr(|| {
            recvmsg(stream, &mut [IoSliceMut::new(&mut byte)], &mut ancillary, flags)
        });
        let received = received.map_err(io::Error::from)?;
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(fds) = message {
                descriptors.extend(fds);
            }
        }
        if received.bytes == 0 {
            return Err(ProtocolError::Gone);
        }
        // Nothing with a byte: the kernel had no room in our table of descriptors (or the other side is not one of us).
        if descriptors.len() == before {
            let got = descriptors.len();
            return Err(ProtocolError::Descriptors { wanted, got });
        }
    }
    Ok(descriptors)
}
