//! Addresses to bind: `localhost`, `*`, literals, names, paths, and what can only be warned about.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;

use super::bind_options::options_of;
use super::values::number;
use crate::config::report::{Place, Report};
use crate::proxy::http2::FrontProtocol;
use crate::proxy::{BindAddr, ListenAddr, SocketOptions};

/// What an address means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// These.
    Known(Vec<BindAddr>),
    /// A kind of socket that is not bound.
    Unknown(String),
}

/// `HOST` and a port given apart, as Synapse has them.
pub(super) fn host_and_port(host: &str, port: u16) -> Result<Target, String> {
    if is_other(host) {
        return Ok(Target::Unknown(host.to_owned()));
    }
    if unix(host).is_some() {
        return Err(format!("{host:?} has no port; write `port: null`"));
    }
    if port == 0 {
        return Err("0 is not a port to listen on; use 1 to 65535".to_owned());
    }
    let (host, any) = match (host.strip_prefix("ipv4@"), host.strip_prefix("ipv6@")) {
        (_, Some(host)) => (host, IpAddr::from(Ipv6Addr::UNSPECIFIED)),
        (host4, None) => (host4.unwrap_or(host), Ipv4Addr::UNSPECIFIED.into()),
    };
    let required = |ip: IpAddr| BindAddr::required(SocketAddr::new(ip, port));
    let bare = host.strip_prefix('[').and_then(|inner| inner.strip_suffix(']')).unwrap_or(host);
    if bare.is_empty() || bare == "*" {
        return Ok(Target::Known(vec![required(any)]));
    }
    if bare == "localhost" {
        return Ok(Target::Known(vec![
            required(Ipv4Addr::LOCALHOST.into()),
            BindAddr { required: false, ..required(Ipv6Addr::LOCALHOST.into()) },
        ]));
    }
    if let Ok(ip) = bare.parse::<IpAddr>() {
        return Ok(Target::Known(vec![required(ip)]));
    }
    resolve(bare, port).map(|ip| Target::Known(vec![required(ip)]))
}

/// haproxy takes the first address of a name.
pub(super) fn resolve(host: &str, port: u16) -> Result<IpAddr, String> {
    let is_name = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
    // A resolver would make 0.0.0.5 of `5`, which nobody means.
    let is_number = host.bytes().all(|b| b.is_ascii_digit());
    if host.len() > 253 || is_number || !host.bytes().all(is_name) {
        return Err(format!("{host:?} is neither an address nor a host name"));
    }
    let mut found = (host, port)
        .to_socket_addrs()
        .map_err(|error| format!("the name {host:?} does not resolve ({error}); use an address"))?;
    found
        .next()
        .map(|addr| addr.ip())
        .ok_or_else(|| format!("the name {host:?} has no address; use an address"))
}

/// A path or an abstract name, which haproxy takes for what it is: nothing is looked for in it.
fn unix(text: &str) -> Option<ListenAddr> {
    if let Some(name) = text.strip_prefix("abns@") {
        return Some(ListenAddr::Abstract(name.into()));
    }
    let path = text.strip_prefix("unix@").or_else(|| text.strip_prefix("uxst@"));
    let path = path.or_else(|| text.starts_with('/').then_some(text))?;
    Some(ListenAddr::Unix(std::path::Path::new(path).into()))
}

fn is_other(address: &str) -> bool {
    ["abnsz@", "fd@", "sockpair@", "udp@", "udp4@", "udp6@", "quic4@", "quic6@"]
        .iter()
        .any(|prefix| address.starts_with(prefix))
}

/// `ADDR:PORT` or a path, as on a `bind` line.
pub(super) fn address(text: &str) -> Result<Target, String> {
    if is_other(text) {
        return Ok(Target::Unknown(text.to_owned()));
    }
    if let Some(addr) = unix(text) {
        return Ok(Target::Known(vec![BindAddr::required(addr)]));
    }
    let (host, port) =
        text.rsplit_once(':').ok_or_else(|| format!("{text:?} has no port; write ADDRESS:PORT"))?;
    let one = |port: &str| number(port, 1..=u16::MAX);
    let Some((first, last)) = port.split_once('-') else {
        return host_and_port(host, one(port)?);
    };
    let (first, last) = (one(first)?, one(last)?);
    if first > last || last - first >= MAX_RANGE {
        return Err(format!("{port:?} is not a range of 1 to {MAX_RANGE} ports, lowest first"));
    }
    let mut all = Vec::new();
    for port in first..=last {
        if let Target::Known(addrs) = host_and_port(host, port)? {
            all.extend(addrs);
        }
    }
    Ok(Target::Known(all))
}

