//! `send-proxy` and its like: byte for byte what haproxy sends, once per connection, for one client's requests.

use std::net::SocketAddr;

use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::Recorder;
use crate::support::client::Conn;
use crate::support::lab::Lab;
use crate::support::oracle::Oracle;
use crate::support::synapse::{config, fixed};

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n";

/// The header that says this, as the protocol has it.
fn header(word: &str, from: SocketAddr, to: SocketAddr) -> Vec<u8> {
    let (SocketAddr::V4(from), SocketAddr::V4(to)) = (from, to) else {
        panic!("labs have IPv4 addresses");
    };
    if word == "send-proxy" {
        let (ip, port) = ((from.ip(), to.ip()), (from.port(), to.port()));
        return format!("PROXY TCP4 {} {} {} {}\r\n", ip.0, ip.1, port.0, port.1).into_bytes();
    }
    let more: &[u8] = if word == "send-proxy-v2" { b"" } else { TLS_TLV };
    let mut bytes = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0".to_vec();
    bytes.push(u8::try_from(12 + more.len()).expect("short"));
    bytes.extend(from.ip().octets());
    bytes.extend(to.ip().octets());
    bytes.extend(from.port().to_be_bytes());
    bytes.extend(to.port().to_be_bytes());
    bytes.extend(more);
    bytes
}

/// Of `send-proxy-v2-ssl` where there was no TLS.
const TLS_TLV: &[u8] = b"\x20\0\x05\0\0\0\0\0";

/// Connects, says `words`, and returns this end's address with the connection.
async fn say(front: SocketAddr, words: &[u8]) -> (SocketAddr, TcpStream) {
    let mut stream = TcpStream::connect(front).await.expect("connect");
    stream.write_all(words).await.expect("write");
    (stream.local_addr().expect("its address"), stream)
}

#[tokio::test]
async fn headers_are_haproxys() {
    let lab = Lab::new().await;
    for mode in ["http", "tcp"] {
        for word in ["send-proxy", "send-proxy-v2", "send-proxy-v2-ssl", "send-proxy-v2-ssl-cn"] {
            let server = lab.free_addr();
            let recorder = Recorder::tcp(server).await;
            let servers = [("s", server, word)];
            let haproxy = Oracle::start(&lab, mode, &[], &servers).await;
            // A wildcard: the header says what the client has connected to.
            let front = {
                let free = std::net::TcpListener::bind("0.0.0.0:0").expect("a port");
                SocketAddr::new(lab.ip(), free.local_addr().expect("its address").port())
            };
            let mut service = fixed(front, mode, &[], &servers);
            service["haproxy"]["bind_address"] = json!("0.0.0.0");
            let _synapse = lab.synapse(config(json!({"it": service}))).await;
            for to in [haproxy.addr, front] {
                let (from, _stream) = say(to, GET).await;
                let wanted = header(word, from, to);
                let is_it = |bytes: &[u8]| bytes.starts_with(&wanted);
                let what = format!("{word} in mode {mode} of {to}: {wanted:?}");
                let said = recorder.until(&what, |said| is_it(&said.bytes)).await;
                let rest = String::from_utf8_lossy(&said.bytes[wanted.len()..]).into_owned();
                assert!(rest.is_empty() || rest.starts_with("GET / HTTP/1.1\r\n"), "{rest}");
            }
        }
    }
}

#[tokio::test]
async fn a_server_that_speaks_first_is_told_at_once() {
    let lab = Lab::new().await;
    let server = lab.free_addr();
    let recorder = Recorder::tcp(server).await;
    let front = lab.free_addr();
    let service = fixed(front, "tcp", &[], &[("s", server, "send-proxy")]);
    let _synapse = lab.synapse(config(json!({"it": service}))).await;
    let (from, _stream) = say(front, b"").await;
    let wanted = header("send-proxy", from, front);
    recorder.until("a header without a word of the client's", |said| said.bytes == wanted).await;
}

#[tokio::test]
async fn a_connection_that_says_whose_it_is_serves_nobody_else() {
    let lab = Lab::new().await;
    let server = lab.free_addr();
    let recorder = Recorder::tcp(server).await;
    let servers = [("s", server, "send-proxy")];
    let lines = ["http-reuse always"];
    let haproxy = Oracle::start(&lab, "http", &lines, &servers).await;
    let front = lab.free_addr();
    let service = fixed(front, "http", &lines, &servers);
    let _synapse = lab.synapse(config(json!({"it": service}))).await;
    for to in [haproxy.addr, front] {
        let before = recorder.heard().len();
        let (mut one, mut two) =
            (Conn::open(to).await.expect("1"), Conn::open(to).await.expect("2"));
        for _ in 0..3 {
            one.get("/one").await.expect("an answer");
            two.get("/two").await.expect("an answer");
        }
        let heard = recorder.heard();
        let texts: Vec<String> = heard[before..].iter().map(super::Said::text).collect();
        for text in &texts {
            assert_eq!(text.matches("PROXY ").count(), 1, "{to}: {text}");
            assert!(!text.contains("/one") || !text.contains("/two"), "{to}: {text}");
        }
        // haproxy, too, keeps them open, but not always.
        assert!(texts.len() == 2 || to == haproxy.addr, "{to}: one for each client: {texts:?}");
    }
}

