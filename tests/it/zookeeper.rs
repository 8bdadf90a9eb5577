//! Discovery in a real ZooKeeper, in good days and bad.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::json;

use crate::support::client::{get, sequence};
use crate::support::load::Load;
use crate::support::oracle::need;
use crate::support::origin::Origin;
use crate::support::registry::Registrations;
use crate::support::scene::Scene;
use crate::support::synapse::listener;
use crate::support::wait::eventually;
use crate::support::zookeeper::Zk;

const PATIENCE: Duration = Duration::from_secs(15);
const PATH: &str = Scene::PATH;

#[tokio::test]
async fn creates_and_deletes_are_seen() {
    let scene = Scene::new().await;
    let (a, b) = (scene.lab.origin("A").await, scene.lab.origin("B").await);
    scene.registrations.nerve(PATH, &a).await;
    let _synapse = scene.synapse(|_| ()).await;
    scene.until_serves("A").await;
    let node = scene.registrations.nerve(PATH, &b).await;
    scene.until_serves("AB").await;
    scene.registrations.delete(&node).await;
    scene.until_serves("A").await;
}

#[tokio::test]
async fn all_three_formats_are_read() {
    let scene = Scene::new().await;
    let (a, b) = (scene.lab.origin("A").await, scene.lab.origin("B").await);
    scene.registrations.nerve(PATH, &a).await;
    scene.registrations.path_encoded(PATH, &b).await;
    let _synapse = scene.synapse(|_| ()).await;
    scene.until_serves("AB").await;

    let scene = Scene::new().await;
    let c = scene.lab.origin("C").await;
    scene.registrations.server_set(PATH, &c, "http").await;
    let _synapse = scene
        .synapse(|s| {
            s["discovery"]["decode"] = json!({"method": "serverset", "endpoint_name": "http"});
        })
        .await;
    scene.until_serves("C").await;
}

#[tokio::test]
async fn malformed_children_are_shown_and_the_others_used() {
    let scene = Scene::new().await;
    scene.nerve("A").await;
    for (name, data) in [
        ("torn", "{\"host\": \"10."),
        ("list", "[1, 2]"),
        ("portless", "{\"host\": \"10.0.0.1\"}"),
        ("hostless", "{\"port\": 80}"),
        ("far", "{\"host\": \"10.0.0.1\", \"port\": 99999}"),
        ("empty", ""),
        ("binary", "\u{0}\u{1}\u{2}"),
        ("base64_999_e30=_0000000001", ""),
    ] {
        scene.registrations.create_named(&format!("{PATH}/{name}"), data.as_bytes()).await;
    }
    let synapse = scene.synapse(|_| ()).await;
    scene.until_serves("A").await;
    let shown = synapse.service("web").await.to_string();
    for name in ["torn", "list", "portless", "hostless", "far", "empty", "binary"] {
        assert!(shown.contains(name), "{name} in {shown}");
    }
    scene.registrations.set(&format!("{PATH}/torn"), b"{}").await;
    scene.nerve("B").await;
    scene.until_serves("AB").await;
    let named = synapse.log().matches("portless").count();
    assert_eq!(named, 1, "named once, not at each read:\n{}", synapse.log());
}

#[tokio::test]
async fn a_name_in_a_registration_is_resolved() {
    let scene = Scene::new().await;
    let local = Origin::everywhere("L").await;
    let data = json!({"host": "localhost", "port": local.port(), "name": "L"});
    scene.registrations.create(PATH, "L_", data.to_string().as_bytes()).await;
    let unknown = json!({"host": "does-not-exist.invalid", "port": 80, "name": "U"});
    scene.registrations.create(PATH, "U_", unknown.to_string().as_bytes()).await;
    let _synapse = scene.synapse(|_| ()).await;
    eventually("the named one answers", PATIENCE, || async {
        let answer = get(scene.front, "/").await?;
        if answer.text() == "L" { Ok(()) } else { Err(answer.text()) }
    })
    .await;
}

