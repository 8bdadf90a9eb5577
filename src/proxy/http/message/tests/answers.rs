//! Answers: those that pass as they came, and what a client of HTTP/1.0 gets.

use super::super::Version;
use super::super::framing::Body;
use super::super::response::{Asked, Recode};
use super::{ASKED, answer, ask, ok};

#[test]
fn a_plain_answer_passes_as_it_came() {
    let (response, _) = ok("Content-Length: 5\r\nServer: x\r\n").unwrap();
    assert!(!response.is_changed && response.keep_backend && response.keep_client);
    assert_eq!((response.body, response.status), (Body::Length(5), 200));
    let (response, _) = ok("Transfer-Encoding: chunked\r\n").unwrap();
    assert!(!response.is_changed);
    assert_eq!((response.body, response.recode), (Body::Chunked, Recode::No));
}

#[test]
fn a_head_is_told_what_a_get_would_be() {
    let head = Asked { is_head: true, ..ASKED };
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX: y\r\n\r\n";
    let (response, _) = answer(chunked, head).unwrap();
    assert!(!response.is_changed && response.keep_backend && response.keep_client);
    assert_eq!((response.body, response.recode), (Body::Empty, Recode::No));
    let (response, out) = answer(chunked, Asked { version: Version::V10, ..head }).unwrap();
    assert_eq!(out, "HTTP/1.0 200 OK\r\nX: y\r\nconnection: keep-alive\r\n\r\n");
    assert_eq!((response.body, response.keep_client), (Body::Empty, true));
}

/// Found by fuzzing: the rest of such an answer was fine, so it went on as it came.
#[test]
fn a_bare_lf_never_goes_on() {
    for input in [
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\n\r\n",
        "HTTP/1.1 200 OK\nContent-Length: 5\r\n\r\n",
    ] {
        let (_, out) = answer(input, ASKED).unwrap();
        assert_eq!(out, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", "{input:?}");
        let request = input.replace("HTTP/1.1 200 OK", "GET / HTTP/1.1\r\nHost: a");
        let (_, out) = ask(&request).unwrap();
        assert_eq!(out, "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n", "{input:?}");
    }
}

#[test]
fn what_an_old_client_gets() {
    let old = |keep_alive, head: &str| {
        let asked = Asked { version: Version::V10, keep_alive, ..ASKED };
        let (response, out) = answer(&format!("{head}\r\n\r\n"), asked).unwrap();
        (response.recode, response.keep_client, out)
    };
    let (recode, keeps, out) = old(true, "HTTP/1.1 200 OK\r\ncontent-length: 5");
    assert_eq!((recode, keeps), (Recode::No, true));
    assert_eq!(out, "HTTP/1.0 200 OK\r\ncontent-length: 5\r\nconnection: keep-alive\r\n\r\n");
    let (recode, keeps, out) = old(true, "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked");
    assert_eq!((recode, keeps), (Recode::OutOfChunks, false));
    assert_eq!(out, "HTTP/1.0 200 OK\r\nconnection: close\r\n\r\n");
    let (recode, keeps, _) = old(true, "HTTP/1.0 200 OK");
    assert_eq!((recode, keeps), (Recode::No, false));
}
