//! Text written into room that was made for it beforehand: a line has some forty small parts, and asking for room costs
//! more than copying any of them.

use std::io::Write as _;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use crate::digits;

/// Room that an address takes at most, its port included: `ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255:65535` and the
/// slack of a short number.
pub(super) const ADDRESS: usize = 64;

/// Where the next part goes. Functions that are not inlined take it by value and give it back: so it stays in registers.
#[derive(Debug, Default)]
pub(super) struct Cursor<'a> {
    room: &'a mut [u8],
    at: usize,
}

/// Appends what `write` writes, `room` bytes at most; what does not fit is left out, part by part.
#[inline]
pub(super) fn within(out: &mut Vec<u8>, room: usize, write: impl FnOnce(Cursor<'_>) -> Cursor<'_>) {
    let start = out.len();
    out.resize(start + room, 0);
    let cursor = Cursor { room: out.get_mut(start..).unwrap_or_default(), at: 0 };
    let end = start + write(cursor).at;
    out.truncate(end);
}

impl Cursor<'_> {
    /// Appends all of `part`, whose length is known.
    #[inline(always)]
    pub(super) fn all<const N: usize>(&mut self, part: &[u8; N]) {
        self.first(part, N);
    }

    /// Appends the first `len` of `part`; needs room for the whole.
    #[inline(always)]
    fn first<const N: usize>(&mut self, part: &[u8; N], len: usize) {
        let room = self.room.get_mut(self.at..self.at.wrapping_add(N));
        debug_assert!(room.is_some(), "room has been made for every part");
        if let Some(room) = room {
            room.copy_from_slice(part);
            self.at += len;
        }
    }

    /// Appends `part`.
    #[inline(always)]
    pub(super) fn text(&mut self, part: &[u8]) {
        let room = self.room.get_mut(self.at..self.at.wrapping_add(part.len()));
        debug_assert!(room.is_some(), "room has been made for every part");
        if let Some(room) = room {
            room.copy_from_slice(part);
            self.at += part.len();
        }
    }

    /// Appends `number` in decimal, and `AFTER`.
    #[inline(always)]
    pub(super) fn number<const AFTER: u8>(&mut self, number: u64) {
        match digits::short::<AFTER>(number) {
            Some((text, len)) => self.first(text, len),
            None => *self = std::mem::take(self).long(number, AFTER),
        }
    }

    /// Appends `number` in decimal, and nothing.
    #[inline(always)]
    pub(super) fn bare(&mut self, number: u64) {
        self.number::<b' '>(number);
        self.at = self.at.saturating_sub(1);
    }

    #[inline(never)]
    fn long(mut self, number: u64, after: u8) -> Self {
        if let Some(thousands) = digits::short::<b' '>(number / 1000) {
            self.thousands(thousands, number, after);
        } else {
            self.text(itoa::Buffer::new().format(number).as_bytes());
            self.all(&[after]);
        }
        self
    }

    /// Appends a time or `-1` for one that never came, and `AFTER`.
    #[inline(always)]
    pub(super) fn reached<const AFTER: u8>(&mut self, time: Option<u32>) {
        match time {
            Some(time) => self.number::<AFTER>(u64::from(time)),
            None => self.all(&[b'-', b'1', AFTER]),
        }
    }

    /// Appends an address and its port as haproxy does, and `AFTER`: no brackets, and for a unix socket the number of the
    /// listening one. [`ADDRESS`] bytes at most.
    #[inline(always)]
    pub(super) fn address<const AFTER: u8>(&mut self, addr: Option<SocketAddr>, socket: u16) {
        let Some(addr) = addr else {
            self.all(b"unix:");
            return self.number::<AFTER>(u64::from(socket));
        };
        match addr.ip() {
            IpAddr::V4(ip) => {
                let [first, second, third, fourth] = ip.octets();
                self.number::<b'.'>(u64::from(first));
                self.number::<b'.'>(u64::from(second));
                self.number::<b'.'>(u64::from(third));
                self.number::<b':'>(u64::from(fourth));
            }
            IpAddr::V6(ip) => *self = std::mem::take(self).six(ip),
        }
        // Hardly a client's port is below 1,000.
        match digits::short::<b' '>(u64::from(addr.port() / 1000)) {
            Some((thousands, len)) if addr.port() >= 1000 => {
                self.thousands((thousands, len), u64::from(addr.port()), AFTER);
            }
            _ => self.number::<AFTER>(u64::from(addr.port())),
        }
    }

    /// Appends a number of more than three digits, its thousands being given with what follows them there, and `after`.
    #[inline(always)]
    fn thousands(&mut self, (thousands, len): (&[u8; 4], usize), number: u64, after: u8) {
        self.first(thousands, len - 1);
        let [hundred, ten, one] = digits::last_three(number);
        self.all(&[hundred, ten, one, after]);
    }

    #[inline(never)]
    fn six(mut self, ip: Ipv6Addr) -> Self {
        let mut room = self.room.get_mut(self.at..).unwrap_or_default();
        let before = room.len();
        let written = write!(room, "{ip}:");
        debug_assert!(written.is_ok(), "room has been made for every part");
        self.at += before - room.len();
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_stand_one_after_the_other() {
        let mut out = b"before ".to_vec();
        within(&mut out, 128, |mut to| {
            for number in [0, 9, 10, 99, 100, 999, 1000, 65_007, 999_999, 1_000_000, u64::MAX] {
                to.number::<b' '>(number);
            }
            to.all(&digits::last_three(12_007));
            to.text(b" ");
            to.reached::<b'/'>(None);
            to.reached::<b'.'>(Some(7));
            to.bare(12);
            to
        });
        assert_eq!(
            out,
            b"before 0 9 10 99 100 999 1000 65007 999999 1000000 18446744073709551615 007 -1/7.12"
        );
    }

    #[test]
    fn every_address_fits() {
        for ip in
            ["255.255.255.255", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "::ffff:255.255.255.255"]
        {
            let addr = SocketAddr::new(ip.parse().unwrap(), u16::MAX);
            let mut out = Vec::new();
            within(&mut out, ADDRESS, |mut to| {
                to.address::<b'!'>(Some(addr), 0);
                to
            });
            assert_eq!(out, format!("{ip}:65535!").into_bytes());
        }
        let mut out = Vec::new();
        within(&mut out, ADDRESS, |mut to| {
            to.address::<b' '>(None, 3);
            to
        });
        assert_eq!(out, b"unix:3 ");
    }
}
