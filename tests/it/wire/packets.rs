//! How a client's bytes are split into packets changes nothing: pipelined conversations, whole and in pieces, through the
//! real proxy.
//!
//! What a conversation is made of comes from a seed, which is printed; `SMARTSTACK_SEED` repeats a run.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::engines;
use super::origin::Origin;
use crate::support::lab::Lab;
use crate::support::synapse::{config, fixed};

/// No conversation takes that long on the busiest machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// Longer than [`PATIENCE`]: a conversation that nobody ends is found, however slowly it is said.
const LINES: &[&str] = &[
    "timeout http-request 60s",
    "timeout http-keep-alive 60s",
    "timeout client 60s",
    "timeout server 60s",
    "timeout connect 60s",
    "retries 0",
    "option forwardfor",
];

/// Conversations of the usual run: a second of them.
const CONVERSATIONS: u64 = 40;
/// And of the slow one.
const SLOW_CONVERSATIONS: u64 = 4_000;

/// How often a conversation is repeated in other packets.
const SPLITS: usize = 4;

/// Request lines; what the origin says depends on the path, so answers in a wrong order are seen.
const FIRST: &[&str] = &[
    "GET / HTTP/1.1\r\n",
    "GET /F-chunked HTTP/1.1\r\n",
    "GET /F-dupclsame HTTP/1.1\r\n",
    "GET /F-r304 HTTP/1.1\r\n",
    "GET /F-r204chk HTTP/1.1\r\n",
    "HEAD /F-chunked HTTP/1.1\r\n",
    "POST / HTTP/1.1\r\n",
    "PUT /F-chunked HTTP/1.1\n",
    "\r\n\r\nGET  /   HTTP/1.1\r\n",
    "OPTIONS http://h HTTP/1.1\r\n",
];

const HEADERS: &[&str] = &[
    "X: y\r\n",
    "Connection: X, keep-alive\r\nX: y\r\n",
    "TE: trailers, gzip\r\n",
    "Keep-Alive: 5\n",
    "X-Long: yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy\r\n",
];

/// The end of a head and a body.
const BODIES: &[&str] = &[
    "\r\n",
    "\n",
    "Content-Length: 5\r\n\r\nhello",
    "Content-Length: 05, 5\r\n\r\nhello",
    "Transfer-Encoding: chunked\r\n\r\n5;a=\"b;c\"\r\nhello\r\n0\r\n\r\n",
    "Transfer-Encoding: chunked\r\n\r\n3 \r\nabc\r\nA\r\n0123456789\r\n0\r\nX-Sum: 7\r\n\r\n",
];

/// The same, refused.
const BAD: &[&str] = &[
    "X : y\r\n\r\n",
    "X: a\r\n b\r\n\r\n",
    "Host: other\r\n\r\n",
    "Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
    "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\n0\r\n\r\n",
    "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nHost: b\r\n\r\n",
    "Transfer-Encoding: chunked\r\n\r\nx\r\n\r\n",
];

/// Several requests, of which the last one closes, whether because it says so or because it is refused.
fn conversation(rng: &mut fastrand::Rng) -> String {
    let mut pick = |of: &[&'static str]| of[rng.usize(..of.len())];
    let mut text = String::new();
    let is_bad = pick(&["", "", "bad"]) == "bad";
    let count = pick(&["1", "12", "123", "1234"]).len();
    for number in 1..=count {
        let is_last = number == count;
        text += pick(FIRST);
        text += "Host: h\r\n";
        text += pick(HEADERS);
        if is_last && !is_bad {
            text += "Connection: close\r\n";
        }
        text += pick(if is_last && is_bad { BAD } else { BODIES });
    }
    text
}

/// What came of a conversation.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    /// The proxy closed the connection in order.
    ended: bool,
    answers: String,
    heard: Vec<String>,
}

