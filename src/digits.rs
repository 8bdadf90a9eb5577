//! Numbers and addresses as text, appended without the formatting machinery: what a head or a log line is made of.

use std::io::Write as _;
use std::net::IpAddr;

/// Numbers that are looked up: below 1,000, most of a log line's (timers, counts, statuses) and the parts of an address.
const SHORT: usize = 1000;

/// A short number and what follows it: four bytes, of which the first so many count. Four are copied faster than so many.
type Short = ([u8; 4], u32);

/// All short numbers, each followed by `AFTER`. 8 kB for each `AFTER` in use (five), of which a log uses few lines: most of its
/// numbers are small.
struct Table<const AFTER: u8>;

impl<const AFTER: u8> Table<AFTER> {
    const ALL: &'static [Short; SHORT] = &table(AFTER);
}

#[expect(
    clippy::indexing_slicing,
    reason = "at compile time: an index beyond the end does not compile"
)]
const fn table(after: u8) -> [Short; SHORT] {
    let mut all = [([0; 4], 0); SHORT];
    let mut digits = [b'0'; 3];
    let mut number = 0;
    while number < SHORT {
        all[number] = match digits {
            [b'0', b'0', one] => ([one, after, 0, 0], 2),
            [b'0', ten, one] => ([ten, one, after, 0], 3),
            [hundred, ten, one] => ([hundred, ten, one, after], 4),
        };
        digits = match digits {
            [hundred, b'9', b'9'] => [hundred + 1, b'0', b'0'],
            [hundred, ten, b'9'] => [hundred, ten + 1, b'0'],
            [hundred, ten, one] => [hundred, ten, one + 1],
        };
        number += 1;
    }
    all
}

/// A number below 1,000 and `AFTER`, with the bytes that count.
#[inline(always)]
pub(crate) fn short<const AFTER: u8>(number: u64) -> Option<(&'static [u8; 4], usize)> {
    let (text, len) = Table::<AFTER>::ALL.get(usize::try_from(number).ok()?)?;
    Some((text, usize::try_from(*len).ok()?))
}

/// The last three digits of a number.
#[inline(always)]
pub(crate) fn last_three(number: u64) -> [u8; 3] {
    let rest = u16::try_from(number % 1000).unwrap_or_default();
    let digit = |rest: u16| b'0' + u8::try_from(rest % 10).unwrap_or_default();
    [digit(rest / 100), digit(rest / 10), digit(rest)]
}

/// Appends `number` in decimal.
#[inline]
pub(crate) fn number(out: &mut Vec<u8>, number: u64) {
    match short::<b' '>(number) {
        Some((text, len)) => {
            let end = out.len() + len - 1;
            out.extend_from_slice(text);
            out.truncate(end);
        }
        None => out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes()),
    }
}

/// Appends an address, without brackets.
pub(crate) fn ip(out: &mut Vec<u8>, ip: IpAddr) {
    match ip {
        // By hand: `Display` costs more than the rest of a header line.
        IpAddr::V4(ip) => {
            let [first, rest @ ..] = ip.octets();
            number(out, u64::from(first));
            for byte in rest {
                out.push(b'.');
                number(out, u64::from(byte));
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

    #[test]
    fn short_numbers_are_what_they_are() {
        for of in 0..1000 {
            let (text, len) = short::<b'/'>(of).unwrap();
            assert_eq!(&text[..len], format!("{of}/").as_bytes());
            assert_eq!(last_three(12_000 + of), format!("{of:03}").as_bytes());
        }
        assert_eq!(short::<b'/'>(1000), None);
        assert_eq!(short::<b'/'>(u64::MAX), None);
    }

    proptest::proptest! {
        #[test]
        fn numbers_are_what_they_are(of: u64, small in 0..2000_u64) {
            for of in [of, small] {
                let mut out = b"x".to_vec();
                number(&mut out, of);
                proptest::prop_assert_eq!(out, format!("x{of}").into_bytes());
            }
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
