//! The push API as a script uses it: curl, and the command line.

mod services;

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::process::Command;
use tokio::time::Instant;

use crate::support::lab::Lab;
use crate::support::nerve::{Nerve, nodes, service, until_nodes};
use crate::support::wait::eventually;
use crate::support::zookeeper::Zk;

const PATH: &str = "/nerve/services/web";
const PUSHED: &str = "/nerve/services/job";
const PATIENCE: Duration = Duration::from_secs(10);

/// Runs curl with these arguments; gives status and body.
async fn curl(arguments: &[&str]) -> (u16, String) {
    let output = Command::new("curl")
        .args(["-sS", "-m", "15", "-w", "\n%{http_code}"])
        .args(arguments)
        .output()
        .await
        .expect("curl");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let (body, status) = text.rsplit_once('\n').expect("a status");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    (status.parse().expect("a status"), body.to_owned())
}

/// The same over `STATE_DIR/nerve.sock`.
async fn over_socket(state_dir: &Path, method: &str, path: &str, more: &[&str]) -> (u16, String) {
    let socket = state_dir.join("nerve.sock");
    let url = format!("http://localhost{path}");
    let mut all = vec!["--unix-socket", socket.to_str().expect("text"), "-X", method, &url];
    all.extend(more);
    curl(&all).await
}

fn noop(zk: &Zk, path: &str) -> Value {
    let keys = json!({"checks": [{"type": "noop"}]});
    service(&zk.connect_string(), path, ([10, 0, 0, 1], 8080).into(), keys)
}

struct Scene {
    lab: Lab,
    zk: Zk,
    client: zookeeper_client::Client,
    nerve: Nerve,
}

impl Scene {
    /// A nerve with one registered service, `web`.
    async fn new(more: Value) -> Self {
        let (lab, zk) = (Lab::new().await, Zk::standalone());
        let client = zk.client().await;
        let mut config = json!({"services": {"web": noop(&zk, PATH)}});
        for (key, value) in more.as_object().expect("a map") {
            config[key] = value.clone();
        }
        let nerve = Nerve::start(&lab, config).await;
        until_nodes(&client, PATH, 1).await;
        Self { lab, zk, client, nerve }
    }

    async fn ask(&self, method: &str, path: &str, more: &[&str]) -> (u16, String) {
        over_socket(self.nerve.state_dir(), method, path, more).await
    }

    async fn count(&self, path: &str) -> usize {
        nodes(&self.client, path).await.len()
    }
}

#[tokio::test]
async fn down_returns_when_the_node_is_gone_and_ends_by_itself() {
    let scene = Scene::new(json!({})).await;
    let begun = Instant::now();
    let down = "/v1/services/web/down?for=1500ms&reason=deploy+7";
    let (status, body) = scene.ask("POST", down, &[]).await;
    assert_eq!((status, scene.count(PATH).await), (200, 0), "{body}");
    let shown: Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!(shown["state"], "MAINT");
    assert_eq!(shown["down"]["reason"], "deploy 7");
    assert_eq!(shown["registration"]["phase"], "absent");
    until_nodes(&scene.client, PATH, 1).await;
    let back = begun.elapsed();
    assert!(back > Duration::from_millis(1500) && back < Duration::from_millis(2500), "{back:?}");
    let (_, body) = scene.ask("GET", "/v1/services/web", &[]).await;
    let shown: Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!((&shown["state"], &shown["down"]), (&json!("UP"), &json!(null)));
    // Without an end it stays until somebody says so, and nobody calls that flapping.
    for _ in 0..8 {
        let (status, body) = scene.ask("POST", "/v1/services/web/down", &[]).await;
        assert_eq!((status, scene.count(PATH).await), (200, 0), "{body}");
        let (status, body) = scene.ask("POST", "/v1/services/web/up", &[]).await;
        assert_eq!((status, scene.count(PATH).await), (200, 1), "{body}");
    }
}

