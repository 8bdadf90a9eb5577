//! Last known good: what a start knows while discovery is silent.

use std::net::SocketAddr;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::support::client::{get, sequence};
use crate::support::lab::Lab;
use crate::support::origin::Origin;
use crate::support::registry::Registrations;
use crate::support::synapse::{Synapse, config, is_release, listener, run};
use crate::support::wait::{always, eventually};
use crate::support::zookeeper::Zk;

const PATIENCE: Duration = Duration::from_secs(15);
const PATH: &str = "/nerve/services/web";
/// From `exec` to the first answer.
const FIRST_ANSWER: Duration = Duration::from_secs(1);

fn web(hosts: &str, front: SocketAddr) -> Value {
    config(json!({"web": {
        "discovery": {"method": "zookeeper", "hosts": [hosts], "path": PATH},
        "haproxy": listener(front, "http", &[])
    }}))
}

/// Nobody listens there.
fn nowhere(lab: &Lab) -> String {
    lab.free_addr().to_string()
}

async fn kill9(mut synapse: Synapse) {
    synapse.signal(Signal::KILL);
    synapse.ended().await;
}

/// Waits until the file of the service contains `text`.
async fn until_saved(lab: &Lab, text: &str) {
    let file = lab.dir().join("state/last-known/web.json");
    eventually("the set is saved", PATIENCE, || async {
        let saved = std::fs::read_to_string(&file).map_err(|e| e.to_string())?;
        if saved.contains(text) { Ok(()) } else { Err(saved) }
    })
    .await;
}

/// The first thing that an HTTP client hears, and when.
async fn first_answer(front: SocketAddr, begun: Instant) -> (u16, String, Duration) {
    eventually("an answer", PATIENCE, || async {
        let answer = get(front, "/").await?;
        Ok::<_, String>((answer.status, answer.text(), begun.elapsed()))
    })
    .await
}

