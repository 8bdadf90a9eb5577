//! The target of a request and its host: origin form for the backend, one host for every reader.

use super::Refusal;

/// A target taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Target<'b> {
    /// Path and query; may begin with `?`, or be empty, when it came with an authority.
    pub(crate) path: &'b str,
    /// From `scheme://authority/path`.
    pub(crate) site: Option<Site<'b>>,
}

/// Where an absolute target points.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Site<'b> {
    /// As it came, in whatever case.
    pub(crate) scheme: &'b str,
    pub(crate) authority: &'b str,
}

/// Judges a token that stands where a method does.
pub(crate) fn is_method(token: &str) -> Result<(), Refusal> {
    match token {
        "CONNECT" => Err(Refusal::new(405, "method not allowed")),
        // The first bytes of HTTP/2: nobody may take them for a request (RFC 9113 11.6).
        "PRI" => Err(Refusal::bad("PRI is no method")),
        _ => Ok(()),
    }
}

/// Judges a target.
pub(crate) fn target<'b>(method: &str, raw: &'b str) -> Result<Target<'b>, Refusal> {
    is_method(method)?;
    if raw.starts_with('/') {
        // The usual case: only its bytes can be wrong.
        return plain(Target { path: raw, site: None });
    }
    if raw == "*" {
        return if method == "OPTIONS" {
            Ok(Target { path: raw, site: None })
        } else {
            Err(Refusal::bad("* is only for OPTIONS"))
        };
    }
    let Some((scheme, rest)) = raw.split_once("://") else {
        return Err(Refusal::bad("target is not a path"));
    };
    let may_be = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.');
    if !scheme.starts_with(|c: char| c.is_ascii_alphabetic()) || !scheme.bytes().all(may_be) {
        return Err(Refusal::bad("target's scheme"));
    }
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at_checked(end).unwrap_or((rest, ""));
    if authority.is_empty() || authority.starts_with(':') || !is_host(authority.as_bytes()) {
        return Err(Refusal::bad("target's host"));
    }
    plain(Target { path, site: Some(Site { scheme, authority }) })
}

fn plain(target: Target<'_>) -> Result<Target<'_>, Refusal> {
    let is_plain = |b: u8| b.is_ascii_graphic() && b != b'#';
    if target.path.bytes().all(is_plain) {
        Ok(target)
    } else {
        Err(Refusal::bad("byte in the target"))
    }
}

impl Target<'_> {
    /// Writes the origin form.
    pub(crate) fn push(&self, out: &mut Vec<u8>, method: &str) {
        if self.path.is_empty() && method == "OPTIONS" {
            out.push(b'*');
            return;
        }
        if self.site.is_some() && !self.path.starts_with('/') {
            out.push(b'/');
        }
        out.extend_from_slice(self.path.as_bytes());
    }
}

impl Site<'_> {
    /// True when a `Host` line of `host` names it. The port that the scheme means need not be said.
    pub(crate) fn is_at(self, host: &[u8]) -> bool {
        fn plain<'h>(host: &'h [u8], port: &[u8]) -> &'h [u8] {
            host.strip_suffix(port).unwrap_or(host)
        }
        let port: &[u8] = if self.scheme.eq_ignore_ascii_case("http") {
            b":80"
        } else if self.scheme.eq_ignore_ascii_case("https") {
            b":443"
        } else {
            b""
        };
        plain(host, port).eq_ignore_ascii_case(plain(self.authority.as_bytes(), port))
    }
}

/// Whoever reads it must read a host and nothing else. May be empty.
pub(crate) fn is_host(value: &[u8]) -> bool {
    value.iter().all(|b| b.is_ascii_graphic() && !b"/@#?\\<>\"".contains(b))
}
