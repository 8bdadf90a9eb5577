//! The rules of RFC 9113 and 7541 as h2spec tries them (it cannot be had as a package here): each case says something on a
//! fresh connection, and what must come of it.

use serde_json::json;

use super::judge::{
    CLOSED, COMPRESSION, Came, Case, FLOW, Must, PROTOCOL, REFUSED, SIZE, block, but, case, get,
    grow, hold_all, outcome, ping, rst, setting, with, without,
};
use super::raw::{
    ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PADDED, PING, PRIORITY,
    PUSH_PROMISE, RST_STREAM, Raw, SETTINGS, WINDOW_UPDATE, WITH_PRIORITY, ask, fields, frame,
    request,
};
use super::web::{web_called, web_with};
use crate::support::lab::Lab;

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

fn framing() -> Vec<Case> {
    use Must::{End, Live, Reset, Serve};
    let half = END_STREAM;
    vec![
        case("4.1 unknown frames are ignored", &[frame(0x16, 0, 0, b"x"), ping()], Live),
        case("4.1 undefined flags are ignored", &[frame(PING, 0x16, 0, b"12345678")], Live),
        case("4.1 the reserved bit is ignored", &[frame(PING, 0, 1 << 31, b"12345678")], Live),
        case(
            "4.2 the largest frame",
            &[ask("POST", 0, 1), frame(DATA, half, 1, &[0; 16_384])],
            Serve,
        ),
        case(
            "4.2 DATA too large",
            &[ask("POST", 0, 1), frame(DATA, half, 1, &[0; 16_385])],
            Reset(&[SIZE]),
        ),
        case(
            "4.2 HEADERS too large",
            &[frame(HEADERS, END_HEADERS | half, 1, &[0; 16_385])],
            End(&[SIZE]),
        ),
        case(
            "4.3 an index that is not",
            &[frame(HEADERS, END_HEADERS | half, 1, &[0xff, 0x80, 0x7f])],
            End(&[COMPRESSION, PROTOCOL]),
        ),
        case(
            "4.3 index 0",
            &[frame(HEADERS, END_HEADERS | half, 1, &[0x80])],
            End(&[COMPRESSION, PROTOCOL]),
        ),
        case(
            "4.3 PRIORITY within a head",
            &[frame(HEADERS, half, 1, &block()), frame(PRIORITY, 0, 1, &[0; 5])],
            End(&[PROTOCOL]),
        ),
        case(
            "4.3 another head within a head",
            &[frame(HEADERS, half, 1, &block()), frame(HEADERS, half, 3, &block())],
            End(&[PROTOCOL]),
        ),
        case(
            "5.5 unknown frames within a head",
            &[frame(HEADERS, half, 1, &block()), frame(0x16, 0, 0, b"x")],
            End(&[PROTOCOL]),
        ),
        case(
            "7541 6.3 table larger than allowed",
            &[frame(HEADERS, END_HEADERS | half, 1, &[0x3f, 0xff, 0xff, 0x03])],
            End(&[COMPRESSION, PROTOCOL]),
        ),
    ]
}

