//! What is said to the access log about each way that a request or session can end.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::AsyncWriteExt;

use super::rig::{Client, Origin, Rig, Setup, nobody, until};
use crate::proxy::Mode;
use crate::telemetry::access::{AccessLog, Capture, Format, Place, Record};

/// Lines of all rigs of this process, each with its log's name.
static SEEN: Mutex<Vec<(Arc<str>, String)>> = Mutex::new(Vec::new());

/// Told of each record.
pub(crate) fn saw(log: &AccessLog, record: &Record<'_>) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let timer = |t: Option<u32>| t.map_or_else(|| "-".to_owned(), |t| (t / 100).to_string());
    let t = record.timers;
    let mut line = format!(
        "{} {}/{}/{}/{}/{} {}{} +{}{}",
        record.server.map_or("none", |_| "test"),
        timer(t.request),
        timer(t.queue),
        timer(t.connect),
        timer(t.response),
        t.total / 100,
        char::from(record.cause.letter()),
        char::from(record.stage.letter()),
        record.retries,
        if record.redispatched { "r" } else { "" },
    );
    if record.queued != (0, 0) {
        line += &format!(" q{}/{}", record.queued.0, record.queued.1);
    }
    match &record.http {
        None => line += &format!(" {}>{}", record.bytes_in, record.bytes_out),
        Some(http) => {
            let captures = |values: &[Option<&[u8]>]| -> String {
                let value = |v: &Option<&[u8]>| format!("|{}", v.map(text).unwrap_or_default());
                values.iter().map(value).collect()
            };
            line += &format!(
                " {} {}{}{}",
                http.status.map_or_else(|| "-".to_owned(), |status| status.to_string()),
                http.line.map_or_else(|| "bad".to_owned(), text),
                captures(http.request_captures),
                captures(http.response_captures),
            );
        }
    }
    SEEN.lock().unwrap_or_else(PoisonError::into_inner).push((Arc::clone(&log.frontend), line));
}

/// A rig that logs.
pub(super) struct Logged {
    pub(super) rig: Rig,
    name: String,
}

impl Logged {
    pub(super) async fn new(setup: Setup) -> Self {
        Self::with(setup, |_| {}).await
    }

    async fn with(mut setup: Setup, change: impl FnOnce(&mut AccessLog)) -> Self {
        let name = format!("log of {}", std::thread::current().name().unwrap_or_default());
        let mut log = AccessLog::plain(&name, Format::Http, Place::File("/dev/null".into()));
        change(&mut log);
        setup.settings.access_log = Some(Arc::new(log));
        Self { rig: setup.start().await, name }
    }

    pub(super) fn seen(&self) -> Vec<String> {
        let seen = SEEN.lock().unwrap_or_else(PoisonError::into_inner);
        let own = seen.iter().filter(|(name, _)| **name == *self.name);
        own.map(|(_, line)| line.clone()).collect()
    }

    /// Exactly these lines.
    pub(super) async fn says(&self, lines: &[&str]) {
        until("as many lines", || self.seen().len() >= lines.len()).await;
        assert_eq!(self.seen(), lines);
    }
}

fn http(origin: &Origin) -> Setup {
    let mut setup = Setup::new(Mode::Http, &[origin.addr]);
    setup.settings.timeouts.connect = Some(Duration::from_millis(100));
    setup
}

/// An origin that says `answer` to each request and closes.
async fn once(answer: &'static str) -> Origin {
    Origin::start(move |_, mut conn: Client| async move {
        conn.request().await;
        conn.send(answer).await;
    })
    .await
}

#[tokio::test]
async fn usual_requests_end_well() {
    let origin = Origin::echo("a").await;
    let logged = Logged::new(http(&origin)).await;
    let mut client = logged.rig.client().await;
    client.get("/1").await;
    client.get("/2").await;
    client.send("GET /3 HTTP/1.1\r\nhost: t\r\n\r\nGET http://t/4 HTTP/1.0\r\n\r\n").await;
    client.answer().await;
    client.rest().await;
    logged
        .says(&[
            "test 0/0/0/0/0 -- +0 200 GET /1 HTTP/1.1",
            "test 0/0/0/0/0 -- +0 200 GET /2 HTTP/1.1",
            "test 0/0/0/0/0 -- +0 200 GET /3 HTTP/1.1",
            "test 0/0/0/0/0 -- +0 200 GET http://t/4 HTTP/1.0",
        ])
        .await;
}

