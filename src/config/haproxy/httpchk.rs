//! `option httpchk [METHOD] URI [VERSION[\r\nHeader:\ value]…]`.

use super::defaults;
use crate::health::{HttpProbeSettings, ProbeSettings};

/// Reads the words after `option httpchk`.
pub(super) fn parse(args: &[String]) -> Result<ProbeSettings, String> {
    let (method, uri, version) = match args {
        [] => (defaults::CHECK_METHOD, defaults::CHECK_URI, defaults::CHECK_VERSION),
        [uri] => (defaults::CHECK_METHOD, uri.as_str(), defaults::CHECK_VERSION),
        [method, uri] => (method.as_str(), uri.as_str(), defaults::CHECK_VERSION),
        [method, uri, version] => (method.as_str(), uri.as_str(), version.as_str()),
        [_, _, _, word, ..] => {
            return Err(format!("the word {word:?} is too much; write blanks in headers as `\\ `"));
        }
    };
    if !is_token(method) {
        return Err(format!("{method:?} is not an http method"));
    }
    check_uri(uri)?;
    let mut lines = version.split("\r\n");
    let version = lines.next().unwrap_or_default();
    if !matches!(version, "HTTP/1.0" | "HTTP/1.1") {
        return Err(format!("{version:?} is not a version of checks; use HTTP/1.0 or HTTP/1.1"));
    }
    let mut headers: Vec<_> = lines.collect();
    // A trailing \r\n ends the last header.
    if headers.last().is_some_and(|last| last.is_empty()) {
        headers.pop();
    }
    Ok(ProbeSettings::Http(HttpProbeSettings {
        method: method.into(),
        uri: uri.into(),
        version: version.into(),
        headers: headers.into_iter().map(header).collect::<Result<_, _>>()?,
    }))
}

fn check_uri(uri: &str) -> Result<(), String> {
    let starts_well = uri.starts_with('/') || uri == "*" || uri.contains("://");
    if !starts_well || !uri.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(format!("{uri:?} is not a uri to check; it begins with / and has no blanks"));
    }
    Ok(())
}

fn header(line: &str) -> Result<(String, String), String> {
    let wrong = || format!("{line:?} is not a header; write \\r\\nName:\\ value");
    let (name, value) = line.split_once(':').ok_or_else(wrong)?;
    let value = value.trim();
    if !is_token(name) || value.chars().any(|c| c.is_control() && c != '\t') {
        return Err(wrong());
    }
    Ok((name.to_owned(), value.to_owned()))
}

/// RFC 9110 `token`: what methods and header names are made of.
pub(in crate::config) fn is_token(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::haproxy::words;

    fn http(text: &str) -> Result<HttpProbeSettings, String> {
        match parse(&words::split(text).unwrap())? {
            ProbeSettings::Http(http) => Ok(http),
            ProbeSettings::Tcp => Err("tcp".to_owned()),
        }
    }

    #[test]
    fn forms_of_httpchk() {
        for (text, method, uri, version) in [
            ("", "OPTIONS", "/", "HTTP/1.0"),
            ("/ping", "OPTIONS", "/ping", "HTTP/1.0"),
            ("GET /ping?x=1", "GET", "/ping?x=1", "HTTP/1.0"),
            ("HEAD / HTTP/1.1", "HEAD", "/", "HTTP/1.1"),
        ] {
            let it = http(text).unwrap();
            assert_eq!((&*it.method, &*it.uri, &*it.version), (method, uri, version));
            assert_eq!(it.headers, []);
        }
    }

    #[test]
    fn headers_hide_in_the_version() {
        let it = http(r"GET /s HTTP/1.1\r\nHost:\ x.y:80\r\nX-Mode:\ ro\r\n").unwrap();
        assert_eq!(&*it.version, "HTTP/1.1");
        assert_eq!(it.headers, [("Host".into(), "x.y:80".into()), ("X-Mode".into(), "ro".into())]);
    }

    #[test]
    fn bad_requests_are_complaints() {
        for text in [
            "GET",
            "GET / HTTP/2",
            "GE(T /",
            r"GET /a\ b",
            "GET / HTTP/1.1 Host: x",
            r"GET / HTTP/1.1\r\nno-colon",
            r"GET / HTTP/1.1\r\n\r\nbody",
            r"GET / HTTP/1.1\r\nA:\ b\nc",
        ] {
            assert!(http(text).is_err(), "{text}");
        }
    }
}
