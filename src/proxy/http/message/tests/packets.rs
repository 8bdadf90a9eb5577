//! How bytes are split into packets changes nothing.

use proptest::prelude::*;

use super::super::HEAD_BYTES;
use super::super::chunked::Keep;
use super::super::request::{self, Rules};
use super::super::response;
use super::{ASKED, CLIENT, decode};

/// Found by fuzzing: which answer a refused head gets must not depend on its packets.
#[test]
fn a_refusal_is_the_same_in_any_packets() {
    let rules = Rules { forward_for: None, client: Some(CLIENT), close: false };
    let read = |input: &[u8]| {
        request::read(input, &rules, &mut Vec::new()).map(|r| r.is_some()).map_err(|r| r.status)
    };
    for (head, status) in
        [("GET / HTTP/2.0\r\n", 505), ("GET / HTTP/2.0x\r\n", 400), ("GET / HTTP/11\r\n", 400)]
    {
        for end in 0..head.len() {
            assert_eq!(read(&head.as_bytes()[..end]), Ok(false), "{head:?} up to {end}");
        }
        assert_eq!(read(head.as_bytes()), Err(status), "{head:?}");
    }
    let beyond = format!("GET / HTTP/1.1\r\nX: {}\r\nbad\r\n\r\n", "y".repeat(HEAD_BYTES));
    assert_eq!(read(&beyond.as_bytes()[..=HEAD_BYTES]), Err(431));
    assert_eq!(read(beyond.as_bytes()), Err(431));
    let answer = |input: &[u8]| response::read(input, &ASKED, &mut Vec::new()).map(|r| r.is_some());
    let beyond = beyond.replacen("GET / HTTP/1.1", "HTTP/1.1 200 O", 1);
    assert_eq!(answer(&beyond.as_bytes()[..=HEAD_BYTES]), Err("head too large"));
    assert_eq!(answer(beyond.as_bytes()), Err("head too large"));
}

/// Bytes that look like what the decoders know, often enough.
fn near_chunks() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        Just("5\r\nhello\r\n"),
        Just("1;x=\"a\"\r\nz\r\n"),
        Just("0\r\n"),
        Just("\r\n"),
        Just("\n"),
        Just("\r"),
        Just("a: b\r\n"),
        Just("3"),
        Just(" "),
        Just("\""),
        Just(";"),
        Just("xyz"),
        Just("content-length: 1\r\n"),
    ];
    proptest::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat().into_bytes())
}

fn near_head() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        Just("GET / HTTP/1.1\r\n"),
        Just("POST /x HTTP/1.0\n"),
        Just("Host: a\r\n"),
        Just("Content-Length: 3\r\n"),
        Just("Connection: close, x\r\n"),
        Just("X: y\r\n"),
        Just("\r\n"),
        Just("\n"),
        Just(" "),
        Just("Upgrade: z\n"),
        Just("HTTP/1.1 200 OK\r\n"),
        Just("Transfer-Encoding: chunked\r\n"),
        Just("\u{1}"),
        Just("TE: gzip\r\n"),
    ];
    proptest::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat().into_bytes())
}

proptest! {
    #[test]
    fn chunks_mean_the_same_in_any_packets(
        input in near_chunks(),
        mut cuts in proptest::collection::vec(0_usize..120, 0..6),
        data in any::<bool>(),
    ) {
        cuts.sort_unstable();
        let keep = if data { Keep::Data } else { Keep::Framed };
        prop_assert_eq!(decode(&input, keep, &cuts), decode(&input, keep, &[]));
    }

    #[test]
    fn heads_mean_the_same_in_any_packets(input in near_head(), cut in 0_usize..200) {
        let rules = Rules { forward_for: None, client: Some(CLIENT), close: false };
        let read = |bytes: &[u8]| {
            let mut out = Vec::new();
            request::read(bytes, &rules, &mut out).map(|r| r.map(|r| (r, out)))
        };
        let whole = read(&input);
        // A part says what the whole says, or that it needs more.
        match read(input.get(..cut).unwrap_or(&input)) {
            Ok(None) => {}
            other => prop_assert_eq!(other.map_err(|r| r.status), whole.map_err(|r| r.status)),
        }
        let answer = |bytes: &[u8]| {
            let mut out = Vec::new();
            response::read(bytes, &ASKED, &mut out).map(|r| r.map(|r| (r, out)))
        };
        match answer(input.get(..cut).unwrap_or(&input)) {
            Ok(None) => {}
            other => prop_assert_eq!(other, answer(&input)),
        }
    }

    #[test]
    fn nothing_panics(input in proptest::collection::vec(any::<u8>(), 0..300)) {
        let rules = Rules { forward_for: None, client: Some(CLIENT), close: true };
        let _any = request::read(&input, &rules, &mut Vec::new());
        let _any = response::read(&input, &ASKED, &mut Vec::new());
        drop(decode(&input, Keep::Framed, &[]));
    }

    #[test]
    fn what_goes_on_is_read_as_the_same_request(input in near_head()) {
        let rules = Rules { forward_for: None, client: Some(CLIENT), close: false };
        let mut out = Vec::new();
        if let Ok(Some(first)) = request::read(&input, &rules, &mut out) {
            let mut again = Vec::new();
            let second = request::read(&out, &rules, &mut again).unwrap().unwrap();
            prop_assert_eq!(second.body, first.body);
            prop_assert_eq!(second.len, out.len());
            prop_assert_eq!(String::from_utf8(again).unwrap(), String::from_utf8(out).unwrap());
        }
    }
}
