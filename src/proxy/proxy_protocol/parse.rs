//! Reading a header, of either version.
//!
//! Takes what haproxy 2.6 takes, with these differences, all where the protocol's text is on our side: a header may come
//! in pieces (haproxy closes), what follows `UNKNOWN` is skipped (haproxy wants the end of the line there), kinds of
//! addresses that are valid but not TCP's count as unknown (haproxy closes), two checksums are refused, and ports and IPv4 addresses are numbers
//! that fit (haproxy reads port 65536 as 0, none as 0, and `1.2` as 1.2.0.0).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::crc::crc32c;

/// Longest header of version 1, its CR LF included (the protocol's own bound).
const MAX_LINE_BYTES: usize = 107;

/// Longest header of version 2 that is read: haproxy reads it into one buffer of `tune.bufsize`, 16,384 by default.
pub const MAX_HEADER_BYTES: usize = 16_384;

/// How version 1 begins.
const V1: &[u8] = b"PROXY ";

/// How version 2 begins.
const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// Signature, version and command, kinds of addresses, length.
const V2_FIXED_BYTES: usize = 16;

/// The kind of TLV that is a CRC-32C of the whole header.
const TLV_CRC32C: u8 = 3;

/// A whole header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// How long it was.
    pub len: usize,
    /// Client, and the address that it has connected to. `None`: the connection speaks for itself (a check of the proxy
    /// before, or a client that it knows no address of).
    pub addrs: Option<(SocketAddr, SocketAddr)>,
}

/// Why a connection does not begin with a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Something else is spoken, or a version that is not known.
    #[error("received something which does not look like a PROXY protocol header")]
    Stranger,
    /// An unknown kind of addresses.
    #[error("received an unhandled protocol in the PROXY protocol header")]
    Protocol,
    /// Everything else.
    #[error("received an invalid PROXY protocol header")]
    Invalid,
}

/// The header at the start of `input`; `None`: it is not whole yet. Whatever is said about a beginning holds for all that
/// begins so.
///
/// # Errors
/// `input` cannot become a header.
pub fn parse(input: &[u8]) -> Result<Option<Header>, Malformed> {
    if let Some(line) = input.strip_prefix(V1) {
        return version1(line);
    }
    if input.starts_with(V2) {
        return version2(input);
    }
    if V1.starts_with(input) || V2.starts_with(input) { Ok(None) } else { Err(Malformed::Stranger) }
}

/// `PROXY ` has been read.
fn version1(rest: &[u8]) -> Result<Option<Header>, Malformed> {
    let room = rest.get(..MAX_LINE_BYTES - V1.len()).unwrap_or(rest);
    let Some(end) = room.iter().position(|byte| *byte == b'\n') else {
        if rest.len() >= MAX_LINE_BYTES - V1.len() {
            return Err(Malformed::Invalid);
        }
        return Ok(None);
    };
    let line = room.get(..end).and_then(|line| line.strip_suffix(b"\r"));
    let line = line.and_then(|line| std::str::from_utf8(line).ok()).ok_or(Malformed::Invalid)?;
    let mut words = line.split(' ');
    let addrs = match words.next() {
        Some("UNKNOWN") => None,
        Some("TCP4") => Some(pair::<Ipv4Addr>(words).ok_or(Malformed::Invalid)?),
        Some("TCP6") => Some(pair::<Ipv6Addr>(words).ok_or(Malformed::Invalid)?),
        _ => return Err(Malformed::Protocol),
    };
    Ok(Some(Header { len: V1.len() + end + 1, addrs }))
}

/// Two addresses, then their ports, and nothing else.
fn pair<'a, T>(words: impl Iterator<Item = &'a str>) -> Option<(SocketAddr, SocketAddr)>
where
    T: std::str::FromStr + Into<IpAddr>,
{
    let mut words = words;
    let [from, to] = [words.next()?, words.next()?].map(|word| word.parse::<T>().ok());
    let [from_port, to_port] = [words.next()?, words.next()?].map(port);
    let is_end = words.next().is_none();
    let addr = |ip: T, port| SocketAddr::new(ip.into(), port);
    is_end.then_some((addr(from?, from_port?), addr(to?, to_port?)))
}

/// Digits only, leading zeros included, as haproxy reads them.
fn port(word: &str) -> Option<u16> {
    let is_number = !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| word.parse().ok()).flatten()
}

