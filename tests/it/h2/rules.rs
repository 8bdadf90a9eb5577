//! The rules of RFC 9113 and 7541 as h2spec tries them (it cannot be had as a package here): each case says something on a
//! fresh connection, and what must come of it.

mod messages;

use self::messages::messages;
use super::judge::{
    CLOSED, COMPRESSION, Case, FLOW, Must, PROTOCOL, SIZE, block, case, get, grow, hold_all, ping,
    rst, setting,
};
use super::raw::{
    ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PADDED, PING, PRIORITY,
    PUSH_PROMISE, RST_STREAM, SETTINGS, WINDOW_UPDATE, WITH_PRIORITY, ask, frame,
};

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

#[tokio::test]
async fn what_is_no_http2_is_refused_and_the_rest_is_served() {
    hold_all([framing(), states(), frames(), messages()]).await;
}
