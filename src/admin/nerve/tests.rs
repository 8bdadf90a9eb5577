//! The pages and commands from outside: real sockets, a scripted desk.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};
use tokio::process::Command;
use tokio::time::Instant;

use super::fixture::{Running, Script, documented, down, on_tcp, on_unix, session, unheard, up};
use super::shape::{self, ServiceShape};
use super::{diagnosis, fixture, metrics, page};
use crate::admin::tests::promtool;
use crate::admin::when::Now;
use crate::registration::Phase;
use crate::registry::{Session, SessionState};
use crate::telemetry::cold::ColdMetrics;
use crate::telemetry::names;
use crate::telemetry::render::Exposition;

/// Status, head and body of the answer on a fresh connection.
async fn talk(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    request: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> (u16, String, String) {
    let mut head = format!("{request} HTTP/1.1\r\nconnection: close\r\n");
    if !headers.iter().any(|(name, _)| *name == "host") {
        head.push_str("host: localhost\r\n");
    }
    for (name, value) in headers {
        write!(head, "{name}: {value}\r\n").unwrap();
    }
    if !headers.iter().any(|(name, _)| *name == "transfer-encoding") {
        write!(head, "content-length: {}\r\n", body.len()).unwrap();
    }
    stream.write_all(format!("{head}\r\n").as_bytes()).await.unwrap();
    // A server that has answered already may not read the rest, and resets the connection after its answer.
    stream.write_all(body).await.ok();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.ok();
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").expect("an answer");
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, head.to_owned(), body.to_owned())
}

struct Socket {
    path: PathBuf,
    script: Arc<Script>,
    running: Running,
}

impl Socket {
    fn new(name: &str, services: Vec<super::desk::ServiceStatus>) -> Self {
        let script = Script::new(services);
        let path = fixture::directory(name).join("nerve.sock");
        let running = on_unix(&script, &path);
        Self { path, script, running }
    }

    async fn ask(&self, request: &str, body: &[u8]) -> (u16, String) {
        let stream = UnixStream::connect(&self.path).await.unwrap();
        let (status, _, body) = talk(stream, request, &[], body).await;
        (status, body)
    }

    async fn json(&self, request: &str, body: &[u8]) -> Value {
        let (status, text) = self.ask(request, body).await;
        assert_eq!(status, 200, "{text}");
        serde_json::from_str(&text).unwrap()
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.running.stop.cancel();
        std::fs::remove_dir_all(self.path.parent().unwrap()).ok();
    }
}

async fn over_tcp(addr: SocketAddr, request: &str, headers: &[(&str, &str)]) -> (u16, String) {
    let stream = TcpStream::connect(addr).await.unwrap();
    let (status, _, body) = talk(stream, request, headers, b"").await;
    (status, body)
}

#[tokio::test]
async fn down_and_up_reach_the_desk_and_show_what_came_of_it() {
    let nerve = Socket::new("downup", vec![up("search"), up("ads")]);
    let answer = nerve.json("POST /v1/services/search/down?for=30s&reason=a+deploy%21", b"").await;
    assert_eq!(answer["state"], "MAINT");
    assert_eq!(answer["registration"]["phase"], "absent");
    assert_eq!(
        answer["down"],
        json!({
            "reason": "a deploy!",
            "since": "2026-01-01T00:00:00.000Z",
            "until": "2026-01-01T00:00:30.000Z"
        })
    );
    let (status, text) = nerve.ask("GET /v1/services?format=text", b"").await;
    assert_eq!(status, 200);
    assert!(text.contains("down by an operator: a deploy!"), "{text}");
    let answer = nerve.json("POST /v1/services/search/up", b"").await;
    assert_eq!(answer["state"], "UP");
    assert_eq!(nerve.script.orders(), ["down search Some(30s) a deploy!", "up search"]);
}

