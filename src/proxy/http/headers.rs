//! What changes in a head on its way through: hop-by-hop headers, `X-Forwarded-For`, the form of the target.
//!
//! Pure functions. Framing headers and `Host` cannot be removed by naming them in `Connection`: that would let a client
//! change where a message ends.

use std::net::IpAddr;

use hyper::header::{
    CONNECTION, CONTENT_LENGTH, HOST, HeaderMap, HeaderName, HeaderValue, TE, TRANSFER_ENCODING,
    UPGRADE,
};
use hyper::http::request::Parts;
use hyper::{Method, StatusCode, Uri, Version};

use crate::proxy::error::ProxyError;
use crate::proxy::{ForwardFor, IpNet};

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const WEBSOCKET_KEY: HeaderName = HeaderName::from_static("sec-websocket-key");
const WEBSOCKET_ACCEPT: HeaderName = HeaderName::from_static("sec-websocket-accept");

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

/// Makes a client's head into the one the backend gets.
///
/// # Errors
/// When the request must not be forwarded.
pub(crate) fn request(parts: &mut Parts) -> Result<Upgrade, ProxyError> {
    target(parts)?;
    one_host(&parts.headers)?;
    if !is_plainly_framed(&parts.headers) {
        return Err(ProxyError::ClientProtocol("transfer-encoding"));
    }
    let upgrade = wanted_upgrade(parts)?;
    strip(&mut parts.headers);
    match upgrade {
        Upgrade::No => {
            parts.headers.remove(UPGRADE);
        }
        Upgrade::WebSocket | Upgrade::Other => {
            let value = HeaderValue::from_static("upgrade");
            parts.headers.insert(CONNECTION, value);
        }
    }
    if let Some(te) = parts.headers.remove(TE)
        && tokens(&te).any(|t| t.eq_ignore_ascii_case("trailers"))
    {
        let value = HeaderValue::from_static("trailers");
        parts.headers.insert(TE, value);
    }
    if parts.headers.contains_key(TRANSFER_ENCODING) {
        // hyper has framed by it; two framings must never travel on.
        parts.headers.remove(CONTENT_LENGTH);
    }
    // The two hops keep their connections independently of each other.
    parts.version = Version::HTTP_11;
    Ok(upgrade)
}

/// Makes a backend's head into the one the client gets.
///
/// # Errors
/// When the backend switches protocols unasked or wrongly, or frames its answer in a way nobody asked for.
pub(crate) fn response(
    status: StatusCode,
    headers: &mut HeaderMap,
    wanted: Upgrade,
) -> Result<(), &'static str> {
    if !is_plainly_framed(headers) {
        return Err("transfer-encoding other than chunked");
    }
    strip(headers);
    if status == StatusCode::SWITCHING_PROTOCOLS {
        match wanted {
            Upgrade::No => return Err("protocol switched unasked"),
            Upgrade::WebSocket if !headers.contains_key(WEBSOCKET_ACCEPT) => {
                return Err("switched to websocket without sec-websocket-accept");
            }
            Upgrade::WebSocket | Upgrade::Other => {}
        }
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    } else {
        headers.remove(UPGRADE);
        // hyper frames anew for the client: by length where it is known, else as its version allows.
        headers.remove(TRANSFER_ENCODING);
    }
    Ok(())
}

/// Tells the other side that this is the last message.
pub(crate) fn close(headers: &mut HeaderMap) {
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
}

/// `option forwardfor`: appends a line, never merges, trusts nothing.
pub(crate) fn forward_for(headers: &mut HeaderMap, rule: &ForwardFor, client: IpAddr) {
    let client = client.to_canonical();
    if rule.except.is_some_and(|net| contains(net, client)) {
        return;
    }
    let name = if rule.header.eq_ignore_ascii_case(X_FORWARDED_FOR.as_str()) {
        X_FORWARDED_FOR
    } else {
        match HeaderName::from_bytes(rule.header.as_bytes()) {
            Ok(name) => name,
            // The config refuses names that are not tokens.
            Err(_) => return,
        }
    };
    if rule.if_none && headers.contains_key(&name) {
        return;
    }
    if let Ok(value) = HeaderValue::try_from(client.to_string()) {
        headers.append(name, value);
    }
}

