//! Examples as tables, and the law that how bytes are split into packets changes nothing.

use std::net::IpAddr;

use proptest::prelude::*;

use super::chunked::{Decoder, Keep, Malformed, Ranges};
use super::framing::Body;
use super::request::{self, Request, Rules};
use super::response::{self, Asked, Recode, Response};
use super::{HEAD_BYTES, Refusal, Upgrade, Version};
use crate::proxy::{ForwardFor, IpNet};

const CLIENT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 9));

fn ask_with(input: &str, rules: &Rules<'_>) -> Result<(Request, String), u16> {
    let mut out = Vec::new();
    let request = request::read(input.as_bytes(), rules, &mut out).map_err(|r| r.status)?;
    Ok((request.expect("a whole head"), String::from_utf8(out).unwrap()))
}

fn ask(input: &str) -> Result<(Request, String), u16> {
    ask_with(input, &Rules { forward_for: None, client: Some(CLIENT), close: false })
}

/// A GET with `lines` besides its host.
fn get(lines: &str) -> Result<(Request, String), u16> {
    ask(&format!("GET / HTTP/1.1\r\nHost: a\r\n{lines}\r\n"))
}

fn post(lines: &str) -> Result<(Request, String), u16> {
    ask(&format!("POST / HTTP/1.1\r\nHost: a\r\n{lines}\r\n"))
}

fn lines(head: &str) -> Vec<&str> {
    head.trim_end().split("\r\n").skip(1).collect()
}

#[test]
fn a_plain_request_passes_as_it_came() {
    let input = "GET /x?y HTTP/1.1\r\nHost: a\r\nX-Some: Thing\r\ncontent-length: 5\r\n\r\n";
    let (request, out) = ask(&format!("{input}hello")).unwrap();
    assert_eq!(out, input);
    let expected = Request {
        len: input.len(),
        version: Version::V11,
        sent: Version::V11,
        is_head: false,
        is_idempotent: true,
        body: Body::Length(5),
        keep_alive: true,
        upgrade: Upgrade::No,
        is_login: false,
    };
    assert_eq!(request, expected);
}

#[test]
fn request_lines_become_one_form() {
    for (line, expected) in [
        ("\r\n\r\nGET / HTTP/1.1", "GET / HTTP/1.1"),
        ("GET  /x   HTTP/1.1", "GET /x HTTP/1.1"),
        ("GET http://a:80/x?y HTTP/1.1", "GET /x?y HTTP/1.1"),
        ("GET http://A HTTP/1.1", "GET / HTTP/1.1"),
        ("GET HTTPS://a:443/ HTTP/1.1", "GET / HTTP/1.1"),
        ("GET http://a?q HTTP/1.1", "GET /?q HTTP/1.1"),
        ("OPTIONS http://a HTTP/1.1", "OPTIONS * HTTP/1.1"),
        ("OPTIONS * HTTP/1.1", "OPTIONS * HTTP/1.1"),
        ("get / HTTP/1.0", "get / HTTP/1.1"),
        ("TRACE / HTTP/1.1", "TRACE / HTTP/1.1"),
    ] {
        let (_, out) = ask(&format!("{line}\r\nHost: a\r\n\r\n")).expect(line);
        assert_eq!(out, format!("{expected}\r\nHost: a\r\n\r\n"), "{line}");
    }
    let (_, out) = ask("GET / HTTP/1.1\nHost: a\nX:  y \n\n").unwrap();
    assert_eq!(out, "GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n\r\n");
}

