//! The native `forward_for` of a `proxy` section.

use std::sync::Arc;

use super::reader::Cursor;
use super::report::Report;
use crate::proxy::{ForwardFor, IpNet};

/// Keys of `proxy.forward_for`.
pub const KEYS: [&str; 3] = ["header", "except", "if_none"];

/// `true`, `false`, or a map. The outer `None` is a mistake.
pub fn read(value: &Cursor<'_>, report: &mut Report) -> Option<Option<ForwardFor>> {
    const HEADER: &str = "X-Forwarded-For";
    if let Some(on) = value.value().as_bool() {
        return Some(on.then(|| ForwardFor {
            header: Arc::from(HEADER),
            except: None,
            if_none: false,
        }));
    }
    let section = value.section(&KEYS, report)?;
    let header = match section.get("header") {
        Some(header) => header_name(&header, report)?,
        None => HEADER.to_owned(),
    };
    let except = match section.get("except") {
        Some(except) => Some(network(&except, report)?),
        None => None,
    };
    Some(Some(ForwardFor {
        header: Arc::from(header),
        except,
        if_none: section.flag("if_none", false, report),
    }))
}

fn header_name(cursor: &Cursor<'_>, report: &mut Report) -> Option<String> {
    let name = cursor.word(report)?;
    let token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    if !name.chars().all(token) {
        report.complain(cursor.place(), format!("{name:?} is not a header name"));
        return None;
    }
    Some(name)
}

fn network(cursor: &Cursor<'_>, report: &mut Report) -> Option<IpNet> {
    let text = cursor.word(report)?;
    let (addr, prefix) = match text.split_once('/') {
        Some((addr, prefix)) => (addr, Some(prefix)),
        None => (text.as_str(), None),
    };
    let parsed = addr.parse::<std::net::IpAddr>().ok().and_then(|addr| {
        let bits = if addr.is_ipv4() { 32 } else { 128 };
        let prefix = prefix.map_or(Some(bits), |p| p.parse().ok())?;
        (prefix <= bits).then_some(IpNet { addr, prefix })
    });
    if parsed.is_none() {
        report.complain(cursor.place(), format!("{text:?} is not a network such as 10.0.0.0/8"));
    }
    parsed
}
