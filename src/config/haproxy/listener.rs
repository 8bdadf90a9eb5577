//! Where a service listens: `port`, `bind_address`, `bind_options` and its `bind` lines.

use std::ffi::OsString;
use std::path::Path;
use std::sync::Arc;

use super::bind::{self, Bound, Target};
use super::draft::Draft;
use super::{PortKey, ServiceSection, Top, defaults, words};
use crate::config::report::{Place, Report};
use crate::proxy::http2::FrontProtocol;
use crate::proxy::listener::{MAX_ABSTRACT_BYTES, MAX_PATH_BYTES};
use crate::proxy::{BindAddr, ListenAddr, ListenerSettings};

/// The listener of `section`; `bound` is what its `bind` lines gave. `None` without `port` and when nothing can be
/// bound, which has been reported then.
pub(super) fn resolve(
    section: &ServiceSection,
    top: &Top,
    mut bound: Bound,
    draft: &Draft,
    report: &mut Report,
) -> Option<(ListenerSettings, FrontProtocol)> {
    let address = section.bind_address.as_ref().or(top.bind_address.as_ref());
    let text = address.map_or(defaults::BIND_ADDRESS, |(text, _)| text);
    let place = address.map_or(&section.place, |(_, place)| place);
    if !section.serves() {
        return None;
    }
    for (words, place) in &section.sockets {
        bound.merge(bind::line(words, place, report));
    }
    let target = match section.port {
        PortKey::Omitted => Ok(Target::Known(Vec::new())),
        PortKey::Null => bind::address(text).map_err(|error| {
            format!("`port` is null, so `bind_address` is the whole address, but {error}")
        }),
        PortKey::Number(port) => bind::host_and_port(text, port),
        // Any port will do to find out what is wrong with the rest.
        PortKey::Invalid => bind::host_and_port(text, 1),
    };
    let words = section.bind_options.as_ref().map(|line| (words::split(&line.text), &line.place));
    let addrs = match target {
        Ok(Target::Known(addrs)) if section.port != PortKey::Invalid => addrs,
        Ok(Target::Known(_)) => Vec::new(),
        Ok(Target::Unknown(address)) => {
            report.warn(place, bind::unbound(&address));
            Vec::new()
        }
        Err(error) => {
            report.complain(place, error);
            Vec::new()
        }
    };
    match words {
        _ if section.port == PortKey::Omitted => {}
        Some((Ok(words), place)) => bound.add(addrs, &words, place, report),
        Some((Err(error), place)) => report.complain(place, error),
        None => bound.add(addrs, &[], place, report),
    }
    finish(&mut bound.addrs, draft, top, &section.place, report);
    let addrs = once_each(bound.addrs, &section.place, report);
    if addrs.is_empty() {
        return None;
    }
    let protocol = bind::common(&bound.protocols, &section.place, report);
    Some((ListenerSettings { addrs, backlog: draft.backlog.value }, protocol))
}

/// What is said elsewhere about all sockets: `unix-bind`, `option clitcpka`.
fn finish(addrs: &mut [BindAddr], draft: &Draft, top: &Top, place: &Place, report: &mut Report) {
    let keepalive = draft.keepalive.resolve();
    for bind in addrs {
        if let ListenAddr::Abstract(name) = &bind.addr
            && !(1..=MAX_ABSTRACT_BYTES).contains(&name.len())
        {
            let len = name.len();
            report.complain(
                place,
                format!("{name:?} is no abstract name: it has {len} bytes, not 1 to {MAX_ABSTRACT_BYTES}"),
            );
        }
        let ListenAddr::Unix(path) = &mut bind.addr else {
            if keepalive.is_some() && !bind.addr.is_unix() {
                Arc::make_mut(&mut bind.options).keep_alive = keepalive;
            }
            continue;
        };
        let unix = &top.unix_bind;
        if !unix.prefix.is_empty() {
            let mut whole = OsString::from(&unix.prefix);
            whole.push(&**path);
            *path = Path::new(&whole).into();
        }
        let len = path.as_os_str().len();
        if len == 0 || len > MAX_PATH_BYTES {
            let path = path.display().to_string();
            report.complain(
                place,
                format!("{path:?} is no path to listen on: it has {len} bytes, not 1 to {MAX_PATH_BYTES}"),
            );
        }
        let of_all = unix.permissions;
        if !of_all.is_empty() {
            let own = &mut Arc::make_mut(&mut bind.options).permissions;
            own.mode = own.mode.or(of_all.mode);
            own.uid = own.uid.or(of_all.uid);
            own.gid = own.gid.or(of_all.gid);
        }
    }
}

/// One service may name an address twice, or one beside the wildcard that covers it: haproxy binds both, here one serves.
/// So nothing may be said of the one that is not said of the other.
fn once_each(all: Vec<BindAddr>, place: &Place, report: &mut Report) -> Vec<BindAddr> {
    let covers = |wide: &BindAddr, bind: &BindAddr| {
        let is_wider = match (wide.addr.tcp(), bind.addr.tcp()) {
            (Some(wide), Some(addr)) => {
                wide.ip().is_unspecified()
                    && !addr.ip().is_unspecified()
                    && (wide.port(), wide.is_ipv4()) == (addr.port(), addr.is_ipv4())
            }
            _ => false,
        };
        is_wider && !wide.options.is_apart(&bind.options)
    };
    let is_same = |one: &BindAddr, other: &BindAddr| {
        one.addr == other.addr && !one.options.is_apart(&other.options)
    };
    let mut addrs: Vec<BindAddr> = Vec::with_capacity(all.len());
    for bind in &all {
        let wide = all.iter().find(|wide| covers(wide, bind));
        let Some(served) = wide.or_else(|| addrs.iter().find(|other| is_same(other, bind))) else {
            addrs.push(bind.clone());
            continue;
        };
        if served.options != bind.options {
            let text = format!(
                "{} is bound once for `{bind}` and `{served}`, so both must say the same",
                served.addr
            );
            report.complain(place, text);
        } else if bind.required {
            report.warn(place, format!("{} is given twice by this service; bound once", bind.addr));
        }
    }
    addrs
}