#[test]
fn request_lines_that_are_refused() {
    for (line, status) in [
        ("GET /", 400),
        ("GET / HTTP/11", 400),
        ("GET / HTTP/2.0", 505),
        ("GET / HTTP/1.2", 505),
        ("GET / HTTP/1.1 ", 400),
        ("GET /\u{1} HTTP/1.1", 400),
        ("GET /\u{e9} HTTP/1.1", 400),
        ("GET /# HTTP/1.1", 400),
        ("GET * HTTP/1.1", 400),
        ("GET x HTTP/1.1", 400),
        ("GET a:80 HTTP/1.1", 400),
        ("GET http:///x HTTP/1.1", 400),
        ("GET http://:80/x HTTP/1.1", 400),
        ("GET http://b/ HTTP/1.1", 400),
        ("GET http://u@a/ HTTP/1.1", 400),
        ("CONNECT a:80 HTTP/1.1", 405),
        ("PRI / HTTP/1.1", 400),
        ("GET https://a:80/ HTTP/1.1", 400),
        ("GET ftp://a:80/ HTTP/1.1", 400),
        ("G\u{1}T / HTTP/1.1", 400),
        ("\u{16}\u{3}\u{1}junk", 400),
    ] {
        let answer = ask(&format!("{line}\r\nHost: a\r\n\r\n")).map(|a| a.1);
        assert_eq!(answer, Err(status), "{line:?}");
    }
}

#[test]
fn header_lines_that_are_refused() {
    for line in [
        "X : y",
        "X Y: z",
        "X",
        ": y",
        "X\u{e9}: y",
        "X: a\r\n b",
        "X: a\rb",
        "X: a\0b",
        "Host: b",
        "Te\nst: x",
        "\rX: y",
        "X: a\u{7f}",
    ] {
        assert_eq!(get(&format!("{line}\r\n")).map(|a| a.1), Err(400), "{line:?}");
    }
    assert_eq!(ask("GET / HTTP/1.1\r\n X: y\r\nHost: a\r\n\r\n").map(|a| a.1), Err(400));
    assert_eq!(ask("GET / HTTP/1.1\r\n\r\n").map(|a| a.1), Err(400), "no host");
    let old = ask("GET  / HTTP/1.0\r\nA: b\r\n\r\n").unwrap().1;
    assert_eq!(old, "GET / HTTP/1.0\r\nA: b\r\nconnection: keep-alive\r\n\r\n");
}

#[test]
fn host_is_one_host() {
    let host = |value: &str| ask(&format!("GET / HTTP/1.1\r\nHost: {value}\r\n\r\n")).is_ok();
    assert!(host("a.b:80") && host("[::1]:80") && host(""));
    assert!(!host("a/b") && !host("u@a") && !host("a b") && !host("a\0.b"));
    let (_, out) = get("Host: a\r\n").unwrap();
    assert_eq!(lines(&out), ["Host: a"]);
    let (_, out) = ask("GET http://h:1/ HTTP/1.0\r\n\r\n").unwrap();
    assert_eq!(lines(&out), ["host: h:1"]);
}

#[test]
fn hop_by_hop_headers_stay_on_their_hop() {
    let (request, out) = get(
        "Connection: X-Hop, keep-alive\r\nconnection: x-other\r\nx-hop: 1\r\nX-Other: 1\r\n\
         Keep-Alive: 300\r\nProxy-Connection: x\r\nTE: gzip, trailers\r\nUpgrade: foo\r\nX-Stays: 1\r\n",
    )
    .unwrap();
    assert_eq!(lines(&out), ["Host: a", "X-Stays: 1", "te: trailers"]);
    assert!(request.keep_alive);
    let (_, out) = get("TE: trailers\r\n").unwrap();
    assert_eq!(lines(&out), ["Host: a", "TE: trailers"]);
    // An empty element is legal; who comes after us need not know that.
    let (_, out) = get("TE:, trailers\r\n").unwrap();
    assert_eq!(lines(&out), ["Host: a", "te: trailers"]);
    let (_, out) = get("TE: gzip\r\n").unwrap();
    assert_eq!(lines(&out), ["Host: a"]);
    // Framing and host cannot be named away.
    let (_, out) =
        post("content-length: 5\r\nconnection: content-length, host, transfer-encoding\r\n")
            .unwrap();
    assert_eq!(lines(&out), ["Host: a", "content-length: 5"]);
}

#[test]
fn the_client_says_whether_it_stays() {
    let keeps = |version: &str, connection: &str| {
        let input = format!("GET / HTTP/{version}\r\nhost: a\r\n{connection}\r\n");
        ask(&input).unwrap().0.keep_alive
    };
    assert!(keeps("1.1", "") && !keeps("1.1", "connection: foo, CLOSE\r\n"));
    assert!(!keeps("1.0", "") && keeps("1.0", "connection: Keep-Alive\r\n"));
    assert!(!keeps("1.0", "connection: keep-alive, close\r\n"));
}

