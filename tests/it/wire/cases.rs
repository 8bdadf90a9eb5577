//! The cases: what is sent, what may come of it, and what came of it with haproxy 2.6.12 and nginx 1.22.
//!
//! An outcome is written as the statuses seen, then `k` (a further request on the connection is answered) or `x` (it is
//! closed), then `oN`: complete requests that reached the origin. `|` separates outcomes that are both fine, `?` stands
//! for either fate of the connection.

use super::Case;

/// A request line and its host.
macro_rules! get {
    ($lines:literal) => {
        concat!("GET / HTTP/1.1\r\nHost: h\r\n", $lines, "\r\n")
    };
}
macro_rules! post {
    ($lines:literal, $body:literal) => {
        concat!("POST / HTTP/1.1\r\nHost: h\r\n", $lines, "\r\n", $body)
    };
}
macro_rules! chunked {
    ($body:literal) => {
        concat!("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n", $body)
    };
}
macro_rules! line {
    ($line:literal) => {
        concat!($line, "\r\nHost: h\r\n\r\n")
    };
}
macro_rules! fetch {
    ($id:literal) => {
        concat!("GET /", $id, " HTTP/1.1\r\nHost: h\r\n\r\n")
    };
}

const fn case(
    id: &'static str,
    send: &'static str,
    want: &'static str,
    haproxy: &'static str,
    nginx: &'static str,
) -> Case {
    Case { id, send, want, haproxy, nginx }
}

