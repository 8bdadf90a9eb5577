//! Local time as text, worked out once per second.

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// Seconds that are remembered: requests under way began in different ones.
const REMEMBERED: usize = 4;

const MONTHS: [&[u8; 3]; 12] = [
    b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec",
];

/// Texts of one second.
#[derive(Clone, Copy, Debug)]
pub(super) struct Second {
    /// Unix time in s.
    at: u64,
    /// `[06/Feb/2009:12:14:14.`, for milliseconds to follow.
    pub(super) log: [u8; 22],
    /// `2009-02-06T12:14:14`.
    pub(super) iso: [u8; 19],
    /// `+01:00`.
    pub(super) offset: [u8; 6],
    /// `Feb  6 12:14:14`.
    pub(super) syslog: [u8; 15],
}

/// Turns unix time into text. One per user: not shared.
#[derive(Debug)]
pub(super) struct Clock {
    zone: TimeZone,
    seconds: [Second; REMEMBERED],
}

impl Default for Clock {
    /// In the zone of `TZ`, else of `/etc/localtime`, else UTC; looked up once per process.
    fn default() -> Self {
        Self::in_zone(TimeZone::system())
    }
}

impl Clock {
    pub(super) fn in_zone(zone: TimeZone) -> Self {
        let epoch = Second::new(0, &zone);
        Self { zone, seconds: [epoch; REMEMBERED] }
    }

    /// The texts for unix time `millis` in ms.
    pub(super) fn second(&mut self, millis: u64) -> &Second {
        let at = millis / 1000;
        let [first, second, third, fourth] = &mut self.seconds;
        let slot = match at % REMEMBERED as u64 {
            0 => first,
            1 => second,
            2 => third,
            _ => fourth,
        };
        if slot.at != at {
            *slot = Second::new(at, &self.zone);
        }
        slot
    }
}

impl Second {
    fn new(at: u64, zone: &TimeZone) -> Self {
        // Beyond the year 9999 nobody reads it.
        let stamp = i64::try_from(at).ok().and_then(|at| Timestamp::from_second(at).ok());
        let stamp = stamp.unwrap_or(Timestamp::UNIX_EPOCH);
        let offset = zone.to_offset(stamp);
        let civil = offset.to_datetime(stamp);
        let year = u32::from(civil.year().unsigned_abs());
        let [month, day, hour, minute, second] =
            [civil.month(), civil.day(), civil.hour(), civil.minute(), civil.second()]
                .map(|part| u32::from(part.unsigned_abs()));
        let index = usize::from(civil.month().unsigned_abs()).saturating_sub(1);
        let name = MONTHS.get(index).copied().unwrap_or(b"Jan");
        let time = [pair(hour), *b":\0", pair(minute), *b":\0", pair(second)].concat();
        let time: Vec<u8> = time.into_iter().filter(|byte| *byte != 0).collect();
        let year = [pair(year / 100), pair(year % 100)].concat();
        let mut padded = pair(day);
        if day < 10 {
            padded[0] = b' ';
        }
        let (minutes, sign) = (offset.seconds().unsigned_abs() / 60, offset.is_negative());
        let sign: &[u8] = if sign { b"-" } else { b"+" };
        Self {
            at,
            log: fixed(&[b"[", &pair(day), b"/", name, b"/", &year, b":", &time, b"."]),
            iso: fixed(&[&year, b"-", &pair(month), b"-", &pair(day), b"T", &time]),
            offset: fixed(&[sign, &pair(minutes / 60), b":", &pair(minutes % 60)]),
            syslog: fixed(&[name, b" ", &padded, b" ", &time]),
        }
    }
}

/// Two digits.
fn pair(number: u32) -> [u8; 2] {
    let digit = |number: u32| b'0' + u8::try_from(number % 10).unwrap_or(0);
    [digit(number / 10), digit(number)]
}

fn fixed<const N: usize>(parts: &[&[u8]]) -> [u8; N] {
    let mut text = [b' '; N];
    let bytes = parts.iter().flat_map(|part| part.iter());
    text.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(clock: &mut Clock, millis: u64) -> [String; 4] {
        let second = clock.second(millis);
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        [text(&second.log), text(&second.iso), text(&second.offset), text(&second.syslog)]
    }

    #[test]
    fn times_are_written_as_haproxy_does() {
        let mut clock = Clock::in_zone(TimeZone::fixed(jiff::tz::offset(1)));
        let expected =
            ["[06/Feb/2009:12:14:14.", "2009-02-06T12:14:14", "+01:00", "Feb  6 12:14:14"];
        assert_eq!(texts(&mut clock, 1_233_918_854_655), expected);
        let mut clock = Clock::in_zone(TimeZone::UTC);
        let expected =
            ["[25/Nov/2026:21:11:32.", "2026-11-25T21:11:32", "+00:00", "Nov 25 21:11:32"];
        assert_eq!(texts(&mut clock, 1_795_641_092_000), expected);
    }

    #[test]
    fn the_zone_changes_with_the_seasons() {
        let rule = "CET-1CEST,M3.5.0,M10.5.0/3";
        let mut clock = Clock::in_zone(TimeZone::posix(rule).unwrap());
        assert_eq!(
            texts(&mut clock, 1_743_296_399_999)[..3],
            ["[30/Mar/2025:01:59:59.", "2025-03-30T01:59:59", "+01:00"]
        );
        assert_eq!(
            texts(&mut clock, 1_743_296_400_000)[..3],
            ["[30/Mar/2025:03:00:00.", "2025-03-30T03:00:00", "+02:00"]
        );
    }

    #[test]
    fn negative_offsets_and_far_futures_are_texts_too() {
        let mut clock = Clock::in_zone(TimeZone::posix("NST3:30").unwrap());
        assert_eq!(texts(&mut clock, 1_795_641_092_000)[2], "-03:30");
        assert_eq!(texts(&mut clock, u64::MAX)[1].len(), 19);
        assert_eq!(texts(&mut clock, 0)[0], "[31/Dec/1969:20:30:00.");
    }
}
