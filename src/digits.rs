//! Numbers and addresses as text, appended without the formatting machinery: what a head or a log line is made of.

use std::io::Write as _;
use std::net::IpAddr;

/// Appends `number` in decimal.
pub(crate) fn number(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// Appends an address, without brackets.
pub(crate) fn ip(out: &mut Vec<u8>, ip: IpAddr) {
    match ip {
        // By hand: `Display` costs more than the rest of a header line.
        IpAddr::V4(ip) => {
            let [a, b, c, d] = ip.octets().map(u64::from);
            number(out, a);
            for octet in [b, c, d] {
                out.push(b'.');
                number(out, octet);
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
