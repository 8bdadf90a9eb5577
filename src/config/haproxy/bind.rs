//! Addresses to bind: `localhost`, `*`, literals, names, and what can only be warned about.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};

use super::server::{MAX_INT, not_yet, refused, unknown};
use super::table::{self, Class, Sections};
use super::values::number;
use crate::config::report::{Place, Report};
use crate::proxy::BindAddr;
use crate::proxy::http2::FrontProtocol;

/// What an address means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// These TCP addresses.
    Tcp(Vec<BindAddr>),
    /// A path or another kind of socket that is not bound yet.
    NotTcp(String),
}

/// `HOST` and a port given apart, as Synapse has them.
pub(super) fn host_and_port(host: &str, port: u16) -> Result<Target, String> {
    if is_not_tcp(host) {
        return Ok(Target::NotTcp(host.to_owned()));
    }
    if port == 0 {
        return Err("0 is not a port to listen on; use 1 to 65535".to_owned());
    }
    let (host, any) = match (host.strip_prefix("ipv4@"), host.strip_prefix("ipv6@")) {
        (_, Some(host)) => (host, IpAddr::from(Ipv6Addr::UNSPECIFIED)),
        (host4, None) => (host4.unwrap_or(host), Ipv4Addr::UNSPECIFIED.into()),
    };
    let required = |ip: IpAddr| BindAddr { addr: SocketAddr::new(ip, port), required: true };
    let bare = host.strip_prefix('[').and_then(|inner| inner.strip_suffix(']')).unwrap_or(host);
    if bare.is_empty() || bare == "*" {
        return Ok(Target::Tcp(vec![required(any)]));
    }
    if bare == "localhost" {
        return Ok(Target::Tcp(vec![
            required(Ipv4Addr::LOCALHOST.into()),
            BindAddr { addr: SocketAddr::new(Ipv6Addr::LOCALHOST.into(), port), required: false },
        ]));
    }
    if let Ok(ip) = bare.parse::<IpAddr>() {
        return Ok(Target::Tcp(vec![required(ip)]));
    }
    resolve(bare, port).map(|ip| Target::Tcp(vec![required(ip)]))
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

fn is_not_tcp(address: &str) -> bool {
    [
        "/",
        "unix@",
        "uxst@",
        "abns@",
        "abnsz@",
        "fd@",
        "sockpair@",
        "udp@",
        "udp4@",
        "udp6@",
        "quic4@",
        "quic6@",
    ]
    .iter()
    .any(|prefix| address.starts_with(prefix))
}

/// `ADDR:PORT` as on a `bind` line.
pub(super) fn address(text: &str) -> Result<Target, String> {
    if is_not_tcp(text) {
        return Ok(Target::NotTcp(text.to_owned()));
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
        if let Target::Tcp(addrs) = host_and_port(host, port)? {
            all.extend(addrs);
        }
    }
    Ok(Target::Tcp(all))
}

/// More listening sockets from one line are taken for a mistake.
const MAX_RANGE: u16 = 1_000;

/// A `bind` line's words after `bind`: what was found, with every odd thing reported.
#[derive(Clone, Debug, Default)]
pub(super) struct Bound {
    /// TCP addresses.
    pub(super) addrs: Vec<BindAddr>,
    /// Sockets that are not bound yet.
    pub(super) not_tcp: Vec<String>,
    /// `backlog` of the line.
    pub(super) backlog: Option<u32>,
    /// `proto` of each line, or that it has none.
    pub(super) protocols: Vec<FrontProtocol>,
}

/// What the words after an address say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Options {
    /// `backlog`.
    pub(super) backlog: Option<u32>,
    /// `proto`.
    pub(super) protocol: FrontProtocol,
    /// `v6only`: `::` does not stand for IPv4 as well.
    pub(super) is_v6_only: bool,
}

