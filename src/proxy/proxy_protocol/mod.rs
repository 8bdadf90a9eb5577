//! The PROXY protocol (haproxy's proxy-protocol.txt): who the client is, said at the beginning of a connection by the
//! proxy before. Version 1 is a line of text, version 2 a few bytes.
//!
//! Pure: bytes in, values out. Who reads and writes them is in `proxied` and where connections to backends are made.

mod crc;
#[cfg(test)]
mod laws;
mod parse;

pub use self::parse::{Header, MAX_HEADER_BYTES, Malformed, parse};
