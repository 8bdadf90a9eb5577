//! Whom a key belongs to does not depend on the version that either side speaks.

use std::net::SocketAddr;

use h2::client::SendRequest;
use hyper::Request;
use serde_json::json;

use super::grpc::three;
use super::origin::{collect, connect};
use crate::support::client;
use crate::support::lab::Lab;
use crate::support::oracle::Oracle;
use crate::support::synapse::{config, fixed};

/// haproxy's for k0 to k23, as `crate::hashing` has it.
const BY_HEADER: &str = "ACBCABABABCAABCCABACBCCC";

/// haproxy's for /p0 to /p23, map-based, as `crate::hashing` has it.
const BY_PATH: &str = "BCABCABCABCABCABCABCABCA";

/// The same for http://test.example/p0 to /p23: of HTTP/2 haproxy takes all of the URI.
const BY_URI: &str = "ABCABCABCABCABCABCABCABC";

const HEADER: [&str; 2] = ["balance hdr(x-k)", "hash-type consistent"];

/// Who answers a request over HTTP/2: the first letter of the body.
async fn asked(sender: &SendRequest<bytes::Bytes>, path: &str, key: &str) -> char {
    let mut sender = sender.clone().ready().await.expect("ready");
    let uri = format!("http://test.example{path}");
    let request = Request::get(uri).header("x-k", key).body(()).expect("request");
    let (response, _) = sender.send_request(request, true).expect("sent");
    let mut body = response.await.expect("an answer").into_body();
    let (body, _) = collect(&mut body).await.expect("whole");
    char::from(body[0])
}

async fn by_header(front: SocketAddr) -> String {
    let sender = connect(front).await;
    let mut all = String::new();
    for n in 0..24 {
        all.push(asked(&sender, "/", &format!("k{n}")).await);
    }
    all
}

async fn by_uri(front: SocketAddr) -> String {
    let sender = connect(front).await;
    let mut all = String::new();
    for n in 0..24 {
        all.push(asked(&sender, &format!("/p{n}"), "").await);
    }
    all
}

#[tokio::test]
async fn keys_belong_to_the_same_backend_in_either_version() {
    let lab = Lab::new().await;
    let three = three(&lab, &HEADER).await;
    assert_eq!(by_header(three.front).await, BY_HEADER);
    // The same service, asked over HTTP/1.
    let mut conn = client::Conn::open(three.front).await.expect("connect");
    let mut all = String::new();
    for n in 0..24 {
        let request = format!("GET / HTTP/1.1\r\nHost: h\r\nX-K: k{n}\r\n\r\n");
        let answer = conn.exchange("GET", request.as_bytes()).await.expect("an answer");
        all.push(answer.text().chars().next().expect("a name"));
    }
    assert_eq!(all, BY_HEADER);
}

#[tokio::test]
async fn keys_of_http2_clients_are_haproxys() {
    let lab = Lab::new().await;
    let origins = [lab.origin("A").await, lab.origin("B").await, lab.origin("C").await];
    let servers = ["A", "B", "C"]
        .iter()
        .zip(&origins)
        .map(|(name, it)| (*name, it.addr(), ""))
        .collect::<Vec<_>>();
    for (lines, want) in [
        (&HEADER[..], BY_HEADER),
        (&["balance uri"], BY_URI),
        (&["balance uri path-only"], BY_PATH),
    ] {
        let front = lab.free_addr();
        let synapse =
            lab.synapse(config(json!({"it": fixed(front, "http", lines, &servers)}))).await;
        let oracle = Oracle::start(&lab, "http", lines, &servers).await;
        let by = async |front| {
            if want == BY_HEADER { by_header(front).await } else { by_uri(front).await }
        };
        assert_eq!([by(front).await.as_str(), &by(oracle.addr).await], [want, want], "{lines:?}");
        drop(synapse);
    }
}
