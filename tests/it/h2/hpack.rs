//! RFC 7541 as h2spec tries it, and what it leaves out: what is no HPACK ends the connection, the rest is understood.

use bytes::Bytes;
use tokio::net::TcpStream;

use super::judge::{COMPRESSION, Case, Must, PROTOCOL, case, hold_all};
use super::origin::post;
use super::raw::{DATA, END_HEADERS, END_STREAM, HEADERS, Raw, frame};
use super::web::web;
use crate::support::lab::Lab;

/// `:method: GET`, `:scheme: http`, `:path: /` from the static table.
const GET: [u8; 3] = [0x82, 0x86, 0x84];

/// `:authority`, a literal that is not kept.
const HOST: [u8; 3] = [0x01, 0x01, b'a'];

/// A request whose head is these bytes, on `stream`.
fn asked_on(stream: u32, parts: &[&[u8]]) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | END_STREAM, stream, &parts.concat())
}

fn asked(parts: &[&[u8]]) -> Vec<u8> {
    asked_on(1, parts)
}

/// A whole request, then these bytes.
fn and(more: &[u8]) -> Vec<u8> {
    asked(&[&GET, &HOST, more])
}

/// Bits, first to last, filled up with `fill`.
fn bits(text: &str, fill: u8) -> Vec<u8> {
    let mut bits: Vec<u8> = text.bytes().filter(|b| *b != b' ').map(|b| b - b'0').collect();
    while !bits.len().is_multiple_of(8) {
        bits.push(fill);
    }
    bits.chunks(8).map(|byte| byte.iter().fold(0, |all, bit| all << 1 | bit)).collect()
}

/// `test` in Huffman's code.
const TEST: &str = "01001 00101 01000 01001";

/// `x: VALUE`, the value in Huffman's code.
fn huffman(value: &[u8]) -> Vec<u8> {
    let length = 0x80 | u8::try_from(value.len()).expect("short");
    [&[0x00, 1, b'x', length][..], value].concat()
}

/// `x-N: vvv…`, kept in the table: 135 bytes of it.
fn kept(number: u8) -> Vec<u8> {
    let name = [b'x', b'-', b'a' + number / 10, b'a' + number % 10];
    [&[0x40, 4][..], &name, &[99], &[b'v'; 99]].concat()
}

