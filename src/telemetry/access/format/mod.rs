//! A record as text. No allocation: everything is appended to a buffer that is used again.

mod cursor;
mod escape;
mod json;
mod line;
mod shorten;

use super::clock::Clock;
use super::{AccessLog, Failure, Format, Record};

/// Bytes of the request line that are written at most: haproxy's `tune.http.logurilen`.
const MAX_REQUEST_LINE: usize = 1023;

/// Appends the line about `record`, without a line end.
pub(super) fn render(out: &mut Vec<u8>, log: &AccessLog, record: &Record<'_>, clock: &mut Clock) {
    match log.format {
        Format::Connect => line::connect(out, log, record),
        Format::Http => line::http(out, log, record, clock),
        Format::Tcp => line::tcp(out, log, record, clock),
        Format::Json => json::object(out, log, record, clock),
    }
}

/// Appends the line about a connection that was no session, without a line end.
pub(super) fn failure(out: &mut Vec<u8>, log: &AccessLog, it: &Failure<'_>, clock: &mut Clock) {
    match log.format {
        Format::Json => json::failure(out, log, it, clock),
        Format::Connect | Format::Http | Format::Tcp => line::failure(out, log, it, clock),
    }
}

/// Makes the line that begins at `start` and ends `out` as short as `max`.
#[cold]
pub(super) fn cut(out: &mut Vec<u8>, start: usize, max: usize) {
    // No other line begins so: with an address, or with `Connect from`.
    if out.get(start) == Some(&b'{') {
        shorten::shorten(out, start, max);
    } else {
        out.truncate(start + max);
    }
}

/// The request line as far as it is written; `None` for what could not be read.
fn request_line<'a>(record: &Record<'a>) -> Option<&'a [u8]> {
    let line = record.http?.line?;
    Some(line.get(..MAX_REQUEST_LINE).unwrap_or(line))
}

/// haproxy chooses the backend when it has read the request; before that the frontend stands for it.
fn backend<'a>(log: &'a AccessLog, record: &Record<'_>) -> &'a str {
    match record.http {
        Some(http) if http.line.is_none() => &log.frontend,
        _ => &log.backend,
    }
}

#[cfg(test)]
mod tests;
