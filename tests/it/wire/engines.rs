//! The same where a server speaks HTTP/2: there hyper reads HTTP/1, behind the judge of the HTTP/1 engine.

use std::net::SocketAddr;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

use super::origin::Origin;
use super::{LINES, PATIENCE, failures};
use crate::support::lab::Lab;
use crate::support::synapse::{Synapse, config, fixed};

/// A synapse that asks `origin` in HTTP/1, though it has a server that speaks HTTP/2.
pub(super) async fn synapse(
    lab: &Lab,
    origin: SocketAddr,
    lines: &[&str],
) -> (SocketAddr, Synapse) {
    let (front, nobody) = (lab.free_addr(), lab.free_addr());
    // The second is there, which decides who reads, and is not asked.
    let servers = [("a", origin, ""), ("b", nobody, "proto h2")];
    let lines = [lines, &["balance first"]].concat();
    let service = fixed(front, "http", &lines, &servers);
    (front, lab.synapse(config(json!({"web": service}))).await)
}

#[tokio::test]
async fn cases_come_out_the_same_where_a_server_speaks_http2() {
    let lab = Lab::new().await;
    let origin = Origin::start(&lab).await;
    let (front, _synapse) = synapse(&lab, origin.addr, LINES).await;
    let failures = failures(front, &origin, |case| case.want).await;
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// What follows it is not asked, and what came before it is answered first.
#[tokio::test]
async fn a_refused_request_is_answered_and_logged() {
    let lab = Lab::new().await;
    let origin = Origin::start(&lab).await;
    let log = UdpSocket::bind((lab.ip(), 0)).await.expect("udp");
    let target = format!("log {} local0", log.local_addr().expect("bound"));
    let lines = [LINES, &["option httplog", &target]].concat();
    let (front, _synapse) = synapse(&lab, origin.addr, &lines).await;
    let mut stream = TcpStream::connect(front).await.expect("connect");
    let good = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";
    let said = [good, "GET / HTTP/1.1\r\nHost: h\r\nX : y\r\n\r\n", good].concat();
    stream.write_all(said.as_bytes()).await.expect("send");
    let mut answers = String::new();
    timeout(PATIENCE, stream.read_to_string(&mut answers))
        .await
        .expect("an end")
        .expect("no reset");
    let statuses: Vec<&str> = answers.matches("HTTP/1.1 ").collect();
    assert_eq!(statuses.len(), 2, "{answers}");
    assert!(
        answers.ends_with("Your browser sent an invalid request.\n</body></html>\n"),
        "{answers}"
    );
    assert_eq!(origin.requests().len(), 1);
    for wanted in [" 200 ", " 400 "] {
        let mut line = [0; 4096];
        let n = timeout(PATIENCE, log.recv(&mut line)).await.expect("a line").expect("datagram");
        let line = String::from_utf8_lossy(&line[..n]);
        let is_refused = line.contains(" PR-- ") && line.contains("<BADREQ>");
        assert!(line.contains(wanted) && is_refused == (wanted == " 400 "), "{line}");
    }
}

/// What one server says of itself in an answer must not change what the next request is.
#[tokio::test]
async fn a_server_that_answers_in_http10_gets_bodies_whole() {
    let lab = Lab::new().await;
    let origin = Origin::start(&lab).await;
    let (front, _synapse) = synapse(&lab, origin.addr, LINES).await;
    let mut stream = TcpStream::connect(front).await.expect("connect");
    let said = "GET /F-old HTTP/1.1\r\nHost: h\r\n\r\nPOST / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\
                Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    stream.write_all(said.as_bytes()).await.expect("send");
    let mut answers = String::new();
    timeout(PATIENCE, stream.read_to_string(&mut answers))
        .await
        .expect("an end")
        .expect("no reset");
    assert_eq!(answers.matches(" 200 OK").count(), 2, "{answers}");
    let heard = origin.requests();
    let last = heard.last().expect("two");
    assert!(last.starts_with("POST / HTTP/1.1") && last.contains("\r\n5\r\nhello\r\n"), "{last}");
}
