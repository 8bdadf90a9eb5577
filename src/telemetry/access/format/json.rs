//! The line as JSON: one flat object, the same keys in the same order in every line of a kind.

use std::net::SocketAddr;

use super::cursor::{ADDRESS, within};
use super::{backend, escape, request_line};
use crate::digits;
use crate::telemetry::access::clock::Clock;
use crate::telemetry::access::{AccessLog, Capture, Failure, Http, Record};

/// Appends the object.
pub(super) fn object(out: &mut Vec<u8>, log: &AccessLog, record: &Record<'_>, clock: &mut Clock) {
    time(out, record.begun, clock);
    for (name, addr) in [("client", record.client), ("local", record.local)] {
        of_socket(out, name, addr);
    }
    text(out, "frontend", Some(log.frontend.as_bytes()));
    text(out, "backend", Some(backend(log, record).as_bytes()));
    text(out, "server", record.server.map(str::as_bytes));
    if let Some(http) = record.http {
        text(out, "request", request_line(record));
        number(out, "status", http.status.map(u64::from));
    }
    numbers(out, record);
    if let Some(http) = record.http {
        key(out, "reused");
        out.extend_from_slice(if http.reused { b"true" } else { b"false" });
        all_captures(out, log, &http);
    }
    out.push(b'}');
}

/// Appends the object about a connection that was no session.
pub(super) fn failure(out: &mut Vec<u8>, log: &AccessLog, it: &Failure<'_>, clock: &mut Clock) {
    time(out, it.begun, clock);
    of_socket(out, "client", it.client);
    text(out, "frontend", Some(log.frontend.as_bytes()));
    text(out, "error", Some(it.text.as_bytes()));
    number(out, "total_ms", Some(u64::from(it.took)));
    out.push(b'}');
}

/// How every object begins.
fn time(out: &mut Vec<u8>, at: u64, clock: &mut Clock) {
    let second = clock.second(at);
    within(out, 64, |mut to| {
        to.all(b"{\"time\":\"");
        to.all(&second.iso);
        to.all(b".");
        to.all(&digits::last_three(at));
        to.all(&second.offset);
        to.all(b"\"");
        to
    });
}

fn of_socket(out: &mut Vec<u8>, name: &str, addr: Option<SocketAddr>) {
    key(out, name);
    match addr {
        // The number stands in for an address alone.
        Some(_) => within(out, ADDRESS, |mut to| {
            to.all(b"\"");
            to.address::<b'"'>(addr, 0);
            to
        }),
        None => out.extend_from_slice(b"null"),
    }
}

fn numbers(out: &mut Vec<u8>, record: &Record<'_>) {
    number(out, "bytes_in", Some(record.bytes_in));
    number(out, "bytes_out", Some(record.bytes_out));
    let timers = record.timers;
    if record.http.is_some() {
        number(out, "request_ms", timers.request.map(u64::from));
    }
    number(out, "queue_ms", timers.queue.map(u64::from));
    number(out, "connect_ms", timers.connect.map(u64::from));
    if record.http.is_some() {
        number(out, "response_ms", timers.response.map(u64::from));
    }
    number(out, "total_ms", Some(u64::from(timers.total)));
    let termination = [record.cause.letter(), record.stage.letter()];
    text(out, "termination", Some(&termination));
    number(out, "retries", Some(u64::from(record.retries)));
    key(out, "redispatched");
    out.extend_from_slice(if record.redispatched { b"true" } else { b"false" });
    let (conns, (server, backend)) = (record.conns, record.queued);
    for (name, count) in [
        ("process_connections", conns.process),
        ("frontend_connections", conns.frontend),
        ("backend_connections", conns.backend),
        ("server_connections", conns.server),
        ("server_queue", server),
        ("backend_queue", backend),
    ] {
        number(out, name, Some(u64::from(count)));
    }
}

/// A key each: `request_header_NAME` and `response_header_NAME`, in lower case.
fn all_captures(out: &mut Vec<u8>, log: &AccessLog, http: &Http<'_>) {
    captures(out, b"request_header_", &log.request_captures, http.request_captures);
    captures(out, b"response_header_", &log.response_captures, http.response_captures);
}

fn captures(out: &mut Vec<u8>, prefix: &[u8], wanted: &[Capture], found: &[Option<&[u8]>]) {
    for (index, capture) in wanted.iter().enumerate() {
        out.extend_from_slice(b",\"");
        out.extend_from_slice(prefix);
        // A name is a token: nothing in it needs an escape.
        out.extend(capture.name.bytes().map(|byte| byte.to_ascii_lowercase()));
        out.extend_from_slice(b"\":");
        let value = found.get(index).copied().flatten();
        value_of(out, value.map(|value| value.get(..capture.max_len).unwrap_or(value)));
    }
}

fn key(out: &mut Vec<u8>, name: &str) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
}

fn text(out: &mut Vec<u8>, name: &str, value: Option<&[u8]>) {
    key(out, name);
    value_of(out, value);
}

fn value_of(out: &mut Vec<u8>, value: Option<&[u8]>) {
    match value {
        Some(value) => quoted(out, |out| escape::json(out, value)),
        None => out.extend_from_slice(b"null"),
    }
}

fn quoted(out: &mut Vec<u8>, inside: impl FnOnce(&mut Vec<u8>)) {
    out.push(b'"');
    inside(out);
    out.push(b'"');
}

fn number(out: &mut Vec<u8>, name: &str, value: Option<u64>) {
    key(out, name);
    match value {
        Some(value) => digits::number(out, value),
        None => out.extend_from_slice(b"null"),
    }
}
