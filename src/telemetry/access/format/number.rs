//! Numbers and addresses, without the formatting machinery where it costs.

use std::io::Write as _;
use std::net::{IpAddr, SocketAddr};

/// Digits of the largest number.
const DIGITS: usize = 20;

/// Appends `number` in decimal.
pub(in super::super) fn decimal(out: &mut Vec<u8>, number: u64) {
    let mut digits = [b'0'; DIGITS];
    let mut rest = number;
    let mut used = 0;
    for place in digits.iter_mut().rev() {
        // A remainder of 10 is a digit.
        *place = b'0' + u8::try_from(rest % 10).unwrap_or(0);
        rest /= 10;
        used += 1;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(digits.get(DIGITS - used..).unwrap_or_default());
}

/// Appends the milliseconds of `millis`, three digits.
pub(super) fn millis(out: &mut Vec<u8>, millis: u64) {
    let rest = millis % 1000;
    let digit = |number: u64| b'0' + u8::try_from(number % 10).unwrap_or(0);
    out.extend_from_slice(&[digit(rest / 100), digit(rest / 10), digit(rest)]);
}

/// Appends `-1` for `None`.
pub(super) fn reached(out: &mut Vec<u8>, time: Option<u32>) {
    match time {
        Some(time) => decimal(out, u64::from(time)),
        None => out.extend_from_slice(b"-1"),
    }
}

/// Appends an address and its port as haproxy does: no brackets.
pub(super) fn address(out: &mut Vec<u8>, addr: Option<SocketAddr>) {
    let Some(addr) = addr else {
        out.extend_from_slice(b"unix:0");
        return;
    };
    ip(out, addr.ip());
    out.push(b':');
    decimal(out, u64::from(addr.port()));
}

/// Appends an address.
pub(super) fn ip(out: &mut Vec<u8>, ip: IpAddr) {
    match ip {
        IpAddr::V4(ip) => {
            let [a, b, c, d] = ip.octets().map(u64::from);
            decimal(out, a);
            for octet in [b, c, d] {
                out.push(b'.');
                decimal(out, octet);
            }
        }
        IpAddr::V6(ip) => {
            let written = write!(out, "{ip}");
            debug_assert!(written.is_ok(), "a buffer takes everything");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn numbers_are_what_they_are(number: u64) {
            let mut out = Vec::new();
            decimal(&mut out, number);
            proptest::prop_assert_eq!(out, number.to_string().into_bytes());
        }

        #[test]
        fn addresses_are_what_they_are(ip4: u32, ip6: u128) {
            for addr in [IpAddr::V4(ip4.into()), IpAddr::V6(ip6.into())] {
                let mut out = Vec::new();
                ip(&mut out, addr);
                proptest::prop_assert_eq!(out, addr.to_string().into_bytes());
            }
        }
    }

    #[test]
    fn small_numbers_and_thousandths() {
        let mut out = Vec::new();
        [0, 9, 10, 99, 100, u64::MAX].iter().for_each(|number| {
            decimal(&mut out, *number);
            out.push(b' ');
        });
        millis(&mut out, 12_007);
        assert_eq!(out, b"0 9 10 99 100 18446744073709551615 007");
    }
}