#[tokio::test]
async fn a_request_that_goes_elsewhere_is_announced_there() {
    let lab = Lab::new().await;
    let server = lab.free_addr();
    let recorder = Recorder::tcp(server).await;
    let front = lab.free_addr();
    let servers = [("a", lab.free_addr(), "send-proxy"), ("b", server, "send-proxy-v2")];
    let _synapse = lab.synapse(config(json!({"it": fixed(front, "http", &[], &servers)}))).await;
    for _ in 0..4 {
        let (from, _stream) = say(front, GET).await;
        let wanted = header("send-proxy-v2", from, front);
        recorder.until("a header and the request", |said| said.bytes.starts_with(&wanted)).await;
    }
}

#[tokio::test]
async fn checks_say_what_haproxys_say() {
    let lab = Lab::new().await;
    let lines = ["option httpchk GET /check"];
    for (words, is_v2, has_header) in [
        ("check inter 100ms send-proxy", false, true),
        ("check inter 100ms send-proxy-v2", true, true),
        ("check inter 100ms send-proxy port PORT", false, false),
        ("check inter 100ms send-proxy port PORT check-send-proxy", false, true),
        ("check inter 100ms send-proxy-v2 port PORT check-send-proxy", true, true),
        ("check inter 100ms check-send-proxy", false, true),
    ] {
        let (ours, theirs) = (lab.free_addr(), lab.free_addr());
        let recorders = (Recorder::tcp(ours).await, Recorder::tcp(theirs).await);
        let options = |at: SocketAddr| words.replace("PORT", &at.port().to_string());
        let haproxy = (options(theirs), "s");
        let _haproxy =
            Oracle::start(&lab, "http", &lines, &[(haproxy.1, theirs, &haproxy.0)]).await;
        let service = fixed(lab.free_addr(), "http", &lines, &[("s", ours, &options(ours))]);
        let _synapse = lab.synapse(config(json!({"it": service}))).await;
        for (who, at, recorder) in
            [("haproxy", theirs, &recorders.1), ("synapse", ours, &recorders.0)]
        {
            let what = format!("a check of {who}'s with {words:?}");
            let said = recorder.until(&what, |said| said.bytes.ends_with(b"\r\n\r\n")).await;
            let from = said.from.expect("tcp");
            let wanted = match (has_header, is_v2) {
                (false, _) => Vec::new(),
                (true, false) => header("send-proxy", from, at),
                (true, true) => b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0".to_vec(),
            };
            let wanted = [&wanted[..], b"GET /check HTTP/1.0\r\n\r\n"].concat();
            assert_eq!(said.text(), String::from_utf8_lossy(&wanted), "{what}");
        }
    }
}

/// haproxy as the server: it reads the header, speaks HTTP/2 and answers with what the header says.
#[tokio::test]
async fn an_http2_server_has_a_connection_for_each_client() {
    let lab = Lab::new().await;
    let server = lab.free_addr();
    let text = format!(
        "global\n nbthread 1\ndefaults\n mode http\n timeout client 30s\n\
         frontend it\n bind {server} accept-proxy proto h2\n http-request return status 200 \
         content-type text/plain lf-string \"%[src]:%[src_port] %[dst]:%[dst_port]\"\n"
    );
    let _origin = Oracle::start_text(&lab, &text, server).await;
    for word in ["send-proxy", "send-proxy-v2"] {
        let front = lab.free_addr();
        let options = format!("{word} proto h2");
        let service = fixed(front, "http", &[], &[("s", server, &options)]);
        let synapse = lab.synapse(config(json!({"it": service}))).await;
        let mut clients = Vec::new();
        for _ in 0..3 {
            clients.push(Conn::open(front).await.expect("connect"));
        }
        for _ in 0..3 {
            for client in &mut clients {
                let said = client.get("/").await.expect("an answer").text();
                let wanted = format!("{} {front}", client.local_addr());
                assert_eq!(said, wanted, "{word}");
            }
        }
        let counters = &synapse.service("it").await["servers"][0]["counters"];
        assert_eq!((&counters["connects"], &counters["reuses"]), (&json!(3), &json!(6)), "{word}");
    }
}