/// True for methods that may be sent twice without doing anything twice (RFC 9110 9.2.2).
pub(crate) fn is_idempotent(method: &Method) -> bool {
    [Method::GET, Method::HEAD, Method::OPTIONS, Method::TRACE, Method::PUT, Method::DELETE]
        .contains(method)
}

fn contains(net: IpNet, addr: IpAddr) -> bool {
    let (net_bits, addr_bits, width) = match (net.addr, addr) {
        (IpAddr::V4(n), IpAddr::V4(a)) => (u128::from(n.to_bits()), u128::from(a.to_bits()), 32),
        (IpAddr::V6(n), IpAddr::V6(a)) => (n.to_bits(), a.to_bits(), 128),
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => return false,
    };
    let ignored = width - u32::from(net.prefix).min(width);
    net_bits.checked_shr(ignored) == addr_bits.checked_shr(ignored)
}

/// Origin form for the backend; refuses what a balancer must not guess about.
fn target(parts: &mut Parts) -> Result<(), ProxyError> {
    if parts.method == Method::CONNECT {
        return Err(ProxyError::Method);
    }
    if parts.uri.path() == "*" {
        return if parts.method == Method::OPTIONS {
            Ok(())
        } else {
            Err(ProxyError::ClientProtocol("* is only for OPTIONS"))
        };
    }
    let Some(authority) = parts.uri.authority() else {
        return if parts.uri.path().starts_with('/') {
            Ok(())
        } else {
            Err(ProxyError::ClientProtocol("target is not a path"))
        };
    };
    if parts.uri.scheme().is_none() {
        return Err(ProxyError::ClientProtocol("target is an authority"));
    }
    match parts.headers.get(HOST) {
        Some(host) if !same_host(host.as_bytes(), authority.as_str()) => {
            return Err(ProxyError::ClientProtocol("host differs from the target's"));
        }
        Some(_) => {}
        None => {
            let host = HeaderValue::try_from(authority.as_str())
                .map_err(|_| ProxyError::ClientProtocol("target's host"))?;
            parts.headers.insert(HOST, host);
        }
    }
    let path = parts.uri.path_and_query().cloned();
    parts.uri = path.map_or_else(|| Uri::from_static("/"), Uri::from);
    Ok(())
}

/// Whoever reads the first of two hosts and whoever reads the last must read the same, and only a host.
fn one_host(headers: &HeaderMap) -> Result<(), ProxyError> {
    let mut hosts = headers.get_all(HOST).iter();
    let Some(first) = hosts.next() else {
        return Ok(());
    };
    if hosts.any(|other| other != first) {
        return Err(ProxyError::ClientProtocol("two different hosts"));
    }
    let bad = |b: &u8| !b.is_ascii_graphic() || b"/@#?\\<>\"".contains(b);
    if first.as_bytes().iter().any(bad) {
        return Err(ProxyError::ClientProtocol("host is not a host"));
    }
    Ok(())
}

/// True when `Transfer-Encoding` is absent or says `chunked` and nothing else. hyper looks at the last coding only: with
/// `chunked, chunked` the next hop could see another end of the message, and a `gzip` would be left on the body while its
/// name is gone.
fn is_plainly_framed(headers: &HeaderMap) -> bool {
    let mut lines = headers.get_all(TRANSFER_ENCODING).iter();
    let is_chunked =
        |line: &HeaderValue| line.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked");
    lines.next().is_none_or(is_chunked) && lines.next().is_none()
}

fn same_host(host: &[u8], authority: &str) -> bool {
    let plain = |s: &str| s.strip_suffix(":80").unwrap_or(s).to_ascii_lowercase();
    std::str::from_utf8(host).is_ok_and(|host| plain(host) == plain(authority))
}