#[tokio::test]
async fn yelps_names_are_found_escaped_and_not() {
    let nerve = Socket::new("names", vec![up("svc.main:10.0.0.1:80"), up("a/b")]);
    for name in ["svc.main:10.0.0.1:80", "svc%2Emain%3A10.0.0.1%3A80"] {
        let service = nerve.json(&format!("GET /v1/services/{name}"), b"").await;
        assert_eq!(service["name"], "svc.main:10.0.0.1:80");
        nerve.json(&format!("POST /v1/services/{name}/down"), b"").await;
    }
    nerve.json("POST /v1/services/a%2Fb/up", b"").await;
    assert_eq!(
        nerve.script.orders(),
        ["down svc.main:10.0.0.1:80 None ", "down svc.main:10.0.0.1:80 None ", "up a/b"]
    );
}

#[tokio::test]
async fn unknown_services_are_404_with_the_nearest_names() {
    let nerve = Socket::new("unknown", vec![up("search"), up("ads")]);
    for request in [
        "GET /v1/services/serach",
        "POST /v1/services/serach/down?for=1s",
        "POST /v1/services/serach/up",
        "DELETE /v1/services/serach",
    ] {
        let (status, text) = nerve.ask(request, b"").await;
        assert_eq!(status, 404, "{request}");
        assert_eq!(text, "no service \"serach\"; nearest: search\n");
    }
    let (status, text) = nerve.ask("GET /services", b"").await;
    assert_eq!(status, 404);
    assert!(text.contains("/v1/services/NAME/down"), "{text}");
    assert!(nerve.script.orders().is_empty());
}

#[tokio::test]
async fn bad_parameters_are_told_all_at_once_and_nothing_is_done() {
    let nerve = Socket::new("parameters", vec![up("search")]);
    for (request, body, complaint) in [
        ("POST /v1/services/search/down?for=0", "", "for: 0 is not between 100ms and 2592000s\n"),
        (
            "POST /v1/services/search/down?for=31d",
            "",
            "for: 31d is not between 100ms and 2592000s\n",
        ),
        (
            "POST /v1/services/search/down?for=-1s",
            "",
            "for: \"-1s\" is no duration such as 30s or 5m\n",
        ),
        ("POST /v1/services/search/down?for=", "", "for: \"\" is no duration such as 30s or 5m\n"),
        ("POST /v1/services/search/down?for=1s&for=2s", "", "for is given twice\n"),
        (
            "POST /v1/services/search/down?fro=30s&for=x",
            "for=30s",
            "no body is read here: parameters stand in the query\n\
             \"fro\" is no parameter here; there is for, reason\n\
             for: \"x\" is no duration such as 30s or 5m\n",
        ),
        ("POST /v1/services/search/up?for=1s", "", "\"for\" is no parameter here; there is none\n"),
        ("PUT /v1/services/web?ttl=10ms", "{}", "ttl: 10ms is not between 1s and 86400s\n"),
        ("PUT /v1/services/web", "[]", "the body is no JSON object: a service as in the file\n"),
        (
            "PUT /v1/services/web",
            "",
            "the body is no JSON: EOF while parsing a value at line 1 column 0\n",
        ),
        ("PUT /v1/services/", "{}", "a name has 1 to 200 bytes, not 0\n"),
    ] {
        let (status, text) = nerve.ask(request, body.as_bytes()).await;
        if request == "PUT /v1/services/" {
            assert_eq!(status, 405, "{text}");
            continue;
        }
        assert_eq!((status, text.as_str()), (400, complaint), "{request}");
    }
    let long = format!("POST /v1/services/search/down?reason={}", "x".repeat(257));
    assert_eq!(nerve.ask(&long, b"").await, (400, "reason: 257 bytes, at most 256\n".into()));
    assert!(nerve.script.orders().is_empty());
}

#[tokio::test]
async fn a_service_is_put_renewed_and_deleted() {
    let nerve = Socket::new("put", vec![up("search")]);
    let definition = br#"{"host": "10.0.0.1", "port": 80}"#;
    let put = nerve.json("PUT /v1/services/web.a:1?ttl=90s", definition).await;
    assert_eq!(put["pushed_until"], "2026-01-01T00:01:30.000Z");
    nerve.json("PUT /v1/services/web.a:1", definition).await;
    let (status, text) = nerve.ask("PUT /v1/services/web.b", b"{}").await;
    assert_eq!(
        (status, text.as_str()),
        (400, "request: port: is missing\nrequest: zk_path: is missing\n")
    );
    let deleted = nerve.json("DELETE /v1/services/web.a:1", b"").await;
    assert_eq!(deleted, json!({"name": "web.a:1", "deleted": true}));
    let (status, text) = nerve.ask("DELETE /v1/services/search", b"").await;
    assert_eq!(
        (status, text.as_str()),
        (409, "service \"search\" stands in the file: remove it there\n")
    );
    assert_eq!(
        nerve.script.orders()[..2],
        [
            r#"put web.a:1 90s {"host":"10.0.0.1","port":80}"#,
            r#"put web.a:1 60s {"host":"10.0.0.1","port":80}"#,
        ]
    );
}

