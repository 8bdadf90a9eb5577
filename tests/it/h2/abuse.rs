//! Clients that cost more than they ask for.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::time::Instant;

use super::origin::{ask as call, connect};
use super::raw::{
    CONTINUATION, END_STREAM, GOAWAY, HEADERS, PING, RST_STREAM, Raw, SETTINGS, ask, fields, frame,
    request,
};
use super::web::{Web, web};
use crate::support::lab::Lab;
use crate::support::origin::Origin;
use crate::support::synapse::Synapse;

const CALM: u32 = 11;

/// Says `chunk(n)` for n = 0, 1, … until sent away; with what code, if it was said.
async fn until_sent_away(
    front: SocketAddr,
    most: u32,
    mut chunk: impl FnMut(u32) -> Vec<u8>,
) -> Option<u32> {
    let mut raw = Raw::open(front).await;
    for n in 0..most {
        if !raw.send(&chunk(n)).await {
            break;
        }
    }
    while let Some(frame) = raw.next().await {
        if frame.kind == GOAWAY && frame.number(4) != 0 {
            return Some(frame.number(4));
        }
    }
    None
}

fn rst(stream: u32) -> Vec<u8> {
    frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes())
}

#[tokio::test]
async fn streams_reset_at_once_end_the_connection() {
    let lab = Lab::new().await;
    let web = web(&lab).await;
    let pair = |n: u32| [ask("GET", END_STREAM, n * 2 + 1), rst(n * 2 + 1)].concat();
    let code = until_sent_away(web.front, 2000, pair).await;
    assert!(code.is_none_or(|code| code == CALM), "{code:?}");
    let other = call(&connect(web.front).await, "/x", b"").await.expect("others are served");
    assert_eq!(other.status, 200);
}

#[tokio::test]
async fn frames_that_carry_nothing_end_the_connection() {
    let lab = Lab::new().await;
    let web = web(&lab).await;
    let many = |one: Vec<u8>| one.repeat(1000);
    let pings = many(frame(PING, 0, 0, b"12345678"));
    let settings = many(frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 9]));
    for flood in [pings, settings] {
        // A megabyte is borne; nobody who reads its answers would send more.
        let mut raw = Raw::open(web.front).await;
        let mut sent = 0;
        let mut code = None;
        while code.is_none() {
            assert!(sent < 64 * 1024 * 1024, "{sent} bytes are borne");
            if !raw.send(&flood).await {
                break;
            }
            sent += flood.len();
            for _ in 0..1000 {
                match raw.next().await {
                    Some(frame) if frame.kind == GOAWAY => code = Some(frame.number(4)),
                    Some(_) => continue,
                    None => code = code.or(Some(CALM)),
                }
                break;
            }
        }
        assert!(code.is_none_or(|code| code == CALM), "{code:?}");
        assert!(sent > 1024 * 1024, "{sent} bytes are borne");
    }
}

#[tokio::test]
async fn a_head_without_end_is_not_kept() {
    let lab = Lab::new().await;
    let web = web(&lab).await;
    let before = memory(&web.synapse);
    let more = fields(&[("x-more", &[b'v'; 4000])]);
    let code = until_sent_away(web.front, 5000, |n| match n {
        0 => frame(HEADERS, END_STREAM, 1, &fields(&request("GET"))),
        _ => frame(CONTINUATION, 0, 1, &more),
    });
    code.await;
    let grown = memory(&web.synapse).saturating_sub(before);
    assert!(grown < 8 * 1024, "{grown} kB for one head");
}

#[tokio::test]
async fn a_head_beyond_the_limits_is_431() {
    let lab = Lab::new().await;
    let web = web(&lab).await;
    let sender = connect(web.front).await;
    for (count, length) in [(102, 1), (1, 15_361), (5, 4000)] {
        let mut request = hyper::Request::get("http://a/");
        for index in 0..count {
            request = request.header(format!("x-{index}"), "v".repeat(length));
        }
        let request = request.body(()).expect("request");
        let mut ready = sender.clone().ready().await.expect("ready");
        let (response, _) = ready.send_request(request, true).expect("sent");
        assert_eq!(response.await.expect("an answer").status(), 431, "{count} of {length}");
    }
}

/// Resident memory in kB.
fn memory(synapse: &Synapse) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{}/status", synapse.pid())).expect("proc");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

/// The 99th percentile of requests on one connection for so long.
async fn p99(front: SocketAddr, time: Duration) -> Duration {
    let sender = connect(front).await;
    let end = Instant::now() + time;
    let mut all = Vec::new();
    while Instant::now() < end {
        let begun = Instant::now();
        let got = call(&sender, "/x", b"").await.expect("served");
        assert_eq!(got.status, 200);
        all.push(begun.elapsed());
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    all.sort();
    all[all.len() * 99 / 100]
}

/// Times that it is measured before a difference counts.
const ROUNDS: usize = 3;

/// Measures: run on the release build.
#[tokio::test(flavor = "multi_thread")]
async fn timed_ten_seconds_of_rapid_reset_do_not_double_the_p99_of_others() {
    let lab = Lab::alone().await;
    let web = web(&lab).await;
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        let (calm, attacked) = round(&web).await;
        rounds.push((calm, attacked));
        if attacked < 2 * calm + Duration::from_millis(1) {
            return;
        }
    }
    assert!(!crate::support::synapse::is_release(), "p99 alone and beside: {rounds:?}");
}

/// The p99 of a client alone, and beside ten seconds of rapid reset.
async fn round(web: &Web<Origin>) -> (Duration, Duration) {
    p99(web.front, Duration::from_secs(1)).await;
    let calm = p99(web.front, Duration::from_secs(3)).await;
    let before = memory(&web.synapse);
    let attacker = Attacker::start(web.front);
    let attacked = p99(web.front, Duration::from_secs(10)).await;
    let connections = attacker.stop();
    let grown = memory(&web.synapse).saturating_sub(before);
    println!(
        "p99 {calm:?} alone, {attacked:?} beside rapid reset over {connections} connections; {grown} kB more"
    );
    assert!(connections > 10, "{connections} attacks in ten seconds");
    assert!(grown < 16 * 1024, "{grown} kB");
    (calm, attacked)
}

/// Resets streams as fast as it can, on one connection after another. A real one has a machine of its own: this one takes
/// only the time that neither the proxy nor those it is measured by want, else it would be the scheduler that is measured.
struct Attacker {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<usize>,
}

impl Attacker {
    /// The least that the kernel gives.
    const NICE: i32 = 19;

    fn start(front: SocketAddr) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            // Of this thread alone, on Linux.
            rustix::process::setpriority_process(None, Self::NICE).expect("nice");
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let pair = |n: u32| [ask("GET", END_STREAM, n * 2 + 1), rst(n * 2 + 1)].concat();
            runtime.expect("runtime").block_on(async {
                let mut connections = 0;
                while !stopped.load(Ordering::Relaxed) {
                    until_sent_away(front, 1000, pair).await;
                    connections += 1;
                }
                connections
            })
        });
        Self { stop, thread }
    }

    /// How many connections it has used up.
    fn stop(self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("attacker")
    }
}
