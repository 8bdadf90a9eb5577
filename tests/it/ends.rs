//! Sessions that end with their backend, or because of their age.

mod age;
mod removed;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::support::client::Conn;
use crate::support::lab::Lab;
use crate::support::origin::Origin;
use crate::support::synapse::{Synapse, config, fixed, is_release};
use crate::support::wait::eventually;

const PATIENCE: Duration = Duration::from_secs(10);

/// The promise: sessions end this long after it shows that they are to.
fn bound() -> Duration {
    if is_release() { Duration::from_millis(100) } else { Duration::from_secs(2) }
}

/// A download without end, which a task reads.
struct Download {
    from: String,
    chunks: Arc<AtomicUsize>,
    /// When it was cut. An end as if it were complete is a failure.
    cut: JoinHandle<Instant>,
}

impl Download {
    async fn start(front: SocketAddr) -> Self {
        let mut conn = Conn::open(front).await.expect("connect");
        conn.send(b"GET /drip HTTP/1.1\r\nHost: t\r\n\r\n").await.expect("request");
        assert_eq!(conn.head().await.expect("head").status, 200);
        let first = conn.chunk().await.expect("chunk").expect("a name");
        let chunks = Arc::new(AtomicUsize::new(1));
        let counter = Arc::clone(&chunks);
        let cut = tokio::spawn(async move {
            while let Ok(chunk) = conn.chunk().await {
                assert!(chunk.is_some(), "cut, and it looks complete");
                counter.fetch_add(1, Ordering::SeqCst);
            }
            Instant::now()
        });
        Self { from: String::from_utf8(first).expect("text"), chunks, cut }
    }

    fn is_cut(&self) -> bool {
        self.cut.is_finished()
    }

    async fn goes_on(&self) {
        let before = self.chunks.load(Ordering::SeqCst);
        eventually("more comes", PATIENCE, || async {
            let more = self.chunks.load(Ordering::SeqCst) - before;
            if more > 3 { Ok(()) } else { Err((more, self.is_cut())) }
        })
        .await;
    }
}

/// One from each of `A` and `B`.
async fn downloads(front: SocketAddr) -> [Download; 2] {
    let mut both = [Download::start(front).await, Download::start(front).await];
    both.sort_by(|one, other| one.from.cmp(&other.from));
    assert_eq!((both[0].from.as_str(), both[1].from.as_str()), ("A", "B"));
    both
}

/// A session that says nothing, once it has been answered.
async fn silent(front: SocketAddr) -> Conn {
    let mut conn = Conn::open(front).await.expect("connect");
    conn.send(b"GET /ws HTTP/1.1\r\nHost: t\r\n\r\n").await.expect("request");
    assert_eq!(conn.head().await.expect("head").status, 101);
    assert!(conn.is_reusable());
    conn
}

async fn until_state(synapse: &Synapse, service: &str, server: &str, state: &str) {
    eventually("the verdict", PATIENCE, || async {
        let shown = synapse.service(service).await;
        let servers = shown["servers"].as_array().cloned().unwrap_or_default();
        let is_it = |it: &&Value| it["name"].as_str().is_some_and(|name| name.starts_with(server));
        match servers.iter().find(is_it) {
            Some(it) if it["state"] == state => Ok(()),
            _ => Err(shown),
        }
    })
    .await;
}

type Services<'a> = [(&'a str, &'a str, SocketAddr)];

async fn until_states(synapse: &Synapse, services: &Services<'_>, server: &str, state: &str) {
    for (service, ..) in services {
        until_state(synapse, service, server, state).await;
    }
}

/// What the access log says of sessions with `server`: how each ended.
fn terminations(log: &Path, server: &str) -> Vec<String> {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    // The last line may be half written.
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    let lines = whole.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    let of = lines.filter(|it| it["server"].as_str().is_some_and(|name| name.starts_with(server)));
    of.map(|it| it["termination"].as_str().expect("text").to_owned()).collect()
}

/// Waits until the lines of sessions with `server` are there, and no others.
pub(crate) async fn until_logged(log: &Path, server: &str, want: &[&str]) {
    eventually("the lines are written", PATIENCE, || async {
        let found = terminations(log, server);
        if found == want { Ok(()) } else { Err(found) }
    })
    .await;
}

const CHECK: &str = "check inter 100ms rise 1 fall 1";
const ENDS: &str = "check inter 100ms rise 1 fall 1 on-marked-down shutdown-sessions";

