//! Heads: judged as strictly as HTTP/1's, and made into those that the other side gets.
//!
//! The `h2` crate has refused what is no HTTP/2 (names in capitals, pseudo-headers out of place, connection-specific
//! headers, values with line ends). Here is decided what a proxy may hand on.

use std::net::IpAddr;

use hyper::header::{
    CONNECTION, CONTENT_LENGTH, COOKIE, EXPECT, HOST, HeaderMap, HeaderName, HeaderValue, TE,
    TRANSFER_ENCODING,
};
use hyper::http::request;
use hyper::http::uri::{PathAndQuery, Scheme};
use hyper::{Method, Request, Uri, Version};

use super::fields::{self, is_there, strip, values};
use super::vetted::ADDED;
use crate::dial::Address;
use crate::lb::hash::{Hashing, Key};
use crate::proxy::ForwardFor;
use crate::proxy::http::message::fields::has_token;
use crate::proxy::http::message::forwarded::is_exempt;
use crate::proxy::http::message::framing::Framing;
use crate::proxy::http::message::target::{Site, is_host, is_method};
use crate::proxy::http::message::{HEAD_BYTES, HEADERS, Refusal};

/// Beside `Upgrade: h2c`, which is left out.
const SETTINGS: HeaderName = HeaderName::from_static("http2-settings");

/// A request as a backend may get it, in either version.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) method: Method,
    /// Of a target that said all: scheme, host and path.
    scheme: Option<Scheme>,
    /// Path and query, or `*`.
    path: PathAndQuery,
    /// The one host for every reader.
    host: HeaderValue,
    /// Neither `host` nor anything about the connection.
    fields: HeaderMap,
    /// `te: trailers`.
    takes_trailers: bool,
    /// `expect: 100-continue`, which is answered here.
    pub(super) expects: bool,
}

/// What the proxy adds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules<'a> {
    pub(super) forward_for: Option<&'a ForwardFor>,
    pub(super) client: Option<IpAddr>,
}

