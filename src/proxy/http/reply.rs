//! Answers that the balancer gives itself, in haproxy's words.

use hyper::StatusCode;

use crate::digits;
use crate::proxy::error;

/// How an answer of ours is to be written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Form {
    /// The client's connection stays. After a client's error it never does: where its next request begins is not sure.
    pub(crate) keep: bool,
    /// The answer to `HEAD`: the page is only announced.
    pub(crate) is_head: bool,
}

/// Appends the page of `status`, byte for byte as haproxy 2.6 does: what it says about a client's error has other
/// capitals and another order, and always closes.
pub(crate) fn push(out: &mut Vec<u8>, status: StatusCode, form: Form) {
    let page = error::page(status);
    let close = if form.keep { "" } else { "connection: close\r\n" };
    let [length, lines @ ..] = if status.is_client_error() {
        [
            "Content-length: ",
            "Cache-Control: no-cache\r\n",
            "Connection: close\r\n",
            "Content-Type: text/html\r\n",
        ]
    } else {
        ["content-length: ", "cache-control: no-cache\r\n", "content-type: text/html\r\n", close]
    };
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(title(page).unwrap_or(status.as_str()).as_bytes());
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(length.as_bytes());
    digits::number(out, u64::try_from(page.len()).unwrap_or_default());
    out.extend_from_slice(b"\r\n");
    for line in lines {
        out.extend_from_slice(line.as_bytes());
    }
    out.extend_from_slice(b"\r\n");
    if !form.is_head {
        out.extend_from_slice(page.as_bytes());
    }
}

/// Bytes of the page of `status` with its head, for a connection that closes.
pub(crate) fn length(status: StatusCode, is_head: bool) -> u64 {
    let mut page = Vec::new();
    push(&mut page, status, Form { keep: false, is_head });
    page.len() as u64
}

/// Status and reason: the heading of the page.
fn title(page: &'static str) -> Option<&'static str> {
    let (_, from) = page.split_once("<h1>")?;
    from.split_once("</h1>").map(|(title, _)| title)
}
