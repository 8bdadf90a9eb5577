//! SIGHUP, and the signals that end the process.

use std::net::SocketAddr;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use crate::support::client::{Conn, get, sequence};
use crate::support::lab::Lab;
use crate::support::load::Load;
use crate::support::origin::Origin;
use crate::support::registry::Registrations;
use crate::support::synapse::{Synapse, config, fixed, listener};
use crate::support::wait::{always, eventually};
use crate::support::zookeeper::Zk;

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
async fn another_source_leaves_the_set_until_it_speaks() {
    let lab = Lab::new().await;
    let (a, b) = (lab.origin("A").await, lab.origin("B").await);
    let front = lab.free_addr();
    let record = |o: &Origin| json!([{"name": o.name(), "host": o.addr().ip().to_string(), "port": o.port()}]);
    let first = lab.write("a.json", &record(&a).to_string());
    let second = lab.write("b.json", &record(&b).to_string());
    let service = |discovery: Value| {
        config(json!({"web": {"discovery": discovery, "haproxy": listener(front, "http", &[])}}))
    };
    let nobody = lab.free_addr();
    let silent = json!({"method": "zookeeper", "hosts": [nobody.to_string()], "path": "/x"});
    let synapse = lab.synapse(service(json!({"method": "file", "path": first}))).await;
    eventually("A serves", PATIENCE, || get(front, "/")).await;
    synapse.rewrite(&lab, service(silent));
    assert!(synapse.reload().await);
    always("A goes on", Duration::from_millis(500), || async {
        let text = get(front, "/").await?.text();
        if text == "A" { Ok(()) } else { Err(text) }
    })
    .await;
    assert!(synapse.metrics().await.contains("synapse_registry_connected"));
    synapse.rewrite(&lab, service(json!({"method": "file", "path": second})));
    assert!(synapse.reload().await);
    eventually("B serves", PATIENCE, || async {
        let text = get(front, "/").await?.text();
        if text == "B" { Ok(()) } else { Err(text) }
    })
    .await;
    let metrics = synapse.metrics().await;
    assert!(!metrics.contains("synapse_registry_connected{"), "the session is closed: {metrics}");
}

#[tokio::test]
async fn a_reload_leaves_sessions_and_generator_configs_alone() {
    let lab = Lab::new().await;
    let zk = Zk::standalone();
    let registrations = Registrations::connect(&zk.connect_string()).await;
    let (a, b) = (lab.origin("A").await, lab.origin("B").await);
    let (front, other) = (lab.free_addr(), lab.free_addr());
    registrations.path("/a").await;
    registrations.path("/b").await;
    registrations.nerve("/a", &a).await;
    registrations.nerve("/b", &b).await;
    let generator = json!({"haproxy": listener(front, "http", &["timeout server 200ms"])});
    registrations.set("/a", generator.to_string().as_bytes()).await;
    let service = |path: &str, front| {
        json!({
            "discovery": {"method": "zookeeper", "hosts": [zk.connect_string()], "path": path},
            "haproxy": listener(front, "http", &[])
        })
    };
    let one = config(json!({"a": service("/a", front)}));
    let two = config(json!({"a": service("/a", front), "b": service("/b", other)}));
    let synapse = lab.synapse(one.clone()).await;
    let is_generated = || async {
        match get(front, "/slow/600").await?.status {
            504 => Ok(()),
            other => Err(other.to_string()),
        }
    };
    eventually("the generator config is in force", PATIENCE, is_generated).await;
    for (file, services) in [(two, 2), (one, 1)] {
        synapse.rewrite(&lab, file);
        assert!(synapse.reload().await);
        is_generated().await.expect("still in force");
        if services == 2 {
            eventually("b serves", PATIENCE, || async {
                let text = sequence(other, 2).await;
                if text == "BB" { Ok(()) } else { Err(text) }
            })
            .await;
        }
        let metrics = synapse.metrics().await;
        let sessions = metrics.lines().find(|l| l.starts_with("synapse_registry_sessions_total{"));
        assert!(sessions.is_some_and(|l| l.ends_with(" 1")), "{sessions:?}");
    }
}

