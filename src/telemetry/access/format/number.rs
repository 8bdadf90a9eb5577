//! Times and addresses as haproxy writes them in lines.

use std::net::SocketAddr;

use crate::digits::{ip, number};

/// Appends the milliseconds of `millis`, three digits.
pub(super) fn millis(out: &mut Vec<u8>, millis: u64) {
    let rest = millis % 1000;
    let digit = |number: u64| b'0' + u8::try_from(number % 10).unwrap_or(0);
    out.extend_from_slice(&[digit(rest / 100), digit(rest / 10), digit(rest)]);
}

/// Appends `-1` for `None`.
#[inline]
pub(super) fn reached(out: &mut Vec<u8>, time: Option<u32>) {
    match time {
        Some(time) => number(out, u64::from(time)),
        None => out.extend_from_slice(b"-1"),
    }
}

/// Appends an address and its port as haproxy does: no brackets, and for a unix socket the number of the listening one.
pub(super) fn address(out: &mut Vec<u8>, addr: Option<SocketAddr>, socket: u16) {
    let Some(addr) = addr else {
        out.extend_from_slice(b"unix:");
        return number(out, u64::from(socket));
    };
    ip(out, addr.ip());
    out.push(b':');
    number(out, u64::from(addr.port()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_numbers_and_thousandths() {
        let mut out = Vec::new();
        [0, 9, 10, 99, 100, u64::MAX].iter().for_each(|of| {
            number(&mut out, *of);
            out.push(b' ');
        });
        millis(&mut out, 12_007);
        assert_eq!(out, b"0 9 10 99 100 18446744073709551615 007");
    }
}
