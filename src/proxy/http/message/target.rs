//! The target of a request and its host: origin form for the backend, one host for every reader.

use super::Refusal;

/// A target taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Target<'b> {
    /// Path and query; may begin with `?`, or be empty, when it came with an authority.
    pub(crate) path: &'b str,
    /// From `http://authority/path`.
    pub(crate) authority: Option<&'b str>,
}

/// Judges a target.
pub(crate) fn target<'b>(method: &str, raw: &'b str) -> Result<Target<'b>, Refusal> {
    if method == "CONNECT" {
        return Err(Refusal::new(405, "method not allowed"));
    }
    if raw.starts_with('/') {
        // The usual case: only its bytes can be wrong.
        return plain(Target { path: raw, authority: None });
    }
    if raw == "*" {
        return if method == "OPTIONS" {
            Ok(Target { path: raw, authority: None })
        } else {
            Err(Refusal::bad("* is only for OPTIONS"))
        };
    }
    let Some((scheme, rest)) = raw.split_once("://") else {
        return Err(Refusal::bad("target is not a path"));
    };
    if scheme.is_empty() || !scheme.bytes().all(|b| b.is_ascii_alphanumeric()) {
        return Err(Refusal::bad("target's scheme"));
    }
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at_checked(end).unwrap_or((rest, ""));
    if authority.is_empty() || !is_host(authority.as_bytes()) {
        return Err(Refusal::bad("target's host"));
    }
    plain(Target { path, authority: Some(authority) })
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
        if self.authority.is_some() && !self.path.starts_with('/') {
            out.push(b'/');
        }
        out.extend_from_slice(self.path.as_bytes());
    }
}

/// Whoever reads it must read a host and nothing else. May be empty.
pub(crate) fn is_host(value: &[u8]) -> bool {
    value.iter().all(|b| b.is_ascii_graphic() && !b"/@#?\\<>\"".contains(b))
}

/// The same host; 80 is the port that is meant when none is said.
pub(crate) fn is_same_host(host: &[u8], authority: &str) -> bool {
    fn plain(host: &[u8]) -> &[u8] {
        host.strip_suffix(b":80").unwrap_or(host)
    }
    plain(host).eq_ignore_ascii_case(plain(authority.as_bytes()))
}