#[expect(clippy::too_many_lines, reason = "a table")]
fn states() -> Vec<Case> {
    use Must::{End, Live, Reset, Serve};
    vec![
        case("5.1 DATA on an idle stream", &[frame(DATA, END_STREAM, 1, b"x")], End(&[PROTOCOL])),
        case("5.1 RST_STREAM on an idle stream", &[rst(1)], End(&[PROTOCOL])),
        case("5.1 WINDOW_UPDATE on an idle stream", &[grow(1, 100)], End(&[PROTOCOL])),
        case(
            "5.1 CONTINUATION on an idle stream",
            &[frame(CONTINUATION, END_HEADERS, 1, &block())],
            End(&[PROTOCOL]),
        ),
        case(
            "5.1 DATA after the end",
            &[get(), frame(DATA, END_STREAM, 1, b"x")],
            Reset(&[CLOSED, PROTOCOL]),
        ),
        case("5.1 HEADERS after the end", &[get(), get()], Reset(&[CLOSED, PROTOCOL])),
        case(
            "5.1 CONTINUATION after the end",
            &[get(), frame(CONTINUATION, END_HEADERS, 1, &block())],
            End(&[PROTOCOL, CLOSED]),
        ),
        case(
            "5.1 DATA after a reset",
            &[ask("POST", 0, 1), rst(1), frame(DATA, END_STREAM, 1, b"x")],
            Reset(&[CLOSED]),
        ),
        case(
            "5.1 WINDOW_UPDATE after a reset",
            &[ask("POST", 0, 1), rst(1), grow(1, 1), ping()],
            Live,
        ),
        case("5.1.1 an even stream", &[ask("GET", END_STREAM, 2)], End(&[PROTOCOL])),
        case(
            "5.1.1 a stream below the last",
            &[ask("GET", END_STREAM, 5), ask("GET", END_STREAM, 3)],
            End(&[PROTOCOL, CLOSED]),
        ),
        case(
            "5.3.1 HEADERS that depend on themselves",
            &[frame(
                HEADERS,
                END_HEADERS | END_STREAM | WITH_PRIORITY,
                1,
                &[&[0, 0, 0, 1, 16][..], &block()].concat(),
            )],
            Reset(&[PROTOCOL]),
        ),
        case(
            "5.3.1 PRIORITY that depends on itself",
            &[frame(PRIORITY, 0, 1, &[0, 0, 0, 1, 16])],
            Reset(&[PROTOCOL]),
        ),
        case(
            "5.3 PRIORITY of an idle stream",
            &[frame(PRIORITY, 0, 3, &[0, 0, 0, 0, 16]), get()],
            Serve,
        ),
        case(
            "6.10 a head in many pieces",
            &[
                frame(HEADERS, END_STREAM, 1, &block()[..5]),
                frame(CONTINUATION, 0, 1, &block()[5..9]),
                frame(CONTINUATION, END_HEADERS, 1, &block()[9..]),
            ],
            Serve,
        ),
        case(
            "6.10 CONTINUATION of another stream",
            &[frame(HEADERS, END_STREAM, 1, &block()), frame(CONTINUATION, END_HEADERS, 3, &[])],
            End(&[PROTOCOL]),
        ),
        case(
            "6.10 CONTINUATION on stream 0",
            &[frame(HEADERS, END_STREAM, 1, &block()), frame(CONTINUATION, END_HEADERS, 0, &[])],
            End(&[PROTOCOL]),
        ),
        case(
            "6.10 CONTINUATION after a whole head",
            &[ask("POST", 0, 1), frame(CONTINUATION, END_HEADERS, 1, &block())],
            End(&[PROTOCOL]),
        ),
        case(
            "6.10 DATA within a head",
            &[frame(HEADERS, 0, 1, &block()), frame(DATA, END_STREAM, 1, b"x")],
            End(&[PROTOCOL]),
        ),
    ]
}

