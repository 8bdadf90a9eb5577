//! Where messages end.

use super::super::framing::Body;
use super::super::response::Asked;
use super::{ASKED, answer, ask, lines, post};

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
    let coded: &[&str] = &["transfer-encoding: chunked"];
    for (head, left) in [("204", &[][..]), ("304", coded), ("103", &[])] {
        let both = format!("HTTP/1.1 {head} x\r\ncontent-length: 9\r\n{}", coded[0]);
        let (framing, keeps, out) = body(&both).unwrap();
        assert_eq!((framing, keeps), (Body::Empty, false));
        assert_eq!(lines(&out), left);
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