/// Sends `bytes` in packets that end at `cuts`.
async fn talk(front: SocketAddr, origin: &Origin, bytes: &str, cuts: &[usize]) -> Outcome {
    origin.forget();
    let mut stream = TcpStream::connect(front).await.expect("connect");
    stream.set_nodelay(true).expect("nodelay");
    let (mut reads, mut writes) = stream.split();
    let say = async {
        let mut from = 0;
        for to in cuts.iter().copied().chain([bytes.len()]) {
            // It may be refused before all is sent.
            if writes.write_all(&bytes.as_bytes()[from..to]).await.is_err() {
                break;
            }
            tokio::task::yield_now().await;
            from = to;
        }
    };
    let mut answers = Vec::new();
    let both = async { tokio::join!(reads.read_to_end(&mut answers), say) };
    let ended = matches!(timeout(PATIENCE, both).await, Ok((Ok(_), ())));
    let answers = String::from_utf8_lossy(&answers).into_owned();
    Outcome { ended, answers, heard: origin.requests() }
}

impl Outcome {
    /// Without the sizes of chunks: hyper makes them of what it has read.
    fn joined(mut self) -> Self {
        for request in &mut self.heard {
            let Some((head, chunks)) = request.split_once("\r\n\r\n") else { continue };
            if head.contains("chunked") {
                *request = [head, ": ", &data(chunks)].concat();
            }
        }
        self
    }
}

/// What is in the chunks.
fn data(mut chunks: &str) -> String {
    let mut data = String::new();
    while let Some((size, rest)) = chunks.split_once("\r\n") {
        let Ok(size @ 1..) = usize::from_str_radix(size, 16) else { break };
        data += &rest[..size];
        chunks = &rest[size + 2..];
    }
    data
}

/// Who reads the client's HTTP/1.
#[derive(Clone, Copy, Debug)]
enum Reader {
    Engine,
    Hyper,
}

async fn any_packets(reader: Reader, seed: u64, conversations: u64) {
    println!("SMARTSTACK_SEED={seed}");
    let lab = Lab::new().await;
    let origin = Origin::start(&lab).await;
    let (front, _synapse) = match reader {
        Reader::Engine => {
            let front = lab.free_addr();
            let service = fixed(front, "http", LINES, &[("a", origin.addr, "")]);
            (front, lab.synapse(config(json!({"web": service}))).await)
        }
        Reader::Hyper => engines::synapse(&lab, origin.addr, LINES).await,
    };
    for number in seed..seed + conversations {
        let mut rng = fastrand::Rng::with_seed(number);
        let text = conversation(&mut rng);
        let talked = async |cuts: &[usize]| {
            let outcome = talk(front, &origin, &text, cuts).await;
            if matches!(reader, Reader::Hyper) { outcome.joined() } else { outcome }
        };
        let whole = talked(&[]).await;
        let is_whole = whole.ended && !whole.answers.is_empty();
        assert!(is_whole, "SMARTSTACK_SEED={number}: {text:?}: {whole:?}");
        for split in 0..SPLITS {
            let mut cuts: Vec<usize> = if split == 0 {
                (1..text.len()).collect()
            } else {
                (0..rng.usize(1..12)).map(|_| rng.usize(..text.len())).collect()
            };
            cuts.sort_unstable();
            let parts = talked(&cuts).await;
            assert_eq!(parts, whole, "SMARTSTACK_SEED={number}: {text:?} split at {cuts:?}");
        }
    }
}

fn seed() -> Option<u64> {
    std::env::var("SMARTSTACK_SEED").ok().and_then(|seed| seed.parse().ok())
}

#[tokio::test]
async fn conversations_come_out_the_same_in_any_packets() {
    any_packets(Reader::Engine, seed().unwrap_or(0), CONVERSATIONS).await;
}

#[tokio::test]
async fn conversations_come_out_the_same_in_any_packets_where_hyper_reads() {
    any_packets(Reader::Hyper, seed().unwrap_or(0), CONVERSATIONS).await;
}

#[tokio::test]
async fn slow_conversations_come_out_the_same_in_any_packets() {
    any_packets(
        Reader::Engine,
        seed().unwrap_or_else(|| fastrand::u64(..1 << 32)),
        SLOW_CONVERSATIONS,
    )
    .await;
}
