//! Services that are pushed.

use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use tokio::time::Instant;

use super::{PATH, PUSHED, Scene, noop};
use crate::support::nerve::{nodes, until_nodes};
use crate::support::wait::always;

#[tokio::test]
async fn a_pushed_service_lives_as_long_as_it_is_renewed() {
    let scene = Scene::new(json!({})).await;
    let definition = noop(&scene.zk, PUSHED).to_string();
    let body = ["-d", definition.as_str()];
    let put = || scene.ask("PUT", "/v1/services/job?ttl=2s", &body);
    let (status, body) = put().await;
    let seen = nodes(&scene.client, PUSHED).await;
    assert_eq!((status, seen.len()), (200, 1), "{body}");
    let shown: Value = serde_json::from_str(&body).expect("JSON");
    assert!(shown["pushed_until"].is_string(), "{body}");
    // Renewed for longer than it lives: the node notices nothing.
    for _ in 0..6 {
        always("the same node", Duration::from_millis(700), || async {
            let now = nodes(&scene.client, PUSHED).await;
            if now == seen { Ok(()) } else { Err(now) }
        })
        .await;
        let (status, body) = put().await;
        assert_eq!(status, 200, "{body}");
    }
    let renewed = Instant::now();
    until_nodes(&scene.client, PUSHED, 0).await;
    let gone = renewed.elapsed();
    assert!(gone < Duration::from_millis(3500), "not renewed, and gone after {gone:?} only");
    let (status, _) = scene.ask("GET", "/v1/services/job", &[]).await;
    assert_eq!(status, 404);
    assert_eq!(scene.count(PATH).await, 1, "the others stay");
}

#[tokio::test]
async fn a_pushed_service_is_taken_back_and_may_not_run_programs() {
    let scene = Scene::new(json!({})).await;
    let mut evil = noop(&scene.zk, PUSHED);
    evil["checks"] = json!([{"type": "tcp"}, {"type": "exec", "command": "/bin/true"}]);
    let (status, body) = scene.ask("PUT", "/v1/services/job", &["-d", &evil.to_string()]).await;
    assert_eq!(status, 400, "{body}");
    assert!(body.contains("checks[1].type: exec"), "{body}");
    let definition = noop(&scene.zk, PUSHED).to_string();
    for name in ["job", "job%3A80.main"] {
        let path = format!("/v1/services/{name}");
        let (status, body) = scene.ask("PUT", &path, &["-d", &definition]).await;
        assert_eq!((status, scene.count(PUSHED).await), (200, 1), "{body}");
        let (status, body) = scene.ask("DELETE", &path, &[]).await;
        assert_eq!((status, scene.count(PUSHED).await), (200, 0), "{body}");
        let (status, body) = scene.ask("DELETE", &path, &[]).await;
        assert_eq!(status, 404, "{body}");
    }
    // What stands in the file is changed there.
    let (status, body) = scene.ask("PUT", "/v1/services/web", &["-d", &definition]).await;
    assert_eq!((status, scene.count(PATH).await), (409, 1), "{body}");
    // The same with the command line.
    let file = scene.lab.write("job.json", &definition);
    let file = file.to_str().expect("text");
    let said = scene.nerve.tell(&["register", "job", file, "--ttl", "60s"]).await;
    assert_eq!((said.code, scene.count(PUSHED).await), (Some(0), 1), "{}", said.stderr);
    let said = scene.nerve.tell(&["deregister", "job"]).await;
    assert_eq!((said.code, scene.count(PUSHED).await), (Some(0), 0), "{}", said.stderr);
}

#[tokio::test]
async fn what_was_pushed_outlives_kill_9() {
    let scene = Scene::new(json!({})).await;
    let definition = noop(&scene.zk, PUSHED).to_string();
    let put = "/v1/services/job?ttl=60s";
    let (status, body) = scene.ask("PUT", put, &["-d", &definition]).await;
    assert_eq!(status, 200, "{body}");
    let pushed = until_nodes(&scene.client, PUSHED, 1).await;
    let begun = SystemTime::now();
    let (status, body) = scene.ask("POST", "/v1/services/web/down?for=6s", &[]).await;
    assert_eq!((status, scene.count(PATH).await), (200, 0), "{body}");
    let Scene { client, mut nerve, .. } = scene;
    // Never in the registry in between, and the pushed one never out of it.
    let watched = async {
        while begun.elapsed().expect("no jump") < Duration::from_millis(5500) {
            assert!(nodes(&client, PATH).await.is_empty(), "it blinked");
            assert_eq!(nodes(&client, PUSHED).await, pushed, "the pushed one blinked");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let restarted = async {
        for _ in 0..3 {
            nerve.kill9().await;
            nerve = nerve.again().until_listening().await;
            nerve.until_ready().await;
            let web = nerve.service("web").await;
            assert_eq!(web["state"], "MAINT", "{web}");
        }
        nerve
    };
    let ((), nerve) = tokio::join!(watched, restarted);
    // The downtime ends when it was to end.
    until_nodes(&client, PATH, 1).await;
    let lasted = begun.elapsed().expect("no jump");
    assert!(lasted > Duration::from_secs(6) && lasted < Duration::from_secs(8), "{lasted:?}");
    let said = nerve.tell(&["deregister", "job"]).await;
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    assert!(nodes(&client, PUSHED).await.is_empty());
}
