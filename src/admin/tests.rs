//! The admin server from outside: real sockets, real types, a made-up state.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::when::Now;
use super::{AdminState, fixture, metrics, server};
use crate::discovery::Membership;
use crate::proxy::Mode;
use crate::registry::SessionState;
use crate::telemetry::render::Exposition;

struct Server {
    addr: std::net::SocketAddr,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

async fn start(state: Arc<AdminState>) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let stop = CancellationToken::new();
    let task = tokio::spawn(server::serve(listener, state, stop.clone()));
    Server { addr, stop, task }
}

impl Server {
    /// Status, head and body of the answer to a request with `extra` header lines.
    async fn ask(&self, method: &str, path: &str, extra: &str) -> (u16, String, String) {
        let mut stream = TcpStream::connect(self.addr).await.unwrap();
        let request =
            format!("{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{extra}\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, head.to_owned(), body.to_owned())
    }

    async fn get(&self, path: &str) -> (u16, String) {
        let (status, _, body) = self.ask("GET", path, "").await;
        (status, body)
    }

    async fn json(&self, path: &str) -> serde_json::Value {
        let (status, body) = self.get(path).await;
        assert_eq!(status, 200, "{body}");
        serde_json::from_str(&body).unwrap()
    }
}

#[tokio::test]
async fn live_answers_and_head_has_no_body() {
    let server = start(fixture::state()).await;
    assert_eq!(server.get("/live").await, (200, "ok\n".into()));
    let (status, head, body) = server.ask("HEAD", "/live", "").await;
    assert_eq!((status, body.as_str()), (200, ""));
    assert!(head.contains("content-length: 3"), "{head}");
}

#[tokio::test]
async fn other_methods_are_refused_and_other_paths_listed() {
    let server = start(fixture::state()).await;
    let (status, head, _) = server.ask("POST", "/services", "content-length: 0\r\n").await;
    assert_eq!(status, 405);
    assert!(head.contains("allow: GET, HEAD"), "{head}");
    let (status, body) = server.get("/metric").await;
    assert_eq!(status, 404);
    assert!(body.contains("/metrics"), "{body}");
    let (status, _, _) = server.ask("GET", "/live", "content-length: 1000000\r\n").await;
    assert_eq!(status, 413);
}

#[tokio::test]
async fn ready_lists_what_is_missing_until_nothing_is() {
    let state = fixture::state();
    let latch = state.readiness.latch("listeners");
    let server = start(Arc::clone(&state)).await;
    let (status, body) = server.get("/ready").await;
    assert_eq!(status, 503);
    assert_eq!(
        body,
        "not ready\nwaiting for listeners\nservice ads: discovery not heard yet \
         (zookeeper zk1:2181/services/ads): connecting to zk1:2181\n"
    );
    let (_, _, body) = server.ask("GET", "/ready", "accept: application/json\r\n").await;
    let body: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!(body["missing"].as_array().unwrap().len(), 2);

    latch.release();
    let heard = fixture::with_membership("ads", Membership::Missing);
    state.services.store(Arc::new(vec![fixture::search(), heard]));
    assert_eq!(server.get("/ready").await, (200, "ready\n".into()));

    state.readiness.stop();
    assert_eq!(server.get("/ready").await, (503, "not ready\nstopping\n".into()));
}

#[tokio::test]
async fn a_service_shows_every_backend_with_state_reason_and_evidence() {
    let server = start(fixture::state()).await;
    let search = server.json("/services/search").await;
    assert_eq!(search["state"], "UP");
    assert_eq!(search["listen"][0], "127.0.0.1:3213");
    assert_eq!(search["traffic"]["errors_by_cause"]["no_backend"], 1);
    assert_eq!(search["discovery"]["membership"], "known");
    assert_eq!(search["discovery"]["path"], "/services/search");
    assert_eq!(search["discovery"]["notes"][0], "label_filters removed 1 of 3");
    let (_, text) = server.get("/services/search?format=text").await;
    assert!(text.contains("\nnote: label_filters removed 1 of 3\n"), "{text}");
    let complaint = "haproxy.port: 0 is not a port";
    assert_eq!(search["refused_config"][0], complaint);
    assert!(text.contains(&format!("\nrefused generator config: {complaint}\n")), "{text}");
    assert_eq!(search["discovery"]["malformed_total"], 3);
    assert_eq!(search["discovery"]["malformed"][0]["reason"], "no port");
    assert!(search["discovery"]["verified_age_s"].is_number());
    let servers = search["servers"].as_array().unwrap();
    assert_eq!(servers[0]["name"], "i-1_10.0.0.1:9000");
    assert_eq!(servers[0]["state"], "UP");
    assert_eq!(servers[0]["counters"]["requests"], 3);
    assert_eq!(servers[1]["state"], "DOWN");
    assert_eq!(servers[1]["eligible"], false);
    assert_eq!(servers[1]["maxconn"], 20);
    assert_eq!(servers[1]["reason"], "down: L4CON: connection refused");
    assert_eq!(servers[1]["last_check"]["code"], "L4CON");
    assert_eq!(servers[1]["last_check"]["streak"], 3);
}

#[tokio::test]
async fn the_list_is_json_or_a_table() {
    let server = start(fixture::state()).await;
    let list = server.json("/services").await;
    let names: Vec<_> =
        list.as_array().unwrap().iter().map(|s| s["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["search", "ads", fixture::ODD_NAME]);
    let (_, table) = server.get("/services?format=text").await;
    assert!(table.starts_with("SERVICE"), "{table}");
    let (_, _, same) = server.ask("GET", "/services", "accept: text/plain\r\n").await;
    assert_eq!(same.lines().count(), table.lines().count());
}

#[tokio::test]
async fn odd_names_are_found_and_unknown_ones_get_neighbours() {
    let server = start(fixture::state()).await;
    let path = super::percent::percent_encode(fixture::ODD_NAME);
    let odd = server.json(&format!("/services/{path}")).await;
    assert_eq!(odd["name"], fixture::ODD_NAME);
    assert_eq!(
        odd["reason"],
        format!("nobody is registered at zookeeper zk1:2181/services/{}", fixture::ODD_NAME)
    );
    let (status, body) = server.get("/services/serach").await;
    assert_eq!(status, 404);
    assert_eq!(body, "no service \"serach\"; nearest: search\n");
}

#[tokio::test]
async fn the_index_is_text_or_html() {
    let server = start(fixture::state()).await;
    let (status, text) = server.get("/").await;
    assert_eq!(status, 200);
    assert!(text.starts_with("synapse 0.0.0, up "), "{text}");
    assert!(text.contains("zookeeper zk1:2181: connected"), "{text}");
    let (_, head, html) = server.ask("GET", "/", "accept: text/html,*/*\r\n").await;
    assert!(head.contains("text/html"), "{head}");
    assert!(html.contains("<a href=\"/services/search?format=text\">"));
    assert!(!html.contains("\"e\""), "unescaped quotes: {html}");
}

#[tokio::test]
async fn a_client_that_sends_no_head_is_let_go() {
    tokio::time::pause();
    let server = start(fixture::state()).await;
    let mut silent = TcpStream::connect(server.addr).await.unwrap();
    let mut bytes = Vec::new();
    // Ends only because the server closes; the paused clock jumps to its time-out.
    silent.read_to_end(&mut bytes).await.unwrap();
    assert!(bytes.is_empty() || bytes.starts_with(b"HTTP/1.1 408"));
}

#[tokio::test]
async fn connections_beyond_the_bound_wait_for_a_place() {
    let server = start(fixture::state()).await;
    let mut idle = Vec::new();
    for _ in 0..server::MAX_CONNECTIONS {
        let mut stream = TcpStream::connect(server.addr).await.unwrap();
        stream.write_all(b"GET /live HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        stream.read_exact(&mut [0; 1]).await.unwrap();
        idle.push(stream);
    }
    let waiting = server.get("/live");
    tokio::pin!(waiting);
    assert!(
        tokio::time::timeout(Duration::from_millis(50), waiting.as_mut()).await.is_err(),
        "all places are taken"
    );
    drop(idle.pop());
    assert_eq!(waiting.await, (200, "ok\n".into()));
}

#[tokio::test]
async fn default_servers_make_a_service_ready_before_discovery_is_heard() {
    let state = fixture::state();
    let mut view = (*fixture::search().service.pool.view()).clone();
    view.discovered = crate::discovery::Discovered::default();
    view.origin = crate::lb::handle::SetOrigin::DefaultServers;
    let entry = fixture::entry("search", Mode::Http, view);
    state.services.store(Arc::new(vec![entry]));
    let server = start(Arc::clone(&state)).await;
    assert_eq!(server.get("/ready").await, (200, "ready\n".into()));
    let search = server.json("/services/search").await;
    assert_eq!(search["reason"], "1 of 2 backends eligible; default_servers are in use");
    assert_eq!(search["discovery"]["membership"], "pending");
}

#[tokio::test]
async fn stop_ends_the_server_although_clients_stay() {
    let server = start(fixture::state()).await;
    let mut idle = TcpStream::connect(server.addr).await.unwrap();
    idle.write_all(b"GET /live HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let mut first = [0; 1];
    idle.read_exact(&mut first).await.unwrap();
    server.stop.cancel();
    tokio::time::timeout(Duration::from_secs(10), server.task).await.unwrap().unwrap();
}

/// A server with so many services that `/metrics` has many pieces, and the first of them.
async fn start_big(services: usize) -> (Server, Arc<crate::proxy::Service>) {
    let state = fixture::state();
    let services = fixture::big(services);
    let service = Arc::clone(&services[0].service);
    state.services.store(Arc::new(services));
    (start(state).await, service)
}

/// Puts the chunks of a body together; fails when the last one is missing.
fn dechunked(mut body: &str) -> String {
    let mut text = String::new();
    loop {
        let (size, rest) = body.split_once("\r\n").unwrap();
        let size = usize::from_str_radix(size, 16).unwrap();
        let (chunk, rest) = rest.split_at(size);
        text.push_str(chunk);
        body = rest.strip_prefix("\r\n").unwrap();
        if size == 0 {
            assert_eq!(body, "");
            return text;
        }
    }
}

#[tokio::test]
async fn a_short_page_has_a_length_and_a_long_one_comes_in_chunks() {
    let server = start(fixture::state()).await;
    let (_, head, body) = server.ask("GET", "/metrics", "").await;
    assert!(head.contains(&format!("content-length: {}", body.len())), "{head}");
    let (server, _) = start_big(20).await;
    let (status, head, body) = server.ask("GET", "/metrics", "").await;
    assert_eq!(status, 200);
    assert!(head.contains("transfer-encoding: chunked"), "{head}");
    assert!(!head.contains("content-length"), "{head}");
    promtool(&dechunked(&body));
}

#[tokio::test]
async fn head_of_a_long_page_has_no_body_and_keeps_the_connection() {
    let (server, _) = start_big(20).await;
    let (status, head, body) = server.ask("HEAD", "/metrics", "").await;
    assert_eq!((status, body.as_str()), (200, ""));
    assert!(!head.contains("content-length"), "{head}");
    let mut stream = TcpStream::connect(server.addr).await.unwrap();
    let requests = "HEAD /metrics HTTP/1.1\r\nhost: x\r\n\r\n\
                    GET /live HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    stream.write_all(requests.as_bytes()).await.unwrap();
    let mut answers = String::new();
    stream.read_to_string(&mut answers).await.unwrap();
    assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), 2, "{answers}");
    assert!(answers.ends_with("\r\n\r\nok\n"), "{answers}");
}

#[tokio::test]
async fn http_1_0_reads_a_long_page_until_the_end_of_the_connection() {
    let (server, _) = start_big(20).await;
    let mut stream = TcpStream::connect(server.addr).await.unwrap();
    let request = "GET /metrics HTTP/1.0\r\nconnection: keep-alive\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.0 200"), "{head}");
    assert!(!head.contains("chunked"), "{head}");
    promtool(body);
}

/// Services with 20 MB of metrics. The largest buffers of Linux' defaults are 4 MB to send and 6 MB to receive.
const MORE_THAN_SOCKETS_HOLD: usize = 500;

/// A client that has read the beginning of a long page.
async fn half_read(server: &Server) -> TcpStream {
    let mut stream = TcpStream::connect(server.addr).await.unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    stream.read_exact(&mut [0; 1]).await.unwrap();
    stream
}

#[tokio::test]
async fn what_a_scrape_holds_goes_with_its_client() {
    let (server, service) = start_big(MORE_THAN_SOCKETS_HOLD).await;
    let before = Arc::strong_count(&service);
    let stream = half_read(&server).await;
    assert!(Arc::strong_count(&service) > before);
    assert_eq!(server.get("/live").await, (200, "ok\n".into()), "others are served");
    drop(stream);
    is_let_go(&service, before).await;
}

/// Waits until no scrape holds `service` any more.
async fn is_let_go(service: &Arc<crate::proxy::Service>, before: usize) {
    let gone = async {
        while Arc::strong_count(service) > before {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), gone).await.unwrap();
}

#[tokio::test]
async fn a_client_that_stops_reading_is_let_go() {
    let (server, service) = start_big(MORE_THAN_SOCKETS_HOLD).await;
    let before = Arc::strong_count(&service);
    let mut stream = half_read(&server).await;
    tokio::time::pause();
    tokio::time::sleep(server::CONNECTION_LIFE + Duration::from_secs(5)).await;
    tokio::time::resume();
    is_let_go(&service, before).await;
    let mut rest = Vec::new();
    let ended = stream.read_to_end(&mut rest).await;
    assert!(ended.is_err() || !rest.ends_with(b"\r\n0\r\n\r\n"), "no whole page");
}

#[tokio::test]
async fn scrapes_pass_promtool() {
    let server = start(fixture::state()).await;
    let (status, head, text) = server.ask("GET", "/metrics", "").await;
    assert_eq!(status, 200);
    assert!(head.contains("text/plain; version=0.0.4"), "{head}");
    promtool(&text);
}

/// Fails unless `promtool check metrics` accepts `text` without a remark.
pub(super) fn promtool(text: &str) {
    let mut child = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool is missing: apt-get install prometheus");
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let out = child.wait_with_output().unwrap();
    let said = [out.stdout, out.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(out.status.success() && said.is_empty(), "{said}\n{text}");
}

fn families(services: &[super::ServiceEntry], registries: &[super::RegistryEntry]) -> String {
    let page = metrics::families(Exposition::new(), services, registries, Now::read());
    text_of(page)
}

fn text_of(page: metrics::Page) -> String {
    String::from_utf8(page.flatten().collect()).unwrap()
}

/// To accept a wanted change: `UPDATE_GOLDEN=1 cargo test --lib golden`.
#[tokio::test(start_paused = true)]
async fn metrics_match_the_golden_text() {
    let state = fixture::state();
    let text = families(&state.services.load(), &state.registries.load());
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/admin/golden_metrics.txt");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(path, &text).unwrap();
    }
    let golden = std::fs::read_to_string(path).unwrap();
    assert!(text == golden, "differs from {path}:\n{text}");
}

#[tokio::test]
async fn every_family_has_one_header_and_is_a_known_name() {
    let text = text_of(metrics::page(&fixture::state()));
    let mut seen = std::collections::HashSet::new();
    for name in text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE "))
        .map(|line| line.split_once(' ').unwrap().0)
    {
        assert!(seen.insert(name), "{name} twice");
        let known = crate::telemetry::names::ALL.iter().any(|m| m.name == name);
        assert!(known, "{name}");
    }
}

#[tokio::test]
async fn two_backends_with_one_server_name_give_two_series() {
    let search = fixture::search();
    let mut view = (*search.service.pool.view()).clone();
    let mut twin = crate::lb::made_up::backend(3);
    let backend = Arc::get_mut(&mut twin.backend).unwrap();
    backend.server_name = Arc::clone(&view.backends[0].backend.server_name);
    view.backends.push(Arc::new(twin));
    let text = families(&[fixture::entry("search", Mode::Http, view)], &[]);
    assert!(text.contains("backend=\"i-1_10.0.0.1:9000\"} 1"), "{text}");
    assert!(text.contains("backend=\"i-1_10.0.0.1:9000#3\"} 1"), "{text}");
    promtool(&text);
}

#[tokio::test]
async fn lost_sessions_and_fixed_lists_show_as_such() {
    let lost = fixture::registry(SessionState::Disconnected);
    let mut fixed = fixture::with_membership("static", Membership::Pending);
    fixed.source = crate::discovery::SourceSettings::Fixed;
    let text = families(&[fixed], &[lost]);
    assert!(text.contains("synapse_registry_connected{ensemble=\"zk1:2181\"} 0\n"));
    assert!(!text.contains("synapse_discovery_last_verified_age_seconds"));
}

#[tokio::test(start_paused = true)]
async fn a_silent_confirmation_resets_the_age() {
    let mut entry = fixture::search();
    let source = tokio::sync::watch::Sender::new(entry.service.pool.view().discovered.clone());
    entry.discovered = source.subscribe();
    tokio::time::advance(Duration::from_secs(90)).await;
    let age = "synapse_discovery_last_verified_age_seconds{service=\"search\"}";
    let text = families(std::slice::from_ref(&entry), &[]);
    assert!(text.contains(&format!("{age} 90\n")), "{text}");
    source.send_if_modified(|last| {
        last.verified = Some(tokio::time::Instant::now());
        false
    });
    assert!(families(&[entry], &[]).contains(&format!("{age} 0\n")));
}

#[tokio::test]
async fn in_flight_follows_the_leases() {
    let search = fixture::search();
    let lease = crate::lb::made_up::lease(&search.service.pool);
    let text = families(std::slice::from_ref(&search), &[]);
    assert!(text.contains(
        "synapse_backend_in_flight{service=\"search\",backend=\"i-1_10.0.0.1:9000\"} 1\n"
    ));
    drop(lease);
    assert!(families(&[search], &[]).contains("backend=\"i-1_10.0.0.1:9000\"} 0\n"));
}

#[tokio::test]
async fn a_big_host_is_rendered_in_a_moment() {
    let services = fixture::big(500);
    let start = tokio::time::Instant::now();
    let text = families(&services, &[]);
    let took = start.elapsed();
    println!("{} bytes, {} lines in {took:?}", text.len(), text.lines().count());
    // Unoptimised and on a busy machine; optimised it is tens of milliseconds.
    assert!(took < Duration::from_secs(5), "{took:?}");
    let start = tokio::time::Instant::now();
    let table = super::table::status_table(&services);
    assert_eq!(table.lines().count(), 1 + 500 * 21);
    assert!(start.elapsed() < Duration::from_secs(5));
}
