//! HTTP/1.x messages as bytes: what a head means, where a body ends, what changes on the way through.
//!
//! Nothing here reads, writes or waits: bytes in, judgement and bytes out. Each message is framed by one decision, made
//! when its head is read; what two readers could understand differently is refused, never repaired. A head is copied as
//! it came; only lines that must change are left out or written anew.
//!
//! `read` and what it consists of have one caller each and are inlined by order: left to the compiler, it depends on how it
//! happens to cut the crate into units, and costs 200 instructions per request when it does not (callgrind).

pub(crate) mod chunked;
pub(crate) mod fields;
pub(crate) mod forwarded;
pub(crate) mod framing;
pub(crate) mod request;
pub(crate) mod response;
pub(crate) mod target;
mod trailers;
pub(crate) mod unfold;

#[cfg(test)]
mod tests;

/// Largest head: haproxy's `tune.bufsize` less `tune.maxrewrite`.
pub const HEAD_BYTES: usize = 15_360;

/// Most headers in a head: haproxy's `tune.http.maxhdr`.
pub const HEADERS: usize = 101;

/// The minor version of a message; the major one is always 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Version {
    /// HTTP/1.0.
    V10,
    /// HTTP/1.1.
    V11,
}

impl Version {
    /// As httparse says it.
    fn of(minor: Option<u8>) -> Self {
        if minor == Some(0) { Self::V10 } else { Self::V11 }
    }

    /// The last digit.
    pub(crate) fn digit(self) -> u8 {
        match self {
            Self::V10 => b'0',
            Self::V11 => b'1',
        }
    }
}

/// Protocol change that a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Upgrade {
    /// None.
    No,
    /// `websocket`.
    WebSocket,
    /// Something else.
    Other,
}

/// A request that is not forwarded, with what its sender is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct Refusal {
    /// Status of the answer.
    pub status: u16,
    /// One line for logs.
    pub why: &'static str,
    /// It was `HEAD` and wrong only behind its head: the answer has no body.
    pub is_head: bool,
}

impl Refusal {
    /// With any status.
    pub(crate) const fn new(status: u16, why: &'static str) -> Self {
        Self { status, why, is_head: false }
    }

    /// 400.
    pub(crate) const fn bad(why: &'static str) -> Self {
        Self::new(400, why)
    }
}