#[tokio::test]
async fn slips_are_refused_and_change_nothing() {
    let scene = Scene::new(json!({})).await;
    for (method, path, more, expected, text) in [
        ("POST", "/v1/services/web/down?fro=30s", &[][..], 400, "fro"),
        ("POST", "/v1/services/web/down?for=soon", &[], 400, "soon"),
        ("POST", "/v1/services/web/down", &["-d", "for=30s"], 400, "query"),
        ("POST", "/v1/services/wep/down", &[], 404, "web"),
        ("GET", "/v1/services/web/down", &[], 405, ""),
        ("DELETE", "/v1/services/web", &[], 409, "configuration file"),
        ("POST", "/v1/services/web/down", &["-H", "Origin: http://evil.example"], 403, "Origin"),
        ("PUT", "/v1/services/job", &["-d", "{"], 400, "JSON"),
        ("PUT", "/v1/services/job", &["-d", r#"{"host": "h"}"#], 400, "port"),
    ] {
        let (status, body) = scene.ask(method, path, more).await;
        assert_eq!(status, expected, "{method} {path} {more:?}: {body}");
        assert!(body.contains(text), "{method} {path} {more:?}: {body}");
    }
    assert_eq!(scene.count(PATH).await, 1);
    assert_eq!(scene.nerve.service("web").await["state"], "UP");
}

#[tokio::test]
async fn tcp_takes_commands_only_when_it_is_told_to() {
    let scene = Scene::new(json!({})).await;
    let url = |nerve: &Nerve| format!("http://{}/v1/services/web/down", nerve.admin());
    let (status, body) = curl(&["-X", "POST", &url(&scene.nerve)]).await;
    assert_eq!(status, 403, "{body}");
    assert!(body.contains("push"), "{body}");
    assert_eq!(scene.count(PATH).await, 1);

    let scene = Scene::new(json!({"admin": {"push": true}})).await;
    for header in ["Origin: http://localhost", "Host: evil.example"] {
        let (status, body) = curl(&["-X", "POST", "-H", header, &url(&scene.nerve)]).await;
        assert_eq!((status, scene.count(PATH).await), (403, 1), "{header}: {body}");
    }
    let (status, body) = curl(&["-X", "POST", &url(&scene.nerve)]).await;
    assert_eq!((status, scene.count(PATH).await), (200, 0), "{body}");
}

#[tokio::test]
async fn a_command_reaches_every_nerve_of_the_host() {
    let scene = Scene::new(json!({})).await;
    let other = scene.nerve.sibling(&scene.lab).await;
    until_nodes(&scene.client, PATH, 2).await;
    for _ in 0..3 {
        let said = scene.nerve.tell(&["down", "web", "--reason", "both"]).await;
        assert_eq!((said.code, scene.count(PATH).await), (Some(0), 0), "{}", said.stderr);
        for nerve in [&scene.nerve, &other] {
            assert_eq!(nerve.service("web").await["down"]["reason"], "both");
        }
        let said = other.tell(&["up", "web"]).await;
        assert_eq!((said.code, scene.count(PATH).await), (Some(0), 2), "{}", said.stderr);
    }
    let said = other.tell(&["status", "web", "--json"]).await;
    let answers: Value = serde_json::from_str(&said.stdout).expect("JSON");
    assert_eq!(answers.as_array().map(Vec::len), Some(2), "{answers}");
    // The one that is gone is not missed.
    assert_eq!(other.stop().await.code(), Some(0));
    let said = scene.nerve.tell(&["down", "web"]).await;
    assert_eq!((said.code, scene.count(PATH).await), (Some(0), 0), "{}", said.stderr);
    // `STATE_DIR/nerve.sock` led to the younger; without it the command line still works.
    let said = scene.nerve.tell(&["up", "web"]).await;
    assert_eq!((said.code, scene.count(PATH).await), (Some(0), 1), "{}", said.stderr);
}

#[tokio::test]
async fn an_order_to_one_nerve_is_heard_by_the_others_of_its_state_dir() {
    let scene = Scene::new(json!({})).await;
    let _other = scene.nerve.sibling(&scene.lab).await;
    until_nodes(&scene.client, PATH, 2).await;
    // `STATE_DIR/nerve.sock` leads to the younger alone.
    let begun = Instant::now();
    let (status, body) = scene.ask("POST", "/v1/services/web/down?reason=one", &[]).await;
    assert_eq!(status, 200, "{body}");
    until_nodes(&scene.client, PATH, 0).await;
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    assert_eq!(scene.nerve.service("web").await["down"]["reason"], "one");
    let (status, body) = scene.ask("POST", "/v1/services/web/up", &[]).await;
    assert_eq!(status, 200, "{body}");
    until_nodes(&scene.client, PATH, 2).await;
    let definition = noop(&scene.zk, PUSHED).to_string();
    let (status, body) = scene.ask("PUT", "/v1/services/job", &["-d", &definition]).await;
    assert_eq!(status, 200, "{body}");
    until_nodes(&scene.client, PUSHED, 2).await;
    let (status, body) = scene.ask("DELETE", "/v1/services/job", &[]).await;
    assert_eq!(status, 200, "{body}");
    until_nodes(&scene.client, PUSHED, 0).await;
}

#[tokio::test]
async fn a_downtime_that_cannot_be_remembered_holds_and_the_answer_says_so() {
    let scene = Scene::new(json!({})).await;
    // Root may write everywhere, but not into a directory.
    let lock = scene.nerve.state_dir().join("pushed.lock");
    drop(std::fs::remove_file(&lock));
    std::fs::create_dir(&lock).expect("a directory");
    let said = scene.nerve.tell(&["down", "web"]).await;
    assert_eq!((said.code, scene.count(PATH).await), (Some(0), 0), "{}", said.stderr);
    assert!(said.stdout.contains("not remembered across a restart"), "{}", said.stdout);
    std::fs::remove_dir(&lock).expect("ours");
    eventually("it is remembered", PATIENCE, || async {
        let log = scene.nerve.log();
        if log.contains("remembered across a restart again") { Ok(()) } else { Err(log) }
    })
    .await;
}

#[tokio::test]
async fn an_order_stands_though_zookeeper_cannot_be_reached() {
    let scene = Scene::new(json!({})).await;
    scene.zk.stop();
    let begun = Instant::now();
    let (status, body) = scene.ask("POST", "/v1/services/web/down", &[]).await;
    assert_eq!(status, 504, "{body}");
    assert!(begun.elapsed() < Duration::from_secs(13), "{:?}", begun.elapsed());
    scene.zk.cont();
    // The session of the former one is over by now.
    let client = scene.zk.client().await;
    until_nodes(&client, PATH, 0).await;
    eventually("it is acknowledged", PATIENCE, || async {
        let web = scene.nerve.service("web").await;
        if web["registration"]["phase"] == "absent" { Ok(()) } else { Err(web) }
    })
    .await;
}

/// What the checks said before the restart is no word about the service after it.
#[tokio::test]
async fn up_asks_the_checks_anew_and_does_not_wait_for_their_turn() {
    let lab = Lab::new().await;
    let zk = Zk::standalone();
    let client = zk.client().await;
    let origin = lab.origin("a").await;
    let keys =
        json!({"check_interval": 3, "checks": [{"type": "http", "uri": "/ping", "timeout": 1}]});
    let web = service(&zk.connect_string(), PATH, origin.addr(), keys);
    let nerve = Nerve::start(&lab, json!({"services": {"web": web}})).await;
    until_nodes(&client, PATH, 1).await;
    let said = nerve.tell(&["down", "web"]).await;
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    origin.set_check_status(503);
    let said = nerve.tell(&["up", "web"]).await;
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    assert_eq!(nerve.service("web").await["state"], "DOWN", "{}", said.stdout);
    assert!(nodes(&client, PATH).await.is_empty());
    let said = nerve.tell(&["down", "web"]).await;
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    origin.set_check_status(200);
    let begun = Instant::now();
    let said = nerve.tell(&["up", "web"]).await;
    assert_eq!((said.code, nodes(&client, PATH).await.len()), (Some(0), 1), "{}", said.stderr);
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
}
