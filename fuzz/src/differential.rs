//! Our engine against the oracle.
//!
//! What matters of a proxy is what it sends on. So the oracle reads two things: what we would send must be one strict
//! message, ending where we end it; and what came, where the oracle takes it, must say the same: method, target, headers
//! (less those that belong to one hop), body, end. We may refuse what the oracle takes. Where it is the other way round,
//! a [`Leniency`] must say so.

use crate::proxy::http::laws::drive::{Asking, Passed, pass_request, pass_response};

use crate::leniency::{self, Leniency, Seen};
use crate::oracle::{self, Message, Side};

type Lines = [(String, Vec<u8>)];

/// Methods that the oracle knows. It takes no other, we take any token: others are read as POST.
const METHODS: [&[u8]; 8] =
    [b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"OPTIONS", b"PATCH", b"TRACE"];

/// A request.
///
/// # Panics
/// When the two differ.
pub fn request(input: &[u8]) {
    let Some(passed) = pass_request(input) else {
        return;
    };
    let (sent, shift) = with_known_method(&passed.sent);
    let ours = oracle::read(Side::Request, &sent, false);
    let ours = ours.unwrap_or_else(|why| panic!("sent on: {why}: {}", passed.sent.escape_ascii()));
    let end = passed.is_whole.then(|| passed.sent.len().wrapping_add(shift));
    assert_eq!(ours.end, end, "the end of {}", passed.sent.escape_ascii());
    let (came, shift) = with_known_method(input);
    match oracle::read(Side::Request, &came, false) {
        Err(why) => explained(&why, input, &passed, leniency::REQUESTS),
        Ok(theirs) => {
            assert_eq!(ours.method, theirs.method, "method");
            assert!(is_same_target(&theirs.target, &ours.target), "{theirs:?} sent as {ours:?}");
            assert_eq!(
                theirs.end,
                passed.is_whole.then(|| passed.taken.wrapping_add(shift)),
                "the end"
            );
            same_body(&ours, &theirs);
            let lines = |name| (values(&ours.headers, name), values(&theirs.headers, name));
            let (host, hosts) = lines("host");
            let mut sent = passed.sent.split(|byte| *byte == b'\r');
            let is_old = sent.next().is_some_and(|line| line.ends_with(b" HTTP/1.0"));
            assert!(
                host.len() == usize::from(!is_old) && hosts.iter().all(|h| Some(h) == host.first()),
                "{host:?} of {hosts:?}"
            );
            let (te, tes) = lines("te");
            assert_eq!(te.len(), usize::from(tes.iter().any(|v| has(v, "trailers"))), "te");
            assert!(te.iter().all(|v| v.eq_ignore_ascii_case(b"trailers")), "te");
            let (upgrade, upgrades) = lines("upgrade");
            assert!(upgrade.is_empty() || upgrade == upgrades, "{upgrade:?} of {upgrades:?}");
            same_length(&ours, &theirs);
            let special = ["host", "te", "upgrade"];
            assert_eq!(plain(&ours.headers, &special), plain(&theirs.headers, &special), "headers");
        }
    }
}

/// An answer, to every kind of client.
///
/// # Panics
/// When the two differ.
pub fn response(input: &[u8]) {
    for asking in Asking::ALL {
        if let Some(passed) = pass_response(input, asking) {
            answer(input, asking, &passed);
        }
    }
}

fn answer(input: &[u8], asking: Asking, passed: &Passed) {
    let side = Side::Answer { to_head: asking.is_head };
    let ours = oracle::read(side, &passed.sent, passed.is_whole);
    let ours = ours.unwrap_or_else(|why| panic!("sent on: {why}: {}", passed.sent.escape_ascii()));
    let end = passed.is_whole.then_some(passed.sent.len());
    assert!(ours.has_head && (ours.end == end || !passed.is_whole), "the end of {ours:?}");
    match oracle::read(side, &input[..passed.taken], passed.is_whole) {
        Err(why) => explained(&why, input, passed, leniency::ANSWERS),
        // It takes `chunked` and a tab for another coding, and reads until the connection closes.
        Ok(_) if (leniency::TABS.is_in)(&seen(input, passed)) => {}
        Ok(theirs) => {
            assert_eq!(ours.status, theirs.status, "status");
            assert_eq!(theirs.end, passed.is_whole.then_some(passed.taken), "the end");
            assert_eq!(ours.body, theirs.body, "body");
            if !asking.is_old {
                same_body(&ours, &theirs);
            }
            let lengths = values(&ours.headers, "content-length");
            assert!(lengths.is_empty() || is_same_length(&ours, &theirs), "content-length");
            let upgrade = values(&ours.headers, "upgrade");
            assert!(upgrade.is_empty() || ours.status == 101, "{upgrade:?}");
            let special = ["upgrade", "transfer-encoding"];
            assert_eq!(plain(&ours.headers, &special), plain(&theirs.headers, &special), "headers");
        }
    }
}

