//! What holds for any bytes: functions that panic where it does not.
//!
//! Examples say what a message means; laws say what no message can do, whoever wrote it. They are the one body of the fuzz
//! targets, of the properties and of the replay of the fuzzers' seeds in the test suite, so that none of the three can rot
//! alone.
//!
//! Compiled for tests only, and by the fuzz crate (`fuzz/`), which includes this module, `message` and `inbound` by their
//! paths instead of depending on the package. So nothing private becomes public, not even behind a feature, and what is
//! instrumented is two thousand lines instead of three hundred crates. What it costs: those three modules may use of the
//! rest of the package only what `fuzz/src/proxy/mod.rs` stands in for; the compiler says so.
//!
//! How the bytes are split into packets is derived from the bytes: a finding is repeated by its file alone.

pub(crate) mod drive;
#[cfg(test)]
mod tests;

use std::fmt::Debug;
use std::net::IpAddr;

use self::drive::{Asking, Conversation, decode};
use super::message::chunked::Keep;
use super::message::framing::Body;
use super::message::request::{self, Request, Rules};
use super::message::response::{self, Recode, Response};
use super::message::{HEAD_BYTES, HEADERS, Refusal, Upgrade, Version};
use crate::proxy::ForwardFor;

/// Longest input that is also judged byte by byte: a head is parsed anew with each byte.
const BYTEWISE: usize = 512;

/// Bytes that we may add to a head: a version, a host, `connection`, `te`, `content-length`, an address.
const ADDED: usize = 256;

const CLIENT: Option<IpAddr> = Some(IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 9)));

/// The head of a request: judged alike whenever it is whole, and what goes on is one head in one form, which we would
/// read as the same request and send on unchanged.
///
/// # Panics
/// When a law is broken.
pub(crate) fn request_head(input: &[u8]) {
    let bare = Rules { forward_for: None, client: CLIENT, close: false };
    let rule = ForwardFor { header: "X-Forwarded-For".into(), except: None, if_none: false };
    let full = Rules { forward_for: Some(&rule), client: CLIENT, close: true };
    for rules in [&bare, &full] {
        let read = |bytes: &[u8]| read_request(bytes, rules);
        let Some(Ok((request, out))) = agree_on_prefixes(input, read) else {
            continue;
        };
        assert!(request.len <= HEAD_BYTES.min(input.len()), "a head of {}", request.len);
        assert!(out.len() <= request.len + ADDED, "{} bytes of {}", out.len(), request.len);
        let head = strict(&out);
        let is_old = request.sent == Version::V10;
        let version: &[u8] = if is_old { b" HTTP/1.0" } else { b" HTTP/1.1" };
        assert!(head.first.ends_with(version), "{}", head.first.escape_ascii());
        assert_eq!(head.first.split(|b| *b == b' ').count(), 3, "{}", head.first.escape_ascii());
        assert_eq!(head.count("host"), usize::from(!is_old), "hosts");
        assert_eq!(head.count("keep-alive") + head.count("proxy-connection"), 0, "hop by hop");
        let framings = (head.count("content-length"), head.count("transfer-encoding"));
        let is_framed = match request.body {
            Body::Empty => matches!(framings, (0 | 1, 0)),
            Body::Length(_) => framings == (1, 0),
            Body::Chunked => framings == (0, 1),
            Body::UntilClose => false,
        };
        assert!(is_framed, "{:?} is said by {framings:?}", request.body);
        if !head.is_within_limits(out.len()) {
            continue;
        }
        let Some(Ok((second, again))) = read_request(&out, &bare) else {
            panic!("what goes on is not read: {}", out.escape_ascii());
        };
        let meaning = |r: &Request| (r.sent, r.body, r.is_head, r.is_idempotent, r.upgrade);
        assert_eq!(meaning(&second), meaning(&request));
        assert_eq!(second.len, out.len());
        if rules.close {
            assert!(!second.keep_alive || request.upgrade != Upgrade::No, "close is not said");
        } else {
            assert_eq!(again.escape_ascii().to_string(), out.escape_ascii().to_string());
        }
    }
}

