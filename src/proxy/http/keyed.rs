//! What a request is balanced by, found in its head as it came.

use std::net::IpAddr;

use crate::lb::hash::Hashing;

/// The number of the request whose head is `head`, which has been judged.
///
/// Not to be inlined: only services that balance by hash need it.
#[inline(never)]
pub(super) fn hash(hashing: &Hashing, client: Option<IpAddr>, head: &[u8]) -> Option<u32> {
    let mut lines = head.trim_ascii_start().split(|b| *b == b'\n');
    let mut words = lines.next()?.split(|b| *b == b' ').filter(|word| !word.is_empty());
    let target = words.nth(1)?;
    hashing.of_request(client, target, |name| {
        lines.find_map(|line| {
            let (own, value) = line.split_at_checked(name.len())?;
            let value = value.strip_prefix(b":")?;
            own.eq_ignore_ascii_case(name.as_bytes()).then(|| value.trim_ascii())
        })
    })
}
