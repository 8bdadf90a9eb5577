//! Requests: what their heads, lengths and trailers may say (8.1 to 8.5).

use super::super::judge::{COMPRESSION, Case, Must, PROTOCOL, but, case, get, with, without};
use super::super::raw::{DATA, END_HEADERS, END_STREAM, HEADERS, ask, fields, frame, request};

/// POST with a length that is said, and bytes that come.
fn lengths(said: &'static [u8], parts: &[usize]) -> Vec<u8> {
    let mut all = request("POST");
    all.push(("content-length", said));
    let mut bytes = frame(HEADERS, END_HEADERS, 1, &fields(&all));
    for (index, part) in parts.iter().enumerate() {
        let last = if index + 1 == parts.len() { END_STREAM } else { 0 };
        bytes.extend(frame(DATA, last, 1, &vec![b'x'; *part]));
    }
    bytes
}

#[expect(clippy::too_many_lines, reason = "a table")]
pub(super) fn messages() -> Vec<Case> {
    use Must::{Refuse, Reset, Serve};
    let tail =
        |block: &[(&str, &[u8])], flags| frame(HEADERS, END_HEADERS | flags, 1, &fields(block));
    vec![
        case("8.1 a plain request", &[get()], Serve),
        case(
            "8.1 trailers",
            &[ask("POST", 0, 1), frame(DATA, 0, 1, b"x"), tail(&[("x-sum", b"1")], END_STREAM)],
            Serve,
        ),
        case(
            "8.1 trailers without an end",
            &[ask("POST", 0, 1), tail(&[("x-sum", b"1")], 0)],
            Reset(&[PROTOCOL]),
        ),
        case("8.1.1 less than the length", &[lengths(b"5", &[4])], Refuse),
        case("8.1.1 more than the length", &[lengths(b"5", &[4, 4])], Refuse),
        case("8.1.1 a length and no body", &[with("content-length", b"5")], Refuse),
        case("8.1.1 the length", &[lengths(b"8", &[4, 4])], Serve),
        case("two lengths", &[with("content-length", b"0, 1")], Refuse),
        case("a length that is no number", &[with("content-length", b"+0")], Refuse),
        case("8.2 a name in capitals", &[with("X-Test", b"1")], Refuse),
        case("8.2 a name with a space", &[with("x test", b"1")], Refuse),
        case("8.2 a name with a colon", &[with("x:test", b"1")], Refuse),
        case("8.2 an empty name", &[with("", b"1")], Reset(&[PROTOCOL, COMPRESSION])),
        case("8.2 LF in a value", &[with("x-test", b"1\nx-evil: 2")], Refuse),
        case("8.2 CR in a value", &[with("x-test", b"1\rx-evil: 2")], Refuse),
        case("8.2 NUL in a value", &[with("x-test", b"1\0")], Refuse),
        case("8.2 a value that begins with a space", &[with("x-test", b" 1")], Refuse),
        case("8.2.2 connection", &[with("connection", b"keep-alive")], Refuse),
        case("8.2.2 keep-alive", &[with("keep-alive", b"1")], Refuse),
        case("8.2.2 proxy-connection", &[with("proxy-connection", b"close")], Refuse),
        case("8.2.2 transfer-encoding", &[with("transfer-encoding", b"chunked")], Refuse),
        case("8.2.2 upgrade", &[with("upgrade", b"websocket")], Refuse),
        case("8.2.2 te", &[with("te", b"gzip")], Refuse),
        case("8.2.2 te: trailers", &[with("te", b"trailers")], Serve),
        case("8.3 an unknown pseudo-header", &[with(":test", b"1")], Refuse),
        case("8.3 a pseudo-header of answers", &[with(":status", b"200")], Refuse),
        case(
            "8.3 a pseudo-header behind others",
            &[frame(
                HEADERS,
                END_HEADERS | END_STREAM,
                1,
                &fields(&[
                    (":method", b"GET"),
                    (":scheme", b"http"),
                    ("x-test", b"1"),
                    (":path", b"/"),
                    (":authority", b"a"),
                ]),
            )],
            Refuse,
        ),
        case("8.3.1 no method", &[without(":method")], Refuse),
        case("8.3.1 no scheme", &[without(":scheme")], Refuse),
        case("8.3.1 no path", &[without(":path")], Refuse),
        case("8.3.1 no host", &[without(":authority")], Refuse),
        case("8.3.1 an empty path", &[but(":path", b"")], Refuse),
        case("8.3.1 a path that is none", &[but(":path", b"test")], Refuse),
        case("8.3.1 an absolute path", &[but(":path", b"http://evil/")], Refuse),
        case("8.3.1 * for GET", &[but(":path", b"*")], Refuse),
        case("8.3.1 a space in the path", &[but(":path", b"/ HTTP/1.1")], Refuse),
        case("8.3.1 a line end in the path", &[but(":path", b"/\r\nx: 1")], Refuse),
        case("8.3.1 a method that is none", &[but(":method", b"G ET")], Refuse),
        case(
            "8.3.1 a line end in the method",
            &[but(":method", b"GET / HTTP/1.1\r\nx: 1\r\n")],
            Refuse,
        ),
        case("8.3.1 a host that is none", &[but(":authority", b"a/b")], Refuse),
        case("8.3.1 a user in the host", &[but(":authority", b"user@a")], Refuse),
        case("8.3.1 another host", &[with("host", b"evil.example")], Refuse),
        case("8.3.1 the same host", &[with("host", b"TEST.example")], Serve),
        case("8.3.1 two methods", &[with(":method", b"GET")], Refuse),
        case("8.3.1 two paths", &[with(":path", b"/")], Refuse),
        case("8.3.1 two schemes", &[with(":scheme", b"http")], Refuse),
        case(
            "8.5 CONNECT",
            &[frame(
                HEADERS,
                END_HEADERS | END_STREAM,
                1,
                &fields(&[(":method", b"CONNECT"), (":authority", b"a:80")]),
            )],
            Refuse,
        ),
    ]
}
