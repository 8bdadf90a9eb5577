//! Answers that the balancer gives itself, in haproxy's words.

use bytes::Bytes;
use hyper::header::{CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode};

use super::body::ResponseBody;
use crate::proxy::error;

/// The page of `status`. After a client's error the connection is closed: where its next request begins is not sure.
pub(crate) fn page(status: StatusCode) -> Response<ResponseBody> {
    let page = Bytes::from_static(error::page(status).as_bytes());
    let mut response = Response::new(ResponseBody::Page(Some(page)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html"));
    if status.is_client_error() {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// The same as bytes, for a connection on which no request could be read.
pub(crate) fn raw(status: StatusCode) -> Vec<u8> {
    let page = error::page(status);
    format!(
        "HTTP/1.1 {} {}\r\ncontent-length: {}\r\ncache-control: no-cache\r\ncontent-type: text/html\r\nconnection: close\r\n\r\n{page}",
        status.as_str(),
        status.canonical_reason().unwrap_or_default(),
        page.len(),
    )
    .into_bytes()
}
