//! The parser of the PROXY protocol, by its path.

#[path = "../../../src/proxy/proxy_protocol/crc.rs"]
mod crc;
#[path = "../../../src/proxy/proxy_protocol/laws.rs"]
pub(crate) mod laws;
#[path = "../../../src/proxy/proxy_protocol/parse.rs"]
mod parse;
