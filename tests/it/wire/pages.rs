//! Answers that the proxy makes up: byte for byte haproxy's where it has the same one.

use std::net::SocketAddr;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::PATIENCE;
use crate::support::lab::Lab;
use crate::support::oracle::Oracle;
use crate::support::synapse::{config, fixed};

/// What both are told.
const LINES: &[&str] = &["timeout http-request 300ms", "timeout server 300ms", "retries 0"];

/// A request, whether somebody listens where it goes, and how the answer begins.
struct Page {
    send: &'static str,
    has_backend: bool,
    first_line: &'static str,
}

const fn page(send: &'static str, has_backend: bool, first_line: &'static str) -> Page {
    Page { send, has_backend, first_line }
}

/// Those that haproxy 2.6 has, too. Each ends the connection, so that all of it is compared.
#[rustfmt::skip]
const SAME: &[Page] = &[
    page("GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", false, "HTTP/1.1 503 Service Unavailable\r\n"),
    page("GET / HTTP/1.0\r\n\r\n", false, "HTTP/1.1 503 Service Unavailable\r\n"),
    page("HEAD / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", false, "HTTP/1.1 503 Service Unavailable\r\n"),
    page("GET /silent HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", true, "HTTP/1.1 502 Bad Gateway\r\n"),
    page("GET /garbage HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", true, "HTTP/1.1 502 Bad Gateway\r\n"),
    page("GET /hold HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", true, "HTTP/1.1 504 Gateway Time-out\r\n"),
    page("GET / HTTP/1.1\r\nnocolon\r\n\r\n", true, "HTTP/1.1 400 Bad request\r\n"),
    page("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", true, "HTTP/1.1 400 Bad request\r\n"),
    page("", true, "HTTP/1.1 408 Request Time-out\r\n"),
    page("GET / HT", true, "HTTP/1.1 408 Request Time-out\r\n"),
];

/// Those that it has not, or says otherwise: with `400` to what is too large, without `Connection` in a 413 after which
/// it closes, and not at all.
#[rustfmt::skip]
const OURS: &[Page] = &[
    page("GET / HTTP/1.0\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello", true, "HTTP/1.1 413 Payload Too Large\r\n"),
    page("GET / HTTP/2.0\r\nHost: h\r\n\r\n", true, "HTTP/1.1 505 HTTP Version Not Supported\r\n"),
    page("CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n", true, "HTTP/1.1 405 Method Not Allowed\r\n"),
];

/// Everything that is said until the end of the connection.
async fn ask(addr: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(addr).await.expect("connect");
    stream.write_all(bytes).await.expect("send");
    let mut said = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut said)).await.expect("it closes").expect("cleanly");
    String::from_utf8(said).expect("text")
}

#[tokio::test]
async fn pages_are_haproxys() {
    let lab = Lab::new().await;
    let origin = lab.origin("A").await;
    let (with, without) = (lab.free_addr(), lab.free_addr());
    let server = [("A", origin.addr(), "")];
    let services = json!({
        "with": fixed(with, "http", LINES, &server), "without": fixed(without, "http", LINES, &[])
    });
    let _synapse = lab.synapse(config(services)).await;
    let oracle = Oracle::start(&lab, "http", LINES, &server).await;
    let alone = Oracle::start(&lab, "http", LINES, &[]).await;
    for page in SAME {
        let (ours, theirs) =
            if page.has_backend { (with, oracle.addr) } else { (without, alone.addr) };
        let (ours, theirs) =
            (ask(ours, page.send.as_bytes()).await, ask(theirs, page.send.as_bytes()).await);
        assert!(theirs.starts_with(page.first_line), "{:?}: the oracle: {theirs}", page.send);
        assert_eq!(ours, theirs, "{:?}", page.send);
    }
    for page in OURS {
        assert_whole(&ask(with, page.send.as_bytes()).await, page.first_line);
    }
    let long = format!("GET /{} HTTP/1.1\r\nHost: h\r\n\r\n", "y".repeat(15_400));
    let large = format!("GET / HTTP/1.1\r\nHost: h\r\nX: {}\r\n\r\n", "y".repeat(15_400));
    assert_whole(&ask(with, long.as_bytes()).await, "HTTP/1.1 414 URI Too Long\r\n");
    let first_line = "HTTP/1.1 431 Request Header Fields Too Large\r\n";
    assert_whole(&ask(with, large.as_bytes()).await, first_line);
}

/// The form is the same: the page's heading is the status line, its length is right, and the end is announced.
fn assert_whole(said: &str, first_line: &str) {
    assert!(said.starts_with(first_line), "{said}");
    let (head, body) = said.split_once("\r\n\r\n").expect("a head");
    let head = head.to_ascii_lowercase();
    for line in ["cache-control: no-cache", "connection: close", "content-type: text/html"] {
        assert!(head.contains(&format!("\r\n{line}")), "{line}: {said}");
    }
    assert!(head.contains(&format!("\r\ncontent-length: {}\r\n", body.len())), "{said}");
    let heading = first_line.trim_start_matches("HTTP/1.1 ").trim_end();
    assert!(body.starts_with(&format!("<html><body><h1>{heading}</h1>\n")), "{said}");
}