#[expect(clippy::too_many_lines, reason = "a table")]
fn frames() -> Vec<Case> {
    use Must::{End, Live, Reset, Serve};
    let whole = END_HEADERS | END_STREAM;
    vec![
        case("6.1 DATA on stream 0", &[frame(DATA, 0, 0, b"x")], End(&[PROTOCOL])),
        case(
            "6.1 padding longer than DATA",
            &[ask("POST", 0, 1), frame(DATA, END_STREAM | PADDED, 1, &[9, 0, 0])],
            End(&[PROTOCOL]),
        ),
        case(
            "6.1 padded DATA",
            &[ask("POST", 0, 1), frame(DATA, END_STREAM | PADDED, 1, &[2, b'x', 0, 0])],
            Serve,
        ),
        case("6.2 HEADERS on stream 0", &[frame(HEADERS, whole, 0, &block())], End(&[PROTOCOL])),
        case(
            "6.2 padding longer than HEADERS",
            &[frame(HEADERS, whole | PADDED, 1, &[&[255][..], &block()].concat())],
            End(&[PROTOCOL]),
        ),
        case("6.3 PRIORITY on stream 0", &[frame(PRIORITY, 0, 0, &[0; 5])], End(&[PROTOCOL])),
        case("6.3 PRIORITY of 4 bytes", &[frame(PRIORITY, 0, 1, &[0; 4])], Reset(&[SIZE])),
        case("6.4 RST_STREAM on stream 0", &[rst(0)], End(&[PROTOCOL])),
        case(
            "6.4 RST_STREAM of 3 bytes",
            &[ask("POST", 0, 1), frame(RST_STREAM, 0, 1, &[0; 3])],
            End(&[SIZE]),
        ),
        case("6.5 SETTINGS are acknowledged", &[setting(3, 100), ping()], Live),
        case(
            "6.5 an acknowledgement with a payload",
            &[frame(SETTINGS, ACK, 0, &[0; 6])],
            End(&[SIZE]),
        ),
        case(
            "6.5 SETTINGS on a stream",
            &[frame(SETTINGS, 0, 1, &[0, 3, 0, 0, 0, 9])],
            End(&[PROTOCOL]),
        ),
        case("6.5 SETTINGS of 5 bytes", &[frame(SETTINGS, 0, 0, &[0; 5])], End(&[SIZE])),
        case("6.5.2 ENABLE_PUSH 2", &[setting(2, 2)], End(&[PROTOCOL])),
        case("6.5.2 a window above 2^31-1", &[setting(4, 1 << 31)], End(&[FLOW])),
        case("6.5.2 MAX_FRAME_SIZE too small", &[setting(5, 16_383)], End(&[PROTOCOL])),
        case("6.5.2 MAX_FRAME_SIZE too large", &[setting(5, 16_777_216)], End(&[PROTOCOL])),
        case("6.5.2 an unknown setting", &[setting(0xff, 1), ping()], Live),
        case(
            "6.6 PUSH_PROMISE of a client",
            &[
                ask("POST", 0, 1),
                frame(PUSH_PROMISE, END_HEADERS, 1, &[&[0, 0, 0, 2][..], &block()].concat()),
            ],
            End(&[PROTOCOL]),
        ),
        case("6.7 PING on a stream", &[frame(PING, 0, 1, &[0; 8])], End(&[PROTOCOL])),
        case("6.7 PING of 6 bytes", &[frame(PING, 0, 0, &[0; 6])], End(&[SIZE])),
        case("6.7 an answer nobody asked for", &[frame(PING, ACK, 0, b"87654321"), ping()], Live),
        case("6.8 GOAWAY on a stream", &[frame(GOAWAY, 0, 1, &[0; 8])], End(&[PROTOCOL])),
        case("6.9 WINDOW_UPDATE by 0", &[grow(0, 0)], End(&[PROTOCOL])),
        case(
            "6.9 WINDOW_UPDATE of a stream by 0",
            &[ask("POST", 0, 1), grow(1, 0)],
            Reset(&[PROTOCOL]),
        ),
        case("6.9 WINDOW_UPDATE of 3 bytes", &[frame(WINDOW_UPDATE, 0, 0, &[0; 3])], End(&[SIZE])),
        case(
            "6.9.1 a window above 2^31-1",
            &[grow(0, 0x7fff_ffff), grow(0, 0x7fff_ffff)],
            End(&[FLOW]),
        ),
        case(
            "6.9.1 a stream's window above 2^31-1",
            &[ask("POST", 0, 1), grow(1, 0x7fff_ffff), grow(1, 0x7fff_ffff)],
            Reset(&[FLOW]),
        ),
    ]
}

#[expect(clippy::too_many_lines, reason = "a table")]
fn messages() -> Vec<Case> {
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

#[tokio::test]
async fn what_is_no_http2_is_refused_and_the_rest_is_served() {
    hold_all([framing(), states(), frames(), messages()]).await;
}

#[tokio::test]
async fn a_listener_for_http2_alone_takes_nothing_else() {
    let lab = Lab::new().await;
    let web = web_with(&lab, &[], |all| {
        all["services"]["web"]["haproxy"]["bind_options"] = "proto h2".into();
    })
    .await;
    let mut other = Raw::bare(web.front).await;
    other.send(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    while let Some(frame) = other.next().await {
        assert!([SETTINGS, GOAWAY, WINDOW_UPDATE].contains(&frame.kind), "{frame:?}");
    }
    assert_eq!(web.server.requests(), 0);
    let mut raw = Raw::open(web.front).await;
    raw.send(&get()).await;
    assert_eq!(outcome(&mut raw).await, Came::Status(Some(200)));
}

#[tokio::test]
async fn more_streams_than_allowed_are_refused() {
    let lab = Lab::new().await;
    let web = web_with(&lab, &[], |all| {
        all["haproxy"]["global"] = json!(["tune.h2.max-concurrent-streams 10"]);
    })
    .await;
    let mut raw = Raw::open(web.front).await;
    for stream in 0..11 {
        raw.send(&ask("POST", 0, stream * 2 + 1)).await;
    }
    let Came::Reset(code) = outcome(&mut raw).await else { panic!("the eleventh is refused") };
    assert!([REFUSED, PROTOCOL].contains(&code), "{code}");
}

#[tokio::test]
async fn a_clients_window_is_kept_to() {
    let lab = Lab::new().await;
    let web = web_called(&lab, "origin-A").await;
    let mut raw = Raw::open_with(web.front, &[(4, 3)]).await;
    raw.send(&get()).await;
    let mut data = Vec::new();
    while data.len() < 8 {
        let frame = raw.next().await.expect("data");
        if frame.kind == DATA {
            assert!(frame.payload.len() <= 3, "{frame:?}");
            data.extend(frame.payload);
            raw.send(&grow(1, 3)).await;
        }
    }
    assert_eq!(data, b"origin-A");
}