fn broken() -> Vec<Case> {
    // The `h2` crate says PROTOCOL_ERROR of every head that it cannot read (docs/http2.md).
    let end = |name, bytes: Vec<u8>| case(name, &[bytes], Must::End(&[COMPRESSION, PROTOCOL]));
    let eos = "1".repeat(30);
    vec![
        end("2.3.3 an index beyond both tables", and(&[0xbe])),
        end("2.3.3 a name's index beyond both tables", and(&[0x7e, 1, b'v'])),
        end("2.3.3 a name's index beyond both tables, not kept", and(&[0x0f, 0x2f, 1, b'v'])),
        end("2.3.3 the same, never kept", and(&[0x1f, 0x2f, 1, b'v'])),
        end("4.2 a size after a field", asked(&[&GET, &HOST, &[0x20]])),
        end("4.2 a size between fields", asked(&[&GET, &[0x3f, 0xe1, 0x1f], &HOST])),
        end("4.3 an entry that a size has thrown out", and(&kept(0)))
            .then(&[asked_on(3, &[&[0x20], &GET, &HOST, &[0xbe]])]),
        end("4.4 an entry that others have thrown out", {
            let many: Vec<u8> = (0..40).flat_map(kept).collect();
            and(&[&many[..], &[0x80 | (61 + 31)]].concat())
        }),
        end("4.4 an entry as large as the table empties it", {
            let large = [&[0x40, 1, b'x', 127, 0xa1, 0x1f][..], &[b'v'; 4128]].concat();
            asked(&[&GET, &HOST, &kept(0), &large, &[0xbe]])
        }),
        end("5.1 an integer without end", and(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01])),
        end("5.1 an integer that breaks off", and(&[0xff, 0x80])),
        end("5.2 a string that breaks off", and(&[0x00, 1, b'x', 9, b'v'])),
        end("5.2 a name that breaks off", and(&[0x00, 9, b'x'])),
        end("5.2 a field without a value", and(&[0x00, 1, b'x'])),
        end(
            "5.2 padding of more than 7 bits",
            and(&huffman(&bits(&format!("{TEST}1111 11111111"), 1))),
        ),
        end(
            "5.2 padding of more than 15 bits",
            and(&huffman(&bits(&format!("{TEST}1111 11111111 11111111"), 1))),
        ),
        end("5.2 nothing but padding", and(&huffman(&[0xff]))),
        end("5.2 padding with zeros", and(&huffman(&bits(TEST, 0)))),
        end("5.2 padding with a zero", and(&huffman(&bits(&format!("{TEST}1110"), 1)))),
        end("5.2 EOS in a string", and(&huffman(&bits(&format!("{TEST}{eos}{TEST}"), 1)))),
        end("5.2 EOS at the end of a string", and(&huffman(&bits(&format!("{TEST}{eos}"), 1)))),
        end("5.2 the same in a name", {
            let name = bits(&format!("{TEST}{eos}"), 1);
            let length = 0x80 | u8::try_from(name.len()).expect("short");
            and(&[&[0x00, length][..], &name, &[1, b'v']].concat())
        }),
        end("6.1 index 0", and(&[0x80])),
        end("6.3 a size above the limit", asked(&[&[0x3f, 0xe2, 0x1f], &GET, &HOST])),
        end(
            "6.3 a small size, then one above the limit",
            asked(&[&[0x20, 0x3f, 0xe2, 0x1f], &GET, &HOST]),
        ),
        case("an empty head", &[frame(HEADERS, END_HEADERS | END_STREAM, 1, &[])], Must::Refuse),
        case(
            "an error in trailers",
            &[
                frame(HEADERS, END_HEADERS, 1, &[&[0x83][..], &GET[1..], &HOST].concat()),
                frame(HEADERS, END_HEADERS | END_STREAM, 1, &[0x80]),
            ],
            Must::End(&[COMPRESSION, PROTOCOL]),
        ),
    ]
}

fn right() -> Vec<Case> {
    let serve = |name, bytes: Vec<u8>| case(name, &[bytes], Must::Serve);
    vec![
        serve("6.1 indexed", and(&[])),
        serve("6.2.1 kept, a known name", and(&[0x53, 3, b'*', b'/', b'*'])),
        serve("6.2.1 kept, a new name", and(&[0x40, 1, b'x', 1, b'v'])),
        serve("6.2.2 not kept, a known name", and(&[0x0f, 0x04, 3, b'*', b'/', b'*'])),
        serve("6.2.2 not kept, a new name", and(&[0x00, 1, b'x', 1, b'v'])),
        serve("6.2.3 never kept, a known name", and(&[0x1f, 0x04, 3, b'*', b'/', b'*'])),
        serve("6.2.3 never kept, a new name", and(&[0x10, 1, b'x', 1, b'v'])),
        serve(
            "6.2.1 kept, in Huffman's code",
            and(&[&[0x40][..], &huffman(&bits(TEST, 1))[1..]].concat()),
        ),
        serve("6.2.2 not kept, in Huffman's code", and(&huffman(&bits(TEST, 1)))),
        serve(
            "6.2.3 never kept, in Huffman's code",
            and(&[&[0x10][..], &huffman(&bits(TEST, 1))[1..]].concat()),
        ),
        serve("5.2 an empty value", and(&[0x00, 1, b'x', 0])),
        serve("5.2 an empty value in Huffman's code", and(&[0x00, 1, b'x', 0x80])),
        serve("6.3 no table", asked(&[&[0x20], &GET, &HOST])),
        serve("6.3 the size that is allowed", asked(&[&[0x3f, 0xe1, 0x1f], &GET, &HOST])),
        serve("6.3 two sizes", asked(&[&[0x20, 0x3f, 0xe1, 0x1f], &GET, &HOST])),
        serve("2.3.2 an entry used in the same head", and(&[0x40, 1, b'x', 1, b'v', 0xbe])),
        serve("2.3.3 the name of an entry", and(&[0x40, 1, b'x', 1, b'v', 0x7e, 1, b'w'])),
        serve("4.4 an entry as large as the table", {
            and(&[&[0x40, 1, b'x', 127, 0xe0, 0x1e][..], &[b'v'; 4063], &[0xbe]].concat())
        }),
        serve("4.1 the last entry of a full table", {
            let all: Vec<u8> = (0..30).flat_map(kept).collect();
            and(&[&all[..], &[0x80 | (61 + 30)]].concat())
        }),
    ]
}

