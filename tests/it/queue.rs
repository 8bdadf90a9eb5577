//! Queues beside haproxy's: who is served when, who is not, and what the log says about it.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::json;
use tokio::net::UdpSocket;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::support::client;
use crate::support::lab::Lab;
use crate::support::oracle::Oracle;
use crate::support::synapse::{config, fixed};
use crate::support::wait::eventually;

/// Milliseconds by which a wait may differ: the two run on a busy machine.
const TOLERANCE: i64 = 120;

/// Times that a scenario is played before a difference counts.
const ROUNDS: usize = 3;

/// Longer than any scenario.
const PATIENCE: Duration = Duration::from_secs(9);

/// Between two requests. Part of the scenario: how long each waits is compared, so both proxies are asked at the same times.
const STEP: Duration = Duration::from_millis(40);

/// What a line says, apart from the request, by which lines are told apart.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    request: String,
    has_server: bool,
    status: String,
    termination: String,
    queues: String,
    waited: i64,
}

impl Seen {
    fn read(line: &str) -> Self {
        let words: Vec<&str> = line.split("] ").nth(1).expect(line).split(' ').collect();
        let times: Vec<&str> = words[2].split('/').collect();
        Self {
            request: words.get(11).copied().unwrap_or_default().to_owned(),
            // Of one that could not even wait we name no server, haproxy does.
            has_server: !words[1].ends_with("<NOSRV>") || words[7].starts_with("SQ"),
            status: words[3].to_owned(),
            termination: words[7].to_owned(),
            queues: words[9].to_owned(),
            waited: times[1].parse().expect("a time"),
        }
    }

    fn is_like(&self, other: &Self) -> bool {
        let near = (self.waited - other.waited).abs() <= TOLERANCE;
        let waited = other.waited;
        near && Self { waited, ..self.clone_without_wait() } == *other
    }

    fn clone_without_wait(&self) -> Self {
        Self {
            request: self.request.clone(),
            has_server: self.has_server,
            status: self.status.clone(),
            termination: self.termination.clone(),
            queues: self.queues.clone(),
            waited: 0,
        }
    }
}

/// Sends `paths` one [`STEP`] after the other, each on a connection of its own, and returns their lines by path.
async fn play(front: SocketAddr, log: &UdpSocket, paths: &[String]) -> Vec<Seen> {
    let mut clients = JoinSet::new();
    for path in paths {
        let path = path.clone();
        clients.spawn(async move { client::get(front, &path).await.map(|answer| answer.status) });
        sleep(STEP).await;
    }
    let answers = clients.join_all().await;
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    let mut seen = Vec::new();
    let mut packet = vec![0; 8192];
    while seen.len() < paths.len() {
        let length = timeout(PATIENCE, log.recv(&mut packet)).await.expect("a line").expect("udp");
        let text = String::from_utf8_lossy(&packet[..length]).into_owned();
        if text.contains("/slow/") {
            seen.push(Seen::read(&text));
        }
    }
    seen.sort_by_key(|seen| paths.iter().position(|path| *path == seen.request));
    seen
}

