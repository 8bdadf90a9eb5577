//! HTTP/1 clients that leave while they wait: what both engines make of it.

use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

use super::beside::logged;
use super::origin::{self, Backend};
use crate::support::client::Conn;
use crate::support::lab::Lab;
use crate::support::origin::Origin;
use crate::support::queues::until_read;
use crate::support::synapse::{Synapse, config, fixed};
use crate::support::wait::eventually;

const PATIENCE: Duration = Duration::from_secs(10);

/// A service of an HTTP/1 server and one of an HTTP/2 server, of which none answers `/hold`.
struct Both {
    fronts: [SocketAddr; 2],
    old: Origin,
    new: Backend,
    log: UdpSocket,
    synapse: Synapse,
    _lab: Lab,
}

impl Both {
    async fn start(lines: &[&str]) -> Self {
        let lab = Lab::new().await;
        let old = lab.origin("A").await;
        let new = origin::start("B", lab.free_addr()).await;
        let log = UdpSocket::bind((lab.ip(), 0)).await.expect("udp");
        let line = format!("log {} local0", log.local_addr().expect("bound"));
        let lines = [&["option httplog", "timeout server 30s", &line], lines].concat();
        let fronts = [lab.free_addr(), lab.free_addr()];
        let services = json!({
            "old": fixed(fronts[0], "http", &lines, &[("A", old.addr(), "")]),
            "new": fixed(fronts[1], "http", &lines, &[("B", new.addr, "proto h2")]),
        });
        let synapse = lab.synapse(config(services)).await;
        Self { fronts, old, new, log, synapse, _lab: lab }
    }

    fn asked(&self) -> usize {
        self.old.requests() + self.new.requests()
    }

    /// A client whose request waits, and `behind` it more bytes.
    async fn waiting(&self, front: SocketAddr, behind: &str) -> Conn {
        let before = self.asked();
        let mut conn = Conn::open(front).await.expect("connect");
        let request = format!("GET /hold HTTP/1.1\r\nhost: t\r\n\r\n{behind}");
        conn.send(request.as_bytes()).await.expect("sent");
        self.until_asked(before).await;
        conn
    }

    /// Once a server has had more than `before` requests.
    async fn until_asked(&self, before: usize) {
        eventually("it is asked", PATIENCE, || async {
            if self.asked() > before { Ok(()) } else { Err("not yet") }
        })
        .await;
    }

    /// Once the HTTP/2 server has been told that so many are not wanted any more.
    async fn until_told(&self, times: usize) {
        eventually("its server is told", PATIENCE, || async {
            let told = self.new.seen.cancelled.load(Ordering::SeqCst);
            if told == times { Ok(()) } else { Err(told) }
        })
        .await;
    }

    /// Whether a request is under way at `front`.
    async fn under_way(&self, front: SocketAddr) -> Result<(), f64> {
        let at = usize::from(front == self.fronts[1]);
        let count = self.counted("backend_in_flight", "").await[at];
        if count > 0.5 { Ok(()) } else { Err(count) }
    }

    /// The sums of a metric whose labels contain `label`, of both services.
    async fn counted(&self, metric: &str, label: &str) -> [f64; 2] {
        let all = self.synapse.metrics().await;
        ["old", "new"].map(|service| {
            let service = format!("service=\"{service}\"");
            let of = |line: &&str| {
                line.starts_with(&format!("synapse_{metric}{{"))
                    && line.contains(&service)
                    && line.contains(label)
            };
            all.lines()
                .filter(of)
                .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
                .sum()
        })
    }

    /// The status, state and request of the next line.
    async fn line(&self, front: SocketAddr) -> [String; 3] {
        let (_, status, state, line) = logged(&self.log, front).await;
        [status, state, line]
    }
}

#[tokio::test]
async fn one_that_resets_has_left_at_once() {
    for lines in [&[][..], &["option abortonclose"]] {
        let both = Both::start(lines).await;
        for front in both.fronts {
            let mut stream = TcpStream::connect(front).await.expect("connect");
            let before = both.asked();
            stream.write_all(b"GET /hold HTTP/1.1\r\nhost: t\r\n\r\n").await.expect("sent");
            both.until_asked(before).await;
            stream.set_zero_linger().expect("linger");
            drop(stream);
            assert_eq!(both.line(front).await, ["-1", "CH--", "GET /hold HTTP/1.1"]);
        }
        both.until_told(1).await;
    }
}

