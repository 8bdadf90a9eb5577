//! More of RFC 9113: what must be borne, what an answer that has ended changes, and the edges of each number.

mod borne;

use self::borne::borne;
use super::judge::{
    CLOSED, Case, FLOW, Must, PROTOCOL, SIZE, block, but, case, get, grow, hold_all, ping, rst,
    setting, with,
};
use super::raw::{
    ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PADDED, PING, PRIORITY,
    PUSH_PROMISE, RST_STREAM, SETTINGS, WINDOW_UPDATE, WITH_PRIORITY, ask, fields, frame, request,
};

const WHOLE: u8 = END_HEADERS | END_STREAM;

/// HEADERS whose block has something before it.
fn head(flags: u8, before: &[u8], after: &[u8]) -> Vec<u8> {
    frame(HEADERS, WHOLE | flags, 1, &[before, &block(), after].concat())
}

/// POST with these fields more, not ended.
fn post(more: &[(&'static str, &'static [u8])]) -> Vec<u8> {
    let mut all = request("POST");
    all.extend(more);
    frame(HEADERS, END_HEADERS, 1, &fields(&all))
}

fn trailers(block: &[(&str, &[u8])]) -> Vec<u8> {
    frame(HEADERS, WHOLE, 1, &fields(block))
}

fn priority(stream: u32, payload: &[u8]) -> Vec<u8> {
    frame(PRIORITY, 0, stream, payload)
}

fn goaway(code: u32) -> Vec<u8> {
    frame(GOAWAY, 0, 0, &[[0; 4], code.to_be_bytes()].concat())
}