#[tokio::test]
async fn a_name_with_control_characters_cannot_be_pushed() {
    let nerve = Socket::new("control", Vec::new());
    for name in ["a%0ab", "a%00", "%1b%5b2J", "a%C2%85b"] {
        let (status, text) = nerve.ask(&format!("PUT /v1/services/{name}"), b"{}").await;
        assert_eq!(status, 400, "{name}: {text}");
        assert!(text.contains("a name has no control characters"), "{text}");
    }
    assert!(nerve.script.orders().is_empty());
}

#[tokio::test]
async fn large_bodies_are_refused_announced_or_not() {
    let nerve = Socket::new("large", Vec::new());
    let large = vec![b' '; 64 * 1024 + 1];
    let (status, text) = nerve.ask("PUT /v1/services/web", &large).await;
    assert_eq!((status, text.as_str()), (413, "a body has 65536 bytes at most\n"));
    let stream = UnixStream::connect(&nerve.path).await.unwrap();
    let mut chunked = format!("{:x}\r\n", large.len()).into_bytes();
    chunked.extend(&large);
    let headers = [("transfer-encoding", "chunked")];
    let (status, _, text) = talk(stream, "PUT /v1/services/web", &headers, &chunked).await;
    assert_eq!((status, text.as_str()), (413, "a body has 65536 bytes at most\n"));
    let mut fits = br#"{"port": 1}"#.to_vec();
    fits.resize(64 * 1024, b' ');
    assert_eq!(nerve.ask("PUT /v1/services/web", &fits).await.0, 200);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_never_comes_is_not_waited_for() {
    let nerve = Socket::new("slow", Vec::new());
    let mut stream = UnixStream::connect(&nerve.path).await.unwrap();
    let head = b"PUT /v1/services/web HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n";
    stream.write_all(head).await.unwrap();
    let mut first = [0; 12];
    stream.read_exact(&mut first).await.unwrap();
    assert_eq!(&first, b"HTTP/1.1 408");
}

#[tokio::test(start_paused = true)]
async fn what_is_not_acknowledged_is_504_and_goes_on() {
    let nerve = Socket::new("hangs", vec![up("search")]);
    nerve.script.hangs.send_replace(true);
    let start = Instant::now();
    let (status, text) = nerve.ask("POST /v1/services/search/down", b"").await;
    assert_eq!(status, 504);
    assert_eq!(
        text,
        "not acknowledged by the registry within 10 s; it will be as soon as the registry is back\n"
    );
    assert!(start.elapsed() >= Duration::from_secs(10));
    assert_eq!(nerve.script.orders(), ["down search None "]);
}

#[tokio::test]
async fn hanging_commands_leave_the_pages_alone() {
    let nerve = Socket::new("busy", vec![up("search")]);
    nerve.script.hangs.send_replace(true);
    let mut orders = nerve.script.orders.subscribe();
    let waiting: Vec<_> = (0..40)
        .map(|_| {
            let path = nerve.path.clone();
            tokio::spawn(async move {
                let stream = UnixStream::connect(path).await.unwrap();
                talk(stream, "POST /v1/services/search/down", &[], b"").await.0
            })
        })
        .collect();
    orders.wait_for(|orders| orders.len() == 32).await.unwrap();
    assert_eq!(nerve.ask("GET /v1/services", b"").await.0, 200);
    assert_eq!(nerve.ask("GET /live", b"").await, (200, "ok\n".into()));
    nerve.script.hangs.send_replace(false);
    for waiting in waiting {
        assert_eq!(waiting.await.unwrap(), 200);
    }
}

#[tokio::test]
async fn over_tcp_reading_is_open_and_commands_need_the_switch() {
    let script = Script::new(vec![up("search")]);
    let (_off, addr) = on_tcp(&script, false).await;
    assert_eq!(over_tcp(addr, "GET /v1/services/search", &[]).await.0, 200);
    let (status, text) = over_tcp(addr, "POST /v1/services/search/down", &[]).await;
    assert_eq!(status, 403);
    assert!(text.contains("push: true"), "{text}");
    let (_on, addr) = on_tcp(&script, true).await;
    assert_eq!(over_tcp(addr, "POST /v1/services/search/down", &[]).await.0, 200);
    assert_eq!(script.orders(), ["down search None "]);
}

#[tokio::test]
async fn browsers_are_refused() {
    let script = Script::new(vec![up("search")]);
    let (_on, addr) = on_tcp(&script, true).await;
    for headers in [
        &[("origin", "http://evil.example")][..],
        &[("origin", "null")],
        &[("host", "evil.example:3211")],
        &[("host", "")],
    ] {
        for request in ["POST /v1/services/search/down", "DELETE /v1/services/search"] {
            let (status, text) = over_tcp(addr, request, headers).await;
            assert_eq!(status, 403, "{request} {headers:?}: {text}");
        }
    }
    let read = over_tcp(addr, "GET /v1/services", &[("origin", "http://evil.example")]).await;
    assert_eq!(read.0, 403);
    let nerve = Socket::new("origin", vec![up("search")]);
    let stream = UnixStream::connect(&nerve.path).await.unwrap();
    let headers = [("origin", "http://localhost")];
    let (status, _, text) = talk(stream, "POST /v1/services/search/up", &headers, b"").await;
    assert_eq!(status, 403);
    assert_eq!(text, "requests with an Origin header come from a browser and are refused\n");
    assert!(script.orders().is_empty() && nerve.script.orders().is_empty());
}

/// Only root can become somebody else; without it, the rule alone is tested (`access`).
#[tokio::test]
async fn other_users_may_read_and_not_command() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let nerve = Socket::new("nobody", vec![up("search")]);
    let curl = async |arguments: &[&str]| {
        let output = Command::new("setpriv")
            .args([
                "--reuid=65534",
                "--regid=65534",
                "--clear-groups",
                "curl",
                "-sS",
                "--unix-socket",
            ])
            .arg(&nerve.path)
            .args(["-w", "%{http_code}"])
            .args(arguments)
            .output()
            .await
            .expect("setpriv and curl");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let read = curl(&["http://localhost/v1/services/search?format=text"]).await;
    assert!(read.ends_with("200") && read.contains("checks pass"), "{read}");
    for arguments in [
        &["-X", "POST", "http://localhost/v1/services/search/down"][..],
        &["-X", "DELETE", "http://localhost/v1/services/search"],
        &["-X", "PUT", "-d", "{}", "http://localhost/v1/services/web"],
    ] {
        assert_eq!(
            curl(arguments).await,
            "only root and uid 0, which nerve runs as, may do this (you are uid 65534); try sudo\n403"
        );
    }
    assert!(nerve.script.orders().is_empty());
}

#[tokio::test]
async fn head_has_no_body_and_other_methods_are_refused() {
    let nerve = Socket::new("head", vec![up("search")]);
    for path in ["/", "/live", "/ready", "/metrics", "/v1/services", "/v1/services/search"] {
        let (status, body) = nerve.ask(&format!("HEAD {path}"), b"").await;
        assert_eq!((status, body.as_str()), (200, ""), "{path}");
    }
    for (request, allow) in [
        ("POST /v1/services", "GET, HEAD"),
        ("GET /v1/services/search/down", "POST"),
        ("PATCH /v1/services/search", "GET, HEAD, PUT, DELETE"),
    ] {
        let stream = UnixStream::connect(&nerve.path).await.unwrap();
        let (status, head, _) = talk(stream, request, &[], b"").await;
        assert_eq!(status, 405, "{request}");
        assert!(head.contains(&format!("allow: {allow}\r\n")), "{head}");
    }
}

#[tokio::test]
async fn ready_means_heard_and_settled_or_waiting_for_a_known_reason() {
    let nerve = Socket::new("ready", vec![up("search"), down("ads")]);
    assert_eq!(nerve.ask("GET /ready", b"").await, (200, "ready\n".into()));

    nerve.script.services.lock().unwrap().push(unheard("new"));
    let (status, text) = nerve.ask("GET /ready", b"").await;
    assert_eq!((status, text.as_str()), (503, "not ready\nservice new: no verdict yet\n"));

    let mut changing = up("new");
    changing.registration.phase = Phase::Changing;
    nerve.script.services.lock().unwrap()[2] = changing.clone();
    let (status, text) = nerve.ask("GET /ready", b"").await;
    assert_eq!(status, 503);
    assert!(text.contains("service new: wanted present, registration changing"), "{text}");

    let now = Instant::now();
    let earlier = now - Duration::from_secs(6);
    let with_session = |state, since| Some(Session { state, since, ..session() });
    changing.session = with_session(SessionState::Connected, earlier);
    changing.registration.trouble = Some("zk1:2181: connection refused".into());
    nerve.script.services.lock().unwrap()[2] = changing;
    let answer = nerve.json("GET /ready?format=json", b"").await;
    assert_eq!(answer["ready"], true);
    let waiting = "service new: registration changing: zk1:2181: connection refused";
    assert_eq!(answer["waiting"], json!([waiting]));

    // A start: the next packet may bring the session, or the node.
    for state in [SessionState::Connecting, SessionState::Connected] {
        for (since, status) in [(now, 503), (earlier, 200)] {
            nerve.script.services.lock().unwrap()[2].session = with_session(state, since);
            assert_eq!(nerve.ask("GET /ready", b"").await.0, status, "{state:?}");
        }
    }

    nerve.script.missing.lock().unwrap().push("stopping".into());
    assert_eq!(nerve.ask("GET /ready", b"").await.0, 503);
}

#[test]
fn every_state_has_its_word() {
    assert_eq!(diagnosis::state(&up("a")), "UP");
    assert_eq!(diagnosis::state(&down("a")), "DOWN");
    assert_eq!(diagnosis::state(&unheard("a")), "CHECKING");
    let mut held = up("a");
    held.watch.suppressed_until = Some(fixture::then());
    assert_eq!(diagnosis::state(&held), "HELD");
    let mut blocked = up("a");
    blocked.registration.phase = Phase::Blocked;
    let reason = "checks pass; registration blocked: somebody else's node stands in its place";
    assert_eq!(diagnosis::reason(&blocked), reason);
}

#[tokio::test]
async fn the_status_page_shows_everything_at_a_glance() {
    let mut odd = up("<script>\u{1b}[31m");
    odd.watch.reason = "\"quoted\" & <b>".into();
    let script = Script::new(vec![up("search"), down("ads"), odd]);
    let (_running, addr) = on_tcp(&script, false).await;
    let (status, text) = over_tcp(addr, "GET /", &[]).await;
    assert_eq!(status, 200);
    for shown in [
        "instance i-1",
        "ready\n",
        "refused: services.old",
        "zookeeper zk1:2181",
        "L7STS 503: status 503",
    ] {
        assert!(text.contains(shown), "{shown}: {text}");
    }
    let (_, html) = over_tcp(addr, "GET /", &[("accept", "text/html")]).await;
    assert!(html.contains("http-equiv=\"refresh\""), "{html}");
    assert!(html.contains("<b class=\"DOWN\">DOWN</b>"), "{html}");
    assert!(!html.contains("<script") && !html.contains('\u{1b}'), "{html}");
    assert!(!html.contains("http://") && !html.contains("src="), "no assets: {html}");
}

/// To look at it: `NERVE_PAGE=/tmp/page.html cargo test --lib nerve::tests::the_page`.
#[tokio::test]
async fn the_page_can_be_written_to_a_file_for_a_browser() {
    use http_body_util::BodyExt as _;

    use super::desk::Desk as _;

    let mut held = up("mail");
    held.watch.penalty = 3.4;
    held.watch.suppressed_until = Some(fixture::then());
    held.watch.reason = "held back by flap damping for 14 s (penalty 3.4)".into();
    let script =
        Script::new(vec![up("search"), down("ads"), held, unheard("svc.main:10.0.0.1:80")]);
    script
        .down("search", super::desk::DownRequest { lasting: None, reason: "deploy".into() })
        .await
        .unwrap();
    let answer = page::html(&script.process(), &script.services());
    let html = answer.into_body().collect().await.unwrap().to_bytes();
    assert!(html.ends_with(b"</html>\n"));
    if let Some(path) = std::env::var_os("NERVE_PAGE") {
        std::fs::write(path, html).unwrap();
    }
}

#[tokio::test]
async fn the_documented_requests_work() {
    let nerve = Socket::new("documented", vec![up("search")]);
    let output = Command::new("bash")
        .args(["-euo", "pipefail", "-c", &documented("sh push")])
        .env("SOCKET", &nerve.path)
        .output()
        .await
        .expect("bash and curl");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let orders = nerve.script.orders();
    let verbs: Vec<_> = orders.iter().filter_map(|order| order.split(' ').next()).collect();
    assert_eq!(verbs, ["down", "up", "put", "delete"]);
}

#[tokio::test(start_paused = true)]
async fn the_shape_of_a_service_is_as_documented() {
    let mut now = Now::read();
    now.system = fixture::then() + Duration::from_millis(1500);
    let shape = serde_json::to_value(shape::service(&down("ads"), now)).unwrap();
    let documented: Value = serde_json::from_str(&documented("json shape")).unwrap();
    assert_eq!(shape, documented);
    let order = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(order(&shape), order(&documented));
    let read: ServiceShape = serde_json::from_value(json!({"name": "a", "new_key": 1})).unwrap();
    assert_eq!(read.name, "a", "readers take what they do not know and miss");
}

fn families(services: &[super::desk::ServiceStatus]) -> String {
    use super::desk::Desk as _;

    let mut process = Script::new(Vec::new()).process();
    let lost = Session { state: SessionState::Disconnected, ..session() };
    process.sessions.push(("zk9:2181".into(), lost));
    let mut out = Exposition::new();
    metrics::families(&mut out, &process, services, Now::read());
    out.finish()
}

/// To accept a wanted change: `UPDATE_GOLDEN=1 cargo test --lib golden`.
#[tokio::test(start_paused = true)]
async fn nerves_metrics_match_the_golden_text() {
    let mut twins = unheard("svc.main:80");
    twins.watch.checks = [up("x").watch.checks, up("x").watch.checks].concat();
    let text = families(&[up("search"), down("ads"), twins]);
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/admin/nerve/golden_metrics.txt");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(path, &text).unwrap();
    }
    let golden = std::fs::read_to_string(path).unwrap();
    assert!(text == golden, "differs from {path}:\n{text}");
}

