//! Sessions that end with their backend, or because of their age.

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
use crate::support::synapse::{Synapse, config, fixed, is_release, listener};
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

/// What `drain` leaves sessions in these tests.
const DRAIN: Duration = Duration::from_millis(700);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_remove_says_what_becomes_of_sessions() {
    let lab = Lab::new().await;
    let (a, b) = (lab.origin("A").await, lab.origin("B").await);
    let record =
        |it: &Origin| json!({"name": it.name(), "host": it.addr().ip(), "port": it.port()});
    let list = lab.write("backends.json", &json!([record(&a), record(&b)]).to_string());
    let mut services = json!({});
    let mut fronts = Vec::new();
    for mode in ["http", "tcp"] {
        for then in ["keep", "drain", "kill"] {
            let (name, front) = (format!("{mode}-{then}"), lab.free_addr());
            let log = lab.dir().join(format!("{name}.log"));
            services[&name] = json!({
                "discovery": {"method": "file", "path": list},
                "haproxy": listener(front, mode, &[]),
                "proxy": {
                    "on_remove": then, "drain_time": "700ms",
                    "access_log": {"to": log.to_str(), "format": "json"}
                }
            });
            fronts.push((name, front));
        }
    }
    let synapse = lab.synapse(config(services)).await;
    let mut sessions = Vec::new();
    for (name, front) in &fronts {
        sessions.push((name.as_str(), downloads(*front).await));
    }
    let removed = Instant::now();
    lab.write("backends.json", &json!([record(&b)]).to_string());
    for (name, _) in &fronts {
        eventually("A is no longer known", PATIENCE, || async {
            let servers = synapse.service(name).await["servers"].clone();
            if servers.as_array().is_some_and(|all| all.len() == 1) { Ok(()) } else { Err(servers) }
        })
        .await;
    }
    let seen = Instant::now();
    let mut survivors = Vec::new();
    for (name, [of_a, of_b]) in sessions {
        survivors.push(of_b);
        let (mode, then) = name.split_once('-').expect("both");
        if then == "keep" {
            survivors.push(of_a);
            continue;
        }
        let ended = tokio::time::timeout(PATIENCE, of_a.cut).await.expect("it ends").expect("cut");
        let grace = if then == "drain" { DRAIN } else { Duration::ZERO };
        assert!(ended >= removed + grace, "{name}: {:?} after the removal", ended - removed);
        assert!(ended <= seen + grace + bound(), "{name}: {:?} after it showed", ended - seen);
        let log = lab.dir().join(format!("{name}.log"));
        until_logged(&log, "A", &[if mode == "http" { "KD" } else { "K-" }]).await;
    }
    // By now all that is to end has ended.
    assert!(removed.elapsed() >= DRAIN);
    for session in &survivors {
        session.goes_on().await;
    }
}

/// The age that connections may have in these tests; each has its own within a tenth.
const AGE: Duration = Duration::from_millis(400);

/// A service of this mode whose connections may have that age.
async fn aged(lab: &Lab, mode: &str, origin: &Origin) -> (Synapse, SocketAddr) {
    let front = lab.free_addr();
    let mut service = fixed(front, mode, &[], &[("A", origin.addr(), "")]);
    let log = lab.dir().join("aged.log");
    let log = json!({"to": log.to_str(), "format": "json"});
    service["proxy"] = json!({"max_connection_age": "400ms", "access_log": log});
    (lab.synapse(config(json!({"aged": service}))).await, front)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_http_connection_of_age_is_closed_with_an_answer() {
    let lab = Lab::new().await;
    let origin = lab.origin("A").await;
    let (_synapse, front) = aged(&lab, "http", &origin).await;
    let begun = Instant::now();
    let mut busy = Conn::open(front).await.expect("connect");
    let mut slow = Conn::open(front).await.expect("connect");
    slow.send(b"GET /slow/600 HTTP/1.1\r\nHost: t\r\n\r\n").await.expect("request");
    let mut requests = 1;
    loop {
        let answer = busy.get("/").await.expect("every request is answered");
        assert_eq!(answer.status, 200);
        requests += 1;
        if answer.header("connection").is_some_and(|it| it.eq_ignore_ascii_case("close")) {
            break;
        }
        assert!(begun.elapsed() < PATIENCE, "it never ends");
    }
    assert!(begun.elapsed() >= AGE.mul_f64(0.9), "{:?}", begun.elapsed());
    // It came of age while it waited for its answer.
    let answer = slow.response("GET").await.expect("an answer");
    assert_eq!((answer.status, answer.text().as_str()), (200, "A"));
    assert_eq!(answer.header("connection").map(str::to_ascii_lowercase).as_deref(), Some("close"));
    for conn in [&mut busy, &mut slow] {
        let mut rest = Vec::new();
        assert_eq!(conn.read_rest(&mut rest).await, Ok(0));
    }
    // Nothing was cut.
    until_logged(&lab.dir().join("aged.log"), "A", &vec!["--"; requests]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tcp_session_ends_at_its_age() {
    let lab = Lab::new().await;
    let origin = lab.origin("A").await;
    let (_synapse, front) = aged(&lab, "tcp", &origin).await;
    let mut sessions = Vec::new();
    for _ in 0..10 {
        let before = Instant::now();
        let mut conn = silent(front).await;
        let after = Instant::now();
        sessions.push(tokio::spawn(async move {
            let mut rest = Vec::new();
            assert_eq!(conn.read_rest(&mut rest).await, Ok(0));
            (before.elapsed(), after.elapsed())
        }));
    }
    for session in sessions {
        let (longest, shortest) = session.await.expect("ended in order");
        assert!(longest >= AGE.mul_f64(0.9), "{longest:?}");
        assert!(shortest <= AGE.mul_f64(1.1) + bound(), "{shortest:?}");
    }
    until_logged(&lab.dir().join("aged.log"), "A", &["K-"; 10]).await;
}
