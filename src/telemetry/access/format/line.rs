//! haproxy's lines.

use super::cursor::{ADDRESS, Cursor, within};
use super::{backend, escape, request_line};
use crate::digits;
use crate::telemetry::access::clock::Clock;
use crate::telemetry::access::{AccessLog, Capture, Failure, Http, Record};

/// Room for all of a line but its names, its captures and the request line: an address, the time (28), five timers of ten
/// digits, a status, bytes of twenty, seven counts of ten, what stands between them, and the slack of a short number.
const NUMBERS: usize = ADDRESS + 256;

/// `Connect from %ci:%cp to %fi:%fp (%f/MODE)`.
pub(super) fn connect(out: &mut Vec<u8>, log: &AccessLog, record: &Record<'_>) {
    within(out, 2 * ADDRESS + 64 + log.frontend.len(), |mut to| {
        to.all(b"Connect from ");
        to.address::<b' '>(record.client, record.socket);
        to.all(b"to ");
        to.address::<b' '>(record.local, record.socket);
        to.all(b"(");
        to.text(log.frontend.as_bytes());
        to.text(if record.http.is_some() { b"/HTTP)" } else { b"/TCP)" });
        to
    });
}

/// `option tcplog`: `%ci:%cp [%t] %ft %b/%s %Tw/%Tc/%Tt %B %ts %ac/%fc/%bc/%sc/%rc %sq/%bq`.
pub(super) fn tcp(out: &mut Vec<u8>, log: &AccessLog, record: &Record<'_>, clock: &mut Clock) {
    let names = Names::of(log, record);
    within(out, NUMBERS + names.len(), |mut to| {
        start(&mut to, names, record, clock);
        let timers = record.timers;
        to.reached::<b'/'>(timers.queue);
        to.reached::<b'/'>(timers.connect);
        to.number::<b' '>(u64::from(timers.total));
        to.number::<b' '>(record.bytes_out);
        to.all(&[record.cause.letter(), record.stage.letter(), b' ']);
        counts(&mut to, record);
        to
    });
}

/// `option httplog`: `%ci:%cp [%tr] %ft %b/%s %TR/%Tw/%Tc/%Tr/%Ta %ST %B %CC %CS %tsc %ac/%fc/%bc/%sc/%rc %sq/%bq %hr
/// %hs %{+Q}r`. Cookies are not captured: `- -`, and `--` after the termination state.
pub(super) fn http(out: &mut Vec<u8>, log: &AccessLog, record: &Record<'_>, clock: &mut Clock) {
    let names = Names::of(log, record);
    within(out, NUMBERS + names.len(), |mut to| {
        start(&mut to, names, record, clock);
        let timers = record.timers;
        to.reached::<b'/'>(timers.request);
        to.reached::<b'/'>(timers.queue);
        to.reached::<b'/'>(timers.connect);
        to.reached::<b'/'>(timers.response);
        to.number::<b' '>(u64::from(timers.total));
        to.reached::<b' '>(record.http.and_then(|http| http.status).map(u32::from));
        to.number::<b' '>(record.bytes_out);
        let (cause, stage) = (record.cause.letter(), record.stage.letter());
        to.all(&[b'-', b' ', b'-', b' ', cause, stage, b'-', b'-', b' ']);
        counts(&mut to, record);
        to
    });
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
    within(out, NUMBERS + log.frontend.len() + it.text.len(), |mut to| {
        to.address::<b' '>(it.client, it.socket);
        time(&mut to, it.begun, clock);
        to.text(log.frontend.as_bytes());
        to.all(b"/");
        to.number::<b':'>(u64::from(it.socket));
        to.all(b" ");
        to.text(it.text.as_bytes());
        to
    });
}

/// What stands for frontend, backend and server.
#[derive(Clone, Copy, Debug)]
struct Names<'a> {
    frontend: &'a [u8],
    backend: &'a [u8],
    server: &'a [u8],
}

impl<'a> Names<'a> {
    fn of(log: &'a AccessLog, record: &Record<'a>) -> Self {
        Self {
            frontend: log.frontend.as_bytes(),
            backend: backend(log, record).as_bytes(),
            server: record.server.map_or(b"<NOSRV>", str::as_bytes),
        }
    }

    fn len(self) -> usize {
        self.frontend.len() + self.backend.len() + self.server.len()
    }
}

/// `[time] `.
#[inline(always)]
fn time(to: &mut Cursor<'_>, at: u64, clock: &mut Clock) {
    to.all(&clock.second(at).log);
    let [hundred, ten, one] = digits::last_three(at);
    to.all(&[hundred, ten, one, b']', b' ']);
}

/// `client [time] frontend backend/server `.
#[inline(always)]
fn start(to: &mut Cursor<'_>, names: Names<'_>, record: &Record<'_>, clock: &mut Clock) {
    to.address::<b' '>(record.client, record.socket);
    time(to, record.begun, clock);
    to.text(names.frontend);
    to.all(b" ");
    to.text(names.backend);
    to.all(b"/");
    to.text(names.server);
    to.all(b" ");
}

/// `%ac/%fc/%bc/%sc/%rc %sq/%bq`.
#[inline(always)]
fn counts(to: &mut Cursor<'_>, record: &Record<'_>) {
    let conns = record.conns;
    to.number::<b'/'>(u64::from(conns.process));
    to.number::<b'/'>(u64::from(conns.frontend));
    to.number::<b'/'>(u64::from(conns.backend));
    to.number::<b'/'>(u64::from(conns.server));
    if record.redispatched {
        to.all(b"+");
    }
    to.number::<b' '>(u64::from(record.retries));
    let (server, backend) = record.queued;
    to.number::<b'/'>(u64::from(server));
    to.bare(u64::from(backend));
}

/// `%hr %hs`: braces only where something is to be captured.
#[inline]
fn all_captures(out: &mut Vec<u8>, log: &AccessLog, http: &Http<'_>) {
    if !log.request_captures.is_empty() {
        captures(out, &log.request_captures, http.request_captures);
    }
    if !log.response_captures.is_empty() {
        captures(out, &log.response_captures, http.response_captures);
    }
}

fn captures(out: &mut Vec<u8>, wanted: &[Capture], found: &[Option<&[u8]>]) {
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
