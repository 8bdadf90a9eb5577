//! Which request belongs to which backend: from what a client sends to a number.
//!
//! The numbers are haproxy 2.6's, bit for bit, so that half of a fleet that has moved sends a key to the backend that the
//! other half sends it to (`tests/it/hashing.rs` compares). Plain functions; who gets a number is decided by
//! `mapped` and `ring`.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;

/// `balance source | uri | hdr() | url_param` with its `hash-type` and `hash-balance-factor`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Hashing {
    /// What is hashed.
    pub key: Key,
    /// With what.
    pub function: Function,
    /// `avalanche`: the number is spread over all 32 bits. Default true for `hash-type consistent` without a function,
    /// else false, as haproxy.
    pub avalanche: bool,
    /// How a backend is found for the number.
    pub lookup: Lookup,
    /// `hash-balance-factor`, with [`Lookup::Consistent`].
    pub factor: Option<Factor>,
}

/// What of a request is hashed. A request without it is balanced in turn.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Key {
    /// `source`: the client's address.
    Source,
    /// `uri`: the target up to its query.
    Uri {
        /// `len`: bytes that count. Unset: all.
        length: Option<NonZeroU32>,
        /// `depth`: directories that count. Unset: all.
        depth: Option<NonZeroU32>,
        /// `whole`: the query too. Default false.
        whole: bool,
        /// `path-only`: not the scheme and host of a target that has them. Default false.
        path_only: bool,
    },
    /// `hdr(name)`: the first value of a header.
    Header {
        /// Compared without case.
        name: Arc<str>,
        /// `use_domain_only`: of a host name the part before the last dot, back to the dot before. Default false.
        domain: bool,
    },
    /// `url_param name`: a parameter in the query.
    Parameter(Arc<str>),
}

/// The function of `hash-type`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Function {
    /// haproxy's default.
    #[default]
    Sdbm,
    /// Bernstein's.
    Djb2,
    /// Wang Yi's predecessor of wyhash, as haproxy has it.
    Wt6,
    /// The CRC of zlib.
    Crc32,
}

/// The lookup of `hash-type`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Lookup {
    /// `map-based`: a table of as many places as the weights add up to. Most keys move when a backend comes or goes.
    /// haproxy's default.
    #[default]
    Map,
    /// `consistent`: a ring of points. Only the keys of a backend that goes move.
    Consistent,
}

/// `hash-balance-factor`: no backend has more than so many percent of the average load. Above 100.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Factor(u32);

impl Factor {
    /// `None` for 100 and less.
    pub const fn new(percent: u32) -> Option<Self> {
        if percent > 100 { Some(Self(percent)) } else { None }
    }

    /// In percent.
    pub const fn percent(self) -> u32 {
        self.0
    }
}

impl Key {
    /// haproxy's word for it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Uri { .. } => "uri",
            Self::Header { .. } => "hdr",
            Self::Parameter(_) => "url_param",
        }
    }
}

impl Hashing {
    /// The number of a client where there is no request: only `source` has one, and only of a client with an address.
    pub fn of_client(&self, client: Option<IpAddr>) -> Option<u32> {
        match self.key {
            Key::Source => client.map(|client| self.spread(source(client))),
            Key::Uri { .. } | Key::Header { .. } | Key::Parameter(_) => None,
        }
    }

    /// The number of a request: `target` as it stands in the request line, `header` the value of the first line with a
    /// name. `None`: what is hashed is not there.
    pub fn of_request<'a>(
        &self,
        client: Option<IpAddr>,
        target: &'a [u8],
        header: impl FnOnce(&str) -> Option<&'a [u8]>,
    ) -> Option<u32> {
        let key = match &self.key {
            Key::Source => return self.of_client(client),
            Key::Uri { length, depth, whole, path_only } => {
                let target = if *path_only { path(target) } else { target };
                let limit = length.map_or(target.len(), |n| to_usize(n.get()).min(target.len()));
                uri(target.get(..limit)?, *depth, *whole)
            }
            Key::Header { name, domain } => {
                let value = first_value(header(name)?);
                match (value, domain) {
                    ([], _) => return None,
                    (value, false) => value,
                    (value, true) => domain_of(value),
                }
            }
            Key::Parameter(name) => parameter(target, name.as_bytes())?,
        };
        Some(self.spread(self.function.of(key)))
    }

    fn spread(&self, number: u32) -> u32 {
        if self.avalanche { avalanche(number) } else { number }
    }
}

/// The words of an address, all in one.
fn source(client: IpAddr) -> u32 {
    match client {
        IpAddr::V4(addr) => addr.to_bits(),
        IpAddr::V6(addr) => {
            let bits = addr.to_bits();
            #[expect(clippy::cast_possible_truncation, reason = "cut into 32-bit words on purpose")]
            let word = |at: u32| (bits >> (32 * at)) as u32;
            word(0) ^ word(1) ^ word(2) ^ word(3)
        }
    }
}

