//! `discovery.hosts`: which ZooKeeper ensemble, in one canonical spelling.
//!
//! The text is the key under which services share a session, so it must not depend on the order in which hosts were
//! written: sorted, without duplicates, with ports, the chroot (wherever it stood) at the end.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::defaults::ZOOKEEPER_PORT;
use super::reader::Cursor;
use super::report::Report;

/// Reads a list of `host:port`, or one string with commas.
pub fn read(cursor: &Cursor<'_>, report: &mut Report) -> Option<Arc<str>> {
    let mut hosts = BTreeSet::new();
    let mut chroots = BTreeSet::new();
    let mut valid = true;
    for item in cursor.items() {
        let Some(text) = item.text(report) else {
            valid = false;
            continue;
        };
        for part in text.split(',').map(str::trim).filter(|p| !p.is_empty()) {
            let (address, chroot) = match part.split_once('/') {
                Some((address, chroot)) => (address, chroot.trim_end_matches('/')),
                None => (part, ""),
            };
            if !chroot.is_empty() {
                chroots.insert(chroot.to_owned());
            }
            match canonical(address) {
                Some(address) => {
                    hosts.insert(address);
                }
                None => {
                    valid = false;
                    report.complain(item.place(), format!("{part:?} is not host:port"));
                }
            }
        }
    }
    if chroots.len() > 1 {
        let text = format!("more than one chroot: {chroots:?}");
        report.complain(cursor.place(), text);
        return None;
    }
    if hosts.is_empty() && valid {
        report.complain(cursor.place(), "must name at least one host");
    }
    if hosts.is_empty() || !valid {
        return None;
    }
    let joined = hosts.into_iter().collect::<Vec<_>>().join(",");
    let chroot = chroots.into_iter().next();
    Some(Arc::from(chroot.map_or_else(|| joined.clone(), |c| format!("{joined}/{c}"))))
}

/// `host:port` with the port filled in; `[v6]:port` for literals.
fn canonical(address: &str) -> Option<String> {
    let (host, port) = if let Some(rest) = address.strip_prefix('[') {
        let (host, after) = rest.split_once(']')?;
        host.parse::<std::net::Ipv6Addr>().ok()?;
        let port = match after.strip_prefix(':') {
            Some(port) => Some(port),
            None if after.is_empty() => None,
            None => return None,
        };
        (format!("[{host}]"), port)
    } else {
        match address.split_once(':') {
            Some((host, port)) => (host.to_owned(), Some(port)),
            None => (address.to_owned(), None),
        }
    };
    let port = match port {
        Some(port) => port.parse::<u16>().ok().filter(|p| *p > 0)?,
        None => ZOOKEEPER_PORT,
    };
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._[]:".contains(c);
    (!host.is_empty() && host.chars().all(plain)).then(|| format!("{host}:{port}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::report::Place;
    use serde_json::{Value, json};

    fn read_value(value: &Value) -> (Option<String>, usize) {
        let place = Place { file: "f".into(), path: "hosts".to_owned() };
        let mut report = Report::default();
        let ensemble = read(&Cursor::new(value, place, None), &mut report);
        (ensemble.map(|e| e.to_string()), report.complaints.len())
    }

    #[test]
    fn every_spelling_is_the_same_ensemble() {
        let expected = (Some("a:2181,b:2182".to_owned()), 0);
        for hosts in
            [json!(["b:2182", "a:2181"]), json!("a:2181, b:2182"), json!(["a", "b:2182", "a:2181"])]
        {
            assert_eq!(read_value(&hosts), expected, "{hosts}");
        }
    }

    #[test]
    fn the_chroot_goes_to_the_end() {
        let expected = (Some("a:2181,b:2181/x/y".to_owned()), 0);
        assert_eq!(read_value(&json!("a:2181,b:2181/x/y")), expected);
        assert_eq!(read_value(&json!(["b:2181", "a:2181/x/y"])), expected);
        assert_eq!(read_value(&json!(["b/p", "a/q"])), (None, 1));
    }

    #[test]
    fn nonsense_is_complained_about_item_by_item() {
        assert_eq!(read_value(&json!([])), (None, 1));
        assert_eq!(read_value(&json!(["a:0", "b c:1", {}, "ok:1", "[::1]x"])), (None, 4));
        assert_eq!(read_value(&json!("[::1]:2181")).0.unwrap(), "[::1]:2181");
    }
}
