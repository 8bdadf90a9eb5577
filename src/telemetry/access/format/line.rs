//! haproxy's lines.

use super::number::{address, millis, reached};
use super::{backend, escape, request_line};
use crate::digits;
use crate::telemetry::access::clock::Clock;
use crate::telemetry::access::{AccessLog, Capture, Failure, Http, Record};

/// `Connect from %ci:%cp to %fi:%fp (%f/MODE)`.
pub(super) fn connect(out: &mut Vec<u8>, log: &AccessLog, record: &Record<'_>) {
    out.extend_from_slice(b"Connect from ");
    address(out, record.client, record.socket);
    out.extend_from_slice(b" to ");
    address(out, record.local, record.socket);
    out.extend_from_slice(b" (");
    out.extend_from_slice(log.frontend.as_bytes());
    out.extend_from_slice(if record.http.is_some() { b"/HTTP)" } else { b"/TCP)" });
}

/// `option tcplog`: `%ci:%cp [%t] %ft %b/%s %Tw/%Tc/%Tt %B %ts %ac/%fc/%bc/%sc/%rc %sq/%bq`.
pub(super) fn tcp(out: &mut Vec<u8>, log: &AccessLog, record: &Record<'_>, clock: &mut Clock) {
    start(out, log, record, clock);
    let timers = record.timers;
    for time in [timers.queue, timers.connect] {
        reached(out, time);
        out.push(b'/');
    }
    digits::number(out, u64::from(timers.total));
    out.push(b' ');
    digits::number(out, record.bytes_out);
    out.extend_from_slice(&[b' ', record.cause.letter(), record.stage.letter(), b' ']);
    counts(out, record);
}

/// `option httplog`: `%ci:%cp [%tr] %ft %b/%s %TR/%Tw/%Tc/%Tr/%Ta %ST %B %CC %CS %tsc %ac/%fc/%bc/%sc/%rc %sq/%bq %hr
/// %hs %{+Q}r`. Cookies are not captured: `- -`, and `--` after the termination state.
pub(super) fn http(out: &mut Vec<u8>, log: &AccessLog, record: &Record<'_>, clock: &mut Clock) {
    start(out, log, record, clock);
    let timers = record.timers;
    for time in [timers.request, timers.queue, timers.connect, timers.response] {
        reached(out, time);
        out.push(b'/');
    }
    digits::number(out, u64::from(timers.total));
    out.push(b' ');
    match record.http.and_then(|http| http.status) {
        Some(status) => digits::number(out, u64::from(status)),
        None => out.extend_from_slice(b"-1"),
    }
    out.push(b' ');
    digits::number(out, record.bytes_out);
    out.extend_from_slice(b" - - ");
    out.extend_from_slice(&[record.cause.letter(), record.stage.letter()]);
    out.extend_from_slice(b"-- ");
    counts(out, record);
    let line = request_line(record);
    if let (Some(http), Some(_)) = (record.http, line) {
        all_captures(out, log, &http);
    }
    out.extend_from_slice(b" \"");
    match line {
        Some(line) => escape::request(out, line),
        None => out.extend_from_slice(b"<BADREQ>"),
    }
    out.push(b'"');
}

/// `client [time] frontend/socket: text`.
pub(super) fn failure(out: &mut Vec<u8>, log: &AccessLog, it: &Failure<'_>, clock: &mut Clock) {
    address(out, it.client, it.socket);
    time(out, it.begun, clock);
    out.extend_from_slice(log.frontend.as_bytes());
    out.push(b'/');
    digits::number(out, u64::from(it.socket));
    out.extend_from_slice(b": ");
    out.extend_from_slice(it.text.as_bytes());
}

/// ` [time] `.
fn time(out: &mut Vec<u8>, at: u64, clock: &mut Clock) {
    out.extend_from_slice(b" [");
    out.extend_from_slice(&clock.second(at).log);
    out.push(b'.');
    millis(out, at);
    out.extend_from_slice(b"] ");
}

/// `client [time] frontend backend/server `.
fn start(out: &mut Vec<u8>, log: &AccessLog, record: &Record<'_>, clock: &mut Clock) {
    address(out, record.client, record.socket);
    time(out, record.begun, clock);
    out.extend_from_slice(log.frontend.as_bytes());
    out.push(b' ');
    out.extend_from_slice(backend(log, record).as_bytes());
    out.push(b'/');
    out.extend_from_slice(record.server.unwrap_or("<NOSRV>").as_bytes());
    out.push(b' ');
}

/// `%ac/%fc/%bc/%sc/%rc %sq/%bq`.
fn counts(out: &mut Vec<u8>, record: &Record<'_>) {
    let conns = record.conns;
    for count in [conns.process, conns.frontend, conns.backend, conns.server] {
        digits::number(out, u64::from(count));
        out.push(b'/');
    }
    if record.redispatched {
        out.push(b'+');
    }
    digits::number(out, u64::from(record.retries));
    let (server, backend) = record.queued;
    out.push(b' ');
    digits::number(out, u64::from(server));
    out.push(b'/');
    digits::number(out, u64::from(backend));
}

/// `%hr %hs`: braces only where something is to be captured.
fn all_captures(out: &mut Vec<u8>, log: &AccessLog, http: &Http<'_>) {
    captures(out, &log.request_captures, http.request_captures);
    captures(out, &log.response_captures, http.response_captures);
}

fn captures(out: &mut Vec<u8>, wanted: &[Capture], found: &[Option<&[u8]>]) {
    if wanted.is_empty() {
        return;
    }
    out.extend_from_slice(b" {");
    for (index, capture) in wanted.iter().enumerate() {
        if index > 0 {
            out.push(b'|');
        }
        if let Some(value) = found.get(index).copied().flatten() {
            escape::capture(out, value.get(..capture.max_len).unwrap_or(value));
        }
    }
    out.push(b'}');
}
