//! Datagrams of one length, sent as one and taken apart by the kernel.
//!
//! A send of its own costs 4 us on loopback, one of 32 in a train 0.6 us (Linux 6.18): without trains a log to a syslog
//! server would cost a third of what its request costs. Lines differ little in length, so a batch has long trains once it
//! is sorted by length.

use std::io::{self, IoSlice};
use std::net::UdpSocket;
use std::os::fd::AsRawFd as _;

use nix::errno::Errno;
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};

/// Fewer are sent singly.
const LEAST: usize = 3;

/// Most in a train: Linux's `UDP_MAX_SEGMENTS` before 6.9; later ones take 128.
const MOST: usize = 64;

/// Most bytes in a train: what one IP packet holds less its heads, and a few to be sure.
const BYTES: usize = 65_000;

/// Longest datagram of a train, as far as is known before a send has failed.
pub(super) const LONGEST: usize = u16::MAX as usize;

/// How many at the start of `messages` can leave as a train when its datagrams may have `longest` bytes; fewer than
/// [`LEAST`] count as none.
pub(super) fn train(messages: &[&[u8]], longest: usize) -> usize {
    let length = messages.first().map_or(0, |message| message.len());
    if !(1..=longest.min(LONGEST)).contains(&length) {
        return 0;
    }
    let alike = messages.iter().take_while(|message| message.len() == length).count();
    let count = alike.min(MOST).min(BYTES / length);
    if count < LEAST { 0 } else { count }
}

/// How many come before the next train.
pub(super) fn before_train(messages: &[&[u8]], longest: usize) -> usize {
    let is_train = |at: &usize| train(messages.get(*at..).unwrap_or_default(), longest) > 0;
    (0..messages.len()).find(is_train).unwrap_or(messages.len())
}

/// How sending a train went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Departure {
    /// All have left.
    Gone,
    /// None has: the way to the server takes trains of datagrams up to so many bytes, 0: none at all. Singly they may go.
    Refused { longest: usize },
}

/// Sends a train over a connected socket: all or nothing.
pub(super) fn send(socket: &UdpSocket, messages: &[&[u8]]) -> io::Result<Departure> {
    let length = messages.first().map_or(0, |message| message.len());
    let Ok(length) = u16::try_from(length) else {
        return Ok(Departure::Refused { longest: 0 });
    };
    let slices: Vec<IoSlice<'_>> = messages.iter().map(|text| IoSlice::new(text)).collect();
    let control = [ControlMessage::UdpGsoSegments(&length)];
    match sendmsg::<()>(socket.as_raw_fd(), &slices, &control, MsgFlags::MSG_NOSIGNAL, None) {
        Ok(_all) => Ok(Departure::Gone),
        // Too long for the path's MTU; EINVAL on older kernels. Such datagrams are fragmented when they go singly.
        Err(Errno::EMSGSIZE | Errno::EINVAL) => {
            Ok(Departure::Refused { longest: usize::from(length).saturating_sub(1) })
        }
        // No checksums in hardware, or no trains in the kernel.
        Err(Errno::EIO | Errno::EOPNOTSUPP | Errno::ENOPROTOOPT) => {
            Ok(Departure::Refused { longest: 0 })
        }
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_train_is_of_one_length_and_within_the_kernels_limits() {
        let of = |lengths: &[usize]| {
            let texts: Vec<Vec<u8>> = lengths.iter().map(|len| vec![b'x'; *len]).collect();
            let all: Vec<&[u8]> = texts.iter().map(Vec::as_slice).collect();
            (before_train(&all, 60_000), train(&all, 60_000))
        };
        assert_eq!(of(&[]), (0, 0));
        assert_eq!(of(&[5, 5]), (2, 0));
        assert_eq!(of(&[5, 5, 5]), (0, 3));
        assert_eq!(of(&[4, 4, 5, 5, 5, 6]), (2, 0));
        assert_eq!(of(&[0, 0, 0, 0]), (4, 0));
        assert_eq!(of(&[9; 100]), (0, MOST));
        assert_eq!(of(&[2000; 100]), (0, 32));
        assert_eq!(of(&[60_000; 3]), (3, 0));
        let all: [&[u8]; 6] = [b"12", b"12", b"12", b"123", b"123", b"123"];
        assert_eq!((train(&all, 2), before_train(&all, 1)), (3, 6));
        assert_eq!(before_train(&all[3..], 2), 3);
    }

    #[test]
    fn each_of_a_train_arrives_by_itself() {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(server.local_addr().unwrap()).unwrap();
        let texts: Vec<String> = (0..MOST).map(|n| format!("line {n:04}\n")).collect();
        let all: Vec<&[u8]> = texts.iter().map(String::as_bytes).collect();
        assert_eq!(send(&socket, &all).unwrap(), Departure::Gone);
        let mut buffer = [0; 100];
        for text in &texts {
            let n = server.recv(&mut buffer).unwrap();
            assert_eq!(&buffer[..n], text.as_bytes());
        }
    }
}