async fn compare(lines: &[&str], options: &[&str], paths: &[String]) {
    let lab = Lab::new().await;
    let origin = lab.origin("A").await;
    let mut last = None;
    for _ in 0..ROUNDS {
        let (ours, theirs) = (receiver().await, receiver().await);
        let names = ["a", "b", "c"];
        let servers: Vec<_> =
            names.iter().zip(options).map(|(name, words)| (*name, origin.addr(), *words)).collect();
        let log = |socket: &UdpSocket| {
            format!("log {} local0", socket.local_addr().expect("its address"))
        };
        let with = |log: String| -> Vec<String> {
            let common = ["option httplog", "timeout connect 5s"].map(str::to_owned);
            let own = lines.iter().map(|line| (*line).to_owned());
            common.into_iter().chain(own).chain([log]).collect()
        };
        let (mine, other) = (with(log(&ours)), with(log(&theirs)));
        let (mine, other): (Vec<&str>, Vec<&str>) =
            (mine.iter().map(String::as_str).collect(), other.iter().map(String::as_str).collect());
        let haproxy = Oracle::start(&lab, "http", &other, &servers).await;
        let theirs = play(haproxy.addr, &theirs, paths).await;
        drop(haproxy);
        let front = lab.free_addr();
        let mut config = config(json!({"web": fixed(front, "http", &mine, &servers)}));
        config["workers"] = json!(2);
        let synapse = lab.synapse(config).await;
        let ours = play(front, &ours, paths).await;
        drop(synapse);
        if ours.iter().zip(&theirs).all(|(us, them)| us.is_like(them)) {
            return;
        }
        last = Some((ours, theirs));
    }
    let (ours, theirs) = last.expect("a round");
    panic!("ours {ours:#?}\nhaproxy's {theirs:#?}");
}

async fn receiver() -> UdpSocket {
    UdpSocket::bind("127.0.0.1:0").await.expect("a socket")
}

/// Requests that take about so long each; every one by another name.
fn slow(times: &[u32]) -> Vec<String> {
    (0..).zip(times).map(|(n, time)| format!("/slow/{}", time + n)).collect()
}

#[tokio::test]
async fn who_comes_first_is_served_first_and_the_late_ones_wait_in_vain_as_with_haproxy() {
    let paths = slow(&[300, 200, 250, 10, 10]);
    compare(&["timeout queue 500ms"], &["maxconn 1"], &paths).await;
}

#[tokio::test]
async fn two_servers_share_the_queue_as_with_haproxy() {
    let paths = slow(&[300, 300, 300, 300, 100, 100]);
    compare(&["timeout queue 5s"], &["maxconn 1", "maxconn 1"], &paths).await;
}

#[tokio::test]
async fn least_conn_queues_at_a_server_up_to_its_maxqueue_as_with_haproxy() {
    let paths = slow(&[400, 400, 400, 400, 100, 100]);
    let options = ["maxconn 1 maxqueue 1", "maxconn 1 maxqueue 1"];
    compare(&["balance leastconn", "timeout queue 5s"], &options, &paths).await;
}

#[tokio::test]
async fn who_belongs_to_a_server_waits_for_that_one_as_with_haproxy() {
    let paths = slow(&[400, 100, 100, 100]);
    for lookup in ["hash-type map-based", "hash-type consistent"] {
        let lines = ["balance uri len 5", lookup, "timeout queue 5s"];
        compare(&lines, &["maxconn 1 maxqueue 2", "maxconn 1 maxqueue 2"], &paths).await;
    }
}

#[tokio::test]
async fn the_queue_is_shown_while_it_lasts() {
    let lab = Lab::new().await;
    let origin = lab.origin("A").await;
    let front = lab.free_addr();
    let web = fixed(front, "http", &["timeout queue 9s"], &[("a", origin.addr(), "maxconn 1")]);
    let synapse = lab.synapse(config(json!({"web": web}))).await;
    let mut clients = JoinSet::new();
    for _ in 0..3 {
        clients.spawn(client::get(front, "/hold"));
    }
    eventually("two wait", PATIENCE, || async {
        let service = synapse.service("web").await;
        if service["queue"]["length"] == 2 { Ok(()) } else { Err(service["queue"].clone()) }
    })
    .await;
    let metrics = synapse.metrics().await;
    assert!(metrics.contains("synapse_queue_length{service=\"web\"} 2\n"), "{metrics}");
    origin.release(3);
    assert!(clients.join_all().await.iter().all(|a| a.as_ref().is_ok_and(|a| a.status == 200)));
    let service = synapse.service("web").await;
    assert_eq!((&service["queue"]["length"], &service["queue"]["served"]), (&json!(0), &json!(2)));
}