#[tokio::test]
async fn two_thousand_children_are_read_and_followed() {
    let scene = Scene::new().await;
    let a = scene.lab.origin("A").await;
    // Two thousand registrations, all answered by one origin on as many addresses.
    let host = |i: u32| format!("127.0.{}.{}", 100 + i / 250, 1 + i % 250);
    let wide = Origin::everywhere("W").await;
    for i in 0..2_000 {
        let data = json!({"host": host(i), "port": wide.port(), "name": format!("w{i}")});
        scene.registrations.create(PATH, "w_", data.to_string().as_bytes()).await;
    }
    let synapse = scene.synapse(|_| ()).await;
    let known = || async {
        let shown = synapse.service("web").await.to_string();
        Ok::<_, String>(shown.matches(&format!(":{}\"", wide.port())).count())
    };
    eventually("all are known", PATIENCE, || async {
        let n = known().await?;
        if n >= 2_000 { Ok(()) } else { Err(n.to_string()) }
    })
    .await;
    assert_eq!(sequence(scene.front, 100).await, "W".repeat(100));
    let node = scene.registrations.nerve(PATH, &a).await;
    eventually("one more is seen", PATIENCE, || async {
        let shown = synapse.service("web").await.to_string();
        if shown.contains(&format!("A_{}", a.addr())) { Ok(()) } else { Err(shown.len()) }
    })
    .await;
    scene.registrations.delete(&node).await;
    eventually("and gone", PATIENCE, || async {
        let shown = synapse.service("web").await.to_string();
        if shown.contains(&format!("A_{}", a.addr())) { Err(shown.len()) } else { Ok(()) }
    })
    .await;
}