/// Each service of `(name, mode)` has two servers, of which `A` ends its sessions.
async fn checked(lab: &Lab, origins: [&Origin; 2], services: &Services<'_>) -> Synapse {
    let servers = [("A", origins[0].addr(), ENDS), ("B", origins[1].addr(), CHECK)];
    let mut all = json!({});
    for (name, mode, front) in services {
        let mut service = fixed(*front, mode, &["option httpchk GET /ping"], &servers);
        let log = lab.dir().join(format!("{name}.log"));
        service["proxy"] = json!({"access_log": {"to": log.to_str(), "format": "json"}});
        all[*name] = service;
    }
    let synapse = lab.synapse(config(all)).await;
    until_states(&synapse, services, "A", "UP").await;
    until_states(&synapse, services, "B", "UP").await;
    synapse
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn timed_sessions_end_within_100_ms_of_the_verdict() {
    let lab = Lab::alone().await;
    sessions_end_with_the_verdict(&lab).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_of_a_server_marked_down_end_and_others_do_not() {
    let lab = Lab::new().await;
    sessions_end_with_the_verdict(&lab).await;
}

async fn sessions_end_with_the_verdict(lab: &Lab) {
    let (a, b) = (lab.origin("A").await, lab.origin("B").await);
    let (web, db, idle) = (lab.free_addr(), lab.free_addr(), lab.free_addr());
    let services = [("web", "http", web), ("db", "tcp", db), ("idle", "tcp", idle)];
    let synapse = checked(lab, [&a, &b], &services).await;
    let [web_a, web_b] = downloads(web).await;
    let [db_a, db_b] = downloads(db).await;
    let mut idle = [silent(idle).await, silent(idle).await];

    a.set_check_status(503);
    until_states(&synapse, &services, "A", "DOWN").await;
    eventually("all sessions of A have ended", bound(), || async {
        let left = idle.iter().filter(|conn| conn.is_reusable()).count();
        let ended = web_a.is_cut() && db_a.is_cut() && left == 1;
        if ended { Ok(()) } else { Err((web_a.is_cut(), db_a.is_cut(), left)) }
    })
    .await;
    until_logged(&lab.dir().join("web.log"), "A", &["DD"]).await;
    until_logged(&lab.dir().join("db.log"), "A", &["D-"]).await;
    until_logged(&lab.dir().join("idle.log"), "A", &["D-"]).await;

    b.set_check_status(503);
    until_states(&synapse, &services, "B", "DOWN").await;
    web_b.goes_on().await;
    db_b.goes_on().await;
    let left = idle.iter_mut().find(|conn| conn.is_reusable()).expect("that of B");
    left.send(b"still\n").await.expect("send");
    assert_eq!(left.line().await.expect("echo"), "still");
    let of_b = |name| terminations(&lab.dir().join(name), "B");
    assert_eq!(["web.log", "db.log", "idle.log"].map(of_b).concat(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_without_an_answer_goes_to_another_server_or_is_502() {
    let lab = Lab::new().await;
    let (a, b) = (lab.origin("A").await, lab.origin("B").await);
    let front = lab.free_addr();
    let synapse = checked(&lab, [&a, &b], &[("web", "http", front)]).await;
    let mut conns = Vec::new();
    for (count, request) in [
        "GET /hold HTTP/1.1\r\nHost: t\r\n\r\n",
        "GET /hold HTTP/1.1\r\nHost: t\r\n\r\n",
        "POST /hold HTTP/1.1\r\nHost: t\r\nContent-Length: 1\r\n\r\nx",
        "POST /hold HTTP/1.1\r\nHost: t\r\nContent-Length: 1\r\n\r\nx",
    ]
    .into_iter()
    .enumerate()
    {
        let mut conn = Conn::open(front).await.expect("connect");
        conn.send(request.as_bytes()).await.expect("request");
        conns.push(conn);
        eventually("it is held", PATIENCE, || async {
            let held = a.held() + b.held();
            if held == count + 1 { Ok(()) } else { Err(held) }
        })
        .await;
    }
    assert_eq!((a.held(), b.held()), (2, 2));
    a.set_check_status(503);
    until_state(&synapse, "web", "A", "DOWN").await;
    eventually("the repeatable one is asked of B", bound(), || async {
        if b.held() == 3 { Ok(()) } else { Err(b.held()) }
    })
    .await;
    b.release(3);
    let mut answers = Vec::new();
    for conn in &mut conns {
        let answer = conn.response("GET").await.expect("an answer");
        answers.push((
            answer.status,
            if answer.status == 200 { answer.text() } else { String::new() },
        ));
    }
    let of_b = (200, "B".to_owned());
    assert_eq!(answers[..2], [of_b.clone(), of_b.clone()]);
    answers[2..].sort_unstable();
    assert_eq!(answers[2..], [of_b, (502, String::new())]);
    until_logged(&lab.dir().join("web.log"), "A", &["DH"]).await;
    until_logged(&lab.dir().join("web.log"), "B", &["--", "--", "--"]).await;
}
