//! `option forwardfor`: appends a line, never merges, trusts nothing.

use std::net::IpAddr;

use httparse::Header;

use super::fields::is_named;
use crate::digits;
use crate::proxy::{ForwardFor, IpNet};

/// Appends the line that `rule` asks for.
pub(crate) fn append(out: &mut Vec<u8>, rule: &ForwardFor, client: IpAddr, headers: &[Header<'_>]) {
    let client = client.to_canonical();
    if is_exempt(rule, client) {
        return;
    }
    // One that `Connection` names has been removed.
    let is_there = || headers.iter().any(|h| h.name.eq_ignore_ascii_case(&rule.header));
    if rule.if_none && is_there() && !is_named(headers, &rule.header) {
        return;
    }
    let start = out.len();
    out.extend_from_slice(rule.header.as_bytes());
    if let Some(name) = out.get_mut(start..) {
        name.make_ascii_lowercase();
    }
    out.extend_from_slice(b": ");
    digits::ip(out, client);
    out.extend_from_slice(b"\r\n");
}

/// True for a client that gets no line.
pub(crate) fn is_exempt(rule: &ForwardFor, client: IpAddr) -> bool {
    rule.except.is_some_and(|net| contains(net, client))
}

fn contains(net: IpNet, addr: IpAddr) -> bool {
    let (net_bits, addr_bits, width) = match (net.addr, addr) {
        (IpAddr::V4(n), IpAddr::V4(a)) => (u128::from(n.to_bits()), u128::from(a.to_bits()), 32),
        (IpAddr::V6(n), IpAddr::V6(a)) => (n.to_bits(), a.to_bits(), 128),
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => return false,
    };
    let ignored = width - u32::from(net.prefix).min(width);
    net_bits.checked_shr(ignored) == addr_bits.checked_shr(ignored)
}