/// Requests.
#[rustfmt::skip]
pub(super) const REQUESTS: &[Case] = &[
    case("A01", get!(""), "200 k o1", "200 k o1", "200 k o1"),
    case("A02", "GET / HTTP/1.1\r\n\r\n", "400 x o0", "200 k o1", "400 x o0"),
    case("A07", "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", "400 x o0", "200 k o1", "400 x o0"),
    case("A09", "GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n", "400 x o0", "400 x o0", "200 k o1"),
    case("A09-port", "GET https://h/ HTTP/1.1\r\nHost: h:80\r\n\r\n", "400 x o0", "400 x o0", "?"),
    case("A09-https", "GET https://h/ HTTP/1.1\r\nHost: h:443\r\n\r\n", "200 k o1", "200 k o1", "?"),
    case("A10", "GET /\r\n\r\n", "400 x o0", "400 x o0", "?"),
    case("A12", "GET / HTTP/1.0\r\nHost: h\r\nConnection: keep-alive\r\n\r\n", "200 k o1", "200 k o1", "200 k o1"),
    case("A14", line!("GET / HTTP/2.0"), "505 x o0", "200 ? o1", "505 x o0"),
    case("A17", line!("GET / HTTP/11"), "400 x o0", "400 x o0", "505 x o0"),
    case("A18", line!("GET  / HTTP/1.1"), "200 k o1", "200 k o1", "200 k o1"),
    case("A20", line!("GET / HTTP/1.1 "), "400 x o0", "400 x o0", "200 k o1"),
    case("A22", line!("GET /\x01 HTTP/1.1"), "400 x o0", "400 x o0", "400 x o0"),
    case("A23", line!("GET /\u{e9} HTTP/1.1"), "400 x o0", "400 x o0", "200 k o1"),
    case("A26", line!("OPTIONS * HTTP/1.1"), "200 k o1", "200 k o1", "400 x o0"),
    case("A27", line!("GET * HTTP/1.1"), "400 x o0", "200 k o1", "400 x o0"),
    case("A28", line!("GET foo HTTP/1.1"), "400 x o0", "400 x o0", "400 x o0"),
    case("A29", "CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n", "405 x o0", "200 ? o1", "400 x o0"),
    case("A33", line!("get / HTTP/1.1"), "200 k o1", "200 k o1", "400 x o0"),
    case("A33-pri", line!("PRI / HTTP/1.1"), "400 x o0", "400 x o0", "?"),
    case("A34", line!("TRACE / HTTP/1.1"), "200 k o1", "200 k o1", "405 x o0"),
    case("A35", "\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n", "200 k o1", "200 k o1", "200 k o1"),
    case("A42", get!("X-Slow: byte by byte\r\n"), "200 k o1", "200 k o1", "200 k o1"),
    case("B01", get!("X : y\r\n"), "400 x o0", "400 x o0", "400 x o0"),
    case("B02", get!("X Y: z\r\n"), "400 x o0", "400 x o0", "400 x o0"),
    case("B03", get!("nocolon\r\n"), "400 x o0", "400 x o0", "200 k o1"),
    case("B04", get!(": y\r\n"), "400 x o0", "400 x o0", "400 x o0"),
    case("B06", get!("X\u{e9}: y\r\n"), "400 x o0", "400 x o0", "200 k o1"),
    case("B07", get!("X: a\r\n b\r\n"), "400 x o0", "200 k o1", "400 x o0"),
    case("B08", "GET / HTTP/1.1\r\n X: y\r\nHost: h\r\n\r\n", "400 x o0", "400 x o0", "400 x o0"),
    case("B09", "GET / HTTP/1.1\r\nHost: a\0.b\r\n\r\n", "400 x o0", "?", "400 x o0"),
    case("B10", get!("X: a\rb\r\n"), "400 x o0", "400 x o0", "400 x o0"),
    case("B11", "GET / HTTP/1.1\nHost: h\n\n", "200 k o1", "200 k o1", "200 k o1"),
    case("B19", get!("x_y: z\r\n"), "200 k o1", "200 k o1", "200 k o1"),
    case("B22", get!("Keep-Alive: 300\r\nProxy-Connection: keep-alive\r\n"), "200 k o1", "200 k o1", "200 k o1"),
    case("B23", get!("TE: trailers\r\nConnection: TE\r\n"), "200 k o1", "200 k o1", "200 k o1"),
    case("B25", get!("X-Forwarded-For: 1.2.3.4\r\n"), "200 k o1", "200 k o1", "200 k o1"),
    case("B30", get!("Te\nst: x\r\n"), "400 x o0", "400 x o0", "?"),
    case("B31", get!("\rX: y\r\n"), "400 x o0", "400 x o0", "?"),
    case("C02", post!("", ""), "200 k o1", "200 k o1", "200 k o1"),
    case("C03", post!("Content-Length: 5\r\nContent-Length: 5\r\n", "hello"), "200 k o1", "200 k o1", "400 x o0"),
    case("C06", post!("Content-Length: 5, 6\r\n", "hello"), "400 x o0", "400 x o0", "400 x o0"),
    case("C07", post!("Content-Length: +5\r\n", "hello"), "400 x o0", "400 x o0", "400 x o0"),
    case("C08", post!("Content-Length: -5\r\n", "hello"), "400 x o0", "400 x o0", "400 x o0"),
    case("C09", post!("Content-Length: 5a\r\n", "hello"), "400 x o0", "400 x o0", "400 x o0"),
    case("C10", post!("Content-Length: 0x5\r\n", "hello"), "400 x o0", "400 x o0", "400 x o0"),
    case("C11", post!("Content-Length: \r\n", "hello"), "400 x o0", "400 x o0", "400 x o0"),
    case("C12", post!("Content-Length: \r\nContent-Length: 5\r\n", "hello"), "400 x o0", "400 x o0", "400 x o0"),
    case("C13", post!("Content-Length: 18446744073709551621\r\n", "hello"), "400 x o0", "400 x o0", "400 x o0"),
    case("C14", post!("Content-Length: 5 5\r\n", "hello"), "400 x o0", "400 x o0", "400 x o0"),
    case("C15", post!("Content-Length: 39\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n"), "400 x o0", "200 x o1", "400 x o0"),
    case("C17", post!("Transfer-Encoding: ,chunked\r\nContent-Length: 5\r\n", "0\r\n\r\n"), "400 x o0", "?", "?"),
    case("C18", post!("Transfer-Encoding: chunked, chunked\r\n", "0\r\n\r\n"), "400 x o0", "400 x o0", "501 x o0"),
    case("C20", post!("Transfer-Encoding: chunked, identity\r\n", "0\r\n\r\n"), "400 x o0", "400 x o0", "501 x o0"),
    case("C21", post!("Transfer-Encoding: identity\r\n", ""), "400 x o0", "400 x o0", "501 x o0"),
    case("C23", post!("Transfer-Encoding: CHUNKED\r\n", "0\r\n\r\n"), "200 k o1", "200 k o1", "200 k o1"),
    case("C24", post!("Transfer-Encoding:\tchunked\r\n", "0\r\n\r\n"), "200 k o1", "200 k o1", "501 x o0"),
    case("C26", post!("Transfer-Encoding : chunked\r\n", "0\r\n\r\n"), "400 x o0", "400 x o0", "400 x o0"),
    case("C28", post!("Transfer-Encoding: \"chunked\"\r\n", "0\r\n\r\n"), "400 x o0", "400 x o0", "501 x o0"),
    case("C29", post!("Transfer-Encoding: \r\n", "0\r\n\r\n"), "400 x o0", "400 x o0", "501 x o0"),
    case("C32", "GET / HTTP/1.0\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello", "413 x o0", "413 x o0", "200 x o1"),
    case("C33", "HEAD / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello", "200 k o1", "200 k o1", "200 k o1"),
    case("C35", concat!("GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", "GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n"), "200 x o1", "200 x o1", "200 x o1"),
    case("D01", chunked!("5\r\nhello\r\n0\r\n\r\n"), "200 k o1", "200 k o1", "200 k o1"),
    case("D02", chunked!("5;a=b\r\nhello\r\n0\r\n\r\n"), "200 k o1", "200 k o1", "200 k o1"),
    case("D04", chunked!("5\nhello\r\n0\r\n\r\n"), "400 x o0", "200 k o1", "200 k o1"),
    case("D05", chunked!("5;a\nb\r\nhello\r\n0\r\n\r\n"), "400 x o0", "?", "?"),
    case("D07", chunked!("0x5\r\nhello\r\n0\r\n\r\n"), "400 x o0", "400 x o0", "400 x o0"),
    case("D08", chunked!("+5\r\nhello\r\n0\r\n\r\n"), "400 x o0", "400 x o0", "400 x o0"),
    case("D10", chunked!("\r\nhello\r\n0\r\n\r\n"), "400 x o0", "400 x o0", "400 x o0"),
    case("D11", chunked!("10000000000000005\r\nhello\r\n0\r\n\r\n"), "400 x o0", "400 x o0", "400 x o0"),
    case("D14", chunked!(" 5\r\nhello\r\n0\r\n\r\n"), "400 x o0", "400 x o0", "400 x o0"),
    case("D15", chunked!("5\r\nhelloXX0\r\n\r\n"), "400 x o0", "400 x o0", "400 x o0"),
    case("D16", chunked!("5\r\nhello\n0\r\n\r\n"), "400 x o0", "200 k o1", "200 k o1"),
    case("D17", chunked!("5\r\nhello\r\n0\r\nX-Sum: 7\r\n\r\n"), "200 k o1", "200 k o1", "200 k o1"),
    case("D18", chunked!("5\r\nhello\r\n0\r\nContent-Length: 7\r\n\r\n"), "400 x o0", "200 k o1", "200 k o1"),
    case("D19", chunked!("5\r\nhello\r\n0\r\nbad\r\n\r\n"), "400 x o0", "400 x o0", "200 k o1"),
    case("D20", chunked!("5\r\nhello\r\n0\r\n\n"), "400 x o0", "200 k o1", "200 k o1"),
    case("D22", chunked!("5_0\r\nhello\r\n0\r\n\r\n"), "400 x o0", "400 x o0", "400 x o0"),
    case("D23", "HEAD / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n\r\n", "400 x o0", "?", "?"),
    case("E01", concat!(get!(""), get!(""), get!("")), "200,200,200 k o3", "200,200,200 k o3", "200,200,200 k o3"),
    case("E02", concat!(get!(""), get!("X : y\r\n")), "200,400 x o1", "200,400 x o1", "200,400 x o1"),
    case("E03", concat!(post!("Content-Length: 5\r\n", "hello"), get!("")), "200,200 k o2", "200,200 k o2", "200,200 k o2"),
    case("E04", get!("Connection: close\r\n"), "200 x o1", "200 x o1", "200 x o1"),
    case("E07", get!("Expect: foo\r\n"), "200 k o1", "200 k o1", "200 k o1"),
    case("E09", get!("Connection: upgrade\r\nUpgrade: websocket\r\n"), "400 x o0", "400 x o0", "?"),
    case("E10", "GET /switch HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n", "502 ? o1", "502 ? o1", "?"),
    case("E12", get!("Upgrade: websocket\r\n"), "200 k o1", "200 k o1", "200 k o1"),
    case("E20", fetch!("switch"), "502 ? o1", "502 ? o1", "?"),
];