#[tokio::test]
async fn headers_are_captured_and_the_last_value_counts() {
    let origin = once("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nServer: x\r\n\r\n").await;
    let capture = |name: &str| Capture { name: name.into(), max_len: 9 };
    let logged = Logged::with(http(&origin), |log| {
        log.request_captures = ["HOST", "none", "a"].map(capture).into();
        log.response_captures = ["server"].map(capture).into();
    })
    .await;
    let mut client = logged.rig.client().await;
    client.send("GET / HTTP/1.1\r\nHost: t\r\nA: one\r\nAb: x\r\na:  two \r\n\r\n").await;
    client.answer().await;
    logged.says(&["test 0/0/0/0/0 -- +0 200 GET / HTTP/1.1|t||two|x"]).await;
}

#[tokio::test]
async fn what_is_no_request_is_logged_as_such() {
    let origin = Origin::echo("a").await;
    let mut setup = http(&origin);
    setup.settings.timeouts.http_request = Some(Duration::from_millis(200));
    let logged = Logged::new(setup).await;
    let mut client = logged.rig.client().await;
    client.send("no request\r\n\r\n").await;
    client.rest().await;
    let mut client = logged.rig.client().await;
    client.send("GET / HTT").await;
    client.rest().await;
    let mut client = logged.rig.client().await;
    client.send("GET / HTT").await;
    client.0.shutdown().await.unwrap();
    client.rest().await;
    drop(logged.rig.client().await);
    logged
        .says(&[
            "none -/-/-/-/0 PR +0 400 bad",
            "none -/-/-/-/2 cR +0 408 bad",
            "none -/-/-/-/0 CR +0 400 bad",
            "none -/-/-/-/0 CR +0 400 bad",
        ])
        .await;
}

#[tokio::test]
async fn silent_clients_need_not_be_logged() {
    let origin = Origin::echo("a").await;
    let mut setup = http(&origin);
    setup.settings.timeouts.http_request = Some(Duration::from_millis(200));
    let logged = Logged::with(setup, |log| log.skip_null = true).await;
    drop(logged.rig.client().await);
    logged.rig.client().await.rest().await;
    let mut client = logged.rig.client().await;
    client.send("GET / HTTP/1.1\r\nhost: t\r\nconnection: close\r\n\r\n").await;
    client.rest().await;
    let mut client = logged.rig.client().await;
    client.send("nonsense\r\n\r\n").await;
    client.rest().await;
    logged.says(&["test 0/0/0/0/0 -- +0 200 GET / HTTP/1.1", "none -/-/-/-/0 PR +0 400 bad"]).await;
}

#[tokio::test]
async fn without_an_answer_it_says_why() {
    for (answer, line) in [
        ("", "test 0/0/0/-/0 SH +0 502 POST / HTTP/1.1"),
        ("nonsense\r\n\r\n", "test 0/0/0/-/0 PH +0 502 POST / HTTP/1.1"),
        ("HTTP/1.1 200 OK\r\nConte", "test 0/0/0/-/0 SH +0 502 POST / HTTP/1.1"),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello",
            "test 0/0/0/0/0 SD +0 200 POST / HTTP/1.1",
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\nzz\r\n",
            "test 0/0/0/-/0 PH +0 502 POST / HTTP/1.1",
        ),
    ] {
        let origin = once(answer).await;
        let logged = Logged::with(http(&origin), |log| log.frontend = answer.into()).await;
        let logged = Logged { name: answer.to_owned(), ..logged };
        let mut client = logged.rig.client().await;
        client.send("POST / HTTP/1.1\r\nhost: t\r\nconnection: close\r\n\r\n").await;
        client.rest().await;
        logged.says(&[line]).await;
    }
}

#[tokio::test]
async fn late_backends_are_to_blame() {
    let origin = Origin::start(|_, mut conn| async move {
        let request = conn.request().await.unwrap_or_default();
        if request.contains("/body") {
            conn.send("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello").await;
        }
        conn.request().await;
    })
    .await;
    let mut setup = http(&origin);
    setup.settings.timeouts.server = Some(Duration::from_millis(310));
    let logged = Logged::new(setup).await;
    for path in ["/head", "/body"] {
        let mut client = logged.rig.client().await;
        client.send(&format!("GET {path} HTTP/1.1\r\nhost: t\r\nconnection: close\r\n\r\n")).await;
        client.rest().await;
    }
    logged
        .says(&[
            "test 0/0/0/-/3 sH +0 504 GET /head HTTP/1.1",
            "test 0/0/0/0/3 sD +0 200 GET /body HTTP/1.1",
        ])
        .await;
}

