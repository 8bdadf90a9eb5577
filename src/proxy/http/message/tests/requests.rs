//! Requests: the first line, the host, what is refused, what the proxy adds.

use super::super::framing::Body;
use super::super::request::{self, Request, Rules};
use super::super::{HEAD_BYTES, Refusal, Upgrade, Version};
use super::{CLIENT, ask, ask_with, get, lines};
use crate::proxy::{ForwardFor, IpNet};

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