/// More listening sockets from one line are taken for a mistake.
const MAX_RANGE: u16 = 1_000;

/// A `bind` line's words after `bind`: what was found, with every odd thing reported.
#[derive(Clone, Debug, Default)]
pub(super) struct Bound {
    /// Addresses, with what is said about their sockets.
    pub(super) addrs: Vec<BindAddr>,
    /// `proto` of each line, or that it has none.
    pub(super) protocols: Vec<FrontProtocol>,
}

/// haproxy leaves it to the kernel that `::` takes IPv4 as well. Our IPv6 sockets never do, so that clients keep their
/// plain addresses: every `::` has an IPv4 socket at its side.
fn with_ipv4(addrs: Vec<BindAddr>, is_v6_only: bool) -> Vec<BindAddr> {
    let twin = |bind: &BindAddr| {
        let wide = bind.addr.tcp().filter(|addr| addr.ip() == Ipv6Addr::UNSPECIFIED);
        let port = wide.filter(|_| !is_v6_only)?.port();
        let addr = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port).into();
        Some(BindAddr { addr, ..bind.clone() })
    };
    let twins: Vec<BindAddr> = addrs.iter().filter_map(twin).collect();
    addrs.into_iter().chain(twins).collect()
}

impl Bound {
    /// Adds what another line gave.
    pub(super) fn merge(&mut self, other: Self) {
        self.addrs.extend(other.addrs);
        self.protocols.extend(other.protocols);
    }

    /// Adds addresses with what `words` say about their sockets.
    pub(super) fn add(
        &mut self,
        addrs: Vec<BindAddr>,
        words: &[String],
        place: &Place,
        report: &mut Report,
    ) {
        let options = options_of(words, place, report);
        let socket: Arc<SocketOptions> = Arc::new(options.socket);
        let about = |bind| BindAddr { options: Arc::clone(&socket), ..bind };
        self.addrs.extend(with_ipv4(addrs, options.is_v6_only).into_iter().map(about));
        self.protocols.push(options.protocol);
    }
}

/// Reads the words of a `bind` line.
pub(super) fn line(words: &[String], place: &Place, report: &mut Report) -> Bound {
    let mut bound = Bound::default();
    let Some((addresses, options)) = words.split_first() else {
        report.complain(place, "`bind` needs an address such as 127.0.0.1:8080");
        return bound;
    };
    let mut addrs = Vec::new();
    let mut is_all_unknown = true;
    for text in addresses.split(',') {
        match address(text) {
            Ok(Target::Known(more)) => addrs.extend(more),
            Ok(Target::Unknown(other)) => {
                report.warn(place, unbound(&other));
                continue;
            }
            Err(error) => report.complain(place, format!("`bind`: {error}")),
        }
        is_all_unknown = false;
    }
    // Options of a socket that is not bound change nothing.
    if !is_all_unknown {
        bound.add(addrs, options, place, report);
    }
    bound
}

/// Text about a socket that is not bound.
pub(super) fn unbound(address: &str) -> String {
    format!("{address:?} is not bound: kinds of sockets other than tcp and unix are not supported")
}

/// What all lines of a service say together; lines that differ leave it to the client's first bytes.
pub(super) fn common(
    protocols: &[FrontProtocol],
    place: &Place,
    report: &mut Report,
) -> FrontProtocol {
    let Some((first, others)) = protocols.split_first() else {
        return FrontProtocol::Auto;
    };
    if others.iter().all(|other| other == first) {
        return *first;
    }
    report.warn(
        place,
        "`proto` differs between the addresses of this service: each takes http/1 and http/2",
    );
    FrontProtocol::Auto
}

#[cfg(test)]
mod tests;