#[tokio::test]
async fn a_refused_generator_config_survives_a_reload_and_the_file_wins_an_address() {
    let lab = Lab::new().await;
    let zk = Zk::standalone();
    let registrations = Registrations::connect(&zk.connect_string()).await;
    let (a, b) = (lab.origin("A").await, lab.origin("B").await);
    let (front, moved, other) = (lab.free_addr(), lab.free_addr(), lab.free_addr());
    registrations.path("/a").await;
    registrations.nerve("/a", &a).await;
    let web = json!({
        "discovery": {"method": "zookeeper", "hosts": [zk.connect_string()], "path": "/a"},
        "haproxy": listener(front, "http", &[])
    });
    let synapse = lab.synapse(config(json!({"web": web}))).await;
    let serves = |addr: SocketAddr, want: &'static str| async move {
        let text = get(addr, "/").await?.text();
        if text == want { Ok(()) } else { Err(text) }
    };
    let good = json!({"haproxy": listener(moved, "http", &[])}).to_string();
    registrations.set("/a", good.as_bytes()).await;
    eventually("the generator's address", PATIENCE, || serves(moved, "A")).await;
    registrations.set("/a", b"not json").await;
    logged(&synapse, "generator config refused").await;

    // Somebody else is added: the last good one stays in force, the refusal stays shown.
    let file = json!({"web": web, "other": http(other, &b)});
    synapse.rewrite(&lab, config(file));
    assert!(synapse.reload().await);
    serves(other, "B").await.expect("added");
    serves(moved, "A").await.expect("still in force");
    let refused = synapse.service("web").await["refused_config"].to_string();
    assert!(refused.contains("is not JSON"), "{refused}");

    // The file gives the generator's address to another service: connections there meet the other one.
    let file = json!({"web": web, "other": http(moved, &b)});
    synapse.rewrite(&lab, config(file));
    assert!(synapse.reload().await);
    eventually("the file's owner serves", PATIENCE, || serves(moved, "B")).await;
    serves(front, "A").await.expect("back to the file");
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
async fn an_added_service_that_hears_nobody_does_not_make_the_process_unready() {
    let lab = Lab::new().await;
    let a = lab.origin("A").await;
    let (front, other) = (lab.free_addr(), lab.free_addr());
    let synapse = lab.synapse(config(json!({"web": http(front, &a)}))).await;
    let nobody = lab.free_addr();
    let silent = json!({
        "discovery": {"method": "zookeeper", "hosts": [nobody.to_string()], "path": "/x"},
        "haproxy": listener(other, "http", &[])
    });
    synapse.rewrite(&lab, config(json!({"web": http(front, &a), "silent": silent})));
    assert!(synapse.reload().await);
    assert_eq!(get(synapse.admin(), "/ready").await.expect("admin").status, 200);
    assert_eq!(get(other, "/").await.expect("it listens").status, 503);
}

/// A synapse with one request held by its backend.
async fn held(lab: &Lab, file: impl FnOnce(Value) -> Value) -> (Synapse, Origin) {
    let a = lab.origin("A").await;
    let front = lab.free_addr();
    let synapse = lab.synapse(file(config(json!({"web": http(front, &a)})))).await;
    tokio::spawn(get(front, "/hold"));
    eventually("it is held", PATIENCE, || async {
        if a.held() == 1 { Ok(()) } else { Err(a.held()) }
    })
    .await;
    (synapse, a)
}

#[tokio::test]
async fn a_second_signal_stops_at_once() {
    for (first, second) in [(Signal::TERM, Signal::TERM), (Signal::USR1, Signal::INT)] {
        let lab = Lab::new().await;
        let (mut synapse, _a) = held(&lab, |file| file).await;
        synapse.signal(first);
        eventually("it stops softly", PATIENCE, || async {
            if synapse.log().contains("draining connections") { Ok(()) } else { Err(synapse.log()) }
        })
        .await;
        let asked = Instant::now();
        synapse.signal(second);
        assert_eq!(synapse.ended().await.code(), Some(0));
        assert!(asked.elapsed() < Duration::from_secs(3), "{:?}", asked.elapsed());
        logged(&synapse, "stopping at once").await;
    }
}

#[tokio::test]
async fn a_soft_stop_is_bounded_by_haproxys_line_and_the_native_key_even_reloaded() {
    let lab = Lab::new().await;
    let line = |mut file: Value| {
        file["haproxy"]["global"] = json!(["hard-stop-after 300ms"]);
        file
    };
    let (mut synapse, _a) = held(&lab, line).await;
    let asked = Instant::now();
    synapse.signal(Signal::USR1);
    assert_eq!(synapse.ended().await.code(), Some(0));
    assert!(asked.elapsed() >= Duration::from_millis(300), "{:?}", asked.elapsed());
    assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
    logged(&synapse, "cut=1").await;

    let (mut synapse, _b) = held(&lab, |file| file).await;
    let mut file = config(json!({}));
    file["hard_stop_after"] = json!("200ms");
    synapse.rewrite(&lab, file);
    assert!(synapse.reload().await);
    let asked = Instant::now();
    synapse.signal(Signal::TERM);
    assert_eq!(synapse.ended().await.code(), Some(0));
    assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
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