/// haproxy leaves it to the kernel that `::` takes IPv4 as well. Our IPv6 sockets never do, so that clients keep their
/// plain addresses: every `::` has an IPv4 socket at its side.
pub(super) fn with_ipv4(addrs: Vec<BindAddr>, is_v6_only: bool) -> Vec<BindAddr> {
    let twin = |bind: &BindAddr| {
        let stands_for_both = bind.addr.ip() == Ipv6Addr::UNSPECIFIED && !is_v6_only;
        stands_for_both.then(|| BindAddr {
            addr: SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), bind.addr.port()),
            required: bind.required,
        })
    };
    let twins: Vec<BindAddr> = addrs.iter().filter_map(twin).collect();
    addrs.into_iter().chain(twins).collect()
}

/// Reads the words of a `bind` line.
pub(super) fn line(words: &[String], place: &Place, report: &mut Report) -> Bound {
    let mut bound = Bound::default();
    let Some((addresses, options)) = words.split_first() else {
        report.complain(place, "`bind` needs an address such as 127.0.0.1:8080");
        return bound;
    };
    for text in addresses.split(',') {
        match address(text) {
            Ok(Target::Tcp(addrs)) => bound.addrs.extend(addrs),
            Ok(Target::NotTcp(path)) => {
                report.warn(place, unbound(&path));
                bound.not_tcp.push(path);
            }
            Err(error) => report.complain(place, format!("`bind`: {error}")),
        }
    }
    // Options of a socket that is not bound change nothing: Yelp's `bind /path accept-proxy`.
    if bound.not_tcp.is_empty() || !bound.addrs.is_empty() {
        let options = options_of(options, place, report);
        bound.backlog = options.backlog;
        bound.protocols.push(options.protocol);
        bound.addrs = with_ipv4(bound.addrs, options.is_v6_only);
    }
    bound
}

/// Text about a socket that is not bound.
pub(super) fn unbound(path: &str) -> String {
    format!("{path:?} is not bound: unix sockets and other kinds than tcp are not supported yet")
}

/// Reads the words after the address, or `bind_options`.
pub(super) fn options_of(words: &[String], place: &Place, report: &mut Report) -> Options {
    let mut options = Options::default();
    let mut rest = words;
    while let [word, after @ ..] = rest {
        rest = after;
        let Some(directive) = table::find(std::slice::from_ref(word), Sections::BIND) else {
            report.complain(place, format!("`bind`: {}", unknown(word, Sections::BIND)));
            let meant = table::nearest(std::slice::from_ref(word), Sections::BIND);
            rest = rest.get(meant.map_or(0, |directive| directive.args)..).unwrap_or_default();
            continue;
        };
        let Some((args, after)) = rest.split_at_checked(directive.args) else {
            report.complain(place, format!("`bind`: `{word}` needs a value"));
            break;
        };
        rest = after;
        match directive.class {
            Class::Harmless => {}
            Class::NotYet { meanwhile } => {
                report.warn(place, format!("`bind`: {}", not_yet(word, meanwhile)));
            }
            Class::Refused { reason, instead } => {
                report.complain(place, format!("`bind`: {}", refused(word, reason, instead)));
            }
            Class::Supported if directive.args == 0 => {
                options.is_v6_only = directive.keyword == "v6only";
            }
            Class::Supported if directive.keyword == "proto" => {
                match protocol(args.first().map_or("", String::as_str)) {
                    Ok(protocol) => options.protocol = protocol,
                    Err(error) => report.complain(place, format!("`bind`: `{word}`: {error}")),
                }
            }
            Class::Supported => {
                match number(args.first().map_or("", String::as_str), 1..=MAX_INT) {
                    Ok(number) => options.backlog = Some(number),
                    Err(error) => report.complain(place, format!("`bind`: `{word}`: {error}")),
                }
            }
        }
    }
    options
}

/// haproxy refuses it, too.
pub(super) const PROTOCOL_IN_TCP: &str =
    "`proto` needs `mode http`: in mode tcp bytes pass whatever they mean";