fn wanted_upgrade(parts: &Parts) -> Result<Upgrade, ProxyError> {
    let Some(protocol) = parts.headers.get(UPGRADE) else {
        return Ok(Upgrade::No);
    };
    let named = parts
        .headers
        .get_all(CONNECTION)
        .iter()
        .flat_map(tokens)
        .any(|token| token.eq_ignore_ascii_case("upgrade"));
    // h2c would hand the backend's HTTP/2 to the client unseen.
    let is = |name: &str| tokens(protocol).any(|token| token.eq_ignore_ascii_case(name));
    if !named || parts.version != Version::HTTP_11 || is("h2c") {
        return Ok(Upgrade::No);
    }
    if !is("websocket") {
        return Ok(Upgrade::Other);
    }
    if parts.headers.contains_key(WEBSOCKET_KEY) {
        Ok(Upgrade::WebSocket)
    } else {
        Err(ProxyError::ClientProtocol("websocket without sec-websocket-key"))
    }
}

/// Removes `Connection`, what it names, and the hop-by-hop headers of old.
fn strip(headers: &mut HeaderMap) {
    if headers.contains_key(CONNECTION) {
        let named: Vec<HeaderName> = headers
            .get_all(CONNECTION)
            .iter()
            .flat_map(tokens)
            .filter(|t| !t.eq_ignore_ascii_case("close") && !t.eq_ignore_ascii_case("keep-alive"))
            .filter_map(|token| HeaderName::from_bytes(token.as_bytes()).ok())
            .filter(|name| ![CONTENT_LENGTH, TRANSFER_ENCODING, HOST, UPGRADE, TE].contains(name))
            .collect();
        for name in named {
            headers.remove(name);
        }
        headers.remove(CONNECTION);
    }
    headers.remove(KEEP_ALIVE);
    headers.remove(PROXY_CONNECTION);
}

