//! How a client's bytes are split into packets changes nothing: pipelined conversations, whole and in pieces, through the
//! real proxy.
//!
//! What a conversation is made of comes from a seed, which is printed; `SMARTSTACK_SEED` repeats a run.

use std::net::SocketAddr;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::origin::Origin;
use super::{LINES, PATIENCE};
use crate::support::lab::Lab;
use crate::support::synapse::{config, fixed};

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
    let (read, ()) = timeout(PATIENCE, both).await.expect("the last request closes");
    read.expect("closed in order");
    let answers = String::from_utf8_lossy(&answers).into_owned();
    Outcome { answers, heard: origin.requests() }
}

async fn any_packets(seed: u64, conversations: u64) {
    println!("SMARTSTACK_SEED={seed}");
    let lab = Lab::new().await;
    let origin = Origin::start(&lab).await;
    let front = lab.free_addr();
    let servers = [("a", origin.addr, "")];
    let _synapse = lab.synapse(config(json!({"web": fixed(front, "http", LINES, &servers)}))).await;
    for number in seed..seed + conversations {
        let mut rng = fastrand::Rng::with_seed(number);
        let text = conversation(&mut rng);
        let whole = talk(front, &origin, &text, &[]).await;
        assert!(!whole.answers.is_empty(), "SMARTSTACK_SEED={number}: {text:?}");
        for split in 0..SPLITS {
            let mut cuts: Vec<usize> = if split == 0 {
                (1..text.len()).collect()
            } else {
                (0..rng.usize(1..12)).map(|_| rng.usize(..text.len())).collect()
            };
            cuts.sort_unstable();
            let parts = talk(front, &origin, &text, &cuts).await;
            assert_eq!(parts, whole, "SMARTSTACK_SEED={number}: {text:?} split at {cuts:?}");
        }
    }
}

fn seed() -> Option<u64> {
    std::env::var("SMARTSTACK_SEED").ok().and_then(|seed| seed.parse().ok())
}

#[tokio::test]
async fn conversations_come_out_the_same_in_any_packets() {
    any_packets(seed().unwrap_or(0), CONVERSATIONS).await;
}

#[tokio::test]
async fn slow_conversations_come_out_the_same_in_any_packets() {
    any_packets(seed().unwrap_or_else(|| fastrand::u64(..1 << 32)), SLOW_CONVERSATIONS).await;
}
