//! What the pages show.

use super::*;
use crate::discovery::Membership;
use crate::proxy::Mode;

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
    let path = super::super::percent::percent_encode(fixture::ODD_NAME);
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