/// The signature has come.
fn version2(input: &[u8]) -> Result<Option<Header>, Malformed> {
    let fixed = input.get(V2.len()..).unwrap_or_default();
    let command = match fixed.first() {
        Some(0x20) => Command::Local,
        Some(0x21) => Command::Proxy,
        Some(other) if other >> 4 == 2 => return Err(Malformed::Invalid),
        Some(_) => return Err(Malformed::Stranger),
        None => return Ok(None),
    };
    let Some(kind) = fixed.get(1).map(|byte| Kind::of(*byte)) else {
        return Ok(None);
    };
    // Of a check nobody looks at it.
    let kind =
        if command == Command::Local { Kind::Other } else { kind.ok_or(Malformed::Invalid)? };
    let &[_, _, high, low, ..] = fixed else {
        return Ok(None);
    };
    let len = V2_FIXED_BYTES + usize::from(u16::from_be_bytes([high, low]));
    if len > MAX_HEADER_BYTES || len < V2_FIXED_BYTES + kind.bytes() {
        return Err(Malformed::Invalid);
    }
    let (Some(header), Some(body)) = (input.get(..len), input.get(V2_FIXED_BYTES..len)) else {
        return Ok(None);
    };
    let addrs = match kind {
        Kind::Tcp4 => tcp4(body),
        Kind::Tcp6 => tcp6(body),
        Kind::Other => return Ok(Some(Header { len, addrs: None })),
    };
    check_tlvs(header, V2_FIXED_BYTES + kind.bytes())?;
    Ok(Some(Header { len, addrs: Some(addrs.ok_or(Malformed::Invalid)?) }))
}

/// The lower half of the first byte after the signature.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Command {
    /// The connection is the other proxy's own.
    Local,
    /// It is on behalf of somebody.
    Proxy,
}

/// Kinds of addresses.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Tcp4,
    Tcp6,
    /// Unspecified, datagrams, unix sockets.
    Other,
}

impl Kind {
    /// `None`: the protocol has no such kind.
    fn of(byte: u8) -> Option<Self> {
        match byte {
            0x11 => Some(Self::Tcp4),
            0x21 => Some(Self::Tcp6),
            0x00 | 0x12 | 0x22 | 0x31 | 0x32 => Some(Self::Other),
            _ => None,
        }
    }

    /// Length of two addresses and two ports.
    fn bytes(self) -> usize {
        match self {
            Self::Tcp4 => 2 * (4 + 2),
            Self::Tcp6 => 2 * (16 + 2),
            Self::Other => 0,
        }
    }
}

fn tcp4(body: &[u8]) -> Option<(SocketAddr, SocketAddr)> {
    let (from, rest) = body.split_first_chunk::<4>()?;
    let (to, rest) = rest.split_first_chunk::<4>()?;
    ports((*from).into(), (*to).into(), rest)
}

fn tcp6(body: &[u8]) -> Option<(SocketAddr, SocketAddr)> {
    let (from, rest) = body.split_first_chunk::<16>()?;
    let (to, rest) = rest.split_first_chunk::<16>()?;
    ports((*from).into(), (*to).into(), rest)
}

fn ports(from: IpAddr, to: IpAddr, rest: &[u8]) -> Option<(SocketAddr, SocketAddr)> {
    let (from_port, rest) = rest.split_first_chunk::<2>()?;
    let (to_port, _tlvs) = rest.split_first_chunk::<2>()?;
    let addr = |ip, port: &[u8; 2]| SocketAddr::new(ip, u16::from_be_bytes(*port));
    Some((addr(from, from_port), addr(to, to_port)))
}

/// What follows the addresses must be whole, and a checksum among it right; nothing else of it is used. There is one
/// checksum at most: each costs a walk over the whole header.
fn check_tlvs(header: &[u8], start: usize) -> Result<(), Malformed> {
    let (mut at, mut is_summed) = (start, false);
    while at < header.len() {
        let &[kind, high, low, ..] = header.get(at..).unwrap_or_default() else {
            return Err(Malformed::Invalid);
        };
        let value = at + 3..at + 3 + usize::from(u16::from_be_bytes([high, low]));
        at = value.end;
        let (before, sum) = (header.get(..value.start), header.get(value));
        let (Some(before), Some(sum), Some(after)) = (before, sum, header.get(at..)) else {
            return Err(Malformed::Invalid);
        };
        if kind == TLV_CRC32C {
            let said = sum.try_into().map(u32::from_be_bytes).map_err(|_| Malformed::Invalid)?;
            // The sum is made with zeros in its own place.
            if is_summed || crc32c([before, &[0; 4], after]) != said {
                return Err(Malformed::Invalid);
            }
            is_summed = true;
        }
    }
    Ok(())
}

#[cfg(test)]
#[path = "parse_tests.rs"]
mod tests;
