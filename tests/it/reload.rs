//! SIGHUP, and the signals that end the process.

mod discovery;
mod memory;
mod policy;
mod signals;

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::support::client::{Conn, get};
use crate::support::lab::Lab;
use crate::support::load::Load;
use crate::support::origin::Origin;
use crate::support::synapse::{Synapse, config, fixed};
use crate::support::wait::{always, eventually};

const PATIENCE: Duration = Duration::from_secs(10);

fn http(front: SocketAddr, origin: &Origin) -> Value {
    fixed(front, "http", &[], &[(origin.name(), origin.addr(), "")])
}

/// A sample of `/metrics` with this name and these labels.
async fn sample(synapse: &Synapse, name: &str, service: &str) -> Option<f64> {
    let start = format!("{name}{{service=\"{service}\"}} ");
    let metrics = synapse.metrics().await;
    let value = metrics.lines().find_map(|l| l.strip_prefix(&start))?;
    value.parse().ok()
}

/// The log comes through a pipe: what has been said may still be on its way.
async fn logged(synapse: &Synapse, part: &str) {
    eventually(part, PATIENCE, || async {
        let log = synapse.log();
        if log.contains(part) { Ok(()) } else { Err(log) }
    })
    .await;
}

async fn refuses(addr: SocketAddr) -> Result<(), String> {
    match Conn::open(addr).await {
        Ok(_) => Err("connected".into()),
        Err(said) if said.contains("refused") => Ok(()),
        Err(said) => Err(said),
    }
}

#[tokio::test]
async fn fifty_reloads_of_one_of_twenty_services_are_not_noticed_by_the_others() {
    let lab = Lab::new().await;
    let (a, db) = (lab.origin("A").await, lab.tcp_origin("T").await);
    let fronts: Vec<_> = (0..20).map(|_| lab.free_addr()).collect();
    let services = |with_last: bool| {
        let mut services = Map::new();
        let db = fixed(fronts[0], "tcp", &[], &[("T", db.addr(), "")]);
        services.insert("db".into(), db);
        let count = if with_last { 20 } else { 19 };
        for (index, front) in fronts.iter().enumerate().take(count).skip(1) {
            services.insert(format!("web{index}"), http(*front, &a));
        }
        config(Value::Object(services))
    };
    let synapse = lab.synapse(services(true)).await;
    let mut db = Conn::open(fronts[0]).await.expect("connect");
    assert_eq!(db.line().await.expect("greeting"), "T");
    let mut kept = Conn::open(fronts[1]).await.expect("connect");
    kept.get("/").await.expect("answer");
    let loads: Vec<_> = fronts[2..6].iter().map(|f| Load::start(*f, 50)).collect();
    let mut counted = 0.0;
    for round in 0..50 {
        let with_last = round % 2 == 1;
        synapse.rewrite(&lab, services(with_last));
        assert!(synapse.reload().await, "refused: {}", synapse.log());
        if with_last {
            assert_eq!(get(fronts[19], "/").await.expect("added").text(), "A");
        } else {
            refuses(fronts[19]).await.expect("removed");
            let gone = sample(&synapse, "synapse_connections_total", "web19").await;
            assert_eq!(gone, None, "its metrics are gone");
        }
        let now = sample(&synapse, "synapse_connections_total", "web2").await;
        let now = now.expect("it is there");
        assert!(now >= counted, "{now} after {counted}");
        counted = now;
        // The very same connections.
        db.send(b"x\n").await.expect("send");
        assert_eq!(db.line().await.expect("echo"), "x");
        assert_eq!(kept.get("/").await.expect("kept").text(), "A");
    }
    for load in loads {
        load.stop().await.assert_no_failure();
    }
    assert!(counted > 10.0, "{counted}");
    assert_eq!(synapse.metric("synapse_config_reloads_total").await, 50.0);
    assert_eq!(synapse.metric("synapse_config_on_disk_differs").await, 0.0);
}