/// The oracle refused what we take: a leniency must be the reason.
fn explained(why: &str, input: &[u8], passed: &Passed, known: &[Leniency]) {
    let seen = seen(input, passed);
    assert!(
        known.iter().any(|leniency| (leniency.is_in)(&seen)),
        "taken, though {why}: {}",
        input.escape_ascii()
    );
}

/// As a leniency looks at it.
fn seen<'a>(input: &'a [u8], passed: &'a Passed) -> Seen<'a> {
    Seen {
        head: &input[..passed.came],
        body: &input[passed.came..passed.taken],
        sent_body: &passed.sent[passed.head..],
    }
}

/// The request with a method that the oracle knows, and by how much it is longer.
fn with_known_method(request: &[u8]) -> (Vec<u8>, usize) {
    let start = request.iter().take_while(|b| matches!(b, b'\r' | b'\n')).count();
    let (before, rest) = request.split_at(start);
    let method = rest.split(|b| *b == b' ').next().unwrap_or_default();
    if METHODS.contains(&method) {
        return (request.to_vec(), 0);
    }
    let known = [before, b"POST", &rest[method.len()..]].concat();
    (known, 4_usize.wrapping_sub(method.len()))
}

/// The same target, sent in origin form.
fn is_same_target(came: &[u8], sent: &[u8]) -> bool {
    if came.starts_with(b"/") || came == b"*" {
        return came == sent;
    }
    let Some(at) = came.windows(3).position(|w| w == b"://") else {
        return false;
    };
    let rest = &came[at + 3..];
    let path = rest.iter().position(|b| b"/?".contains(b)).map_or(&b""[..], |at| &rest[at..]);
    path == sent
        || (!path.starts_with(b"/") && [b"/", path].concat() == sent)
        || (path.is_empty() && sent == b"*")
}

fn same_body(ours: &Message, theirs: &Message) {
    assert_eq!(ours.body.escape_ascii().to_string(), theirs.body.escape_ascii().to_string());
    if theirs.end.is_some() {
        // We keep trailers until all are there.
        let special = ["te", "upgrade"];
        assert_eq!(kept(&ours.trailers, &special), kept(&theirs.trailers, &special), "trailers");
    }
}

fn same_length(ours: &Message, theirs: &Message) {
    assert!(is_same_length(ours, theirs), "content-length of {ours:?} and {theirs:?}");
}

fn is_same_length(ours: &Message, theirs: &Message) -> bool {
    let number = |message: &Message| -> Vec<Option<u64>> {
        let lines = values(&message.headers, "content-length");
        lines.iter().map(|v| std::str::from_utf8(v).ok()?.parse().ok()).collect()
    };
    number(ours) == number(theirs)
}

/// What belongs to no hop and stands as it came: all but the lines in `special`, framing and what `connection` names.
fn plain<'a>(lines: &'a Lines, special: &[&str]) -> Vec<(&'a str, String)> {
    let connection = values(lines, "connection");
    let is_named = |name: &str| {
        name != "host"
            && name != "transfer-encoding"
            && connection.iter().any(|value| has(value, name))
    };
    let mut lines = kept(lines, special);
    lines.retain(|(name, _)| !is_named(name));
    lines
}

/// The same of trailers: a `connection` that comes too late names nothing, and does not go on.
fn kept<'a>(lines: &'a Lines, special: &[&str]) -> Vec<(&'a str, String)> {
    const NEVER: [&str; 4] = ["connection", "keep-alive", "proxy-connection", "content-length"];
    let kept = lines
        .iter()
        .filter(|(name, _)| !NEVER.contains(&name.as_str()) && !special.contains(&name.as_str()));
    kept.map(|(name, value)| (name.as_str(), value.escape_ascii().to_string())).collect()
}

fn values<'a>(lines: &'a Lines, name: &str) -> Vec<&'a [u8]> {
    lines.iter().filter(|(n, _)| n == name).map(|(_, value)| value.as_slice()).collect()
}

fn has(value: &[u8], word: &str) -> bool {
    value.split(|b| *b == b',').any(|t| t.trim_ascii().eq_ignore_ascii_case(word.as_bytes()))
}