async fn all_serve(front: SocketAddr) -> Result<(), String> {
    let seen = sequence(front, 3).await;
    let all = "ABC".chars().all(|name| seen.contains(name));
    if all { Ok(()) } else { Err(seen) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn timed_killed_without_zookeeper_and_started_again_it_serves_all_backends_at_once() {
    let lab = Lab::alone().await;
    let zk = Zk::standalone();
    let registrations = Registrations::connect(&zk.connect_string()).await;
    registrations.path(PATH).await;
    let (a, b, c) = (lab.origin("A").await, lab.origin("B").await, lab.origin("C").await);
    for origin in [&a, &b, &c] {
        registrations.nerve(PATH, origin).await;
    }
    let front = lab.free_addr();
    let config = web(&zk.connect_string(), front);
    let synapse = lab.synapse(config.clone()).await;
    eventually("all serve", PATIENCE, || all_serve(front)).await;
    until_saved(&lab, &format!("\"port\":{}", c.port())).await;
    assert_eq!(synapse.service("web").await["stale"], Value::Null);
    zk.kill9();
    kill9(synapse).await;

    let begun = Instant::now();
    let (synapse, first) = tokio::join!(lab.synapse_unready(config), first_answer(front, begun));
    let (status, _, took) = first;
    println!("{took:?} from exec to the first answer");
    assert_eq!(status, 200, "not one request is refused");
    if is_release() {
        assert!(took <= FIRST_ANSWER, "{took:?}");
    }
    all_serve(front).await.expect("the whole last set, in turn");
    shows_stale(&synapse).await;

    // Back with other members: the last known ones give way.
    zk.restart();
    let registrations = Registrations::connect(&zk.connect_string()).await;
    for name in registrations.children(PATH).await.expect("kept") {
        registrations.delete(&format!("{PATH}/{name}")).await;
    }
    registrations.nerve(PATH, &b).await;
    eventually("only B serves, confirmed", PATIENCE, || async {
        let seen = sequence(front, 4).await;
        let stale = synapse.service("web").await["stale"].clone();
        if seen == "BBBB" && stale.is_null() { Ok(()) } else { Err((seen, stale)) }
    })
    .await;
    let metrics = synapse.metrics().await;
    assert!(metrics.contains("synapse_discovery_stale{service=\"web\"} 0\n"));
    assert_eq!(get(synapse.admin(), "/ready").await.expect("admin").text(), "ready\n");
}

/// Every place where somebody may look says it, and that it is no reason to panic.
async fn shows_stale(synapse: &Synapse) {
    let service = synapse.service("web").await;
    let age = service["stale"]["age_s"].as_f64().expect("an age");
    assert!((0.0..600.0).contains(&age), "{age}");
    assert_eq!(service["stale"]["from"], "state_dir");
    assert_eq!(service["state"], "UP");
    let metrics = synapse.metrics().await;
    for line in [
        "synapse_discovery_stale{service=\"web\"} 1",
        "synapse_discovery_pending{service=\"web\"} 1",
        "synapse_discovery_stale_age_seconds{service=\"web\"} ",
    ] {
        assert!(metrics.contains(line), "{line}: {metrics}");
    }
    let ready = get(synapse.admin(), "/ready").await.expect("admin");
    assert_eq!(ready.status, 200, "{}", ready.text());
    assert!(ready.text().contains("service web: stale: last known backends"), "{}", ready.text());
    let text = get(synapse.admin(), "/services?format=text").await.expect("admin");
    assert!(text.text().contains("stale: last known backends"), "{}", text.text());
    assert!(synapse.log().contains("serving last known backends"));
}

/// A file source as last known: no ZooKeeper needed to make a state.
async fn remembered(lab: &Lab, origin: &Origin, front: SocketAddr, list: &str) -> Value {
    let record = json!([{"name": origin.name(), "host": origin.addr().ip().to_string(), "port": origin.port()}]);
    let path = lab.write(list, &record.to_string());
    let config = config(json!({"web": {
        "discovery": {"method": "file", "path": path},
        "haproxy": listener(front, "http", &[])
    }}));
    let synapse = lab.synapse(config.clone()).await;
    until_saved(lab, &format!("\"port\":{}", origin.port())).await;
    kill9(synapse).await;
    config
}

#[tokio::test]
async fn a_damaged_or_foreign_file_is_refused_and_never_fatal() {
    let lab = Lab::new().await;
    let a = lab.origin("A").await;
    let front = lab.free_addr();
    let config = remembered(&lab, &a, front, "backends.json").await;
    // The list is unreadable now: only the last known set could serve.
    lab.write("backends.json", "[{");
    let file = lab.dir().join("state/last-known/web.json");
    let good = std::fs::read(&file).expect("saved");

    let synapse = lab.synapse(config.clone()).await;
    assert_eq!(sequence(front, 3).await, "AAA");
    kill9(synapse).await;

    let mut damaged = good.clone();
    let last = damaged.len() - 10;
    damaged[last] ^= 1;
    for bytes in [damaged, good[..good.len() / 2].to_vec(), Vec::new(), vec![0xff; 4096]] {
        std::fs::write(&file, &bytes).expect("write");
        refuses(&lab, config.clone(), front, "corrupt").await;
        assert_eq!(std::fs::read(&file).expect("there"), bytes, "left for whoever looks");
    }

    std::fs::write(&file, &good).expect("write");
    let mut elsewhere = config;
    elsewhere["services"]["web"]["discovery"]["path"] = json!(lab.write("other.json", "[{"));
    refuses(&lab, elsewhere, front, "foreign").await;
}

/// Runs, without backends, and says why.
async fn refuses(lab: &Lab, config: Value, front: SocketAddr, reason: &str) {
    let synapse = lab.synapse_unready(config).await;
    always("nobody serves", Duration::from_millis(300), || async {
        match get(front, "/").await {
            Ok(answer) if answer.status == 503 => Ok(()),
            said => Err(said),
        }
    })
    .await;
    assert!(synapse.log().contains("last known backends refused"), "{}", synapse.log());
    let line = format!("synapse_last_known_refused_total{{reason=\"{reason}\"}} 1\n");
    let metrics = synapse.metrics().await;
    assert!(metrics.contains(&line), "{line}: {metrics}");
    assert!(metrics.contains("synapse_discovery_stale{service=\"web\"} 0\n"));
    kill9(synapse).await;
}

#[tokio::test]
async fn the_state_file_of_the_original_seeds_the_first_start() {
    let lab = Lab::new().await;
    let (a, b) = (lab.origin("A").await, lab.origin("B").await);
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .expect("after 1970")
        .as_secs();
    let entry = |origin: &Origin, age: u64| {
        json!({
            "timestamp": now - age, "haproxy_server_id": 1, "name": origin.name(),
            "host": origin.addr().ip().to_string(), "port": origin.port(), "id": 1, "weight": null,
            "haproxy_server_options": null, "labels": null
        })
    };
    let state = json!({"web": {
        "a": entry(&a, 30), "gone": entry(&b, 90), "watcher_config_for_generator": {"port": 1}
    }});
    let path = lab.write("synapse-state.json", &format!("{state:#}"));
    let front = lab.free_addr();
    let mut config = web(&nowhere(&lab), front);
    config["haproxy"]["state_file_path"] = json!(path);
    config["haproxy"]["state_file_ttl"] = json!(3600);
    let synapse = lab.synapse(config.clone()).await;
    assert_eq!(sequence(front, 3).await, "AAA", "B was gone when the original last wrote");
    let stale = synapse.service("web").await["stale"].clone();
    assert_eq!(stale["from"], "state_file_path");
    assert!((30.0..90.0).contains(&stale["age_s"].as_f64().expect("an age")), "{stale}");
    synapse.stop().await;
    assert_eq!(
        std::fs::read_to_string(&path).expect("there"),
        format!("{state:#}"),
        "never written"
    );

    config["haproxy"]["state_file_ttl"] = json!(10);
    let synapse = lab.synapse_unready(config).await;
    assert_eq!(get(front, "/").await.expect("an answer").status, 503, "too old");
    synapse.stop().await;
}

#[tokio::test]
async fn a_state_dir_that_cannot_be_used_is_a_warning() {
    let lab = Lab::new().await;
    let a = lab.origin("A").await;
    let record = json!([{"host": a.addr().ip().to_string(), "port": a.port()}]);
    let path = lab.write("backends.json", &record.to_string());
    let front = lab.free_addr();
    let mut config = config(json!({"web": {
        "discovery": {"method": "file", "path": path},
        "haproxy": listener(front, "http", &[])
    }}));
    config["state_dir"] = json!(lab.write("occupied", "a file"));
    let synapse = lab.synapse(config).await;
    assert_eq!(sequence(front, 2).await, "AA");
    assert!(synapse.log().contains("state_dir cannot be used"), "{}", synapse.log());
}

#[tokio::test]
async fn check_shows_where_the_state_is_kept() {
    let lab = Lab::new().await;
    let mut config = web("zk:2181", lab.free_addr());
    config["state_dir"] = json!("/run/here");
    config["haproxy"]["state_file_path"] = json!("/run/there.json");
    let file = lab.write("synapse.json", &config.to_string());
    let output = run("synapse", &["check", "-c", file.to_str().expect("UTF-8")], &[]).await;
    assert_eq!(output.code, Some(0), "{}", output.stderr);
    for part in ["/run/here", "/run/there.json", "state_file_ttl", "86400s"] {
        assert!(output.stdout.contains(part), "{part}: {}", output.stdout);
    }
}
