//! Fuzz targets for SmartStack's HTTP/1 engine and what else reads the bytes of strangers: `fuzz/run` runs them, `docs/fuzzing.md` says what they are for.
//!
//! The laws are those that the package's own tests hold against the seeds; the differential targets, which need a parser
//! written in C, are only here.

pub mod differential;
#[path = "../../src/digits.rs"]
#[allow(dead_code, reason = "the targets do not use all of it")]
mod digits;
pub mod leniency;
pub mod oracle;
mod proxy;

/// The laws of a request's head.
///
/// # Panics
/// When one is broken; so do the others.
pub fn request_head(input: &[u8]) {
    proxy::http::laws::request_head(input);
}

/// The laws of an answer's head.
pub fn response_head(input: &[u8]) {
    proxy::http::laws::response_head(input);
}

/// The laws of a body in chunks.
pub fn chunks(input: &[u8]) {
    proxy::http::laws::chunks(input);
}

/// The laws of a header of the PROXY protocol.
pub fn proxy_header(input: &[u8]) {
    proxy::proxy_protocol::laws::header(input);
}

/// The laws of a client's connection.
pub fn conversation(input: &[u8]) {
    proxy::http::laws::conversation(input);
}