#[tokio::test]
async fn a_path_that_appears_later_is_found_and_never_created_by_us() {
    let scene = Scene::bare().await;
    let synapse = scene.synapse(|_| ()).await;
    assert_eq!(get(scene.front, "/").await.expect("an answer").status, 503);
    assert_eq!(scene.registrations.children("/nerve").await, None, "readers never write");
    scene.registrations.path(PATH).await;
    scene.nerve("A").await;
    scene.until_serves("A").await;
    drop(synapse);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_zookeeper_costs_no_request_and_afterwards_changes_are_seen() {
    let scene = Scene::new().await;
    let b = scene.lab.origin("B").await;
    // A persistent node: it must survive the restart whatever becomes of our own session.
    scene.keep("A").await;
    let _synapse = scene.synapse(|_| ()).await;
    scene.until_serves("A").await;
    let load = Load::start(scene.front, 100);
    scene.zk.kill9();
    scene.always_serves("A", Duration::from_secs(2)).await;
    // The load goes on meanwhile.
    tokio::task::block_in_place(|| scene.zk.restart());
    let registrations = Registrations::connect(&scene.zk.connect_string()).await;
    registrations.keep(PATH, &b).await;
    scene.until_serves("AB").await;
    registrations.delete(&format!("{PATH}/A")).await;
    scene.until_serves("B").await;
    load.stop().await.assert_no_failure();
}

#[tokio::test]
async fn cut_sockets_lose_no_change() {
    let scene = Scene::new().await;
    scene.keep("A").await;
    let _synapse = scene.synapse(|_| ()).await;
    scene.until_serves("A").await;
    for _ in 0..5 {
        cut_sockets(&scene);
        let b = scene.lab.origin("B").await;
        let registrations = Registrations::connect(&scene.zk.connect_string()).await;
        let node = registrations.nerve(PATH, &b).await;
        scene.until_serves("AB").await;
        cut_sockets(&scene);
        let registrations = Registrations::connect(&scene.zk.connect_string()).await;
        if registrations.children(PATH).await.expect("exists").len() > 1 {
            registrations.delete(&node).await;
        }
        scene.until_serves("A").await;
    }
}

/// Destroys every socket to the server, as a firewall that forgets would.
fn cut_sockets(scene: &Scene) {
    need("ss", "iproute2");
    scene.zk.member(0).cut_sockets();
}

#[tokio::test]
async fn a_generator_config_in_the_parents_data_is_followed_live() {
    let scene = Scene::new().await;
    scene.nerve("A").await;
    let _synapse = scene.synapse(|_| ()).await;
    scene.until_serves("A").await;
    assert_eq!(get(scene.front, "/slow/700").await.expect("answer").status, 200);
    let generator =
        |line: &str| json!({"haproxy": listener(scene.front, "http", &[line])}).to_string();
    let slow_answers = |status: u16| async move {
        let answer = get(scene.front, "/slow/700").await?;
        if answer.status == status { Ok(()) } else { Err(answer.status.to_string()) }
    };
    scene.registrations.set(PATH, generator("timeout server 200ms").as_bytes()).await;
    eventually("the shorter timeout holds", PATIENCE, || slow_answers(504)).await;
    for bad in [generator("balance telepathy"), "not json".into(), "[]".into()] {
        scene.registrations.set(PATH, bad.as_bytes()).await;
        scene.always_serves("A", Duration::from_millis(500)).await;
        slow_answers(504).await.expect("the last good one still holds");
    }
    scene.registrations.set(PATH, generator("timeout server 5s").as_bytes()).await;
    eventually("the longer timeout holds", PATIENCE, || slow_answers(200)).await;
}

#[tokio::test]
async fn a_generator_config_may_widen_the_address_on_the_same_port() {
    let scene = Scene::new().await;
    scene.nerve("A").await;
    let synapse = scene.synapse(|_| ()).await;
    scene.until_serves("A").await;
    // Other tests use the lab's ports on other addresses.
    let everywhere = std::net::TcpListener::bind("0.0.0.0:0").expect("a port");
    let port = everywhere.local_addr().expect("its address").port();
    drop(everywhere);
    for host in ["127.0.0.1", "0.0.0.0", "127.0.0.1"] {
        let wanted = format!("{host}:{port}");
        let addr = wanted.parse().expect("an address");
        let generator = json!({"haproxy": listener(addr, "http", &[])}).to_string();
        scene.registrations.set(PATH, generator.as_bytes()).await;
        eventually("it listens there", PATIENCE, || async {
            let web = synapse.service("web").await;
            (web["listen"] == json!([wanted])).then_some(()).ok_or_else(|| web.to_string())
        })
        .await;
        let local = SocketAddr::from(([127, 0, 0, 1], port));
        let answer = get(local, "/").await.expect("an answer");
        assert_eq!(answer.text(), "A");
    }
}

#[tokio::test]
async fn a_generator_config_whose_address_is_taken_is_shown_and_tried_again() {
    let scene = Scene::new().await;
    scene.nerve("A").await;
    let synapse = scene.synapse(|_| ()).await;
    scene.until_serves("A").await;
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let addr = taken.local_addr().expect("its address");
    let generator = json!({"haproxy": listener(addr, "http", &[])}).to_string();
    scene.registrations.set(PATH, generator.as_bytes()).await;
    let refused = format!("cannot listen: {addr}: address already in use");
    eventually("the refusal is shown", PATIENCE, || async {
        let web = synapse.service("web").await;
        (web["refused_config"] == json!([refused])).then_some(()).ok_or_else(|| web.to_string())
    })
    .await;
    scene.serves("A").await.expect("the former stays");
    drop(taken);
    eventually("it listens there", PATIENCE, || async {
        let web = synapse.service("web").await;
        (web["listen"] == json!([addr.to_string()]) && web["refused_config"] == json!([]))
            .then_some(())
            .ok_or_else(|| web.to_string())
    })
    .await;
}

#[tokio::test]
async fn a_generator_config_changes_the_mode_live() {
    let scene = Scene::new().await;
    let db = scene.lab.tcp_origin("T").await;
    scene.registrations.nerve(PATH, &db).await;
    let _synapse = scene.synapse(|_| ()).await;
    let generator = json!({"haproxy": listener(scene.front, "tcp", &[])}).to_string();
    scene.registrations.set(PATH, generator.as_bytes()).await;
    eventually("it speaks TCP now", PATIENCE, || async {
        let mut conn = crate::support::client::Conn::open(scene.front).await?;
        let line = tokio::time::timeout(Duration::from_secs(1), conn.line()).await;
        match line {
            Ok(Ok(line)) if line == "T" => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
}

#[tokio::test]
async fn the_last_backend_is_kept_or_dropped_as_configured() {
    for keep in [true, false] {
        let scene = Scene::new().await;
        let (_, node) = scene.nerve("A").await;
        let _synapse = scene.synapse(|s| s["use_previous_backends"] = json!(keep)).await;
        scene.until_serves("A").await;
        scene.registrations.delete(&node).await;
        if keep {
            scene.always_serves("A", Duration::from_secs(1)).await;
            scene.nerve("B").await;
            scene.until_serves("B").await;
        } else {
            scene.until_unavailable().await;
        }
    }
}

#[tokio::test]
async fn default_servers_answer_when_nothing_is_registered() {
    let scene = Scene::new().await;
    let (a, d) = (scene.lab.origin("A").await, scene.lab.origin("D").await);
    let default = json!([{"name": "D", "host": d.addr().ip().to_string(), "port": d.port()}]);
    let _synapse = scene.synapse(|s| s["default_servers"] = default).await;
    scene.until_serves("D").await;
    let node = scene.registrations.nerve(PATH, &a).await;
    scene.until_serves("A").await;
    scene.registrations.delete(&node).await;
    scene.until_serves("D").await;
}

#[tokio::test]
async fn keep_default_servers_adds_them() {
    let scene = Scene::new().await;
    let (a, d) = (scene.lab.origin("A").await, scene.lab.origin("D").await);
    scene.registrations.nerve(PATH, &a).await;
    let default = json!([{"name": "D", "host": d.addr().ip().to_string(), "port": d.port()}]);
    let _synapse = scene
        .synapse(|s| {
            s["default_servers"] = default;
            s["keep_default_servers"] = json!(true);
        })
        .await;
    scene.until_serves("AD").await;
}

#[tokio::test]
async fn label_filters_let_through_what_they_say() {
    let scene = Scene::new().await;
    for (name, labels) in [
        ("A", json!({"az": "a", "n": 1})),
        ("B", json!({"az": "b", "n": 1})),
        ("C", json!({"az": "a", "n": "1"})),
        ("D", json!({"az": "a"})),
    ] {
        let origin = scene.lab.origin(name).await;
        // The task of an origin lives on without its handle.
        scene.registrations.nerve_with(PATH, &origin, json!({"labels": labels})).await;
    }
    let filters = json!([
        {"label": "az", "value": "a", "condition": "equals"},
        {"label": "n", "value": "1", "condition": "not-equals"}
    ]);
    let _synapse = scene.synapse(|s| s["discovery"]["label_filters"] = filters).await;
    scene.until_serves("AD").await;
}

#[tokio::test]
async fn the_leader_is_the_smallest_id_and_nobody_when_one_has_none() {
    let scene = Scene::new().await;
    let (a, b) = (scene.lab.origin("A").await, scene.lab.origin("B").await);
    let first = scene.registrations.nerve(PATH, &a).await;
    scene.registrations.nerve(PATH, &b).await;
    let _synapse = scene
        .synapse(|s| {
            s["leader_election"] = json!(true);
            s["use_previous_backends"] = json!(false);
        })
        .await;
    scene.until_serves("A").await;
    scene.registrations.delete(&first).await;
    scene.until_serves("B").await;
    let idless = json!({"host": a.addr().ip().to_string(), "port": a.port(), "name": "A"});
    let named = format!("{PATH}/without-a-number");
    scene.registrations.create_named(&named, idless.to_string().as_bytes()).await;
    scene.until_unavailable().await;
    scene.registrations.delete(&named).await;
    scene.until_serves("B").await;
}

#[tokio::test]
async fn the_port_can_be_overridden() {
    let scene = Scene::new().await;
    let a = scene.lab.origin("A").await;
    let data = json!({"host": a.addr().ip().to_string(), "port": 1, "name": "A"});
    scene.registrations.create(PATH, "A_", data.to_string().as_bytes()).await;
    let port = a.port();
    let _synapse = scene.synapse(|s| s["backend_port_override"] = json!(port.to_string())).await;
    scene.until_serves("A").await;
}

#[tokio::test]
async fn nerve_weights_are_used_when_asked_for() {
    let scene = Scene::new().await;
    for (name, weight) in [("A", 5), ("B", 1), ("C", 1)] {
        let origin = scene.lab.origin(name).await;
        scene.registrations.nerve_with(PATH, &origin, json!({"weight": weight})).await;
    }
    let mut config = scene.config(|_| ());
    config["haproxy"]["use_nerve_weights"] = json!(true);
    config["workers"] = json!(1);
    let _synapse = scene.lab.synapse(config).await;
    eventually("the weights' order", PATIENCE, || async {
        let seen = sequence(scene.front, 7).await;
        if seen.matches('A').count() == 5 { Ok(()) } else { Err(seen) }
    })
    .await;
}

#[tokio::test]
async fn a_hostile_ensemble_does_not_touch_another_service() {
    let scene = Scene::new().await;
    scene.nerve("A").await;
    let mut config = scene.config(|_| ());
    let words: [(&str, &[u8]); 4] = [
        ("mute", b""),
        ("chatty", b"HTTP/1.1 400 Bad Request\r\n\r\n"),
        ("huge", b"\x7f\xff\xff\xff"),
        ("negative", b"\xff\xff\xff\xff\xff\xff\xff\xff"),
    ];
    for (name, answer) in words {
        let addr = scene.lab.free_addr();
        let socket = tokio::net::TcpListener::bind(addr).await.expect("bind");
        tokio::spawn(hostile(socket, answer));
        config["services"][name] = json!({
            "discovery": {"method": "zookeeper", "hosts": [addr.to_string()], "path": "/x"},
            "haproxy": listener(scene.lab.free_addr(), "http", &[])
        });
    }
    let synapse = scene.lab.synapse_unready(config).await;
    scene.until_serves("A").await;
    scene.nerve("B").await;
    scene.until_serves("AB").await;
    let ready = get(synapse.admin(), "/ready").await.expect("answer");
    assert_eq!(ready.status, 503);
    for (name, _) in words {
        assert!(ready.text().contains(name), "{name} in {}", ready.text());
    }
    assert!(!synapse.log().contains("panicked"), "{}", synapse.log());
    assert_eq!(synapse.stop().await.code(), Some(0));
}

/// Says `answer` to whoever connects, and nothing more; keeps the connections.
async fn hostile(listener: tokio::net::TcpListener, answer: &'static [u8]) {
    let mut kept = Vec::new();
    while let Ok((mut stream, _)) = listener.accept().await {
        if tokio::io::AsyncWriteExt::write_all(&mut stream, answer).await.is_ok() {
            kept.push(stream);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_a_server_that_hangs_longer_than_the_session_loses_no_change() {
    let scene = Scene::new().await;
    let b = scene.lab.origin("B").await;
    scene.keep("A").await;
    let _synapse = scene.synapse_for_session(2).await;
    scene.until_serves("A").await;
    let load = Load::start(scene.front, 100);
    scene.zk.member(0).stop();
    scene.always_serves("A", Duration::from_secs(6)).await;
    scene.zk.member(0).cont();
    let registrations = Registrations::connect(&scene.zk.connect_string()).await;
    registrations.keep(PATH, &b).await;
    scene.until_serves("AB").await;
    load.stop().await.assert_no_failure();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_each_member_of_an_ensemble_may_die_in_turn() {
    let scene = Scene::of(|| Zk::ensemble(3)).await;
    let b = scene.lab.origin("B").await;
    scene.keep("A").await;
    let _synapse = scene.synapse(|_| ()).await;
    scene.until_serves("A").await;
    let load = Load::start(scene.front, 100);
    for index in 0..3 {
        scene.zk.member(index).kill9();
        let registrations = Registrations::connect(&scene.zk.connect_string()).await;
        registrations.keep(PATH, &b).await;
        scene.until_serves("AB").await;
        registrations.delete(&format!("{PATH}/B")).await;
        scene.until_serves("A").await;
        tokio::task::block_in_place(|| scene.zk.restart());
    }
    load.stop().await.assert_no_failure();
}