#[tokio::test]
async fn a_broken_file_changes_nothing_and_says_everything() {
    let lab = Lab::new().await;
    let (a, b) = (lab.origin("A").await, lab.origin("B").await);
    let (front, other, taken) = (lab.free_addr(), lab.free_addr(), lab.free_addr());
    let synapse = lab.synapse(config(json!({"web": http(front, &a)}))).await;
    let mut kept = Conn::open(front).await.expect("connect");
    kept.get("/").await.expect("answer");
    let _somebody = std::net::TcpListener::bind(taken).expect("bind");
    let mut two_mistakes = config(json!({"web": http(front, &b), "more": http(other, &b)}));
    two_mistakes["services"]["web"]["haproxy"]["listen"] = json!(["mode carrier-pigeon"]);
    two_mistakes["services"]["more"]["discovery"] = json!({"method": "telepathy"});
    let no_address = config(json!({
        "web": http(front, &b), "more": http(other, &b), "x": http(taken, &b)
    }));
    let cases = [
        ("{\"services\": ".to_owned(), vec!["synapse.conf.json"]),
        (two_mistakes.to_string(), vec!["carrier-pigeon", "telepathy"]),
        (no_address.to_string(), vec!["address already in use"]),
    ];
    for (text, parts) in cases {
        // The admin address has to stay what it is.
        let text = text.replacen(
            '{',
            &format!("{{\"admin\": {{\"listen\": \"{}\"}}, ", synapse.admin()),
            1,
        );
        synapse.rewrite_text(&text);
        assert!(!synapse.reload().await, "taken: {text}");
        for part in parts {
            logged(&synapse, part).await;
        }
        logged(&synapse, "nothing has changed").await;
        assert_eq!(synapse.metric("synapse_config_on_disk_differs").await, 1.0);
        refuses(other).await.expect("nothing was added");
        assert_eq!(kept.get("/").await.expect("kept").text(), "A");
        assert_eq!(get(front, "/").await.expect("new").text(), "A");
        assert_eq!(get(synapse.admin(), "/ready").await.expect("admin").status, 200);
    }
    synapse.rewrite(&lab, config(json!({"web": http(front, &b)})));
    assert!(synapse.reload().await);
    assert_eq!(synapse.metric("synapse_config_on_disk_differs").await, 0.0);
    eventually("the good file is in force", PATIENCE, || async {
        match get(front, "/").await?.text().as_str() {
            "B" => Ok(()),
            other => Err(other.to_owned()),
        }
    })
    .await;
}

#[tokio::test]
async fn settings_change_under_open_connections() {
    let lab = Lab::new().await;
    let a = lab.origin("A").await;
    let front = lab.free_addr();
    let service = |lines: &[&str]| {
        config(json!({"web": fixed(front, "http", lines, &[("A", a.addr(), "")])}))
    };
    let synapse = lab.synapse(service(&[])).await;
    let mut kept = Conn::open(front).await.expect("connect");
    assert_eq!(kept.get("/slow/500").await.expect("answer").status, 200);
    synapse.rewrite(&lab, service(&["timeout server 100ms"]));
    assert!(synapse.reload().await);
    assert_eq!(kept.get("/").await.expect("the same connection").status, 200);
    assert_eq!(kept.get("/slow/500").await.expect("answer").status, 504);
}

#[tokio::test]
async fn a_renamed_service_takes_the_port_without_a_refusal() {
    let lab = Lab::new().await;
    let (a, b) = (lab.origin("A").await, lab.origin("B").await);
    let front = lab.free_addr();
    let synapse = lab.synapse(config(json!({"old": http(front, &a)}))).await;
    let asking = tokio::spawn(async move {
        let mut seen = String::new();
        while !seen.ends_with("BBB") {
            seen += &get(front, "/").await.expect("no request fails").text();
        }
        seen
    });
    eventually("the old one is asked", PATIENCE, || async {
        if a.requests() > 10 { Ok(()) } else { Err(a.requests()) }
    })
    .await;
    synapse.rewrite(&lab, config(json!({"new": http(front, &b)})));
    assert!(synapse.reload().await);
    let seen = asking.await.expect("no failure");
    assert!(seen.starts_with("AAA"), "{seen}");
}

