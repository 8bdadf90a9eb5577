//! The end of a body in chunks: the last chunk, and trailers as they go on.

use super::HEADERS;
use super::chunked::Malformed;
use super::fields::{Field, push_line};

/// The last chunk's line.
pub(super) const LAST: &[u8] = b"0\r\n";

/// What goes on of them, behind the last chunk. One that would have decided about the message, had it come in time, is
/// refused: somebody behind us might merge it into the head.
pub(super) fn judged(trailers: &[u8]) -> Result<Vec<u8>, Malformed> {
    let mut out = Vec::with_capacity(LAST.len() + trailers.len());
    out.extend_from_slice(LAST);
    if trailers != b"\r\n" {
        let mut headers = [httparse::EMPTY_HEADER; HEADERS];
        let parsed = httparse::parse_headers(trailers, &mut headers).map_err(|_| Malformed)?;
        let httparse::Status::Complete((_, headers)) = parsed else {
            return Err(Malformed);
        };
        for header in headers {
            match Field::of(header.name) {
                Field::ContentLength | Field::TransferEncoding | Field::Host => {
                    return Err(Malformed);
                }
                Field::Connection | Field::OldHop | Field::Te | Field::Upgrade => {}
                Field::Plain | Field::WebSocketKey | Field::WebSocketAccept | Field::Login => {
                    push_line(&mut out, header.name, header.value);
                }
            }
        }
    }
    out.extend_from_slice(b"\r\n");
    Ok(out)
}
