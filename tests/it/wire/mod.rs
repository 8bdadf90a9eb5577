//! HTTP/1 on the wire, case by case: raw bytes to our proxy, and to haproxy and nginx as oracles.
//!
//! The cases are data (`cases`). Each is sent on a connection of its own; then a further request says whether that
//! connection still serves, and another one, on a new connection, that nothing was harmed.

mod cases;
mod engines;
mod origin;
mod packets;
mod pages;
mod slowly;

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::support::lab::Lab;
use crate::support::oracle::{Nginx, Oracle};
use crate::support::synapse::{config, fixed};
use origin::Origin;

/// Longer than any answer here takes, shorter than the proxies' patience with a silent client.
const PATIENCE: Duration = Duration::from_secs(5);

/// What the proxies are told.
const LINES: &[&str] = &[
    "timeout http-request 2s",
    "timeout http-keep-alive 2s",
    "timeout client 4s",
    "timeout server 3s",
    "timeout connect 1s",
    "retries 0",
    "option forwardfor",
];

/// One case.
#[derive(Debug)]
struct Case {
    id: &'static str,
    send: &'static str,
    /// Outcomes that are right.
    want: &'static str,
    /// What was measured; `?` = not compared.
    haproxy: &'static str,
    nginx: &'static str,
}

/// What a client saw of one connection.
struct Seen {
    /// Statuses of its answers, those to the further request apart; `!` behind one that broke off.
    statuses: String,
    kept: bool,
}

fn all() -> impl Iterator<Item = &'static Case> {
    cases::REQUESTS.iter().chain(cases::ANSWERS)
}

/// The document names each case in which haproxy is known to do otherwise, and no case that there is not.
#[test]
fn the_document_says_where_haproxy_differs() {
    let text = include_str!("../../../docs/http1.md");
    let cells = text.lines().filter_map(|line| line.strip_prefix("| ")?.split(" |").next());
    let is_id = |word: &&str| all().any(|case| case.id == *word);
    let mut named: Vec<&str> = cells.flat_map(|cell| cell.split(", ")).filter(is_id).collect();
    named.sort_unstable();
    let differs = |case: &&Case| case.haproxy != "?" && case.haproxy != case.want;
    let is_request = |case: &&Case| !case.id.starts_with("F-");
    let mut wanted: Vec<&str> =
        all().filter(differs).filter(is_request).map(|case| case.id).collect();
    wanted.sort_unstable();
    assert_eq!(named, wanted);
}

/// Runs every case; what did not come out as `expected` says.
async fn failures(
    front: SocketAddr,
    origin: &Origin,
    expected: impl Fn(&Case) -> &'static str,
) -> Vec<String> {
    let mut failures = Vec::new();
    for case in all() {
        let expected = expected(case);
        if expected == "?" {
            continue;
        }
        origin.forget();
        let seen = run(front, case).await;
        let heard = origin.requests();
        let reached = heard.iter().filter(|r| !r.starts_with("GET /after")).count();
        let fate = if seen.kept { "k" } else { "x" };
        let outcome = format!("{} {fate} o{reached}", seen.statuses);
        let any = format!("{} ? o{reached}", seen.statuses);
        if !expected.split(" | ").any(|right| right == outcome || right == any) {
            failures.push(format!("{}: {outcome}, not {expected}", case.id));
        }
        if heard.iter().any(|request| request.contains("/smuggled")) {
            failures.push(format!("{}: smuggled", case.id));
        }
        let after = run(front, &GOOD).await;
        if after.statuses != "200" {
            failures.push(format!("{}: a good request afterwards: {}", case.id, after.statuses));
        }
    }
    failures
}

const GOOD: Case = Case {
    id: "good",
    send: "GET /after HTTP/1.1\r\nHost: h\r\n\r\n",
    want: "200 k o1",
    haproxy: "200 k o1",
    nginx: "200 k o1",
};

async fn run(front: SocketAddr, case: &Case) -> Seen {
    let mut stream = TcpStream::connect(front).await.expect("connect");
    stream.set_nodelay(true).expect("nodelay");
    if case.send.contains("byte by byte") {
        for byte in case.send.as_bytes() {
            stream.write_all(&[*byte]).await.expect("send");
            tokio::task::yield_now().await;
        }
    } else {
        // It may be refused before all is sent.
        drop(stream.write_all(case.send.as_bytes()).await);
    }
    let mut reader = Reader { stream, bytes: Vec::new() };
    let is_head = case.send.starts_with("HEAD");
    let requests = ["GET ", "POST ", "HEAD "];
    let count = requests.iter().map(|m| case.send.matches(m).count()).sum::<usize>().max(1);
    let mut statuses = Vec::new();
    for _ in 0..count {
        match reader.answer(is_head).await {
            Some(status) => statuses.push(status),
            None => break,
        }
        if statuses.last().is_some_and(|s: &String| s.ends_with('!') || s.starts_with('4')) {
            break;
        }
    }
    let further = GOOD.send.as_bytes();
    let kept =
        reader.stream.write_all(further).await.is_ok() && reader.answer(false).await.is_some();
    Seen { statuses: statuses.join(","), kept }
}