/// Stands for so many bytes in [`SCRIPTS`].
pub(super) const BULK: (&str, usize) = ("<20 kB>", 20_000);

/// Answers of the origin, named by the path.
#[rustfmt::skip]
pub(super) const ANSWERS: &[Case] = &[
    case("F-chunked", fetch!("F-chunked"), "200 k o1", "200 k o1", "200 k o1"),
    case("F-http10", fetch!("F-http10"), "200 k o1", "200 x o1", "200 k o1"),
    case("F-short", fetch!("F-short"), "200! x o1", "200! x o1", "200! x o1"),
    case("F-tecl", fetch!("F-tecl"), "200 k o1", "200 k o1", "?"),
    case("F-dupcl", fetch!("F-dupcl"), "502 k o1", "502 k o1", "?"),
    case("F-dupclsame", fetch!("F-dupclsame"), "200 k o1", "200 k o1", "?"),
    case("F-badstatus", fetch!("F-badstatus"), "502 k o1", "502 k o1", "?"),
    case("F-status1000", fetch!("F-status1000"), "502 k o1", "?", "?"),
    case("F-garbage", fetch!("F-garbage"), "502 k o1", "502 k o1", "?"),
    case("F-partial", fetch!("F-partial"), "502 k o1", "502 k o1", "?"),
    case("F-badname", fetch!("F-badname"), "502 k o1", "502 k o1", "502 k o1"),
    case("F-spcolon", fetch!("F-spcolon"), "502 k o1", "502 k o1", "502 k o1"),
    case("F-bighdr", fetch!("F-bighdr"), "502 k o1", "502 k o1", "502 k o1"),
    case("F-fold", fetch!("F-fold"), "200 k o1", "200 k o1", "?"),
    case("F-foldlen", fetch!("F-foldlen"), "502 k o1", "502 k o1", "?"),
    case("F-foldfirst", fetch!("F-foldfirst"), "502 k o1", "502 k o1", "?"),
    case("F-te_gzip", fetch!("F-te_gzip"), "502 k o1", "502 k o1", "?"),
    case("F-truncchunk", fetch!("F-truncchunk"), "200! x o1", "200! x o1", "200! x o1"),
    case("F-r304", fetch!("F-r304"), "304 k o1", "304 k o1", "304 k o1"),
    case("F-extra", fetch!("F-extra"), "200 k o1", "200 k o1", "200 k o1"),
    case("F-hop", fetch!("F-hop"), "200 k o1", "200 k o1", "200 k o1"),
    case("F-close", fetch!("F-close"), "200 k o1", "200 k o1", "200 k o1"),
    case("F-headchk", "HEAD /F-chunked HTTP/1.1\r\nHost: h\r\n\r\n", "200 k o1", "200 k o1", "200 k o1"),
    case("F-r204chk", fetch!("F-r204chk"), "204 k o1", "204 k o1", "204 k o1"),
];