#[test]
fn a_length_has_63_bits() {
    let longest = u64::MAX >> 1;
    let of = |length: u64| post(&format!("Content-Length: {length}\r\n")).map(|it| it.0.body);
    assert_eq!((of(longest), of(longest + 1)), (Ok(Body::Length(longest)), Err(400)));
}

#[test]
fn a_request_ends_where_everybody_says() {
    for (input, body, line) in [
        ("", Body::Empty, ""),
        ("Content-Length: 0\r\n", Body::Empty, "Content-Length: 0"),
        ("Content-Length: 5\r\n", Body::Length(5), "Content-Length: 5"),
        ("Content-Length: 5\r\nContent-Length: 5\r\n", Body::Length(5), "content-length: 5"),
        ("Content-Length: 5, 5\r\n", Body::Length(5), "content-length: 5"),
        ("Content-Length: 005\r\n", Body::Length(5), "content-length: 5"),
        ("Transfer-Encoding: CHUNKED\r\n", Body::Chunked, "Transfer-Encoding: CHUNKED"),
        ("Content-Length:5\r\n", Body::Length(5), "Content-Length: 5"),
        ("Content-Length:  5\t\r\n", Body::Length(5), "Content-Length: 5"),
        ("Transfer-Encoding: chunked \r\n", Body::Chunked, "Transfer-Encoding: chunked"),
        ("Transfer-Encoding:\tchunked\r\n", Body::Chunked, "Transfer-Encoding: chunked"),
    ] {
        let (request, out) = post(input).expect(input);
        assert_eq!(request.body, body, "{input:?}");
        assert_eq!(lines(&out).get(1).copied().unwrap_or_default(), line);
        assert!(lines(&out).len() <= 2);
    }
    for bad in [
        "5, 6",
        "+5",
        "-5",
        "5a",
        "0x5",
        "18446744073709551621",
        "5 5",
        "",
        "5,",
        ",5",
        "5\r\nContent-Length: 6",
        "\r\nContent-Length: 5",
    ] {
        assert_eq!(post(&format!("Content-Length: {bad}\r\n")).map(|a| a.1), Err(400), "{bad:?}");
    }
    for bad in [
        "chunked, chunked",
        "chunked, identity",
        "identity",
        "gzip, chunked",
        "\"chunked\"",
        "",
        ",chunked",
        "chunked\r\nTransfer-Encoding: chunked",
        "chunked\r\nContent-Length: 5",
        "xchunked",
        "chunked;q=1",
    ] {
        let answer = post(&format!("Transfer-Encoding: {bad}\r\n")).map(|a| a.1);
        assert_eq!(answer, Err(400), "{bad:?}");
    }
    let old = |method: &str, line: &str| {
        ask(&format!("{method} / HTTP/1.0\r\n{line}\r\n\r\n")).map(|a| a.0.body)
    };
    assert_eq!(old("GET", "content-length: 5"), Err(413));
    assert_eq!(old("POST", "content-length: 5"), Ok(Body::Length(5)));
    assert_eq!(old("POST", "transfer-encoding: chunked"), Err(400));
}

#[test]
fn an_upgrade_is_kept_only_when_asked_for_properly() {
    let ask = |lines: &str| get(lines).map(|(r, out)| (r.upgrade, out.contains("pgrade: ")));
    let full = "Connection: Upgrade\r\nUpgrade: WebSocket\r\nSec-WebSocket-Key: k\r\n";
    assert_eq!(ask(full), Ok((Upgrade::WebSocket, true)));
    assert!(get(full).unwrap().1.ends_with("\r\nconnection: upgrade\r\n\r\n"));
    assert_eq!(ask("Connection: Upgrade\r\nUpgrade: websocket\r\n"), Err(400));
    let empty = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: \r\n";
    assert_eq!(ask(empty), Err(400));
    assert_eq!(ask("Upgrade: foo\r\n"), Ok((Upgrade::No, false)));
    assert_eq!(ask("Connection: upgrade\r\nUpgrade: h2c\r\n"), Ok((Upgrade::No, false)));
    assert_eq!(
        ask("Connection: upgrade\r\nUpgrade: foo\r\nUpgrade: h2c\r\n"),
        Ok((Upgrade::No, false))
    );
    assert_eq!(ask("Connection: upgrade\r\nUpgrade: foo\r\n"), Ok((Upgrade::Other, true)));
}

