//! Values in haproxy lines: times, numbers, networks, and how they are shown again.

use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use crate::proxy::IpNet;

/// haproxy keeps timers in 31 bits of milliseconds: 24 days 20 h.
const MAX_TIME_MS: u64 = i32::MAX as u64;

/// A time such as `200ms`; the unit defaults to ms. `0` is allowed here.
pub(super) fn time(text: &str) -> Result<Duration, String> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let unit_us: u64 = match unit {
        "us" => 1,
        "" | "ms" => 1_000,
        "s" => 1_000_000,
        "m" => 60_000_000,
        "h" => 3_600_000_000,
        "d" => 86_400_000_000,
        _ => return Err(not_a_time(text)),
    };
    if number.is_empty() {
        return Err(not_a_time(text));
    }
    let micros = number
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(unit_us))
        .filter(|us| *us <= MAX_TIME_MS * 1_000)
        .ok_or_else(|| format!("{text} is above haproxy's limit of 2147483647ms (24 days)"))?;
    // haproxy's timers tick in milliseconds and round up.
    Ok(Duration::from_millis(micros.div_ceil(1_000)))
}

/// Whole seconds, as the kernel counts; a bare number is one of seconds, smaller units are rounded up. 0 is haproxy's "not
/// set".
pub(super) fn seconds(value: &str) -> Result<Option<Duration>, String> {
    let is_bare = value.bytes().all(|byte| byte.is_ascii_digit());
    let time = if is_bare { time(&format!("{value}s"))? } else { time(value)? };
    let seconds = time.as_secs() + u64::from(time.subsec_nanos() > 0);
    if seconds > MAX_KEEPALIVE_SECONDS {
        return Err(format!("{value:?} is more than {MAX_KEEPALIVE_SECONDS} seconds"));
    }
    Ok((seconds > 0).then(|| Duration::from_secs(seconds)))
}

/// The kernel's bound of `TCP_KEEPIDLE` and `TCP_KEEPINTVL`.
pub(in crate::config) const MAX_KEEPALIVE_SECONDS: u64 = 32_767;

/// The kernel's bound of `TCP_KEEPCNT`.
pub(in crate::config) const MAX_KEEPALIVE_COUNT: u32 = 127;

fn not_a_time(text: &str) -> String {
    format!(
        "{text:?} is not a time; write a whole number with us, ms, s, m, h or d (without unit: ms)"
    )
}

/// A time above zero.
pub(super) fn positive_time(text: &str) -> Result<Duration, String> {
    match time(text)? {
        Duration::ZERO => Err(format!("{text} is not a positive time")),
        time => Ok(time),
    }
}

/// A whole number within `range`.
pub(super) fn number<T>(text: &str, range: RangeInclusive<T>) -> Result<T, String>
where
    T: std::str::FromStr + PartialOrd + std::fmt::Display,
{
    let plain = text.strip_prefix('-').unwrap_or(text);
    let digits = !plain.is_empty() && plain.bytes().all(|b| b.is_ascii_digit());
    text.parse::<T>().ok().filter(|number| digits && range.contains(number)).ok_or_else(|| {
        format!("{text:?} is not a whole number from {} to {}", range.start(), range.end())
    })
}

/// A network: `10.0.0.0/8`, `10.0.0.0/255.0.0.0`, or one address.
pub(super) fn network(text: &str) -> Result<IpNet, String> {
    let wrong = || format!("{text:?} is not an address or network such as 10.0.0.0/8");
    let (addr, mask) = match text.split_once('/') {
        Some((addr, mask)) => (addr, Some(mask)),
        None => (text, None),
    };
    let addr: IpAddr = addr.parse().map_err(|_| wrong())?;
    let width = if addr.is_ipv4() { 32 } else { 128 };
    let prefix = match mask {
        None => width,
        Some(mask) => mask
            .parse::<u8>()
            .ok()
            .or_else(|| dotted_mask(mask))
            .filter(|prefix| *prefix <= width)
            .ok_or_else(wrong)?,
    };
    Ok(IpNet { addr, prefix })
}

fn dotted_mask(mask: &str) -> Option<u8> {
    let bits = u32::from(mask.parse::<std::net::Ipv4Addr>().ok()?);
    let ones = bits.leading_ones();
    (bits.count_ones() == ones).then(|| u8::try_from(ones).ok()).flatten()
}

/// The time in the largest unit that divides it: `50s`, `1500ms`.
pub(super) fn show_time(time: Duration) -> String {
    let millis = time.as_millis();
    let units = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s")];
    for (unit, name) in units {
        if millis > 0 && millis.is_multiple_of(unit) {
            return format!("{}{name}", millis / unit);
        }
    }
    if millis == 0 { "0".to_owned() } else { format!("{millis}ms") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_units_and_default_to_milliseconds() {
        for (text, ms) in [
            ("5000", 5_000),
            ("200ms", 200),
            ("2000us", 2),
            ("100us", 1),
            ("1500us", 2),
            ("50s", 50_000),
            ("1m", 60_000),
            ("8h", 28_800_000),
            ("1d", 86_400_000),
            ("0", 0),
            ("86400000ms", 86_400_000),
        ] {
            assert_eq!(time(text).unwrap(), Duration::from_millis(ms), "{text}");
        }
    }

    #[test]
    fn bad_times_say_why() {
        for text in
            ["", "s", "5x", "-1s", "1.5s", "5 s", "25d", "99999999999999999999s", "+5", "５s"]
        {
            assert!(time(text).is_err(), "{text}");
        }
        assert!(positive_time("0").is_err());
    }

    #[test]
    fn numbers_are_bounded() {
        assert_eq!(number("256", 0..=256), Ok(256u16));
        assert_eq!(number("-1", -1..=10), Ok(-1i32));
        for text in ["257", "", "+5", "1.0", "x", "-1"] {
            assert!(number::<u16>(text, 0..=256).is_err(), "{text}");
        }
    }

    #[test]
    fn networks_take_prefix_and_mask() {
        assert_eq!(network("10.0.0.0/255.0.0.0").unwrap().prefix, 8);
        assert_eq!(network("127.0.0.0/8").unwrap().prefix, 8);
        assert_eq!(network("::1").unwrap().prefix, 128);
        for text in ["10.0.0.0/33", "10.0.0.0/255.0.255.0", "x/8", ""] {
            assert!(network(text).is_err(), "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn shown_times_parse_to_themselves(ms in 0u64..=2_147_483_647) {
            let it = Duration::from_millis(ms);
            proptest::prop_assert_eq!(time(&show_time(it)).unwrap(), it);
        }
    }
}
