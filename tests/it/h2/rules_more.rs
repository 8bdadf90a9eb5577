//! More of RFC 9113: what must be borne, what an answer that has ended changes, and the edges of each number.

use super::judge::{
    CLOSED, Came, Case, FLOW, Must, PROTOCOL, SIZE, block, but, case, get, grow, hold_all, outcome,
    ping, rst, setting, with,
};
use super::raw::{
    ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PADDED, PING, PREFACE,
    PRIORITY, PUSH_PROMISE, RST_STREAM, Raw, SETTINGS, WINDOW_UPDATE, WITH_PRIORITY, ask, fields,
    frame, request,
};
use super::web::{web, web_called, web_with, web2};
use crate::support::lab::Lab;

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
fn borne() -> Vec<Case> {
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

/// 3.4: what begins otherwise is no HTTP/2.
#[tokio::test]
async fn a_connection_begins_with_the_preface_and_settings() {
    let lab = Lab::new().await;
    let web = web_with(&lab, &[], |all| {
        all["services"]["web"]["haproxy"]["bind_options"] = "proto h2".into();
    })
    .await;
    let mut wrong = PREFACE.to_vec();
    wrong[20] = b'X';
    let hello = frame(SETTINGS, 0, 0, &[]);
    for said in [
        [&wrong[..], &hello].concat(),
        [PREFACE, &ping(), &hello].concat(),
        [PREFACE, &get()].concat(),
        [PREFACE, &frame(SETTINGS, ACK, 0, &[])].concat(),
        [PREFACE, &frame(SETTINGS, 0, 1, &[])].concat(),
    ] {
        let mut raw = Raw::bare(web.front).await;
        raw.send(&said).await;
        let came = outcome(&mut raw).await;
        assert!(Must::End(&[PROTOCOL]).allows(came), "{came:?} after {said:?}");
    }
    assert_eq!(web.server.requests(), 0);
}

#[tokio::test]
async fn settings_and_pings_are_answered_with_what_they_said() {
    let lab = Lab::new().await;
    let web = web(&lab).await;
    let mut raw = Raw::open(web.front).await;
    let mut acknowledged = 0;
    raw.send(&[setting(3, 9), setting(3, 10), frame(PING, 0, 0, b"abcdefgh")].concat()).await;
    let pong = loop {
        let frame = raw.next().await.expect("an answer");
        match frame.kind {
            SETTINGS if frame.flags & ACK != 0 => acknowledged += 1,
            PING => break frame,
            _other => {}
        }
    };
    assert_eq!((pong.flags, &pong.payload[..]), (ACK, &b"abcdefgh"[..]));
    // Ours for the first ones came before, those for these two in the order in which they were said.
    assert!(acknowledged >= 2, "{acknowledged}");
}

/// Bytes of DATA on stream 1 until a PING is answered.
async fn until_pong(raw: &mut Raw) -> usize {
    raw.send(&ping()).await;
    let mut bytes = 0;
    loop {
        let frame = raw.next().await.expect("it lasts");
        match frame.kind {
            DATA => bytes += frame.payload.len(),
            PING if frame.flags & ACK != 0 => return bytes,
            RST_STREAM | GOAWAY => panic!("{frame:?}"),
            _other => {}
        }
    }
}

/// Bytes of DATA on stream 1, as many as `want`.
async fn until_given(raw: &mut Raw, want: usize) {
    let mut bytes = 0;
    while bytes < want {
        let frame = raw.next().await.expect("it lasts");
        bytes += if frame.kind == DATA { frame.payload.len() } else { 0 };
    }
    assert_eq!(bytes, want);
}

/// 6.9.2: a setting changes the windows of streams that are there, below 0, too. 6.5.3: the last of two values counts.
#[tokio::test]
async fn windows_follow_the_settings() {
    let lab = Lab::new().await;
    let web = web_called(&lab, "origin-A").await;
    let mut raw = Raw::open_with(web.front, &[(4, 100), (4, 0)]).await;
    raw.send(&get()).await;
    loop {
        if raw.next().await.expect("a head").kind == HEADERS {
            break;
        }
    }
    assert_eq!(until_pong(&mut raw).await, 0);
    raw.send(&setting(4, 3)).await;
    until_given(&mut raw, 3).await;
    assert_eq!(until_pong(&mut raw).await, 0);
    // Two below 0: two more change nothing yet.
    raw.send(&[setting(4, 1), grow(1, 2)].concat()).await;
    assert_eq!(until_pong(&mut raw).await, 0);
    raw.send(&grow(1, 1)).await;
    until_given(&mut raw, 1).await;
    raw.send(&grow(1, 100)).await;
    until_given(&mut raw, 4).await;
}

/// 6.9.1: who sends more than the window has room for is stopped, not served.
#[tokio::test]
async fn more_than_the_window_is_not_taken() {
    let lab = Lab::new().await;
    let web = web2(&lab, &[]).await;
    let mut raw = Raw::open(web.front).await;
    let mut head = request("POST");
    head.retain(|field| field.0 != ":path");
    head.push((":path", b"/hold"));
    // The backend's window and the proxy's own; then nobody reads.
    let body = frame(DATA, 0, 1, &[0; 16_384]).repeat(16);
    raw.send(&[frame(HEADERS, END_HEADERS, 1, &fields(&head)), body].concat()).await;
    let came = outcome(&mut raw).await;
    assert!(Must::Reset(&[FLOW]).allows(came), "{came:?}");
    assert_ne!(came, Came::Status(Some(200)));
}