#[test]
fn heads_are_bounded() {
    let with = |bytes: usize, count: usize| {
        get(&format!("big: {}\r\n{}", "x".repeat(bytes), "x: y\r\n".repeat(count))).map(|_| ())
    };
    assert_eq!(with(12_000, 99), Ok(()));
    assert_eq!(with(10, 100), Err(431));
    assert_eq!(with(HEAD_BYTES, 0), Err(431));
    let long = format!("GET /{} HTTP/1.1\r\nhost: a\r\n\r\n", "x".repeat(HEAD_BYTES));
    assert_eq!(ask(&long).map(|_| ()), Err(414));
    let rules = Rules { forward_for: None, client: Some(CLIENT), close: false };
    let open = long.get(..HEAD_BYTES + 1).unwrap();
    let answer = request::read(open.as_bytes(), &rules, &mut Vec::new());
    assert_eq!(answer.map_err(|r: Refusal| r.status), Err(414), "no end in sight");
}

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

#[test]
fn what_the_proxy_adds() {
    let rule = |except: Option<(&str, u8)>, if_none| ForwardFor {
        header: "X-Forwarded-For".into(),
        except: except.map(|(addr, prefix)| IpNet { addr: addr.parse().unwrap(), prefix }),
        if_none,
    };
    let added = |rule: &ForwardFor, client: &str| {
        let rules =
            Rules { forward_for: Some(rule), client: Some(client.parse().unwrap()), close: true };
        let input = "GET / HTTP/1.1\r\nhost: a\r\nX-Forwarded-For: 1.1.1.1\r\n\r\n";
        let out = ask_with(input, &rules).unwrap().1;
        lines(&out).get(2..).unwrap().join(" ")
    };
    let both = "connection: close x-forwarded-for: 10.0.0.9";
    assert_eq!(added(&rule(None, false), "10.0.0.9"), both);
    assert_eq!(added(&rule(None, false), "::ffff:10.0.0.9"), both);
    assert_eq!(
        added(&rule(None, false), "2001:db8::1"),
        "connection: close x-forwarded-for: 2001:db8::1"
    );
    for (rule, client) in [
        (rule(None, true), "10.0.0.9"),
        (rule(Some(("10.0.0.0", 8)), false), "10.9.9.9"),
        (rule(Some(("0.0.0.0", 0)), false), "11.0.0.1"),
    ] {
        assert_eq!(added(&rule, client), "connection: close");
    }
    // A client must not get rid of its address by naming the header in `Connection`.
    let rule_if_none = rule(None, true);
    let rules = Rules { forward_for: Some(&rule_if_none), client: Some(CLIENT), close: false };
    let input = "GET / HTTP/1.1\r\nhost: a\r\nX-Forwarded-For: 1.1.1.1\r\n\
                 connection: x-forwarded-for\r\n\r\n";
    let out = ask_with(input, &rules).unwrap().1;
    assert_eq!(lines(&out).get(1..).unwrap(), [format!("x-forwarded-for: {CLIENT}")]);
    for net in [("10.0.0.0", 8), ("::", 0)] {
        assert!(added(&rule(Some(net), false), "11.0.0.1").ends_with("x-forwarded-for: 11.0.0.1"));
    }
}

const ASKED: Asked = Asked {
    is_head: false,
    version: Version::V11,
    sent: Version::V11,
    upgrade: Upgrade::No,
    keep_alive: true,
};

fn answer(input: &str, asked: Asked) -> Result<(Response, String), &'static str> {
    let mut out = Vec::new();
    let response = response::read(input.as_bytes(), &asked, &mut out)?.expect("a whole head");
    let sent = if response.is_changed { String::from_utf8(out).unwrap() } else { input.to_owned() };
    Ok((response, sent))
}