#[tokio::test]
async fn scrapes_pass_promtool_and_hold_known_families_only() {
    let script = Script::new(vec![up("search"), down("ads"), unheard("svc.main:80")]);
    let (_running, addr) = on_tcp(&script, false).await;
    let (status, text) = over_tcp(addr, "GET /metrics", &[]).await;
    assert_eq!(status, 200);
    promtool(&text);
    let shown: Vec<_> = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE "))
        .map(|line| line.split_once(' ').unwrap().0)
        .collect();
    for name in &shown {
        assert!(names::ALL.iter().any(|m| m.name == *name), "{name}");
        assert!(!name.starts_with("synapse_"), "{name}");
    }
    for metric in names::ALL.iter().filter(|m| m.name.starts_with("nerve_")) {
        let is_cold = [names::NERVE_ADMIN_REQUESTS, names::NERVE_STATSD_LOST].contains(metric);
        assert!(is_cold || shown.contains(&metric.name), "{} is never shown", metric.name);
    }
    assert_eq!(ColdMetrics::disconnected().render(), "");
}

#[tokio::test]
async fn stop_ends_the_server_on_a_unix_socket_too() {
    let mut nerve = Socket::new("stop", Vec::new());
    let mut idle = UnixStream::connect(&nerve.path).await.unwrap();
    idle.write_all(b"GET /live HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let mut first = [0; 1];
    idle.read_exact(&mut first).await.unwrap();
    nerve.running.stop.cancel();
    tokio::time::timeout(Duration::from_secs(10), &mut nerve.running.task).await.unwrap().unwrap();
}
