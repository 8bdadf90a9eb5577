//! What is written before a line.

use jiff::tz::TimeZone;

use super::*;
use crate::telemetry::access::clock::Clock;
use crate::telemetry::access::{Facility, Tag};

fn head_of(target: &Target, level: Level) -> String {
    let mut out = Vec::new();
    let mut clock = Clock::in_zone(TimeZone::UTC);
    head::head(&mut out, target, level, 1_795_641_099_692, &mut clock);
    String::from_utf8(out).unwrap().replace(&std::process::id().to_string(), "28243")
}

#[test]
fn heads_are_haproxys() {
    let host = Some("myhost".into());
    let tag = Tag { program: "hap".into(), host };
    let base = Target { tag, facility: Facility(19), ..Target::raw(Place::Stdout) };
    // Sent by haproxy 2.6.12 with `log-tag hap`, `log-send-hostname myhost` and facility local3; there in microseconds.
    for (framing, expected) in [
        (Framing::Raw, ""),
        (Framing::Short, "<6>"),
        (Framing::Rfc3164, "<158>Nov 25 21:11:39 myhost hap[28243]: "),
        (Framing::Local, "<158>Nov 25 21:11:39 hap[28243]: "),
        (Framing::Rfc5424, "<158>1 2026-11-25T21:11:39.692000+00:00 myhost hap 28243 - - "),
        (Framing::Priority, "<158>"),
        (Framing::Iso, "2026-11-25T21:11:39.692000+00:00 "),
        (Framing::Timed, "<6>2026-11-25T21:11:39.692000+00:00 "),
    ] {
        let target = Target { framing, ..base.clone() };
        assert_eq!(head_of(&target, Level::INFO), expected);
    }
    let target = Target { framing: Framing::Priority, min_level: Level(5), ..base.clone() };
    assert_eq!(head_of(&target, Level::ERR), "<157>", "more severe than allowed");
    assert_eq!(head_of(&target, Level::INFO), "<158>");
    let nobody = Tag { host: None, ..base.tag.clone() };
    let target = Target { framing: Framing::Rfc5424, tag: nobody, ..base };
    assert!(head_of(&target, Level::INFO).contains("+00:00 - hap 28243 - - "));
}

#[test]
fn a_head_is_made_anew_when_it_shows_another_time_or_level() {
    let times = [1_000_u64, 1_001, 1_001, 2_000, 1_999];
    for framing in [Framing::Local, Framing::Rfc5424, Framing::Timed, Framing::Priority] {
        let target = Target { framing, ..Target::raw(Place::Stdout) };
        let mut clock = Clock::in_zone(TimeZone::UTC);
        let (mut shared, mut single) = (Vec::new(), Vec::new());
        let mut heads = head::Heads::default();
        for at in times {
            for level in [Level::INFO, Level::ERR, Level::ERR] {
                heads.push(&mut shared, (&target, &mut clock), level, at);
                head::head(&mut single, &target, level, at, &mut clock);
            }
        }
        assert_eq!(String::from_utf8(shared).unwrap(), String::from_utf8(single).unwrap());
    }
}