fn ok(lines: &str) -> Result<(Response, String), &'static str> {
    answer(&format!("HTTP/1.1 200 OK\r\n{lines}\r\n"), ASKED)
}

#[test]
fn a_plain_answer_passes_as_it_came() {
    let (response, _) = ok("Content-Length: 5\r\nServer: x\r\n").unwrap();
    assert!(!response.is_changed && response.keep_backend && response.keep_client);
    assert_eq!((response.body, response.status), (Body::Length(5), 200));
    let (response, _) = ok("Transfer-Encoding: chunked\r\n").unwrap();
    assert!(!response.is_changed);
    assert_eq!((response.body, response.recode), (Body::Chunked, Recode::No));
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
fn an_answer_ends_where_everybody_says() {
    let body = |head: &str| {
        answer(&format!("{head}\r\n\r\n"), ASKED).map(|(r, out)| (r.body, r.keep_backend, out))
    };
    let (framing, keeps, out) =
        body("HTTP/1.1 200 OK\r\ncontent-length: 9\r\ntransfer-encoding: chunked").unwrap();
    assert_eq!((framing, keeps), (Body::Chunked, false));
    assert!(!out.contains("content-length"));
    let (framing, keeps, out) =
        body("HTTP/1.1 200 OK\r\ncontent-length: 9\r\ncontent-length: 9").unwrap();
    assert_eq!((framing, keeps), (Body::Length(9), true));
    assert_eq!(lines(&out), ["content-length: 9"]);
    let (framing, keeps, out) = body("HTTP/1.0 200 OK").unwrap();
    assert_eq!((framing, keeps), (Body::UntilClose, false));
    assert_eq!(out, "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
    for head in ["HTTP/1.1 204 x", "HTTP/1.1 304 x", "HTTP/1.1 103 x"] {
        let (framing, keeps, out) =
            body(&format!("{head}\r\ncontent-length: 9\r\ntransfer-encoding: chunked")).unwrap();
        assert_eq!((framing, keeps), (Body::Empty, false));
        assert_eq!(lines(&out), [""; 0]);
    }
    assert!(body("HTTP/1.1 304 x\r\ncontent-length: 9").unwrap().2.contains("content-length: 9"));
    for bad in [
        "HTTP/1.1 abc OK",
        "HTTP/1.1 1000 OK",
        "HTTP/1.1 099 OK",
        "HTTP/2.0 200 OK",
        "SSH-2.0-x",
        "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2",
        "HTTP/1.1 200 OK\r\ncontent-length: 9223372036854775808",
        "HTTP/1.1 200 OK\r\nx : y",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip",
        "HTTP/1.1 200 OK\r\nx y: z",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked",
    ] {
        assert!(body(bad).is_err(), "{bad:?}");
    }
    let big = format!("HTTP/1.1 200 OK\r\nx: {}", "y".repeat(20_000));
    assert_eq!(body(&big), Err("head too large"));
}

#[test]
fn an_answer_to_head_has_no_body() {
    let asked = Asked { is_head: true, ..ASKED };
    let input = "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n";
    let (response, out) = answer(input, asked).unwrap();
    assert_eq!((response.body, response.is_changed), (Body::Empty, false));
    assert_eq!(out, input);
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

#[test]
fn who_was_asked_in_http_1_0_says_so_when_it_stays() {
    let asked = Asked { version: Version::V10, sent: Version::V10, ..ASKED };
    for (lines, keeps) in [
        ("content-length: 5", false),
        ("content-length: 5\r\nconnection: keep-alive", true),
        ("connection: keep-alive", false),
        ("transfer-encoding: chunked\r\nconnection: keep-alive", false),
    ] {
        let (response, _) = answer(&format!("HTTP/1.1 200 OK\r\n{lines}\r\n\r\n"), asked).unwrap();
        assert_eq!(response.keep_backend, keeps, "{lines:?}");
    }
}

#[test]
fn a_backend_that_announces_a_body_with_204_is_not_asked_again() {
    for (line, keeps) in [
        ("server: x", true),
        ("content-length: 0", true),
        ("content-length: 5", false),
        ("transfer-encoding: chunked", false),
    ] {
        let (response, out) =
            answer(&format!("HTTP/1.1 204 No Content\r\n{line}\r\n\r\n"), ASKED).unwrap();
        assert_eq!((response.body, response.keep_backend), (Body::Empty, keeps), "{line}");
        assert!(response.keep_client && (!out.contains("5") && !out.contains("chunked")), "{out}");
    }
}

#[test]
fn hops_are_kept_independently() {
    let (response, out) =
        ok("content-length: 5\r\nconnection: close, x-hop\r\nx-hop: 1\r\nupgrade: h2c\r\n")
            .unwrap();
    assert!(!response.keep_backend && response.keep_client);
    assert_eq!(lines(&out), ["content-length: 5"]);
    let asked = Asked { keep_alive: false, ..ASKED };
    let (_, out) = answer("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n", asked).unwrap();
    assert_eq!(lines(&out), ["content-length: 5", "connection: close"]);
    let (response, _) =
        answer("HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 5\r\n\r\n", ASKED)
            .unwrap();
    assert!(response.keep_backend);
    // HTTP/1.0 has no chunks (RFC 9112 6.1).
    let old = "HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ntransfer-encoding: chunked\r\n\r\n";
    assert!(!answer(old, ASKED).unwrap().0.keep_backend);
}

#[test]
fn a_login_to_a_connection_is_known() {
    for (line, expected) in [
        ("Authorization: NTLM TlRM", true),
        ("authorization: negotiate YII=", true),
        ("Proxy-Authorization: Negotiate YII=", true),
        ("Authorization: Basic bnRsbQ==", false),
        ("Authorization: Nego2 x", true),
        ("Authorization: Bearer ntlm", false),
        ("X-Authorize: NTLM", false),
    ] {
        assert_eq!(get(&format!("{line}\r\n")).unwrap().0.is_login, expected, "{line}");
    }
    for (line, expected) in [
        ("WWW-Authenticate: NTLM", true),
        ("www-authenticate: Basic realm=\"a\", Negotiate", true),
        ("WWW-Authenticate: Basic realm=a\r\nwww-authenticate: ntlm TlRM", true),
        ("Proxy-Authenticate: Negotiate", true),
        ("WWW-Authenticate: Digest realm=\"NTLM\"", false),
        ("X-WWW-Authentic: NTLM", false),
    ] {
        let head = format!("HTTP/1.1 401 x\r\ncontent-length: 0\r\n{line}\r\n\r\n");
        assert_eq!(answer(&head, ASKED).unwrap().0.is_login, expected, "{line}");
    }
}

#[test]
fn an_answer_may_switch_only_as_asked() {
    let switch = |upgrade, lines: &str| {
        let head = format!("HTTP/1.1 101 x\r\nupgrade: y\r\nconnection: upgrade\r\n{lines}\r\n");
        answer(&head, Asked { upgrade, ..ASKED }).map(|(_, out)| out)
    };
    assert!(switch(Upgrade::No, "").is_err());
    assert!(switch(Upgrade::WebSocket, "").is_err());
    assert!(switch(Upgrade::WebSocket, "sec-websocket-accept: z\r\n").is_ok());
    for (half, is_enough) in [("upgrade: y\r\n", false), ("connection: upgrade\r\n", true)] {
        let head = format!("HTTP/1.1 101 x\r\n{half}sec-websocket-accept: z\r\n\r\n");
        for upgrade in [Upgrade::WebSocket, Upgrade::Other] {
            assert_eq!(answer(&head, Asked { upgrade, ..ASKED }).is_ok(), is_enough, "{head:?}");
        }
    }
    let out = switch(Upgrade::Other, "").unwrap();
    assert_eq!(lines(&out), ["upgrade: y", "connection: upgrade"]);
}

/// What goes on of `input` and what follows it, fed in pieces that end at `cuts`.
fn decode(input: &[u8], keep: Keep, cuts: &[usize]) -> Result<(Vec<u8>, usize, bool), Malformed> {
    let mut decoder = Decoder::new(keep);
    let (mut out, mut consumed, mut from) = (Vec::new(), 0, 0);
    for cut in cuts.iter().copied().chain([input.len()]) {
        let cut = cut.clamp(from, input.len());
        let piece = input.get(from..cut).unwrap();
        let mut ranges = Ranges::default();
        let fed = decoder.feed(piece, &mut ranges)?;
        for range in ranges.0 {
            out.extend_from_slice(piece.get(range).unwrap());
        }
        consumed += fed.consumed;
        if fed.done {
            out.extend_from_slice(decoder.tail());
            return Ok((out, consumed, true));
        }
        assert_eq!(fed.consumed, piece.len());
        from = cut;
    }
    Ok((out, consumed, decoder.is_done()))
}

#[test]
fn chunks_pass_without_extensions() {
    for (input, framed, data) in [
        ("5\r\nhello\r\n0\r\n\r\n", "5\r\nhello\r\n0\r\n\r\n", "hello"),
        ("5;a=b\r\nhello\r\n0;x\r\n\r\n", "5\r\nhello\r\n0\r\n\r\n", "hello"),
        ("5 ;a=\"x;\\\"\"\r\nhello\r\n00\r\n\r\n", "5\r\nhello\r\n00\r\n\r\n", "hello"),
        (
            "A\r\n0123456789\r\n1\r\nx\r\n0\r\nSum: 7\r\n\r\n",
            "A\r\n0123456789\r\n1\r\nx\r\n0\r\nSum: 7\r\n\r\n",
            "0123456789x",
        ),
    ] {
        let whole = decode(input.as_bytes(), Keep::Framed, &[]).expect(input);
        assert_eq!(whole, (framed.as_bytes().to_vec(), input.len(), true), "{input:?}");
        let whole = decode(input.as_bytes(), Keep::Data, &[]).expect(input);
        assert_eq!(whole, (data.as_bytes().to_vec(), input.len(), true), "{input:?}");
    }
    let (_, consumed, done) = decode(b"0\r\n\r\nGET /", Keep::Framed, &[]).unwrap();
    assert_eq!((consumed, done), (5, true));
}

#[test]
fn chunks_that_are_none() {
    for bad in [
        "5\nhello\r\n0\r\n\r\n",
        "5;x\nhello\r\n0\r\n\r\n",
        "0x5\r\nhello\r\n",
        "+5\r\nhello\r\n",
        "\r\nhello\r\n",
        "10000000000000005\r\nhello\r\n",
        "10000000000000\r\n",
        "00000000000000005\r\nhello\r\n",
        " 5\r\nhello\r\n",
        "5\r\nhelloXX0\r\n\r\n",
        "5\r\nhello\n0\r\n\r\n",
        "0\r\nContent-Length: 5\r\n\r\n",
        "0\r\nhost: b\r\n\r\n",
        "0\r\ntransfer-encoding: chunked\r\n\r\n",
        "0\r\nbad trailer\r\n\r\n",
        "0\r\n\n",
        "0\r\nx: y\n\r\n",
        "5_0\r\n",
        "5;a=\"x\r\nhello\r\n",
        "5;a\u{1}\r\n",
        "5 5\r\nhello\r\n",
        "5\rhello",
        "-1\r\n",
        "g\r\n",
    ] {
        assert_eq!(decode(bad.as_bytes(), Keep::Framed, &[]), Err(Malformed), "{bad:?}");
    }
    for huge in ["fffffffffffff\r\nx", "000fffffffffffff\r\nx"] {
        assert!(decode(huge.as_bytes(), Keep::Framed, &[]).is_ok(), "{huge:?}");
    }
    let long = format!("5;{}\r\nhello\r\n", "x".repeat(5000));
    assert_eq!(decode(long.as_bytes(), Keep::Framed, &[]), Err(Malformed));
    let long = format!("0\r\nx: {}\r\n\r\n", "x".repeat(HEAD_BYTES));
    assert_eq!(decode(long.as_bytes(), Keep::Framed, &[]), Err(Malformed));
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