/// Answers `/big` without end, nothing else at all; counts the heads that it has.
async fn never_done(heads: Arc<AtomicUsize>) -> Origin {
    Origin::start(move |_, mut conn| {
        let heads = Arc::clone(&heads);
        async move {
            let head = conn.until("\r\n\r\n").await;
            heads.fetch_add(1, Ordering::SeqCst);
            if head.contains("/big") {
                let length = 32 << 20;
                conn.send(&format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n")).await;
                let block = vec![b'x'; 1 << 20];
                for _ in 0..32 {
                    if conn.0.write_all(&block).await.is_err() {
                        return;
                    }
                }
            }
            while conn.more().await > 0 {}
        }
    })
    .await
}

#[tokio::test]
async fn clients_that_leave_or_stall_are_to_blame() {
    let heads = Arc::new(AtomicUsize::new(0));
    let origin = never_done(Arc::clone(&heads)).await;
    let heard = |number| {
        let heads = Arc::clone(&heads);
        until("the backend has the head", move || heads.load(Ordering::SeqCst) == number)
    };
    let mut setup = http(&origin);
    setup.settings.timeouts.client = Some(Duration::from_millis(310));
    let logged = Logged::new(setup).await;

    let mut client = logged.rig.client().await;
    client.send("GET /big HTTP/1.1\r\nhost: t\r\n\r\n").await;
    logged.says(&["test 0/0/0/0/3 cD +0 200 GET /big HTTP/1.1"]).await;
    drop(client);

    let mut client = logged.rig.client().await;
    client.send("GET /big HTTP/1.1\r\nhost: t\r\n\r\n").await;
    client.more().await;
    client.0.set_zero_linger().unwrap();
    drop(client);
    until("a second line", || logged.seen().len() > 1).await;
    assert!(logged.seen()[1].contains(" CD +0 200 GET /big"), "{:?}", logged.seen());

    let mut client = logged.rig.client().await;
    client.send("POST / HTTP/1.1\r\nhost: t\r\ncontent-length: 9\r\n\r\nhello").await;
    client.rest().await;
    let mut client = logged.rig.client().await;
    client.send("POST / HTTP/1.1\r\nhost: t\r\ncontent-length: 9\r\n\r\nhello").await;
    heard(4).await;
    client.0.set_zero_linger().unwrap();
    drop(client);
    until("a fourth line", || logged.seen().len() > 3).await;
    let mut client = logged.rig.client().await;
    client.send("POST / HTTP/1.1\r\nhost: t\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n").await;
    heard(5).await;
    client.send("zz\r\n").await;
    client.rest().await;
    until("as many lines", || logged.seen().len() >= 5).await;
    assert_eq!(
        logged.seen()[2..],
        [
            "test 0/0/0/-/3 cD +0 408 POST / HTTP/1.1",
            "test 0/0/0/-/0 CD +0 - POST / HTTP/1.1",
            "test 0/0/0/-/0 PH +0 400 POST / HTTP/1.1",
        ]
    );
}

#[tokio::test]
async fn a_client_that_resets_while_it_waits_is_noticed() {
    let origin = Origin::start(|_, mut conn| async move {
        conn.request().await;
        conn.request().await;
    })
    .await;
    let logged = Logged::new(http(&origin)).await;
    let mut client = logged.rig.client().await;
    client.send("GET / HTTP/1.1\r\nhost: t\r\n\r\n").await;
    until("in flight", || origin.connections() > 0).await;
    let asked = tokio::time::Instant::now();
    tokio::time::sleep(Duration::from_millis(310)).await;
    client.0.set_zero_linger().unwrap();
    drop(client);
    until("a line", || !logged.seen().is_empty()).await;
    let seen = logged.seen();
    // In all it took as long as the client has waited.
    let totals = 3..=asked.elapsed().as_millis() / 100 + 1;
    let line = |total| format!("test 0/0/0/-/{total} CH +0 - GET / HTTP/1.1");
    assert!(totals.map(line).any(|line| seen == [line]), "{seen:?}");
}

#[tokio::test]
async fn an_answer_until_the_end_lasts_until_the_end() {
    let origin = Origin::start(|_, mut conn| async move {
        conn.request().await;
        conn.send("HTTP/1.1 200 OK\r\n\r\nhello").await;
        tokio::time::sleep(Duration::from_millis(310)).await;
    })
    .await;
    let logged = Logged::new(http(&origin)).await;
    let mut client = logged.rig.client().await;
    client.send("GET / HTTP/1.1\r\nhost: t\r\nconnection: close\r\n\r\n").await;
    client.rest().await;
    until("a line", || !logged.seen().is_empty()).await;
    let seen = logged.seen();
    let is_late =
        |line: &String| line.ends_with(" -- +0 200 GET / HTTP/1.1") && !line.contains("/0 --");
    assert!(seen.iter().all(is_late), "{seen:?}");
}

#[tokio::test]
async fn retries_and_their_pauses_are_counted() {
    let mut setup = Setup::new(Mode::Http, &[nobody()]);
    setup.settings.timeouts.connect = Some(Duration::from_millis(110));
    let logged = Logged::new(setup).await;
    let mut client = logged.rig.client().await;
    assert_eq!(client.get("/").await.status, 503);
    until("a line", || logged.seen().len() == 1).await;
    let seen = logged.seen();
    // Three pauses of 110 ms, and what a busy machine adds.
    let is_it = |t: u32| seen == [format!("test 0/{t}/-/-/{t} SC +3 503 GET / HTTP/1.1")];
    assert!((3..30).any(is_it), "{seen:?}");

    let origin = Origin::echo("a").await;
    let setup = Setup::new(Mode::Http, &[nobody(), origin.addr]);
    let logged = Logged::with(setup, |log| log.frontend = "two".into()).await;
    let logged = Logged { name: "two".to_owned(), ..logged };
    let mut client = logged.rig.client().await;
    for _ in 0..2 {
        assert_eq!(client.get("/").await.status, 200);
    }
    // Whichever was picked first: the other one is asked in the end.
    until("two lines", || logged.seen().len() == 2).await;
    let seen = logged.seen();
    let moved = seen.iter().filter(|line| line.contains("-- +1r 200")).count();
    // The round begins anywhere: with the other one, and the second request meets nobody; with nobody, and both do.
    assert!([1, 2].contains(&moved), "{seen:?}");

    let logged =
        Logged::with(Setup::new(Mode::Http, &[]), |log| log.frontend = "none".into()).await;
    let logged = Logged { name: "none".to_owned(), ..logged };
    logged.rig.client().await.get("/").await;
    logged.says(&["none 0/-/-/-/0 SC +0 503 GET / HTTP/1.1"]).await;
}

#[tokio::test]
async fn tunnels_are_logged_when_they_end() {
    let origin = Origin::start(|_, mut conn| async move {
        conn.request().await;
        conn.send("HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n")
            .await;
        conn.until("hello").await;
        conn.send("bye").await;
    })
    .await;
    let logged = Logged::new(http(&origin)).await;
    let mut client = logged.rig.client().await;
    client.send("GET / HTTP/1.1\r\nhost: t\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n").await;
    client.until("\r\n\r\n").await;
    assert_eq!(logged.seen(), [""; 0]);
    client.send("hello").await;
    client.0.shutdown().await.unwrap();
    client.rest().await;
    logged.says(&["test 0/0/0/0/0 -- +0 101 GET / HTTP/1.1"]).await;
}

#[tokio::test]
async fn a_request_that_nobody_may_repeat_is_logged_without_status() {
    let origin = Origin::start(|_, mut conn| async move {
        conn.request().await;
        conn.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
        conn.request().await;
    })
    .await;
    let logged = Logged::new(http(&origin)).await;
    let mut client = logged.rig.client().await;
    client.get("/").await;
    client.send("POST / HTTP/1.1\r\nhost: t\r\n\r\n").await;
    client.rest().await;
    logged
        .says(&[
            "test 0/0/0/0/0 -- +0 200 GET / HTTP/1.1",
            "test 0/0/0/-/0 SH +0 - POST / HTTP/1.1",
        ])
        .await;
}

#[tokio::test]
async fn sessions_are_logged() {
    let origin = Origin::start(|_, mut conn| async move {
        conn.until("hello").await;
        conn.send("bye").await;
        conn.more().await;
    })
    .await;
    let mut setup = Setup::new(Mode::Tcp, &[origin.addr]);
    setup.settings.timeouts.client = Some(Duration::from_millis(310));
    let logged = Logged::new(setup).await;
    let mut client = logged.rig.client().await;
    client.send("hello").await;
    client.until("bye").await;
    client.0.shutdown().await.unwrap();
    client.rest().await;
    let mut client = logged.rig.client().await;
    client.send("hello").await;
    client.rest().await;
    let mut client = logged.rig.client().await;
    client.send("hello").await;
    client.until("bye").await;
    client.0.set_zero_linger().unwrap();
    drop(client);
    logged
        .says(&["test -/0/0/-/0 -- +0 5>3", "test -/0/0/-/3 cD +0 5>3", "test -/0/0/-/0 CD +0 5>3"])
        .await;
    let setup = Setup::new(Mode::Tcp, &[]);
    let logged = Logged::with(setup, |log| log.frontend = "nobody".into()).await;
    let logged = Logged { name: "nobody".to_owned(), ..logged };
    logged.rig.client().await.rest().await;
    logged.says(&["none -/-/-/-/0 SC +0 0>0"]).await;
}

/// `option dontlognull` is about those that send nothing, not about those that nobody has listened to.
#[tokio::test]
async fn a_session_without_a_server_is_logged_when_its_client_spoke() {
    let mut setup = Setup::new(Mode::Tcp, &[nobody()]);
    setup.settings.timeouts.connect = Some(Duration::from_millis(110));
    let logged = Logged::with(setup, |log| log.skip_null = true).await;
    logged.rig.client().await.more().await;
    let mut client = logged.rig.client().await;
    client.send("hello").await;
    logged.says(&["test -/3/-/-/3 SC +3 5>0"]).await;
}