fn protocol(value: &str) -> Result<FrontProtocol, String> {
    match value {
        "h1" => Ok(FrontProtocol::Http1),
        "h2" => Ok(FrontProtocol::Http2),
        _ => Err(format!("{value:?} is not offered; use h1 or h2")),
    }
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
mod tests {
    use super::*;

    fn addrs(text: &str) -> Vec<(String, bool)> {
        match address(text).unwrap() {
            Target::Tcp(addrs) => addrs.iter().map(|a| (a.addr.to_string(), a.required)).collect(),
            Target::NotTcp(path) => vec![(path, false)],
        }
    }

    #[test]
    fn localhost_is_ipv4_and_ipv6_where_there_is_any() {
        assert_eq!(
            addrs("localhost:80"),
            [("127.0.0.1:80".to_owned(), true), ("[::1]:80".to_owned(), false)]
        );
    }

    #[test]
    fn wildcards_brackets_and_paths() {
        for (text, addr) in [
            (":80", "0.0.0.0:80"),
            ("*:80", "0.0.0.0:80"),
            ("0.0.0.0:80", "0.0.0.0:80"),
            ("[::]:80", "[::]:80"),
            (":::80", "[::]:80"),
            ("::1:80", "[::1]:80"),
            ("ipv4@1.2.3.4:80", "1.2.3.4:80"),
            ("ipv4@:80", "0.0.0.0:80"),
            ("ipv6@*:80", "[::]:80"),
            ("/run/x.sock", "/run/x.sock"),
            ("unix@/run/x.sock", "unix@/run/x.sock"),
        ] {
            assert_eq!(addrs(text)[0].0, addr, "{text}");
        }
        for text in
            ["", "80", ":0", ":x", "1.2.3.4:65536", ":90-80", ":1-9999", "no such host.invalid:80"]
        {
            assert!(address(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_range_is_many_ports() {
        let ports: Vec<String> = addrs("127.0.0.1:80-82").into_iter().map(|it| it.0).collect();
        assert_eq!(ports, ["127.0.0.1:80", "127.0.0.1:81", "127.0.0.1:82"]);
    }

    #[test]
    fn two_colons_are_both_families_unless_v6only() {
        let place = Place { file: "f".into(), path: String::new() };
        let addrs = |text: &str| {
            let words: Vec<String> = text.split(' ').map(str::to_owned).collect();
            let mut report = Report::default();
            let bound = line(&words, &place, &mut report);
            assert!(report.complaints.is_empty() && report.warnings.is_empty());
            bound.addrs.iter().map(|a| a.addr.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(addrs(":::80"), ["[::]:80", "0.0.0.0:80"]);
        assert_eq!(addrs(":::80 v4v6"), ["[::]:80", "0.0.0.0:80"]);
        assert_eq!(addrs(":::80 v6only"), ["[::]:80"]);
        assert_eq!(addrs("[::1]:80"), ["[::1]:80"]);
        assert_eq!(addrs("*:80"), ["0.0.0.0:80"]);
    }

    #[test]
    fn names_are_looked_up() {
        assert!(resolve("localhost", 80).unwrap().is_loopback());
        assert!(resolve("bad host", 80).is_err());
        assert!(resolve("5", 80).is_err());
    }

    #[test]
    fn protocols_of_all_lines_count_together() {
        use FrontProtocol::{Auto, Http1, Http2};
        let place = Place { file: "f".into(), path: String::new() };
        for (lines, common, warnings) in [
            (vec![], Auto, 0),
            (vec![Http2], Http2, 0),
            (vec![Http1, Http1], Http1, 0),
            (vec![Http2, Auto], Auto, 1),
        ] {
            let mut report = Report::default();
            assert_eq!(super::common(&lines, &place, &mut report), common, "{lines:?}");
            assert_eq!(report.warnings.len(), warnings, "{lines:?}");
        }
        let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let mut report = Report::default();
        assert_eq!(options_of(&words("backlog 5 proto h2"), &place, &mut report).protocol, Http2);
        assert!(report.complaints.is_empty());
        options_of(&words("proto fcgi"), &place, &mut report);
        assert_eq!(report.complaints.len(), 1);
    }

    proptest::proptest! {
        #[test]
        fn arbitrary_addresses_never_panic(text in "[0-9:\\[\\]/@*.]*") {
            drop(address(&text));
        }
    }
}