/// Up to the query, unless `whole`, and up to the slash that ends the last directory that counts.
fn uri(target: &[u8], depth: Option<NonZeroU32>, whole: bool) -> &[u8] {
    let mut slashes = 0;
    let end = target.iter().position(|byte| match byte {
        b'/' => {
            slashes += 1;
            // The first slash begins the path, it ends no directory.
            depth.is_some_and(|depth| slashes > depth.get())
        }
        b'?' => !whole,
        _ => false,
    });
    target.get(..end.unwrap_or(target.len())).unwrap_or_default()
}

/// The target without scheme and authority.
fn path(target: &[u8]) -> &[u8] {
    if target.starts_with(b"/") {
        return target;
    }
    let Some(scheme) = target.windows(3).position(|w| w == b"://") else {
        return target;
    };
    let rest = target.get(scheme + 3..).unwrap_or_default();
    let start = rest.iter().position(|b| *b == b'/').unwrap_or(rest.len());
    rest.get(start..).unwrap_or_default()
}

/// The first of the comma-separated elements of a value. A comma within quotes separates nothing.
fn first_value(value: &[u8]) -> &[u8] {
    let (mut is_quoted, mut is_escaped) = (false, false);
    let end = value.iter().position(|byte| {
        if std::mem::take(&mut is_escaped) {
            return false;
        }
        match byte {
            b'\\' if is_quoted => is_escaped = true,
            b'"' => is_quoted = !is_quoted,
            b',' => return !is_quoted,
            _ => {}
        }
        false
    });
    value.get(..end.unwrap_or(value.len())).unwrap_or_default().trim_ascii()
}

/// Of `www.example.com` the `example`; all of a name without a dot. haproxy's edges: a dot at the very start ends nothing, and
/// of two dots side by side only the second does.
fn domain_of(value: &[u8]) -> &[u8] {
    let is_dot = |b: &u8| *b == b'.';
    let Some(end) = value.iter().skip(1).rposition(is_dot).map(|at| at + 1) else {
        return value;
    };
    let before = value.get(..end - 1).unwrap_or_default();
    let start = before.iter().rposition(is_dot).map_or(0, |dot| dot + 1);
    value.get(start..end).unwrap_or_default()
}

/// The value of the first parameter called `name`.
fn parameter<'a>(target: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let query = target.iter().position(|b| *b == b'?')?;
    let parameters = target.get(query + 1..)?.split(|b| *b == b'&');
    parameters.filter_map(|it| it.strip_prefix(name)?.strip_prefix(b"=")).next()
}

impl Function {
    /// The number of `bytes`.
    pub fn of(self, bytes: &[u8]) -> u32 {
        match self {
            Self::Sdbm => bytes.iter().fold(0, |sum: u32, byte| {
                // 65599 = 2^16 + 2^6 - 1.
                sum.wrapping_mul(65_599).wrapping_add(u32::from(*byte))
            }),
            Self::Djb2 => bytes
                .iter()
                .fold(5_381, |sum: u32, byte| sum.wrapping_mul(33).wrapping_add(u32::from(*byte))),
            Self::Wt6 => wt6(bytes),
            Self::Crc32 => crc32(bytes),
        }
    }
}

/// Two halves that turn each other by amounts which depend on what came before.
fn wt6(bytes: &[u8]) -> u32 {
    let (mut left, mut right) = (0xa53c_965a_u32, 0x5ca6_953a_u32);
    let (mut turn_right, mut turn_left) = (6, 18);
    for byte in bytes {
        let mixed = !(left ^ u32::from(*byte));
        let added = !right.wrapping_add(u32::from(*byte));
        right = mixed.rotate_left(turn_left);
        left = added.rotate_left(turn_right);
        let turns = ((left >> 16) ^ right) & 0xffff;
        turn_right = turns & 31;
        turn_left = turns >> 11;
    }
    left ^ right
}

/// Reflected, polynomial 0x04c11db7, as zlib.
fn crc32(bytes: &[u8]) -> u32 {
    let sum = bytes.iter().fold(u32::MAX, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _bit| {
            (sum >> 1) ^ if sum & 1 == 1 { 0xedb8_8320 } else { 0 }
        })
    });
    !sum
}

/// Jenkins' full avalanche of 4 bytes, then times the prime that haproxy spreads its trees with.
pub fn avalanche(number: u32) -> u32 {
    let mut a = number;
    a = a.wrapping_add(0x7ed5_5d16).wrapping_add(a << 12);
    a = (a ^ 0xc761_c23c) ^ (a >> 19);
    a = a.wrapping_add(0x1656_67b1).wrapping_add(a << 5);
    a = a.wrapping_add(0xd3a2_646c) ^ (a << 9);
    a = a.wrapping_add(0xfd70_46c5).wrapping_add(a << 3);
    a = (a ^ 0xb55a_4f09) ^ (a >> 16);
    a.wrapping_mul(3_221_225_473)
}

fn to_usize(n: u32) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests;
