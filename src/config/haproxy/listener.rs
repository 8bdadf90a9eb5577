//! Where a service listens: `port`, `bind_address`, `bind_options` and its `bind` lines.

use std::net::SocketAddr;

use super::bind::{self, Bound, Target};
use super::{PortKey, ServiceSection, Top, defaults, words};
use crate::config::report::{Place, Report};
use crate::proxy::http2::FrontProtocol;
use crate::proxy::{BindAddr, ListenerSettings};

/// The listener of `section`; `bound` is what its `bind` lines gave. `None` without `port` and when nothing can be
/// bound, which has been reported then.
pub(super) fn resolve(
    section: &ServiceSection,
    top: &Top,
    mut bound: Bound,
    backlog: u32,
    report: &mut Report,
) -> Option<(ListenerSettings, FrontProtocol)> {
    let address = section.bind_address.as_ref().or(top.bind_address.as_ref());
    let text = address.map_or(defaults::BIND_ADDRESS, |(text, _)| text);
    let place = address.map_or(&section.place, |(_, place)| place);
    let target = match section.port {
        PortKey::Omitted => return None,
        PortKey::Null => bind::address(text).map_err(|error| {
            format!("`port` is null, so `bind_address` is the whole address, but {error}")
        }),
        PortKey::Number(port) => bind::host_and_port(text, port),
        // Any port will do to find out what is wrong with the rest.
        PortKey::Invalid => bind::host_and_port(text, 1),
    };
    let mut is_v6_only = false;
    let mut protocol = FrontProtocol::Auto;
    if let Some(line) = &section.bind_options {
        match words::split(&line.text) {
            // Options of a socket that is not bound change nothing.
            Ok(_) if matches!(target, Ok(Target::NotTcp(_))) => {}
            Ok(words) => {
                let own = bind::options_of(&words, &line.place, report);
                bound.backlog = own.backlog.or(bound.backlog);
                is_v6_only = own.is_v6_only;
                protocol = own.protocol;
            }
            Err(error) => report.complain(&line.place, error),
        }
    }
    match target {
        Ok(Target::Tcp(_)) if section.port == PortKey::Invalid => {}
        Ok(Target::Tcp(addrs)) => {
            bound.protocols.push(protocol);
            bound.addrs.extend(bind::with_ipv4(addrs, is_v6_only));
        }
        Ok(Target::NotTcp(path)) => report.warn(place, bind::unbound(&path)),
        Err(error) => report.complain(place, error),
    }
    let addrs = once_each(bound.addrs, &section.place, report);
    if addrs.is_empty() {
        return None;
    }
    let protocol = bind::common(&bound.protocols, &section.place, report);
    let listener = ListenerSettings { addrs, backlog: bound.backlog.unwrap_or(backlog) };
    Some((listener, protocol))
}

/// One service may name an address twice, or one beside the wildcard that covers it: haproxy binds both, here one serves.
fn once_each(all: Vec<BindAddr>, place: &Place, report: &mut Report) -> Vec<BindAddr> {
    let wildcards: Vec<SocketAddr> =
        all.iter().map(|bind| bind.addr).filter(|addr| addr.ip().is_unspecified()).collect();
    let is_covered = |addr: SocketAddr| {
        !addr.ip().is_unspecified()
            && wildcards
                .iter()
                .any(|wide| wide.port() == addr.port() && wide.is_ipv4() == addr.is_ipv4())
    };
    let mut addrs: Vec<BindAddr> = Vec::with_capacity(all.len());
    for bind in all {
        if !is_covered(bind.addr) && !addrs.iter().any(|other| other.addr == bind.addr) {
            addrs.push(bind);
        } else if bind.required {
            report.warn(place, format!("{} is given twice by this service; bound once", bind.addr));
        }
    }
    addrs
}
