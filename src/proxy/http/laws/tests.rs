//! The laws, held against the fuzzers' seeds and against bytes that look like messages often enough.

use std::path::Path;

use proptest::prelude::*;

use super::drive::{Asking, pass_request, pass_response};
use super::{chunks, conversation, request_head, response_head};

/// Calls `check` with each file in `fuzz/seeds/<dir>`.
fn each_seed(dir: &str, check: impl Fn(&str, &[u8])) {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(dir);
    let mut count = 0;
    for entry in std::fs::read_dir(&dir).expect("seeds") {
        let file = entry.expect("readable").path();
        println!("{}", file.display());
        check(&file.to_string_lossy(), &std::fs::read(&file).expect("readable"));
        count += 1;
    }
    assert!(count > 20, "{count} seeds in {}", dir.display());
}

#[test]
fn seeds_keep_the_laws() {
    for dir in ["valid", "requests"] {
        each_seed(dir, |_, bytes| request_head(bytes));
        each_seed(dir, |_, bytes| conversation(bytes));
    }
    each_seed("answers", |_, bytes| response_head(bytes));
    each_seed("chunks", |_, bytes| chunks(bytes));
}

/// Being strict is easy for one who refuses everything.
#[test]
fn valid_requests_pass() {
    each_seed("valid", |name, bytes| {
        let passed = pass_request(bytes).unwrap_or_else(|| panic!("{name} is refused"));
        assert!(passed.is_whole, "{name}");
    });
}

#[test]
fn what_is_sent_on_can_be_sent_on_again() {
    for dir in ["valid", "requests"] {
        each_seed(dir, |name, bytes| {
            let Some(passed) = pass_request(bytes) else { return };
            let again = pass_request(&passed.sent).expect("it was strict before");
            assert_eq!(again.sent, passed.sent, "{name}");
        });
    }
    each_seed("answers", |name, bytes| {
        let asking = Asking::ALL[0];
        let Some(passed) = pass_response(bytes, asking) else { return };
        let again = pass_response(&passed.sent, asking).expect("it was strict before");
        assert_eq!(again.sent, passed.sent, "{name}");
    });
}

/// Requests, whole and half, good and bad, one after the other.
fn near_conversation() -> impl Strategy<Value = Vec<u8>> {
    let first = prop_oneof![
        8 => Just("GET / HTTP/1.1\r\nHost: a\r\n"),
        4 => Just("POST /x HTTP/1.1\r\nHost: a\r\n"),
        1 => Just("GET  /  HTTP/1.1\nHost: a\n"),
        1 => Just("\r\nHEAD http://a/x HTTP/1.1\r\nHost: a\r\n"),
        1 => Just("POST / HTTP/1.0\r\nConnection: keep-alive\r\n"),
        1 => Just("GET / HTTP/2.0\r\nHost: a\r\n"),
        1 => Just("GET /\r\n"),
    ];
    let line = prop_oneof![
        6 => Just("X: y\r\n"),
        2 => Just("Connection: X, keep-alive\r\n"),
        1 => Just("Connection: close\r\n"),
        2 => Just("TE: trailers, gzip\r\n"),
        1 => Just("Upgrade: foo\nConnection: upgrade\n"),
        1 => Just("X : y\r\n"),
        1 => Just("X: a\r\n b\r\n"),
        1 => Just("Content-Length: 5\r\n"),
        1 => Just("Transfer-Encoding: chunked\r\n"),
    ];
    let end = prop_oneof![
        6 => Just("\r\n"),
        6 => Just("Content-Length: 5\r\n\r\nhello"),
        1 => Just("Content-Length: 5, 05\r\n\r\nhello"),
        1 => Just("Content-Length: 9\r\n\r\nhello"),
        6 => Just("Transfer-Encoding: chunked\r\n\r\n5;a=\"b\"\r\nhello\r\n0\r\nSum: 7\r\n\r\n"),
        1 => Just("Transfer-Encoding: chunked\r\n\r\n5\r\nhello\n0\r\n\r\n"),
        1 => Just("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n"),
        1 => Just("\n"),
        1 => Just("Ho"),
    ];
    let request = (first, proptest::collection::vec(line, 0..3), end)
        .prop_map(|(first, lines, end)| format!("{first}{}{end}", lines.concat()));
    proptest::collection::vec(request, 1..5).prop_map(|all| all.concat().into_bytes())
}

fn near_answer() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        Just("HTTP/1.1 200 OK\r\n"),
        Just("HTTP/1.0 404 \r\n"),
        Just("HTTP/1.1 101 x\r\nUpgrade: y\r\nConnection: upgrade\r\n"),
        Just("HTTP/1.1 304\n"),
        Just("Content-Length: 5\r\n"),
        Just("Content-Length: 05, 5\r\n"),
        Just("Transfer-Encoding: chunked\r\n"),
        Just("Connection: close, x\r\nX: y\r\n"),
        Just("Keep-Alive: 5\r\n"),
        Just("Sec-WebSocket-Accept: z\n"),
        Just("\r\n"),
        Just("hello"),
    ];
    proptest::collection::vec(piece, 1..8).prop_map(|pieces| pieces.concat().into_bytes())
}

/// Some bytes of `input` replaced.
fn damaged(input: impl Strategy<Value = Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    let damage = proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3);
    (input, damage).prop_map(|(mut bytes, damage)| {
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        bytes
    })
}

proptest! {
    #[test]
    fn a_conversation_is_the_same_in_any_packets(input in damaged(near_conversation())) {
        conversation(&input);
    }

    #[test]
    fn requests_keep_the_laws(input in damaged(near_conversation())) {
        request_head(&input);
    }

    #[test]
    fn answers_keep_the_laws(input in damaged(near_answer())) {
        response_head(&input);
    }
}
