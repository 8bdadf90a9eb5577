//! Fields of a head: few names, of which fewer matter here.

use hyper::header::{
    AUTHORIZATION, CONNECTION, CONTENT_LENGTH, HOST, HeaderMap, HeaderName, HeaderValue,
    PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRANSFER_ENCODING, UPGRADE, WWW_AUTHENTICATE,
};

use crate::proxy::http::message;
use crate::proxy::http::message::fields::tokens;

/// Looked for one by one: heads have few names, and most of these are in none. A search would hash each.
pub(super) fn is_there(headers: &HeaderMap, name: &HeaderName) -> bool {
    headers.keys().any(|it| it == name)
}

/// The values of a name that few have.
pub(super) fn values<'a>(
    headers: &'a HeaderMap,
    name: &HeaderName,
) -> impl Iterator<Item = &'a HeaderValue> + use<'a> {
    let found = is_there(headers, name).then(|| headers.get_all(name));
    found.into_iter().flatten()
}

/// Removes what is about one connection: the known names and those that `Connection` names. Framing and `Host` are not
/// removed for being named: a client could change where a message ends.
pub(super) fn strip(fields: &mut HeaderMap) {
    /// What every connection may say; beside it `Connection` names others.
    static KNOWN: [HeaderName; 5] = [
        CONNECTION,
        TRANSFER_ENCODING,
        UPGRADE,
        HeaderName::from_static("keep-alive"),
        HeaderName::from_static("proxy-connection"),
    ];
    /// What it says and is no name, or a known one.
    const USUAL: [&[u8]; 3] = [b"keep-alive", b"close", b"upgrade"];
    if !fields.keys().any(|name| KNOWN.contains(name)) {
        return;
    }
    let named: Vec<HeaderName> = values(fields, &CONNECTION)
        .flat_map(|value| tokens(value.as_bytes()))
        .filter(|token| !USUAL.iter().any(|usual| usual.eq_ignore_ascii_case(token)))
        .filter_map(|token| HeaderName::from_bytes(token).ok())
        .filter(|name| *name != CONTENT_LENGTH && *name != HOST)
        .collect();
    for name in named.iter().chain(&KNOWN) {
        if is_there(fields, name) {
            fields.remove(name);
        }
    }
}

/// The same for what a backend says, before a body and after it: `te` is for requests.
pub(super) fn strip_answer(fields: &mut HeaderMap) {
    strip(fields);
    if is_there(fields, &TE) {
        fields.remove(TE);
    }
}

/// How long a body is, if its head says so.
pub(super) fn length(head: &HeaderMap) -> Option<u64> {
    head.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// True for trailers that say what only a head may: somebody behind us might merge them into it.
pub(super) fn is_late(trailers: &HeaderMap) -> bool {
    [CONTENT_LENGTH, TRANSFER_ENCODING, HOST].iter().any(|name| is_there(trailers, name))
}

/// True when a request or an answer authenticates its connection: see [`message::fields::is_login`].
pub(super) fn is_login(fields: &HeaderMap) -> bool {
    static NAMES: [HeaderName; 4] =
        [AUTHORIZATION, PROXY_AUTHORIZATION, WWW_AUTHENTICATE, PROXY_AUTHENTICATE];
    let mut all = NAMES.iter().flat_map(|name| values(fields, name));
    all.any(|value| message::fields::is_login(value.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logins_to_a_connection_are_known() {
        for (name, value, expected) in [
            ("authorization", "Negotiate YII=", true),
            ("proxy-authorization", "ntlm x", true),
            ("www-authenticate", "Basic realm=a, NTLM", true),
            ("proxy-authenticate", "Negotiate", true),
            ("authorization", "Bearer ntlm", false),
            ("x", "NTLM", false),
        ] {
            let field = (HeaderName::from_static(name), HeaderValue::from_static(value));
            assert_eq!(is_login(&HeaderMap::from_iter([field])), expected, "{name}: {value}");
        }
    }

    #[test]
    fn an_answer_says_nothing_about_the_connection() {
        let names = ["te", "connection", "x-hop", "keep-alive", "transfer-encoding", "x"];
        let field = |name: &'static str| {
            let value = if name == "connection" { "x-hop" } else { "trailers" };
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        let mut fields: HeaderMap = names.map(field).into_iter().collect();
        strip_answer(&mut fields);
        assert_eq!(fields.keys().collect::<Vec<_>>(), ["x"]);
    }
}