/// Reads answers strictly.
struct Reader {
    stream: TcpStream,
    bytes: Vec<u8>,
}

impl Reader {
    async fn more(&mut self) -> bool {
        let mut chunk = [0; 4096];
        match timeout(PATIENCE, self.stream.read(&mut chunk)).await {
            Ok(Ok(n @ 1..)) => {
                self.bytes.extend_from_slice(&chunk[..n]);
                true
            }
            _ => false,
        }
    }

    async fn line(&mut self) -> Option<String> {
        loop {
            if let Some(at) = self.bytes.windows(2).position(|w| w == b"\r\n") {
                let rest = self.bytes.split_off(at + 2);
                let line = std::mem::replace(&mut self.bytes, rest);
                return Some(String::from_utf8_lossy(&line[..at]).into_owned());
            }
            if !self.more().await {
                return None;
            }
        }
    }

    async fn exactly(&mut self, count: usize) -> bool {
        while self.bytes.len() < count {
            if !self.more().await {
                return false;
            }
        }
        self.bytes.drain(..count);
        true
    }

    /// The status of the next answer, `!` behind it when its body broke off; `None` at the end.
    async fn answer(&mut self, is_head: bool) -> Option<String> {
        let first = self.line().await?;
        let status = first.split(' ').nth(1).unwrap_or("junk").to_owned();
        let (mut length, mut chunked, mut closes) = (None, false, false);
        loop {
            let line = self.line().await?.to_ascii_lowercase();
            if line.is_empty() {
                break;
            }
            match line.split_once(": ") {
                Some(("content-length", value)) => length = value.parse().ok(),
                Some(("transfer-encoding", value)) => chunked = value == "chunked",
                Some(("connection", value)) => closes = value == "close",
                _ => {}
            }
        }
        let whole = if is_head || ["204", "304"].contains(&status.as_str()) {
            true
        } else if chunked {
            self.chunks().await
        } else if let Some(length) = length {
            self.exactly(length).await
        } else {
            while self.more().await {}
            closes || first.starts_with("HTTP/1.")
        };
        Some(if whole { status } else { format!("{status}!") })
    }

    async fn chunks(&mut self) -> bool {
        loop {
            let Some(size) = self.line().await else {
                return false;
            };
            let size = usize::from_str_radix(&size, 16).expect("a size and nothing else");
            if size == 0 {
                break;
            }
            if !self.exactly(size + 2).await {
                return false;
            }
        }
        while let Some(line) = self.line().await {
            if line.is_empty() {
                return true;
            }
        }
        false
    }
}

#[tokio::test]
async fn every_case_comes_out_as_wanted() {
    let lab = Lab::new().await;
    let origin = Origin::start(&lab).await;
    let front = lab.free_addr();
    let servers = [("a", origin.addr, "")];
    let _synapse = lab.synapse(config(json!({"web": fixed(front, "http", LINES, &servers)}))).await;
    let failures = failures(front, &origin, |case| case.want).await;
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[tokio::test]
async fn haproxy_does_what_was_measured() {
    let lab = Lab::new().await;
    let origin = Origin::start(&lab).await;
    let oracle = Oracle::start(&lab, "http", LINES, &[("a", origin.addr, "")]).await;
    let failures = failures(oracle.addr, &origin, |case| case.haproxy).await;
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[tokio::test]
async fn nginx_does_what_was_measured() {
    let lab = Lab::new().await;
    let origin = Origin::start(&lab).await;
    let nginx = Nginx::start(&lab, origin.addr).await;
    let failures = failures(nginx.addr, &origin, |case| case.nginx).await;
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// The exact lines that the origin gets.
#[tokio::test]
async fn the_origin_sees_one_framing_and_one_host() {
    let lab = Lab::new().await;
    let origin = Origin::start(&lab).await;
    let front = lab.free_addr();
    let servers = [("a", origin.addr, "")];
    let _synapse = lab.synapse(config(json!({"web": fixed(front, "http", LINES, &servers)}))).await;
    for case in all() {
        origin.forget();
        run(front, case).await;
        for request in origin.requests() {
            let lines = |name: &str| {
                let names = request.lines().filter_map(|l| l.split_once(':').map(|(n, _)| n));
                names.filter(|n| n.eq_ignore_ascii_case(name)).count()
            };
            let framings = lines("content-length") + lines("transfer-encoding");
            assert!(framings <= 1, "{}: {request}", case.id);
            assert_eq!(lines("host"), 1, "{}: {request}", case.id);
            for hop in ["keep-alive", "proxy-connection"] {
                assert_eq!(lines(hop), 0, "{}: {request}", case.id);
            }
            assert!(!request.contains(";a=b"), "{}: {request}", case.id);
            assert!(lines("x-forwarded-for") >= 1, "{}: {request}", case.id);
        }
    }
}