/// The comma-separated words of a value; none when it is not text.
fn tokens(value: &HeaderValue) -> impl Iterator<Item = &str> {
    let text = value.to_str().unwrap_or_default();
    text.split(',').map(str::trim).filter(|t| !t.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::Request;

    fn parts(method: &str, target: &str, headers: &[(&str, &str)]) -> Parts {
        let mut request = Request::builder().method(method).uri(target);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    fn names(headers: &HeaderMap) -> Vec<&str> {
        let mut names: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn hop_by_hop_headers_stay_on_their_hop() {
        let mut parts = parts(
            "GET",
            "/",
            &[
                ("host", "a"),
                ("connection", "X-Hop, keep-alive"),
                ("connection", "x-other"),
                ("x-hop", "1"),
                ("x-other", "1"),
                ("keep-alive", "300"),
                ("proxy-connection", "keep-alive"),
                ("te", "gzip, trailers"),
                ("upgrade", "foo"),
                ("x-stays", "1"),
            ],
        );
        assert_eq!(request(&mut parts).unwrap(), Upgrade::No);
        assert_eq!(names(&parts.headers), ["host", "te", "x-stays"]);
        assert_eq!(parts.headers[TE], "trailers");
    }

    #[test]
    fn connection_cannot_name_framing_or_host_away() {
        let mut parts = parts(
            "POST",
            "/",
            &[
                ("host", "a"),
                ("content-length", "5"),
                ("connection", "content-length, host, transfer-encoding"),
            ],
        );
        request(&mut parts).unwrap();
        assert_eq!(names(&parts.headers), ["content-length", "host"]);
    }

    #[test]
    fn an_upgrade_is_kept_only_when_asked_for_properly() {
        let ask = |headers: &[(&str, &str)]| {
            let mut parts = parts("GET", "/", headers);
            request(&mut parts).map(|upgrade| (upgrade, parts.headers.contains_key(UPGRADE)))
        };
        let full =
            [("connection", "Upgrade"), ("upgrade", "WebSocket"), ("sec-websocket-key", "k")];
        assert_eq!(ask(&full).unwrap(), (Upgrade::WebSocket, true));
        assert!(ask(&full[..2]).is_err());
        assert_eq!(ask(&full[1..]).unwrap(), (Upgrade::No, false));
        let h2c = [("connection", "upgrade"), ("upgrade", "h2c")];
        assert_eq!(ask(&h2c).unwrap(), (Upgrade::No, false));
    }

    #[test]
    fn an_answer_may_switch_only_as_asked() {
        let switch = StatusCode::SWITCHING_PROTOCOLS;
        let mut headers = HeaderMap::new();
        assert!(response(switch, &mut headers, Upgrade::No).is_err());
        assert!(response(switch, &mut headers, Upgrade::WebSocket).is_err());
        assert!(response(switch, &mut headers, Upgrade::Other).is_ok());
    }

    #[test]
    fn chunked_is_the_only_transfer_encoding() {
        let ask = |lines: &[&str]| {
            let lines: Vec<_> = lines.iter().map(|v| ("transfer-encoding", *v)).collect();
            let mut parts = parts("POST", "/", &lines);
            let mut headers = parts.headers.clone();
            let answer = response(StatusCode::OK, &mut headers, Upgrade::No).is_ok();
            assert_eq!(answer, request(&mut parts).is_ok(), "{lines:?}");
            answer
        };
        assert!(ask(&[]) && ask(&["chunked"]) && ask(&["CHUNKED"]));
        for bad in ["gzip, chunked", "chunked, chunked", ",chunked", "gzip", ""] {
            assert!(!ask(&[bad]), "{bad:?}");
        }
        assert!(!ask(&["chunked", "chunked"]) && !ask(&["identity", "chunked"]));
    }

    #[test]
    fn targets_become_paths_and_never_disagree_with_host() {
        let mut absolute = parts("GET", "http://a.b:80/x?y", &[("host", "A.b")]);
        request(&mut absolute).unwrap();
        assert_eq!(absolute.uri, "/x?y");
        assert!(request(&mut parts("GET", "http://a/", &[("host", "b")])).is_err());
        assert!(request(&mut parts("GET", "*", &[])).is_err());
        assert!(request(&mut parts("OPTIONS", "*", &[])).is_ok());
        assert!(request(&mut parts("CONNECT", "a:80", &[])).is_err());
        assert!(request(&mut parts("GET", "a:80", &[])).is_err());
    }

    #[test]
    fn host_is_one_host() {
        let ask = |hosts: &[&str]| {
            let lines: Vec<_> = hosts.iter().map(|h| ("host", *h)).collect();
            request(&mut parts("GET", "/", &lines)).is_ok()
        };
        assert!(ask(&["a.b:80"]) && ask(&["[::1]:80"]) && ask(&["a", "a"]) && ask(&[""]));
        assert!(!ask(&["a", "b"]) && !ask(&["a/b"]) && !ask(&["u@a"]) && !ask(&["a b"]));
    }

    #[test]
    fn forwarded_for_appends_a_line_unless_told_otherwise() {
        let rule = |except: Option<(&str, u8)>, if_none| ForwardFor {
            header: "X-Forwarded-For".into(),
            except: except.map(|(addr, prefix)| IpNet { addr: addr.parse().unwrap(), prefix }),
            if_none,
        };
        let lines = |rule: &ForwardFor, client: &str| {
            let mut headers = HeaderMap::new();
            headers.append(X_FORWARDED_FOR, HeaderValue::from_static("1.1.1.1"));
            forward_for(&mut headers, rule, client.parse().unwrap());
            let all = headers.get_all(X_FORWARDED_FOR).iter();
            all.map(|v| v.to_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(lines(&rule(None, false), "10.0.0.9"), ["1.1.1.1", "10.0.0.9"]);
        assert_eq!(lines(&rule(None, true), "10.0.0.9").len(), 1);
        assert_eq!(lines(&rule(Some(("10.0.0.0", 8)), false), "10.9.9.9").len(), 1);
        assert_eq!(lines(&rule(Some(("10.0.0.0", 8)), false), "11.0.0.1").len(), 2);
        assert_eq!(lines(&rule(Some(("0.0.0.0", 0)), false), "11.0.0.1").len(), 1);
        assert_eq!(lines(&rule(Some(("::", 0)), false), "11.0.0.1").len(), 2);
    }
}