#[expect(clippy::too_many_lines, reason = "a table")]
fn broken() -> Vec<Case> {
    use Must::{End, Refuse, Reset};
    let go = || post(&[]);
    vec![
        case("5.1 DATA on a closed stream", &[get()], Reset(&[CLOSED]))
            .then(&[frame(DATA, END_STREAM, 1, b"x")]),
        case("5.1 HEADERS on a closed stream", &[get()], Reset(&[CLOSED, PROTOCOL])).then(&[get()]),
        case("5.1 CONTINUATION on a closed stream", &[get()], End(&[CLOSED, PROTOCOL]))
            .then(&[frame(CONTINUATION, END_HEADERS, 1, &block())]),
        case("5.1 HEADERS after a reset", &[go(), rst(1), get()], Reset(&[CLOSED, PROTOCOL])),
        case(
            "5.1 CONTINUATION after a reset",
            &[go(), rst(1), frame(CONTINUATION, END_HEADERS, 1, &block())],
            End(&[CLOSED, PROTOCOL]),
        ),
        case(
            "5.1.1 HEADERS below one that was skipped",
            &[ask("GET", END_STREAM, 7)],
            End(&[PROTOCOL, CLOSED]),
        )
        .then(&[ask("GET", END_STREAM, 5)]),
        case(
            "6.1 no length of padding",
            &[go(), frame(DATA, END_STREAM | PADDED, 1, &[])],
            End(&[SIZE, PROTOCOL]),
        ),
        case(
            "6.1 padding as long as the frame",
            &[go(), frame(DATA, END_STREAM | PADDED, 1, &[3, 0, 0])],
            End(&[PROTOCOL]),
        ),
        case(
            "6.2 no length of padding",
            &[frame(HEADERS, WHOLE | PADDED, 1, &[])],
            End(&[SIZE, PROTOCOL]),
        ),
        case(
            "6.2 a priority that breaks off",
            &[frame(HEADERS, WHOLE | WITH_PRIORITY, 1, &[0; 4])],
            End(&[SIZE, PROTOCOL]),
        ),
        case(
            "6.2 padding over the priority",
            &[head(PADDED | WITH_PRIORITY, &[200, 0, 0, 0, 0, 9], &[])],
            End(&[PROTOCOL]),
        ),
        case("6.3 PRIORITY of 6 bytes", &[priority(1, &[0; 6])], Reset(&[SIZE])),
        case(
            "6.3 PRIORITY within another's head",
            &[frame(HEADERS, END_STREAM, 1, &block()), priority(3, &[0; 5])],
            End(&[PROTOCOL]),
        ),
        case("6.4 RST_STREAM of 5 bytes", &[go(), frame(RST_STREAM, 0, 1, &[0; 5])], End(&[SIZE])),
        case("6.5 SETTINGS of 7 bytes", &[frame(SETTINGS, 0, 0, &[0; 7])], End(&[SIZE])),
        case(
            "6.5 an acknowledgement on a stream",
            &[frame(SETTINGS, ACK, 1, &[])],
            End(&[PROTOCOL]),
        ),
        case(
            "6.5 an acknowledgement nobody waits for, with a payload",
            &[frame(SETTINGS, ACK, 0, &[0; 1])],
            End(&[SIZE]),
        ),
        case(
            "6.5.2 a right value, then a wrong one",
            &[frame(SETTINGS, 0, 0, &[0, 2, 0, 0, 0, 0, 0, 2, 0, 0, 0, 2])],
            End(&[PROTOCOL]),
        ),
        case("6.5.2 the largest wrong window", &[setting(4, u32::MAX)], End(&[FLOW])),
        case(
            "6.6 PUSH_PROMISE on stream 0",
            &[frame(PUSH_PROMISE, END_HEADERS, 0, &[0, 0, 0, 2])],
            End(&[PROTOCOL]),
        ),
        case("6.7 PING of 9 bytes", &[frame(PING, 0, 0, &[0; 9])], End(&[SIZE])),
        case(
            "6.7 an answer to PING on a stream",
            &[frame(PING, ACK, 1, &[0; 8])],
            End(&[PROTOCOL]),
        ),
        case("6.8 GOAWAY of 7 bytes", &[frame(GOAWAY, 0, 0, &[0; 7])], End(&[SIZE, PROTOCOL])),
        case("6.9 WINDOW_UPDATE of 5 bytes", &[frame(WINDOW_UPDATE, 0, 0, &[0; 5])], End(&[SIZE])),
        case(
            "6.9 WINDOW_UPDATE of a stream, 3 bytes",
            &[go(), frame(WINDOW_UPDATE, 0, 1, &[0; 3])],
            End(&[SIZE]),
        ),
        case("6.9 the reserved bit and nothing else", &[grow(0, 1 << 31)], End(&[PROTOCOL])),
        case(
            "6.9.2 a window above 2^31-1 by a setting",
            &[go(), grow(1, 0x7fff_ffff - 65_535), setting(4, 65_536)],
            End(&[FLOW]),
        ),
        case(
            "6.10 CONTINUATION after the last one",
            &[
                frame(HEADERS, 0, 1, &block()),
                frame(CONTINUATION, END_HEADERS, 1, &[]),
                frame(CONTINUATION, END_HEADERS, 1, &[]),
            ],
            End(&[PROTOCOL]),
        ),
        case(
            "6.10 SETTINGS within a head",
            &[frame(HEADERS, END_STREAM, 1, &block()), setting(3, 9)],
            End(&[PROTOCOL]),
        ),
        case(
            "6.10 PING within a head",
            &[frame(HEADERS, END_STREAM, 1, &block()), ping()],
            End(&[PROTOCOL]),
        ),
        case(
            "6.10 RST_STREAM within a head",
            &[frame(HEADERS, END_STREAM, 1, &block()), rst(1)],
            End(&[PROTOCOL]),
        ),
        case(
            "8.1 DATA after trailers",
            &[go(), trailers(&[("x-sum", b"1")]), frame(DATA, END_STREAM, 1, b"x")],
            Reset(&[CLOSED, PROTOCOL]),
        ),
        case("8.1 trailers in capitals", &[go(), trailers(&[("X-Sum", b"1")])], Refuse),
        case(
            "8.1 trailers about the connection",
            &[go(), trailers(&[("connection", b"close")])],
            Refuse,
        ),
        case("8.1 an unknown one", &[go(), trailers(&[("x-sum", b"1"), (":test", b"1")])], Refuse),
        case(
            "8.1.1 less than the length, padded up to it",
            &[
                post(&[("content-length", b"3")]),
                frame(DATA, END_STREAM | PADDED, 1, &[2, b'x', 0, 0]),
            ],
            Refuse,
        ),
        case(
            "8.1.1 less than the length, with trailers",
            &[
                post(&[("content-length", b"3")]),
                frame(DATA, 0, 1, b"x"),
                trailers(&[("x-sum", b"1")]),
            ],
            Refuse,
        ),
        case(
            "8.1.1 a length and trailers alone",
            &[post(&[("content-length", b"3")]), trailers(&[("x-sum", b"1")])],
            Refuse,
        ),
        case(
            "8.1.1 two different lengths",
            &[frame(
                HEADERS,
                WHOLE,
                1,
                &fields(
                    &[&request("GET")[..], &[("content-length", b"0"), ("content-length", b"1")]]
                        .concat(),
                ),
            )],
            Refuse,
        ),
        case("8.2.1 DEL in a name", &[with("x\x7f", b"1")], Refuse),
        case("8.2.1 a byte above ASCII in a name", &[with("x\u{e9}", b"1")], Refuse),
        case("8.2.1 a value that ends with a tab", &[with("x-test", b"1\t")], Refuse),
        case("8.2.1 a line end at the value's end", &[with("x-test", b"1\r\n")], Refuse),
        case("8.2.2 connection: close", &[with("connection", b"close")], Refuse),
        case("8.2.2 te: trailers and more", &[with("te", b"trailers, deflate;q=0.5")], Refuse),
        case("8.3 a pseudo-header in capitals", &[with(":Path", b"/")], Refuse),
        case("8.3 nothing but a colon", &[with(":", b"1")], Refuse),
        case("8.3 :protocol, which nobody has offered", &[with(":protocol", b"websocket")], Refuse),
        case("8.3.1 two hosts", &[with(":authority", b"test.example")], Refuse),
        case("8.3.1 an empty method", &[but(":method", b"")], Refuse),
        case("8.3.1 an empty scheme", &[but(":scheme", b"")], Refuse),
        case("8.3.1 a scheme that is none", &[but(":scheme", b"ht tp")], Refuse),
        case("8.3.1 NUL in the path", &[but(":path", b"/\0")], Refuse),
        case("8.3.1 a byte above ASCII in the path", &[but(":path", b"/\xe9")], Refuse),
        case("8.3.1 a line end in the host", &[but(":authority", b"a\r\nx: 1")], Refuse),
        case("8.5 CONNECT with a path", &[but(":method", b"CONNECT")], Refuse),
        case(
            "8.4 PUSH_PROMISE on an idle stream",
            &[frame(PUSH_PROMISE, END_HEADERS, 1, &[0, 0, 0, 2])],
            End(&[PROTOCOL]),
        ),
    ]
}

#[tokio::test]
async fn what_must_be_borne_is_borne_and_what_must_not_is_not() {
    hold_all([borne(), broken()]).await;
}