#[tokio::test]
async fn what_is_no_hpack_ends_the_connection_and_the_rest_is_understood() {
    hold_all([broken(), right()]).await;
}

/// All of the answer's body.
async fn body(raw: &mut Raw, stream: u32) -> String {
    let mut all = Vec::new();
    while let Some(frame) = raw.next().await {
        if frame.stream != stream {
            continue;
        }
        if frame.kind == DATA {
            all.extend_from_slice(&frame.payload);
        }
        if frame.flags & END_STREAM != 0 {
            break;
        }
    }
    String::from_utf8_lossy(&all).into_owned()
}

#[tokio::test]
async fn what_one_head_puts_into_the_table_the_next_may_point_at() {
    let lab = Lab::new().await;
    let web = web(&lab).await;
    let mut raw = Raw::open(web.front).await;
    // `www.example.com` as in RFC 7541 C.4.1, `custom-key: custom-value` as in C.4.3.
    let host: &[u8] =
        &[0x41, 0x8c, 0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4, 0xff];
    let custom: &[u8] = &[
        0x40, 0x88, 0x25, 0xa8, 0x49, 0xe9, 0x5b, 0xa9, 0x7d, 0x7f, 0x89, 0x25, 0xa8, 0x49, 0xe9,
        0x5b, 0xb8, 0xe8, 0xb4, 0xbf,
    ];
    let path: &[u8] = &[0x04, 5, b'/', b'h', b'e', b'a', b'd'];
    let heads: [&[&[u8]]; 3] = [
        &[&[0x82, 0x86], path, host, custom],
        &[&[0x82, 0x86], path, &[0xbf, 0xbe]],
        // The second moves on when another comes before it.
        &[&[0x82, 0x86], path, &[0xbf, 0x40, 1, b'x', 1, b'v', 0xbf]],
    ];
    for (stream, head) in (1..).step_by(2).zip(heads) {
        raw.send(&asked_on(stream, head)).await;
        let seen = body(&mut raw, stream).await.to_lowercase();
        for line in ["host: www.example.com", "custom-key: custom-value"] {
            assert!(seen.contains(line), "stream {stream}: {seen}");
        }
    }
}

/// RFC 7541 4.2: what a client says of its table is heeded, and said at the beginning of the next head.
#[tokio::test]
async fn a_client_without_a_table_gets_heads_that_need_none() {
    let lab = Lab::new().await;
    let web = web(&lab).await;
    let mut raw = Raw::open_with(web.front, &[(1, 0)]).await;
    raw.send(&and(&[])).await;
    let head = loop {
        let frame = raw.next().await.expect("an answer");
        if frame.kind == HEADERS {
            break frame.payload;
        }
    };
    assert_eq!(head.get(..2), Some(&[0x20, 0x88][..]), "no table, 200: {head:?}");
    // Whether it keeps to it, a client without a table knows.
    let stream = TcpStream::connect(web.front).await.expect("connect");
    let handshake = h2::client::Builder::new().header_table_size(0).handshake::<_, Bytes>(stream);
    let (mut sender, connection) = handshake.await.expect("handshake");
    tokio::spawn(connection);
    for _ in 0..3 {
        sender = sender.ready().await.expect("ready");
        let (response, _) = sender.send_request(post("/x"), true).expect("sent");
        assert_eq!(response.await.expect("an answer").headers()["content-length"], "1");
    }
}