#[tokio::test]
async fn a_listener_moves_and_common_addresses_stay() {
    let lab = Lab::new().await;
    let a = lab.tcp_origin("A").await;
    let (first, second) = (lab.free_addr(), lab.free_addr());
    let service = |front| config(json!({"db": fixed(front, "tcp", &[], &[("A", a.addr(), "")])}));
    let synapse = lab.synapse(service(first)).await;
    let mut long = Conn::open(first).await.expect("connect");
    long.line().await.expect("greeting");
    synapse.rewrite(&lab, service(second));
    assert!(synapse.reload().await);
    refuses(first).await.expect("the old address is closed");
    let mut conn = Conn::open(second).await.expect("the new one is open");
    assert_eq!(conn.line().await.expect("greeting"), "A");
    long.send(b"still\n").await.expect("send");
    assert_eq!(long.line().await.expect("echo"), "still");
    let count = synapse.service("db").await["listen"].as_array().map(Vec::len);
    assert_eq!(count, Some(1));
}

#[tokio::test]
async fn a_removed_service_finishes_what_it_has_begun() {
    let lab = Lab::new().await;
    let (a, b) = (lab.origin("A").await, lab.origin("B").await);
    let (front, other) = (lab.free_addr(), lab.free_addr());
    let both = json!({"web": http(front, &a), "other": http(other, &b)});
    let synapse = lab.synapse(config(both)).await;
    let held = tokio::spawn(get(front, "/hold"));
    eventually("it is held", PATIENCE, || async {
        if a.held() == 1 { Ok(()) } else { Err(a.held()) }
    })
    .await;
    synapse.rewrite(&lab, config(json!({"other": http(other, &b)})));
    assert!(synapse.reload().await);
    refuses(front).await.expect("closed");
    assert_eq!(get(synapse.admin(), "/services/web").await.expect("admin").status, 404);
    a.release(1);
    assert_eq!(held.await.expect("no panic").expect("answer").text(), "A");
}

#[tokio::test]
async fn what_needs_a_restart_is_named_and_the_rest_applies() {
    let lab = Lab::new().await;
    let (a, b) = (lab.origin("A").await, lab.origin("B").await);
    let (front, other) = (lab.free_addr(), lab.free_addr());
    let synapse = lab.synapse(config(json!({"web": http(front, &a)}))).await;
    let mut file = config(json!({"web": http(front, &a), "more": http(other, &b)}));
    file["workers"] = json!(3);
    synapse.rewrite(&lab, file);
    assert!(synapse.reload().await);
    assert_eq!(get(other, "/").await.expect("added").text(), "B");
    logged(&synapse, "workers: the new value needs a restart").await;
    assert_eq!(synapse.metric("synapse_config_on_disk_differs").await, 1.0);
    synapse.rewrite(&lab, config(json!({"web": http(front, &a)})));
    assert!(synapse.reload().await);
    assert_eq!(synapse.metric("synapse_config_on_disk_differs").await, 0.0);
}

#[tokio::test]
async fn threads_show_that_they_live() {
    let lab = Lab::new().await;
    let a = lab.origin("A").await;
    let synapse = lab.synapse(config(json!({"web": http(lab.free_addr(), &a)}))).await;
    always("everybody lives", Duration::from_millis(2_500), || async {
        let metrics = synapse.metrics().await;
        let silent: Vec<f64> = metrics
            .lines()
            .filter(|l| {
                l.starts_with("synapse_worker_silent") || l.starts_with("synapse_control_silent")
            })
            .filter_map(|l| l.rsplit(' ').next()?.parse().ok())
            .collect();
        if silent.len() == 3 && silent.iter().all(|s| *s < 3.0) { Ok(()) } else { Err(silent) }
    })
    .await;
    assert_eq!(synapse.metric("synapse_control_stalls_total").await, 0.0);
}
