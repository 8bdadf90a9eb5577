//! What stands before a line at a syslog server.

use crate::digits;
use crate::telemetry::access::clock::Clock;
use crate::telemetry::access::target::{Framing, Level, Target};

/// The last head, which the next line shares unless its level or time differs.
#[derive(Debug, Default)]
pub(super) struct Heads {
    /// Level, and the second or millisecond that the head shows.
    of: Option<(Level, u64)>,
    text: Vec<u8>,
}

impl Heads {
    /// As [`head`]; always for the same target.
    pub(super) fn push(
        &mut self,
        out: &mut Vec<u8>,
        (target, clock): (&Target, &mut Clock),
        level: Level,
        at: u64,
    ) {
        let shown = match target.framing {
            Framing::Iso | Framing::Timed | Framing::Rfc5424 => at,
            Framing::Raw
            | Framing::Short
            | Framing::Priority
            | Framing::Rfc3164
            | Framing::Local => at / 1000,
        };
        if self.of != Some((level, shown)) {
            self.of = Some((level, shown));
            self.text.clear();
            head(&mut self.text, target, level, at, clock);
        }
        out.extend_from_slice(&self.text);
    }
}

/// Appends the head of a message of `level` that happened at unix time `at` in ms.
pub(super) fn head(out: &mut Vec<u8>, target: &Target, level: Level, at: u64, clock: &mut Clock) {
    // A smaller number is more severe.
    let level = level.max(target.min_level);
    let priority = u64::from(target.facility.0) * 8 + u64::from(level.0);
    match target.framing {
        Framing::Raw => {}
        Framing::Short => angle(out, u64::from(level.0)),
        Framing::Priority => angle(out, priority),
        Framing::Iso => time(out, at, clock),
        Framing::Timed => {
            angle(out, u64::from(level.0));
            time(out, at, clock);
        }
        Framing::Rfc3164 | Framing::Local => {
            angle(out, priority);
            out.extend_from_slice(&clock.second(at).syslog);
            out.push(b' ');
            let host = target.tag.host.as_ref().filter(|_| target.framing == Framing::Rfc3164);
            if let Some(host) = host {
                word(out, host);
            }
            out.extend_from_slice(target.tag.program.as_bytes());
            out.push(b'[');
            digits::number(out, u64::from(std::process::id()));
            out.extend_from_slice(b"]: ");
        }
        Framing::Rfc5424 => {
            angle(out, priority);
            out.extend_from_slice(b"1 ");
            time(out, at, clock);
            word(out, target.tag.host.as_deref().unwrap_or("-"));
            word(out, &target.tag.program);
            digits::number(out, u64::from(std::process::id()));
            out.extend_from_slice(b" - - ");
        }
    }
}

fn angle(out: &mut Vec<u8>, number: u64) {
    out.push(b'<');
    digits::number(out, number);
    out.push(b'>');
}

fn word(out: &mut Vec<u8>, word: &str) {
    out.extend_from_slice(word.as_bytes());
    out.push(b' ');
}

/// `2009-02-06T12:14:14.655000+01:00 `: in microseconds, as haproxy writes it.
fn time(out: &mut Vec<u8>, at: u64, clock: &mut Clock) {
    let second = clock.second(at);
    out.extend_from_slice(&second.iso);
    out.push(b'.');
    let millis = at % 1000;
    for unit in [100, 10, 1] {
        digits::number(out, millis / unit % 10);
    }
    out.extend_from_slice(b"000");
    out.extend_from_slice(&second.offset);
    out.push(b' ');
}
