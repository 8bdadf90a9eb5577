//! What must be borne, and served.

use super::super::judge::{Case, Must, block, but, case, get, grow, ping, rst, setting, with};
use super::super::raw::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PADDED, RST_STREAM, SETTINGS,
    WITH_PRIORITY, ask, fields, frame,
};
use super::{WHOLE, goaway, head, post, priority, trailers};

#[expect(clippy::too_many_lines, reason = "a table")]
pub(super) fn borne() -> Vec<Case> {
    use Must::{Live, Serve};
    let go = || post(&[]);
    vec![
        case(
            "5.1 PRIORITY of a stream half closed",
            &[get(), priority(1, &[0, 0, 0, 0, 9])],
            Serve,
        ),
        case("5.1 WINDOW_UPDATE of a stream half closed", &[get(), grow(1, 100)], Serve),
        case("5.1 RST_STREAM of a stream half closed", &[get(), rst(1), ping()], Live),
        case("5.1 PRIORITY of a closed stream", &[get()], Live)
            .then(&[priority(1, &[0, 0, 0, 0, 9]), ping()]),
        case("5.1 WINDOW_UPDATE of a closed stream", &[get()], Live).then(&[grow(1, 9), ping()]),
        case("5.1 RST_STREAM of a closed stream", &[get()], Live).then(&[rst(1), ping()]),
        case(
            "5.3 PRIORITY of an idle stream, then one below",
            &[priority(5, &[0, 0, 0, 3, 9]), get()],
            Serve,
        ),
        case("6.1 DATA", &[go(), frame(DATA, END_STREAM, 1, b"x")], Serve),
        case(
            "6.1 DATA in many frames, some empty",
            &[
                go(),
                frame(DATA, 0, 1, b"x"),
                frame(DATA, 0, 1, b""),
                frame(DATA, 0, 1, b"y"),
                frame(DATA, END_STREAM, 1, b""),
            ],
            Serve,
        ),
        case(
            "6.1 nothing but padding",
            &[go(), frame(DATA, END_STREAM | PADDED, 1, &[2, 0, 0])],
            Serve,
        ),
        case(
            "6.1 padding of 0 bytes",
            &[go(), frame(DATA, END_STREAM | PADDED, 1, &[0, b'x'])],
            Serve,
        ),
        case("6.2 padded", &[head(PADDED, &[3], &[0; 3])], Serve),
        case("6.2 with a priority", &[head(WITH_PRIORITY, &[0, 0, 0, 0, 255], &[])], Serve),
        case("6.2 exclusive", &[head(WITH_PRIORITY, &[0x80, 0, 0, 0, 0], &[])], Serve),
        case("6.2 both", &[head(PADDED | WITH_PRIORITY, &[3, 0, 0, 0, 0, 9], &[0; 3])], Serve),
        case(
            "6.3 all weights",
            &[priority(1, &[0, 0, 0, 0, 0]), priority(1, &[0x80, 0, 0, 3, 255]), get()],
            Serve,
        ),
        case(
            "6.4 RST_STREAM with a code that is none",
            &[go(), frame(RST_STREAM, 0, 1, &[0xff; 4]), ping()],
            Live,
        ),
        case("6.5 no setting", &[frame(SETTINGS, 0, 0, &[]), ping()], Live),
        case("6.5.2 ENABLE_PUSH 0", &[setting(2, 0), get()], Serve),
        case("6.5.2 ENABLE_PUSH 1", &[setting(2, 1), get()], Serve),
        case("6.5.2 no stream of ours", &[setting(3, 0), get()], Serve),
        case("6.5.2 the largest window", &[setting(4, 0x7fff_ffff), get()], Serve),
        case("6.5.2 the smallest frame", &[setting(5, 16_384), get()], Serve),
        case("6.5.2 the largest frame", &[setting(5, 16_777_215), get()], Serve),
        case("6.5.2 a list of heads of 0 bytes", &[setting(6, 0), ping()], Live),
        case("6.5.2 the largest table", &[setting(1, u32::MAX), get()], Serve),
        case("6.5.3 a table of 0 bytes", &[setting(1, 0), ping()], Live),
        case("6.8 GOAWAY", &[goaway(0), ping()], Live),
        case("6.8 GOAWAY with a code that is none", &[goaway(0xff), ping()], Live),
        case(
            "6.8 GOAWAY that says more",
            &[frame(GOAWAY, 0, 0, b"\0\0\0\0\0\0\0\0more"), ping()],
            Live,
        ),
        case("6.9 WINDOW_UPDATE of the connection", &[grow(0, 1), get()], Serve),
        case(
            "6.9 WINDOW_UPDATE of a stream",
            &[ask("POST", 0, 1), grow(1, 1), frame(DATA, END_STREAM, 1, b"x")],
            Serve,
        ),
        case("6.9 the reserved bit", &[grow(0, 1 << 31 | 1), get()], Serve),
        case(
            "6.10 a head in two pieces",
            &[
                frame(HEADERS, END_STREAM, 1, &block()[..7]),
                frame(CONTINUATION, END_HEADERS, 1, &block()[7..]),
            ],
            Serve,
        ),
        case(
            "6.10 empty pieces",
            &[
                frame(HEADERS, END_STREAM, 1, &[]),
                frame(CONTINUATION, 0, 1, &block()),
                frame(CONTINUATION, END_HEADERS, 1, &[]),
            ],
            Serve,
        ),
        case("8.1 HEAD", &[ask("HEAD", END_STREAM, 1)], Serve),
        case(
            "8.1 OPTIONS *",
            &[frame(
                HEADERS,
                WHOLE,
                1,
                &fields(&[
                    (":method", b"OPTIONS"),
                    (":scheme", b"http"),
                    (":path", b"*"),
                    (":authority", b"a"),
                ]),
            )],
            Serve,
        ),
        case("8.1 trailers after a head", &[go(), trailers(&[("x-sum", b"1")])], Serve),
        case(
            "8.1.1 the length, padded",
            &[
                post(&[("content-length", b"1")]),
                frame(DATA, END_STREAM | PADDED, 1, &[2, b'x', 0, 0]),
            ],
            Serve,
        ),
        case(
            "8.1.1 the length, with trailers",
            &[
                post(&[("content-length", b"1")]),
                frame(DATA, 0, 1, b"x"),
                trailers(&[("x-sum", b"1")]),
            ],
            Serve,
        ),
        case("8.1.1 a length of 0", &[with("content-length", b"0")], Serve),
        case("8.2.1 a byte above ASCII in a value", &[with("x-test", b"caf\xe9")], Serve),
        case("8.2.1 an empty value", &[with("x-test", b"")], Serve),
        case("8.2.1 a tab within a value", &[with("x-test", b"a\tb")], Serve),
        case(
            "8.3.1 host instead of :authority",
            &[frame(
                HEADERS,
                WHOLE,
                1,
                &fields(&[
                    (":method", b"GET"),
                    (":scheme", b"http"),
                    (":path", b"/"),
                    ("host", b"a"),
                ]),
            )],
            Serve,
        ),
        // Cut off there by the `http` crate.
        case("8.3.1 a fragment in the path", &[but(":path", b"/x#y")], Serve),
        // Left out by the `h2` crate (docs/http2.md); `trailers_are_fields_and_nothing_else` looks at what goes on.
        case("8.1 a pseudo-header in trailers", &[go(), trailers(&[(":method", b"GET")])], Serve),
        case("8.3.1 https", &[but(":scheme", b"https")], Serve),
        case(
            "8.3.1 pseudo-headers in another order",
            &[frame(
                HEADERS,
                WHOLE,
                1,
                &fields(&[
                    (":authority", b"a"),
                    (":path", b"/"),
                    (":method", b"GET"),
                    (":scheme", b"http"),
                ]),
            )],
            Serve,
        ),
        case("8.7 PING while a stream waits", &[ask("POST", 0, 1), ping()], Live),
    ]
}