/// What the origin says, by path; the connection is closed behind those that end in `\0`. [`BULK`] is that long.
#[rustfmt::skip]
pub(super) const SCRIPTS: &[(&str, &str)] = &[
    ("/F-chunked", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n0\r\nX-Sum: 7\r\n\r\n"),
    ("/F-http10", "HTTP/1.0 200 OK\r\n\r\nhello\0"),
    ("/F-short", "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhello\0"),
    ("/F-tecl", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"),
    ("/F-dupclsame", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello"),
    ("/F-dupcl", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello\0"),
    ("/F-badstatus", "HTTP/1.1 abc OK\r\nContent-Length: 5\r\n\r\nhello\0"),
    ("/F-status1000", "HTTP/1.1 1000 OK\r\nContent-Length: 5\r\n\r\nhello\0"),
    ("/F-garbage", "SSH-2.0-OpenSSH_9.2\r\n\0"),
    ("/F-partial", "HTTP/1.1 200 OK\r\nContent-Le\0"),
    ("/F-badname", "HTTP/1.1 200 OK\r\nX Y: z\r\nContent-Length: 5\r\n\r\nhello\0"),
    ("/F-spcolon", "HTTP/1.1 200 OK\r\nX : z\r\nContent-Length: 5\r\n\r\nhello\0"),
    ("/F-bighdr", "HTTP/1.1 200 OK\r\nX: <20 kB>\r\nContent-Length: 5\r\n\r\nhello\0"),
    ("/F-old", "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 5\r\n\r\nhello"),
    ("/F-fold", "HTTP/1.1 200 OK\r\nTransfer-Encoding:\r\n chunked\r\nX: y\r\n\tz\r\n\r\n5\r\nhello\r\n0\r\n\r\n"),
    ("/F-foldlen", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n 6\r\n\r\nhello\0"),
    ("/F-foldfirst", "HTTP/1.1 200 OK\r\n X: y\r\nContent-Length: 5\r\n\r\nhello\0"),
    ("/F-te_gzip", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nhello\0"),
    ("/F-truncchunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n64\r\nhello\0"),
    ("/F-r304", "HTTP/1.1 304 Not Modified\r\nContent-Length: 100\r\n\r\n"),
    ("/F-extra", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhelloHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"),
    ("/F-hop", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: X-Hop, close\r\nX-Hop: 1\r\nKeep-Alive: 5\r\n\r\nhello\0"),
    ("/F-close", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello\0"),
    ("/F-r204chk", "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n"),
    ("/switch", "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n\0"),
];
