//! What holds for any bytes: a function that panics where it does not. Compiled for tests, and by the fuzz crate by its
//! path, as `http::laws`.

use std::net::SocketAddr;

use super::parse::{Header, MAX_HEADER_BYTES, Malformed, parse};

/// Longest input of which every beginning is judged: each is read anew.
const BYTEWISE: usize = 700;

/// Bytes in front of a connection: what is said about a beginning holds for all that begins so, so packets do not matter;
/// what is taken is bounded, and written as version 1 it is read as the same.
///
/// # Panics
/// When a law is broken.
pub(crate) fn header(input: &[u8]) {
    let whole = parse(input);
    for end in ends(input.len()) {
        let part = parse(&input[..end]);
        assert!(
            part == whole || part == Ok(None),
            "{end} bytes of {}: {part:?}, all: {whole:?}",
            input.escape_ascii()
        );
    }
    match whole {
        Ok(Some(header)) => taken(input, header),
        Ok(None) => assert!(input.len() < MAX_HEADER_BYTES, "{} bytes are no header", input.len()),
        Err(Malformed::Stranger | Malformed::Protocol | Malformed::Invalid) => {}
    }
}

/// All of a short input, its last bytes of a long one.
fn ends(len: usize) -> impl Iterator<Item = usize> {
    (0..len.min(BYTEWISE)).chain(len.saturating_sub(BYTEWISE)..len)
}

fn taken(input: &[u8], header: Header) {
    let Header { len, addrs } = header;
    assert!(len <= input.len() && len <= MAX_HEADER_BYTES, "a header of {len}");
    assert_eq!(parse(&input[..len]), Ok(Some(header)), "alone");
    let Some((from, to)) = addrs else {
        return;
    };
    assert_eq!(from.is_ipv4(), to.is_ipv4(), "{from} to {to}");
    let line = line(from, to);
    let again = Header { len: line.len(), addrs };
    assert_eq!(parse(line.as_bytes()), Ok(Some(again)), "{line}");
}

/// Version 1.
fn line(from: SocketAddr, to: SocketAddr) -> String {
    let family = if from.is_ipv4() { "TCP4" } else { "TCP6" };
    let (from_ip, to_ip) = (from.ip(), to.ip());
    format!("PROXY {family} {from_ip} {to_ip} {} {}\r\n", from.port(), to.port())
}