/// The head of an answer, for every kind of client that may have asked.
///
/// # Panics
/// When a law is broken.
pub(crate) fn response_head(input: &[u8]) {
    for asking in Asking::ALL {
        let asked = asking.asked();
        let read = |bytes: &[u8]| read_response(bytes, asking);
        let Some(Ok((response, out))) = agree_on_prefixes(input, read) else {
            continue;
        };
        assert!(response.len <= HEAD_BYTES.min(input.len()), "a head of {}", response.len);
        assert!(out.len() <= response.len + ADDED, "{} bytes of {}", out.len(), response.len);
        let head = strict(&out);
        let digit = if asking.is_old { b'0' } else { b'1' };
        assert!(head.first.starts_with(b"HTTP/1."), "{}", head.first.escape_ascii());
        assert_eq!(head.first.get(7), Some(&digit), "{}", head.first.escape_ascii());
        assert_eq!(head.count("keep-alive") + head.count("proxy-connection"), 0, "hop by hop");
        let framings = (head.count("content-length"), head.count("transfer-encoding"));
        let is_framed = match (response.body, response.recode) {
            (Body::Empty, _) if matches!(response.status, ..200 | 204) => framings == (0, 0),
            // What a GET would be told, or who has not what is asked for.
            (Body::Empty, _) if !asking.is_old && (asking.is_head || response.status == 304) => {
                framings.0 + framings.1 <= 1
            }
            (Body::Empty, _) => matches!(framings, (0 | 1, 0)),
            (Body::Length(_), _) => framings == (1, 0),
            (Body::Chunked, Recode::No) | (Body::UntilClose, Recode::IntoChunks) => {
                framings == (0, 1)
            }
            // Until the end of the client's connection.
            (Body::Chunked | Body::UntilClose, _) => framings == (0, 0) && !response.keep_client,
        };
        assert!(is_framed, "{response:?} is said by {framings:?}");
        assert!(!response.keep_backend || response.body != Body::UntilClose);
        if !head.is_within_limits(out.len()) {
            continue;
        }
        let Some(Ok((second, again))) = read_response(&out, asking) else {
            panic!("what goes on is not read: {}", out.escape_ascii());
        };
        let body = match response.recode {
            Recode::No => response.body,
            Recode::IntoChunks => Body::Chunked,
            Recode::OutOfChunks => Body::UntilClose,
        };
        assert_eq!((second.status, second.body), (response.status, body));
        if asked.version == Version::V11 {
            assert_eq!(again.escape_ascii().to_string(), out.escape_ascii().to_string());
        }
    }
}

/// A body in chunks: the same in any packets, and what goes on is one in which nothing is left to leave out.
///
/// # Panics
/// When a law is broken.
pub(crate) fn chunks(input: &[u8]) {
    let framed = chunks_as(input, Keep::Framed);
    let data = chunks_as(input, Keep::Data);
    match (framed, data) {
        (Ok(framed), Ok(data)) => {
            assert_eq!((framed.consumed, framed.is_done), (data.consumed, data.is_done));
            assert_eq!(data.out.len(), data.data, "bytes of data");
            assert_eq!(framed.data, data.data, "bytes of data");
            if framed.is_done {
                assert!(framed.consumed <= input.len());
                let again = decode(&framed.out, Keep::Framed, &[]);
                let again = again.unwrap_or_else(|_| panic!("what goes on is no body"));
                assert!(again.is_done && again.consumed == framed.out.len());
                assert_eq!(again.out, framed.out);
                let again = decode(&framed.out, Keep::Data, &[]).map(|decoded| decoded.out);
                assert_eq!(again, Ok(data.out));
            }
        }
        (framed, data) => assert_eq!(framed.is_err(), data.is_err()),
    }
}

/// Whatever a client says on one connection: the same requests, refusals and bytes for backends, in any packets.
///
/// # Panics
/// When a law is broken.
pub(crate) fn conversation(input: &[u8]) {
    let whole = Conversation::of(input, &[]);
    let mut splits = vec![cuts(input)];
    if input.len() <= BYTEWISE {
        splits.push((1..input.len()).collect());
    }
    for split in splits {
        let parts = Conversation::of(input, &split);
        assert_eq!(parts.events, whole.events, "split at {split:?}");
        if whole.is_malformed() {
            // How much of the last body went before that was seen depends on the packets.
            assert_eq!(parts.settled(), whole.settled(), "split at {split:?}");
        } else {
            assert_eq!(parts.sent, whole.sent, "split at {split:?}");
        }
    }
}

