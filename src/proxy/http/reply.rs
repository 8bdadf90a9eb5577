//! Answers that the balancer gives itself, in haproxy's words.

use hyper::StatusCode;

use super::message::fields::push_number;
use crate::proxy::error;

/// How an answer of ours is to be written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Form {
    /// The client's connection stays. After a client's error it never does: where its next request begins is not sure.
    pub(crate) keep: bool,
    /// The answer to `HEAD`: the page is only announced.
    pub(crate) is_head: bool,
}

/// Appends the page of `status`.
pub(crate) fn push(out: &mut Vec<u8>, status: StatusCode, form: Form) {
    let page = error::page(status);
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(status.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(status.canonical_reason().unwrap_or_default().as_bytes());
    out.extend_from_slice(b"\r\ncontent-length: ");
    push_number(out, u64::try_from(page.len()).unwrap_or_default());
    out.extend_from_slice(b"\r\ncache-control: no-cache\r\ncontent-type: text/html\r\n");
    if !form.keep {
        out.extend_from_slice(b"connection: close\r\n");
    }
    out.extend_from_slice(b"\r\n");
    if !form.is_head {
        out.extend_from_slice(page.as_bytes());
    }
}