#[tokio::test]
async fn one_that_has_finished_still_wants_its_answers() {
    let both = Both::start(&[]).await;
    for front in both.fronts {
        let mut conn = Conn::open(front).await.expect("connect");
        let one = "GET /x HTTP/1.1\r\nhost: t\r\n\r\n";
        let post = "POST /x HTTP/1.1\r\nhost: t\r\ncontent-length: 3\r\n\r\nabc";
        conn.send([one, post, one].concat().as_bytes()).await.expect("sent");
        conn.finish_sending().await.expect("finished");
        for method in ["GET", "POST", "GET"] {
            assert_eq!(conn.response(method).await.expect("an answer").status, 200, "{front}");
        }
        let mut rest = Vec::new();
        timeout(PATIENCE, conn.read_rest(&mut rest)).await.expect("closed").expect("read");
        assert!(rest.is_empty(), "{front}");
    }
}

/// The end of its answer waits for it, whatever comes behind its request.
#[tokio::test]
async fn one_that_has_finished_and_reads_slowly_gets_all_of_its_answer() {
    const PARTS: usize = 80;
    let both = Both::start(&["timeout client 10s"]).await;
    for behind in ["", "GET /b HT", "GET / HTTP/1.1\r\nBad Name: x\r\n\r\n"] {
        let mut stream = TcpStream::connect(both.fronts[1]).await.expect("connect");
        let request = format!("GET /flood/{PARTS} HTTP/1.1\r\nhost: t\r\n\r\n{behind}");
        stream.write_all(request.as_bytes()).await.expect("sent");
        stream.shutdown().await.expect("finished");
        let given = || both.new.seen.given.load(Ordering::SeqCst);
        let before = given();
        eventually("its way is full", PATIENCE, || async {
            let now = given();
            tokio::time::sleep(Duration::from_millis(100)).await;
            if now > before && now == given() { Ok(()) } else { Err(now) }
        })
        .await;
        let (mut got, mut chunk) = (Vec::new(), vec![0; 40_000]);
        loop {
            match timeout(PATIENCE, stream.read(&mut chunk)).await.expect("goes on").expect("clean")
            {
                0 => break,
                n => got.extend_from_slice(&chunk[..n]),
            }
            // Slowly.
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let body = got.iter().filter(|byte| **byte == b'x').count();
        assert!(body >= PARTS * 65_536, "{behind:?}: {body}");
        let answers = String::from_utf8_lossy(&got);
        let (first, rest) = answers.split_once("0\r\n").expect("its last chunk");
        assert_eq!(first.matches("HTTP/1.1 ").count(), 1, "{behind:?}");
        assert_eq!(
            rest.matches("HTTP/1.1 400 ").count(),
            usize::from(!behind.is_empty()),
            "{behind:?}: {rest}"
        );
    }
}

#[tokio::test]
async fn one_that_has_finished_has_given_up_with_abortonclose() {
    let both = Both::start(&["option abortonclose"]).await;
    for front in both.fronts {
        for behind in ["", "\r\n", "GET /b HTTP/1.1\r\nhost: t\r\n\r\n", "GET /b HT"] {
            let mut conn = both.waiting(front, behind).await;
            conn.finish_sending().await.expect("finished");
            let answer = timeout(PATIENCE, conn.response("GET")).await.expect("at once");
            assert_eq!(answer.expect("an answer").status, 400, "{front} {behind:?}");
            let mut rest = Vec::new();
            timeout(PATIENCE, conn.read_rest(&mut rest)).await.expect("closed").expect("read");
            assert!(rest.is_empty(), "{front} {behind:?}");
            assert_eq!(both.line(front).await, ["400", "CH--", "GET /hold HTTP/1.1"], "{front}");
        }
    }
    both.until_told(4).await;
}

/// What comes behind a request is not read by anybody until its answer has ended, and not lost.
#[tokio::test]
async fn a_request_that_comes_in_two_parts_around_an_answer_is_whole() {
    let both = Both::start(&["timeout http-request 2s", "timeout http-keep-alive 300ms"]).await;
    for front in both.fronts {
        let mut conn = Conn::open(front).await.expect("connect");
        conn.send(b"GET /a HTTP/1.1\r\nhost: t\r\n\r\nPOST /b HTTP/1.1\r\nhost: t\r\n")
            .await
            .expect("sent");
        assert_eq!(conn.response("GET").await.expect("an answer").status, 200);
        // Longer than a client at rest has.
        let mut at_rest = Conn::open(front).await.expect("connect");
        assert_eq!(at_rest.get("/a").await.expect("an answer").status, 200);
        let mut rest = Vec::new();
        timeout(PATIENCE, at_rest.read_rest(&mut rest)).await.expect("closed").expect("read");
        conn.send(b"content-length: 2\r\n\r\nxy").await.expect("sent");
        assert_eq!(conn.response("POST").await.expect("an answer").status, 200, "{front}");
    }
}

#[tokio::test]
async fn one_that_leaves_within_a_request_is_logged_the_same() {
    let both = Both::start(&[]).await;
    let head = "POST /x HTTP/1.1\r\nhost: t\r\ncontent-length: 60\r\n\r\nabc";
    for (said, resets, line) in [
        ("", false, ["400", "CR--", "<BADREQ>"]),
        ("GET / HT", false, ["400", "CR--", "<BADREQ>"]),
        ("GET / HT", true, ["400", "CR--", "<BADREQ>"]),
        (head, false, ["-1", "CD--", "POST /x HTTP/1.1"]),
        (head, true, ["-1", "CD--", "POST /x HTTP/1.1"]),
    ] {
        for front in both.fronts {
            let mut stream = TcpStream::connect(front).await.expect("connect");
            stream.write_all(said.as_bytes()).await.expect("sent");
            if said == head {
                let is_asked = async || both.under_way(front).await;
                eventually("it is asked", PATIENCE, is_asked).await;
            }
            if resets {
                assert!(until_read(&stream, PATIENCE).await);
                stream.set_zero_linger().expect("linger");
                drop(stream);
            } else {
                stream.shutdown().await.expect("finished");
                let mut rest = Vec::new();
                timeout(PATIENCE, stream.read_to_end(&mut rest))
                    .await
                    .expect("ends")
                    .expect("clean");
                let is_told = rest.starts_with(b"HTTP/1.1 400 ");
                assert_eq!(is_told, said == "GET / HT", "{}", String::from_utf8_lossy(&rest));
            }
            assert_eq!(both.line(front).await, line, "{front} {said:?} {resets}");
        }
    }
    assert_eq!(both.counted("errors_total", "client_abort").await, [4.0, 4.0]);
    assert_eq!(both.counted("http_responses_total", "4xx").await, [2.0, 2.0]);
}

/// HTTP/2 has no form for some targets and hosts: that is the client's fault, in the words of the other engine.
#[tokio::test]
async fn what_http2_cannot_say_is_refused() {
    let both = Both::start(&[]).await;
    for request in [
        "GET /x?a<b HTTP/1.1\r\nhost: t\r\n\r\n",
        "GET /x`y HTTP/1.1\r\nhost: t\r\n\r\n",
        "GET /x HTTP/1.1\r\nhost: a:80:80\r\n\r\n",
        "GET /x HTTP/1.1\r\nhost: %61\r\n\r\n",
    ] {
        for (front, status) in both.fronts.into_iter().zip([200, 400]) {
            let mut conn = Conn::open(front).await.expect("connect");
            conn.send(request.as_bytes()).await.expect("sent");
            let answer = conn.response("GET").await.expect("an answer");
            assert_eq!(answer.status, status, "{front} {request:?}");
            assert!(status == 200 || answer.text().contains("Bad request"), "{}", answer.text());
            let [logged, state, _] = both.line(front).await;
            // Hosts are judged when it is known that an HTTP/2 server is asked.
            let expected = match (status, request.contains("host: t\r\n")) {
                (200, _) => "----",
                (_, true) => "PR--",
                (_, false) => "PH--",
            };
            assert_eq!((logged, state.as_str()), (status.to_string(), expected), "{request:?}");
        }
    }
    assert_eq!(both.counted("http_responses_total", "4xx").await, [0.0, 4.0]);
    assert_eq!(both.counted("errors_total", "client_protocol").await, [0.0, 4.0]);
    assert_eq!(both.counted("backend_response_errors_total", "").await, [0.0, 0.0]);
}
