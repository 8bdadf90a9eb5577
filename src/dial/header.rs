//! The PROXY protocol as it is sent: one header at the very beginning of a connection to a server that says whose
//! connection it is. Bytes are haproxy 2.6's.
//!
//! What receives it has to expect it: there is no way to find out, and a server that does not takes it for the beginning
//! of what the client says.

use std::io::Write;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use bytes::Bytes;

/// `send-proxy`, `send-proxy-v2`, `send-proxy-v2-ssl`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Form {
    /// A line of text: `PROXY TCP4 192.0.2.7 10.0.0.1 40000 80`.
    V1,
    /// Binary.
    V2,
    /// Binary, and that the client's connection was none of TLS.
    V2Ssl,
}

impl Form {
    /// haproxy's word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::V1 => "send-proxy",
            Self::V2 => "send-proxy-v2",
            Self::V2Ssl => "send-proxy-v2-ssl",
        }
    }
}

/// Whose connection it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Whose {
    /// A client's, from there to there.
    Clients(SocketAddr, SocketAddr),
    /// A client's or a check's without addresses: a unix socket has none.
    Unknown,
    /// Our own: a health check, from there to there.
    Ours(SocketAddr, SocketAddr),
}

impl Whose {
    /// Our own, from there to there.
    pub fn ours((from, to): (SocketAddr, SocketAddr)) -> Self {
        Self::Ours(from, to)
    }
}

/// The signature of version 2.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

/// Version 2, a connection for somebody else.
const PROXY: u8 = 0x21;

/// Version 2, a connection of one's own, or for nobody who has an address.
const LOCAL: u8 = 0x20;

/// "TLS": nothing of it, and nothing verified.
const NO_TLS: &[u8] = &[0x20, 0, 5, 0, 0, 0, 0, 0];

/// The header.
pub fn render(form: Form, whose: Whose) -> Bytes {
    // The longest is that of version 1 with two IPv6 addresses.
    let mut out = Vec::with_capacity(108);
    match form {
        Form::V1 => line(&mut out, whose),
        Form::V2 => binary(&mut out, whose, &[]),
        Form::V2Ssl => binary(&mut out, whose, NO_TLS),
    }
    out.into()
}

fn line(out: &mut Vec<u8>, whose: Whose) {
    let ends = match whose {
        Whose::Clients(from, to) | Whose::Ours(from, to) => Some((from, to)),
        Whose::Unknown => None,
    };
    let Some((from, to)) = ends else {
        return out.extend_from_slice(b"PROXY UNKNOWN\r\n");
    };
    let is_v4 = from.is_ipv4() && to.is_ipv4();
    let family = if is_v4 { "TCP4" } else { "TCP6" };
    let (from_ip, to_ip) = match is_v4 {
        true => (from.ip(), to.ip()),
        false => (wide(from.ip()).into(), wide(to.ip()).into()),
    };
    let (from, to) = (from.port(), to.port());
    let written = write!(out, "PROXY {family} {from_ip} {to_ip} {from} {to}\r\n");
    debug_assert!(written.is_ok(), "a buffer takes everything");
}

fn binary(out: &mut Vec<u8>, whose: Whose, more: &[u8]) {
    out.extend_from_slice(SIGNATURE);
    let (command, ends) = match whose {
        Whose::Clients(from, to) => (PROXY, Some((from, to))),
        // To a receiver both are the connection's own.
        Whose::Unknown | Whose::Ours(..) => (LOCAL, None),
    };
    out.push(command);
    let length =
        |addresses: u16| (addresses + u16::try_from(more.len()).unwrap_or(0)).to_be_bytes();
    match ends {
        None => {
            out.push(0);
            out.extend_from_slice(&length(0));
        }
        Some((SocketAddr::V4(from), SocketAddr::V4(to))) => {
            out.push(0x11);
            out.extend_from_slice(&length(12));
            out.extend_from_slice(&from.ip().octets());
            out.extend_from_slice(&to.ip().octets());
            out.extend_from_slice(&from.port().to_be_bytes());
            out.extend_from_slice(&to.port().to_be_bytes());
        }
        Some((from, to)) => {
            out.push(0x21);
            out.extend_from_slice(&length(36));
            out.extend_from_slice(&wide(from.ip()).octets());
            out.extend_from_slice(&wide(to.ip()).octets());
            out.extend_from_slice(&from.port().to_be_bytes());
            out.extend_from_slice(&to.port().to_be_bytes());
        }
    }
    out.extend_from_slice(more);
}

/// Of two families the smaller is written as a part of the larger.
fn wide(ip: IpAddr) -> Ipv6Addr {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What haproxy 2.6.12 was heard to send. `tests/it/connecting` asks it again for IPv4 only.
    #[test]
    fn bytes_are_haproxys() {
        let end = |text: &str| text.parse::<SocketAddr>().unwrap();
        let (v4, here) = (end("127.0.0.1:57946"), end("127.0.0.3:19000"));
        let (v6, there) = (end("[2001:db8::1]:57946"), end("[::1]:19000"));
        let line = |from, to| {
            String::from_utf8(render(Form::V1, Whose::Clients(from, to)).into()).unwrap()
        };
        assert_eq!(line(v4, here), "PROXY TCP4 127.0.0.1 127.0.0.3 57946 19000\r\n");
        assert_eq!(line(v6, there), "PROXY TCP6 2001:db8::1 ::1 57946 19000\r\n");
        assert_eq!(line(v6, here), "PROXY TCP6 2001:db8::1 ::ffff:127.0.0.3 57946 19000\r\n");
        assert_eq!(line(v4, there), "PROXY TCP6 ::ffff:127.0.0.1 ::1 57946 19000\r\n");
        assert_eq!(render(Form::V1, Whose::Ours(v4, here)), line(v4, here));
        assert_eq!(render(Form::V1, Whose::Unknown), "PROXY UNKNOWN\r\n");
        let v2 = |rest: &[u8]| [SIGNATURE, rest].concat();
        let four = b"\x7f\0\0\x01\x7f\0\0\x03\xe2\x5a\x4a\x38";
        let whose = Whose::Clients(v4, here);
        assert_eq!(render(Form::V2, whose), v2(&[b"\x21\x11\0\x0c", &four[..]].concat()));
        let tls = b"\x20\0\x05\0\0\0\0\0";
        assert_eq!(render(Form::V2Ssl, whose), v2(&[b"\x21\x11\0\x14", &four[..], tls].concat()));
        let mixed = [
            &b"\x21\x21\0\x24\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01"[..],
            b"\0\0\0\0\0\0\0\0\0\0\xff\xff\x7f\0\0\x03\xe2\x5a\x4a\x38",
        ];
        assert_eq!(render(Form::V2, Whose::Clients(v6, here)), v2(&mixed.concat()));
        for whose in [Whose::Unknown, Whose::Ours(v4, here)] {
            assert_eq!(render(Form::V2, whose), v2(b"\x20\0\0\0"));
            assert_eq!(render(Form::V2Ssl, whose), v2(&[b"\x20\0\0\x08", &tls[..]].concat()));
        }
    }
}