/// Judges a request.
///
/// # Errors
/// When it must not be forwarded.
pub(super) fn judge(parts: request::Parts, rules: Rules<'_>) -> Result<Head, Refusal> {
    let request::Parts { method, uri, version, headers, .. } = parts;
    is_within_bounds(version, &uri, &headers)?;
    is_method(method.as_str())?;
    if version == Version::HTTP_2 && uri.scheme_str().is_some_and(str::is_empty) {
        return Err(Refusal::bad("no scheme"));
    }
    if version != Version::HTTP_2 && uri.scheme().is_none() && uri.authority().is_some() {
        // `host:port` is for CONNECT.
        return Err(Refusal::bad("target is not a path"));
    }
    let host = host(version, &uri, &headers)?;
    let scheme = uri.scheme().cloned();
    let path = path(&method, uri)?;
    if headers.values().any(|value| is_padded(value.as_bytes())) {
        return Err(Refusal::bad("space around a value"));
    }
    let length = length(version, &headers)?;
    let expects = has(&headers, &EXPECT, "100-continue");
    let takes_trailers = has(&headers, &TE, "trailers");
    let mut fields = headers;
    strip(&mut fields);
    for name in [HOST, TE, EXPECT, SETTINGS] {
        if is_there(&fields, &name) {
            fields.remove(name);
        }
    }
    if let Some(length) = length {
        fields.insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    join_cookies(&mut fields);
    if let (Some(rule), Some(client)) = (rules.forward_for, rules.client) {
        forwarded(&mut fields, rule, client);
    }
    Ok(Head { method, scheme, path, host, fields, takes_trailers, expects })
}

/// The same sizes as with HTTP/1.
fn is_within_bounds(version: Version, uri: &Uri, headers: &HeaderMap) -> Result<(), Refusal> {
    // HTTP/1 has been counted as it came.
    let most = if version == Version::HTTP_2 { HEADERS } else { HEADERS + ADDED };
    let line = uri.path_and_query().map_or(0, |path| path.as_str().len());
    let fields: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    if line > HEAD_BYTES {
        Err(Refusal::new(414, "target too long"))
    } else if line + fields > HEAD_BYTES {
        Err(Refusal::new(431, "head too large"))
    } else if headers.len() > most {
        Err(Refusal::new(431, "too many headers"))
    } else {
        Ok(())
    }
}

fn path(method: &Method, uri: Uri) -> Result<PathAndQuery, Refusal> {
    let path = uri.into_parts().path_and_query;
    let path = path.unwrap_or_else(|| PathAndQuery::from_static("/"));
    let text = path.as_str();
    if text == "*" {
        return if method == Method::OPTIONS {
            Ok(path)
        } else {
            Err(Refusal::bad("* is only for OPTIONS"))
        };
    }
    if !text.starts_with('/') {
        return Err(Refusal::bad("target is not a path"));
    }
    if !text.bytes().all(|b| b.is_ascii_graphic() && b != b'#') {
        return Err(Refusal::bad("byte in the target"));
    }
    Ok(path)
}

/// `:authority` (or an absolute target's), else `host`; both must agree.
fn host(version: Version, uri: &Uri, headers: &HeaderMap) -> Result<HeaderValue, Refusal> {
    let mut lines = values(headers, &HOST);
    let host = lines.next();
    if lines.any(|line| Some(line) != host) {
        return Err(Refusal::bad("two different hosts"));
    }
    if host.is_some_and(|host| !is_host(host.as_bytes())) {
        return Err(Refusal::bad("host is not a host"));
    }
    let scheme = uri.scheme_str().unwrap_or_default();
    match (uri.authority(), host) {
        (Some(authority), _) if !is_host(authority.as_str().as_bytes()) => {
            Err(Refusal::bad("target's host"))
        }
        (Some(authority), Some(host))
            if !(Site { scheme, authority: authority.as_str() }).is_at(host.as_bytes()) =>
        {
            Err(Refusal::bad("host differs from the target's"))
        }
        (Some(authority), _) => {
            HeaderValue::from_str(authority.as_str()).map_err(|_| Refusal::bad("target's host"))
        }
        (None, Some(host)) => Ok(host.clone()),
        // It need not say one (RFC 9112 3.2).
        (None, None) if version == Version::HTTP_10 => Ok(HeaderValue::from_static("")),
        (None, None) => Err(Refusal::bad("no host")),
    }
}

/// The body's length, if it is said. Of HTTP/1 as strict as our own engine: hyper takes `gzip, chunked` for chunks.
fn length(version: Version, headers: &HeaderMap) -> Result<Option<u64>, Refusal> {
    let mut framing = Framing::default();
    for value in values(headers, &CONTENT_LENGTH) {
        framing.add_length(value.as_bytes()).map_err(|error| Refusal::bad(error.0))?;
    }
    let codings = values(headers, &TRANSFER_ENCODING).filter(|_| version != Version::HTTP_2);
    for value in codings {
        framing.add_coding(value.as_bytes()).map_err(|error| Refusal::bad(error.0))?;
    }
    if framing.chunked && framing.length.is_some() {
        return Err(Refusal::bad("content-length and transfer-encoding"));
    }
    Ok(framing.length)
}

/// RFC 9113 8.2.1: what stands around a value in HTTP/1 has no place in it.
fn is_padded(value: &[u8]) -> bool {
    let is_space = |b: Option<&u8>| matches!(b, Some(b' ' | b'\t'));
    is_space(value.first()) || is_space(value.last())
}

fn has(headers: &HeaderMap, name: &HeaderName, word: &str) -> bool {
    values(headers, name).any(|value| has_token(value.as_bytes(), word))
}

/// Clients may cut cookies into crumbs for the sake of compression (RFC 9113 8.2.3); applications expect one line.
fn join_cookies(fields: &mut HeaderMap) {
    if values(fields, &COOKIE).nth(1).is_none() {
        return;
    }
    let crumbs: Vec<&[u8]> = fields.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if let Ok(joined) = HeaderValue::from_bytes(&crumbs.join(&b"; "[..])) {
        fields.insert(COOKIE, joined);
    }
}

/// `option forwardfor`.
fn forwarded(fields: &mut HeaderMap, rule: &ForwardFor, client: IpAddr) {
    let client = client.to_canonical();
    // The configured name was judged when the file was read.
    let Ok(name) = HeaderName::from_bytes(rule.header.as_bytes()) else {
        return;
    };
    if is_exempt(rule, client) || (rule.if_none && fields.contains_key(&name)) {
        return;
    }
    if let Ok(value) = HeaderValue::from_str(&client.to_string()) {
        fields.append(name, value);
    }
}

impl Head {
    /// See [`fields::is_login`].
    pub(super) fn is_login(&self) -> bool {
        fields::is_login(&self.fields)
    }

    /// What it is balanced by. The URI of HTTP/2 is all of it, as with haproxy, unless the configuration says `path-only`.
    pub(super) fn hash(&self, hashing: &Hashing, client: Option<IpAddr>) -> Option<u32> {
        let whole;
        let target = match (&self.scheme, &hashing.key) {
            (Some(scheme), Key::Uri { path_only: false, .. }) => {
                let start = [scheme.as_str().as_bytes(), b"://", self.host.as_bytes()];
                whole = [&start.concat(), self.path.as_str().as_bytes()].concat();
                &whole
            }
            _ => self.path.as_str().as_bytes(),
        };
        hashing.of_request(client, target, |name| {
            let value = if name.eq_ignore_ascii_case("host") {
                Some(&self.host)
            } else {
                self.fields.get(name)
            };
            value.map(HeaderValue::as_bytes)
        })
    }

    /// True for what may be done twice (RFC 9110 9.2.2).
    pub(super) fn is_idempotent(&self) -> bool {
        self.method.is_idempotent()
    }

    /// For an HTTP/1.1 backend at `addr`, whose host it is when the client has not said one: many refuse an empty one.
    pub(super) fn to_http1<B>(&self, addr: &Address, (body, close): (B, bool)) -> Request<B> {
        let mut request = Request::new(body);
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = Uri::from(self.path.clone());
        let fields = request.headers_mut();
        // And what is added below.
        fields.reserve(self.fields.len() + 4);
        // First, as clients send it.
        let is_said = !self.host.is_empty();
        let own = if is_said { None } else { HeaderValue::from_str(&addr.authority()).ok() };
        fields.insert(HOST, own.unwrap_or_else(|| self.host.clone()));
        for (name, value) in &self.fields {
            fields.append(name, value.clone());
        }
        if self.takes_trailers {
            fields.insert(TE, HeaderValue::from_static("trailers"));
        }
        if close {
            fields.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        request
    }

    /// For an HTTP/2 backend at `addr`, whose host it is when the client has not said one.
    pub(super) fn to_http2(&self, addr: &Address) -> Option<Request<()>> {
        let uri = Uri::builder().scheme("http").path_and_query(self.path.clone());
        let uri = match self.host.to_str().ok()? {
            "" => uri.authority(addr.authority()),
            authority => uri.authority(authority),
        };
        let mut request = Request::new(());
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = uri.build().ok()?;
        *request.version_mut() = Version::HTTP_2;
        let fields = request.headers_mut();
        *fields = self.fields.clone();
        if self.takes_trailers {
            fields.insert(TE, HeaderValue::from_static("trailers"));
        }
        Some(request)
    }
}

#[cfg(test)]
mod tests;
