//! Numbers and addresses as text, appended without the formatting machinery: what a head or a log line is made of.

use std::io::Write as _;
use std::net::IpAddr;

/// Appends `number` in decimal.
#[inline]
pub(crate) fn number(out: &mut Vec<u8>, number: u64) {
    match u8::try_from(number) {
        // Most numbers of a log line: timers, counts, retries.
        Ok(digit @ 0..10) => out.push(b'0' + digit),
        _ => long(out, number),
    }
}

fn long(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// Appends a byte in decimal.
#[inline]
fn octet(out: &mut Vec<u8>, octet: u8) {
    let digit = |number: u8| b'0' + number % 10;
    match octet {
        0..10 => out.push(digit(octet)),
        10..100 => out.extend_from_slice(&[digit(octet / 10), digit(octet)]),
        100.. => out.extend_from_slice(&[digit(octet / 100), digit(octet / 10), digit(octet)]),
    }
}

/// Appends an address, without brackets.
pub(crate) fn ip(out: &mut Vec<u8>, ip: IpAddr) {
    match ip {
        // By hand: `Display` costs more than the rest of a header line.
        IpAddr::V4(ip) => {
            let [first, rest @ ..] = ip.octets();
            octet(out, first);
            for byte in rest {
                out.push(b'.');
                octet(out, byte);
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
        fn numbers_are_what_they_are(of: u64) {
            let mut out = Vec::new();
            number(&mut out, of);
            proptest::prop_assert_eq!(out, of.to_string().into_bytes());
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
}
