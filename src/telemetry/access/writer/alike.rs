//! Datagrams of one length, sent as one and taken apart by the kernel.
//!
//! A send of its own costs 4 us on loopback, one of 32 in a train 0.6 us (Linux 6.18): without trains a log to a syslog
//! server would cost a third of what its request costs. Lines differ little in length, so a batch has long trains once it
//! is sorted by length.

use std::io::{self, IoSlice};
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd as _;

use nix::errno::Errno;
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};

use super::messages::Rest;

/// Fewer are sent singly.
const LEAST: usize = 3;

/// Most in a train on this host: Linux's `UDP_MAX_SEGMENTS`.
pub(super) const MOST: usize = 128;

/// The same before Linux 6.9, and to other hosts: a network card, or the host of a virtual one, may be older than this
/// kernel, and what it does not take it drops without a word.
const MOST_BEFORE: usize = 64;

/// Most bytes in a train: what one IP packet holds less its heads, and a few to be sure.
const BYTES: usize = 65_000;

/// What the kernel and the way to the server take, as far as is known: a send that fails tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limits {
    /// Bytes of a datagram of a train. 0: no trains at all.
    longest: usize,
    /// Datagrams of a train.
    most: usize,
}

impl Limits {
    /// As long as nothing has failed.
    pub(super) fn to(server: SocketAddr) -> Self {
        let most = if server.ip().is_loopback() { MOST } else { MOST_BEFORE };
        Self { longest: usize::from(u16::MAX), most }
    }
}

/// How many at the start of `messages` can leave as a train; fewer than [`LEAST`] count as none.
pub(super) fn train(messages: Rest<'_>, limits: Limits) -> usize {
    let length = messages.first(1).len();
    if !(1..=limits.longest).contains(&length) {
        return 0;
    }
    let count = messages.alike(length).min(limits.most).min(BYTES / length);
    if count < LEAST { 0 } else { count }
}

/// How many come before the next train.
pub(super) fn before_train(messages: Rest<'_>, limits: Limits) -> usize {
    let is_train = |at: &usize| train(messages.after(*at), limits) > 0;
    (0..messages.len()).find(is_train).unwrap_or(messages.len())
}

/// How sending a train went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Departure {
    /// All have left.
    Gone,
    /// None has: only within these limits. Shorter trains, or one by one, they may go.
    Refused(Limits),
}

/// Sends a train of `count` messages, which stand one after the other, over a connected socket: all or nothing.
pub(super) fn send(
    socket: &UdpSocket,
    (messages, count): (&[u8], usize),
    limits: Limits,
) -> io::Result<Departure> {
    let length = messages.len().checked_div(count).unwrap_or_default();
    let no_trains = Departure::Refused(Limits { longest: 0, ..limits });
    let Ok(length) = u16::try_from(length) else {
        return Ok(no_trains);
    };
    let slices = [IoSlice::new(messages)];
    let control = [ControlMessage::UdpGsoSegments(&length)];
    match sendmsg::<()>(socket.as_raw_fd(), &slices, &control, MsgFlags::MSG_NOSIGNAL, None) {
        Ok(_all) => Ok(Departure::Gone),
        Err(Errno::EINVAL) if count > MOST_BEFORE => {
            Ok(Departure::Refused(Limits { most: MOST_BEFORE, ..limits }))
        }
        // Too long for the path's MTU; EINVAL on older kernels. Such datagrams are fragmented when they go singly.
        Err(Errno::EMSGSIZE | Errno::EINVAL) => {
            let longest = usize::from(length).saturating_sub(1);
            Ok(Departure::Refused(Limits { longest, ..limits }))
        }
        // No checksums in hardware, or no trains in the kernel.
        Err(Errno::EIO | Errno::EOPNOTSUPP | Errno::ENOPROTOOPT) => Ok(no_trains),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::access::writer::messages::Messages;

    #[test]
    fn a_train_is_of_one_length_and_within_the_kernels_limits() {
        let of = |lengths: &[usize]| {
            let all = Messages::from_iter(lengths.iter().map(|len| vec![b'x'; *len]));
            let limits = Limits { longest: 60_000, most: 64 };
            (before_train(all.all(), limits), train(all.all(), limits))
        };
        assert_eq!(of(&[]), (0, 0));
        assert_eq!(of(&[5, 5]), (2, 0));
        assert_eq!(of(&[5, 5, 5]), (0, 3));
        assert_eq!(of(&[4, 4, 5, 5, 5, 6]), (2, 0));
        assert_eq!(of(&[0, 0, 0, 0]), (4, 0));
        assert_eq!(of(&[9; 100]), (0, 64));
        assert_eq!(of(&[2000; 100]), (0, 32));
        assert_eq!(of(&[60_000; 3]), (3, 0));
        let messages = Messages::from_iter(["12", "12", "12", "123", "123", "123"]);
        let all = messages.all();
        let to = |longest| Limits { longest, most: MOST };
        assert_eq!((train(all, to(2)), before_train(all, to(1))), (3, 6));
        assert_eq!(before_train(all.after(3), to(2)), 3);
    }

    /// A server, and a socket that is connected to it.
    fn pair() -> (UdpSocket, UdpSocket, Limits) {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let addr = server.local_addr().unwrap();
        socket.connect(addr).unwrap();
        (server, socket, Limits::to(addr))
    }

    #[test]
    fn a_train_that_is_too_long_for_the_kernel_is_sent_shorter() {
        let (_server, socket, limits) = pair();
        let messages = Messages::from_iter(["line\n"; 2 * MOST]);
        let all = messages.all();
        let narrower = Limits { most: MOST_BEFORE, ..limits };
        let sent = send(&socket, (all.first(2 * MOST), 2 * MOST), limits).unwrap();
        assert_eq!(sent, Departure::Refused(narrower));
        assert_eq!(train(all, narrower), MOST_BEFORE);
    }

    #[test]
    fn each_of_a_train_arrives_by_itself() {
        let (server, socket, limits) = pair();
        let texts: Vec<String> = (0..MOST).map(|n| format!("line {n:04}\n")).collect();
        let messages = Messages::from_iter(&texts);
        let all = messages.all();
        let narrower = Limits { most: MOST_BEFORE, ..limits };
        match send(&socket, (all.first(MOST), MOST), limits).unwrap() {
            Departure::Gone => {}
            // Linux before 6.9.
            refused => {
                assert_eq!(refused, Departure::Refused(narrower));
                for part in [all, all.after(MOST_BEFORE)] {
                    let part = (part.first(MOST_BEFORE), MOST_BEFORE);
                    assert_eq!(send(&socket, part, narrower).unwrap(), Departure::Gone);
                }
            }
        }
        let mut buffer = [0; 100];
        for text in &texts {
            let n = server.recv(&mut buffer).unwrap();
            assert_eq!(&buffer[..n], text.as_bytes());
        }
    }
}