fn chunks_as(
    input: &[u8],
    keep: Keep,
) -> Result<drive::Decoded, super::message::chunked::Malformed> {
    let whole = decode(input, keep, &[]);
    assert_eq!(decode(input, keep, &cuts(input)), whole);
    if input.len() <= BYTEWISE {
        assert_eq!(decode(input, keep, &(1..input.len()).collect::<Vec<_>>()), whole);
    }
    whole
}

fn read_request(bytes: &[u8], rules: &Rules<'_>) -> Option<Result<(Request, Vec<u8>), Refusal>> {
    let mut out = Vec::new();
    match request::read(bytes, rules, &mut out) {
        Ok(Some(request)) => Some(Ok((request, out))),
        Ok(None) => {
            assert!(out.is_empty(), "something goes on of half a head");
            None
        }
        Err(refusal) => Some(Err(refusal)),
    }
}

fn read_response(
    bytes: &[u8],
    asking: Asking,
) -> Option<Result<(Response, Vec<u8>), &'static str>> {
    let mut out = Vec::new();
    match response::read(bytes, &asking.asked(), &mut out) {
        Ok(Some(response)) => {
            if !response.is_changed {
                assert!(out.is_empty(), "an unchanged head is written");
                out.extend_from_slice(bytes.get(..response.len).unwrap_or_default());
            }
            Some(Ok((response, out)))
        }
        Ok(None) => {
            assert!(out.is_empty(), "something goes on of half a head");
            None
        }
        Err(why) => Some(Err(why)),
    }
}

/// A part is judged as the whole, or not yet. Returns what is said of the whole.
fn agree_on_prefixes<T: PartialEq + Debug>(
    input: &[u8],
    read: impl Fn(&[u8]) -> Option<T>,
) -> Option<T> {
    let whole = read(input);
    for cut in cuts(input) {
        let part = read(input.get(..cut).unwrap_or(input));
        assert!(part.is_none() || part == whole, "{part:?} after {cut} bytes, then {whole:?}");
    }
    whole
}

/// Where packets end, in order: up to eight places that the bytes themselves decide.
fn cuts(input: &[u8]) -> Vec<usize> {
    // FNV-1a.
    let hash = input.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let mut rng = fastrand::Rng::with_seed(hash);
    let mut cuts: Vec<usize> = (0..rng.usize(1..=8)).map(|_| rng.usize(0..=input.len())).collect();
    cuts.sort_unstable();
    cuts
}

/// A head in lines.
struct Head<'a> {
    first: &'a [u8],
    names: Vec<&'a [u8]>,
}

impl Head<'_> {
    /// What we add may make more of a head than we would take ourselves.
    fn is_within_limits(&self, len: usize) -> bool {
        len <= HEAD_BYTES && self.names.len() <= HEADERS
    }

    fn count(&self, name: &str) -> usize {
        self.names.iter().filter(|n| n.eq_ignore_ascii_case(name.as_bytes())).count()
    }
}

/// Takes apart a head that must be in the one form that everybody reads alike.
fn strict(head: &[u8]) -> Head<'_> {
    let said = || head.escape_ascii();
    let text = head.strip_suffix(b"\r\n\r\n").unwrap_or_else(|| panic!("no end: {}", said()));
    let mut lines =
        text.split(|b| *b == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let ends = text.windows(2).filter(|pair| pair == b"\r\n").count();
    let bare = text.iter().filter(|b| matches!(b, b'\r' | b'\n')).count();
    assert_eq!(bare, 2 * ends, "an end of line that is none: {}", said());
    assert!(!text.contains(&0), "a zero: {}", said());
    let first = lines.next().unwrap_or_default();
    let names = lines.map(|line| {
        let name = line.split(|b| *b == b':').next().unwrap_or_default();
        let is_name = !name.is_empty() && name.len() < line.len();
        let is_token = name.iter().all(|b| b.is_ascii_graphic());
        assert!(is_name && is_token, "no header: {}", line.escape_ascii());
        name
    });
    Head { first, names: names.collect() }
}
