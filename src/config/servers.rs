//! `default_servers`: backend records written in the config.

use std::sync::Arc;

use super::haproxy::judge_server_options;
use super::reader::Cursor;
use super::report::Report;
use crate::endpoint::{Endpoint, Labels};

/// Keys of one record.
pub const KEYS: [&str; 8] = [
    "name",
    "host",
    "port",
    "weight",
    "labels",
    "haproxy_server_options",
    "haproxy_server_id",
    "id",
];

/// haproxy's largest server id.
const MAX_SERVER_ID: u64 = 0x7fff_ffff;

/// Reads the list; records that cannot be used are complained about and left out.
pub fn read(cursor: &Cursor<'_>, report: &mut Report) -> Vec<Endpoint> {
    let items = cursor.items();
    items.iter().filter_map(|item| record(item, report)).collect()
}

fn record(cursor: &Cursor<'_>, report: &mut Report) -> Option<Endpoint> {
    let section = cursor.section(&KEYS, report)?;
    let host = section.required("host", report).and_then(|c| host(&c, report));
    let is_socket = host.as_deref().is_some_and(|host| host.starts_with('/'));
    let port = match section.get("port") {
        Some(port) if is_socket => {
            report.complain(port.place(), "a unix socket has no port; remove it");
            None
        }
        None if is_socket => Some(0),
        _ => section.required("port", report).and_then(|c| c.port(report)),
    };
    let options = section.get("haproxy_server_options").and_then(|c| c.line(report));
    if let Some(options) = &options {
        judge_server_options(options, report);
    }
    let any = 0..=u64::MAX;
    let endpoint = Endpoint {
        name: section.text("name", report).map(Arc::from),
        id: section.get("id").and_then(|c| c.integer(any.clone(), "an id", report)),
        weight: section.get("weight").and_then(|c| c.integer(any, "a weight", report)),
        server_options: options.map(|line| Arc::from(line.text)),
        labels: section.get("labels").map(|c| labels(&c, report).into()).unwrap_or_default(),
        server_id: section
            .get("haproxy_server_id")
            .and_then(|c| c.integer(1..=MAX_SERVER_ID, "a server id", report))
            .and_then(|id| u32::try_from(id).ok()),
        ..Endpoint::new(host?, port?)
    };
    Some(endpoint)
}

/// Longest path of a unix socket: `sun_path` with its end.
const MAX_SOCKET_BYTES: usize = 107;

/// `unix@/path` is the path alone.
fn host(cursor: &Cursor<'_>, report: &mut Report) -> Option<String> {
    let host = cursor.word(report)?;
    let path = host.strip_prefix("unix@").unwrap_or(&host);
    if path.starts_with('/') && !path.contains(char::is_control) && path.len() <= MAX_SOCKET_BYTES {
        return Some(path.to_owned());
    }
    if path.starts_with('/') || host.contains('@') {
        let known = format!("write an absolute path of at most {MAX_SOCKET_BYTES} bytes");
        report.complain(cursor.place(), format!("{host:?} is not a unix socket; {known}"));
        return None;
    }
    if host.contains(|c: char| c.is_whitespace() || c.is_control() || c == '/') {
        report.complain(cursor.place(), format!("{host:?} is not a host name or address"));
        return None;
    }
    Some(host)
}

fn labels(cursor: &Cursor<'_>, report: &mut Report) -> Labels {
    let entries = cursor.entries(report).into_iter();
    entries.map(|(name, value)| (name.to_owned(), value.value().clone())).collect()
}
