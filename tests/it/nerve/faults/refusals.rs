//! A ZooKeeper that refuses, and a system that does.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::task::block_in_place;
use tokio::time::{Instant, sleep};
use zookeeper_client::{Acl, Acls, AuthId, Client, CreateMode, Permission};

use super::{PATIENCE, one_of_each, path, registered, session_is, shows, up, watch};
use crate::scale::cpu_seconds;
use crate::support::lab::Lab;
use crate::support::memory::limit;
use crate::support::nerve::{Nerve, nodes, until_nodes};
use crate::support::wait::{always, eventually};
use crate::support::zookeeper::clients::Connected;
use crate::support::zookeeper::{Setup, Zk};

/// The promise, for whatever nerve has to find out by itself.
const SOON: Duration = Duration::from_secs(2);
/// Between two tries of something that only a human can change.
const SLOWLY: Duration = Duration::from_secs(30);

/// Requests of one try, two for the look at what stands there.
const A_TRY: u64 = 3;

/// A path that may be read and not written.
async fn forbidden(client: &Client, name: &str) {
    let options = CreateMode::Persistent.with_acls(Acls::anyone_all());
    client.mkdir("/nerve/services", &options).await.expect("the parent");
    let read = [
        Acl::new(Permission::READ, AuthId::anyone()),
        Acl::new(Permission::ADMIN, AuthId::anyone()),
    ];
    let options = CreateMode::Persistent.with_acls(Acls::new(&read));
    client.create(&path(name), b"", &options).await.expect("a path");
}

async fn allow(client: &Client, name: &str) {
    let all = [Acl::new(Permission::ALL, AuthId::anyone())];
    client.set_acl(&path(name), &all, None).await.expect("an operator may");
}

/// Starts a nerve with one service that may not register beside some that may.
async fn not_authorised(lab: &Lab, zk: &Zk, client: &Client) -> Nerve {
    forbidden(client, "web").await;
    let (mut services, places) = one_of_each(&zk.connect_string());
    services["web"] = up(&zk.connect_string(), "web", 9_000, json!({})).0;
    let nerve = Nerve::start(lab, json!({"zk_session_timeout": 10, "services": services})).await;
    let trouble = |shown: &Value| {
        let trouble = shown["registration"]["trouble"].as_str().unwrap_or_default();
        trouble.contains("not authorised")
    };
    shows(&nerve, "why it is not registered", trouble).await;
    for place in &places {
        until_nodes(client, &place.path, 1).await;
    }
    nerve
}

/// Nerve's connection, when there is but one.
async fn connection(zk: &Zk, client: &Client) -> Connected {
    let ours = client.session_id().to_string();
    eventually("one session beside ours", PATIENCE, || async {
        let mut clients = block_in_place(|| zk.member(0).clients());
        clients.retain(|client| client.session != ours);
        <[Connected; 1]>::try_from(clients).map(|[nerve]| nerve)
    })
    .await
}

/// Requests of nerve in a while in which its connection stays (over another one it looks at everything again), and how
/// long that was: more than twice the longest pause that it makes when a server does not answer.
async fn asked_meanwhile(zk: &Zk, client: &Client) -> (u64, Duration) {
    for _ in 0..3 {
        let (before, begun) = (connection(zk, client).await, Instant::now());
        // What is measured.
        sleep(Duration::from_secs(5)).await;
        let after = connection(zk, client).await;
        if after.since == before.since {
            return (after.requests - before.requests, begun.elapsed());
        }
    }
    panic!("no connection of nerve's lasts")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_path_without_rights_is_said_and_not_stormed_and_the_others_register() {
    let lab = Lab::new().await;
    let zk = block_in_place(Zk::standalone);
    let client = zk.client().await;
    let nerve = not_authorised(&lab, &zk, &client).await;
    // Who has just registered looks at it once more.
    nerve.until_settled(&["web"]).await;
    let (requests, span) = asked_meanwhile(&zk, &client).await;
    println!("not authorised: {requests} requests in {span:?}");
    let tries = 1 + span.as_secs() / SLOWLY.as_secs();
    assert!(requests <= tries * A_TRY, "{requests} requests in {span:?}");
    assert!(nodes(&client, &path("web")).await.is_empty());
    // An operator who cannot wait half a minute.
    allow(&client, "web").await;
    for command in ["down", "up"] {
        let said = nerve.tell(&[command, "web"]).await;
        assert_eq!(said.code, Some(0), "{command}: {}", said.stderr);
    }
    until_nodes(&client, &path("web"), 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_a_path_whose_rights_are_corrected_is_used_within_half_a_minute() {
    let lab = Lab::new().await;
    let zk = block_in_place(Zk::standalone);
    let client = zk.client().await;
    let nerve = not_authorised(&lab, &zk, &client).await;
    nerve.until_settled(&["web"]).await;
    allow(&client, "web").await;
    let allowed = Instant::now();
    eventually("registered", SLOWLY + SOON, || async {
        let seen = nodes(&client, &path("web")).await;
        if seen.len() == 1 { Ok(()) } else { Err(seen) }
    })
    .await;
    println!("rights corrected: registered after {:?}", allowed.elapsed());
}

/// The rest of an ensemble that answers readers without a quorum: nothing can be registered there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_only_zookeeper_is_not_registered_with_and_costs_no_node() {
    let lab = Lab::new().await;
    let zk = block_in_place(|| {
        Zk::with(&Setup {
            size: 3,
            config: "localSessionsEnabled=true\nlocalSessionsUpgradingEnabled=true",
            jvm: &["-Dreadonlymode.enabled=true"],
            ..Setup::default()
        })
    });
    let client = zk.client().await;
    let (mut services, places) = one_of_each(&zk.connect_string());
    services["web"] = up(&zk.connect_string(), "web", 9_000, json!({})).0;
    let nerve = registered(&lab, services, 2, &client).await;
    drop(client);
    zk.members().iter().take(2).for_each(|member| member.kill9());
    eventually("the last member is read-only", PATIENCE, || async {
        let mode = block_in_place(|| zk.member(2).mode());
        if mode.as_deref() == Some("read-only") { Ok(()) } else { Err(mode) }
    })
    .await;
    shows(&nerve, "no session", |shown| !session_is("connected")(shown)).await;
    always("no session with it", Duration::from_secs(3), || async {
        let shown = nerve.service("web").await;
        if session_is("connected")(&shown) { Err(shown) } else { Ok(()) }
    })
    .await;
    block_in_place(|| zk.restart());
    let healed = Instant::now();
    let client = zk.client().await;
    for place in &places {
        until_nodes(&client, &place.path, 1).await;
    }
    shows(&nerve, "confirmed", |shown| shown["registration"]["phase"] == "registered").await;
    println!("read-only: registered {:?} after the quorum's return", healed.elapsed());
    assert!(healed.elapsed() < SOON, "{:?}", healed.elapsed());
}

/// `maxClientCnxns`, 60 by default, counts per address: a host with many clients meets it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_limit_is_named_and_waited_out() {
    let lab = Lab::new().await;
    let zk = block_in_place(|| Zk::standalone_with("maxClientCnxns=2"));
    let client = zk.client().await;
    let taken = zk.client().await;
    let (web, _) = up(&zk.connect_string(), "web", 8_080, json!({}));
    let config = json!({"zk_session_timeout": 4, "services": {"web": web}});
    let nerve = Nerve::start(&lab, config).await;
    shows(&nerve, "the limit", |shown| {
        let trouble = shown["registration"]["trouble"].as_str().unwrap_or_default();
        trouble.contains("accepts and closes at once")
    })
    .await;
    drop(taken);
    let free = Instant::now();
    until_nodes(&client, &path("web"), 1).await;
    println!("a connection is free: registered after {:?}", free.elapsed());
    assert!(free.elapsed() < SOON, "{:?}", free.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chroot_that_does_not_exist_is_made() {
    let lab = Lab::new().await;
    let zk = block_in_place(Zk::standalone);
    let client = zk.client().await;
    let (web, _) = up(&format!("{}/some/where", zk.connect_string()), "web", 8_080, json!({}));
    let nerve = Nerve::start(&lab, json!({"services": {"web": web}})).await;
    let below = format!("/some/where{}", path("web"));
    until_nodes(&client, &below, 1).await;
    assert_eq!(nerve.stop().await.code(), Some(0));
    assert!(nodes(&client, &below).await.is_empty());
}

/// With no descriptor left nerve can neither check nor reach ZooKeeper: that says nothing about its services.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_descriptors_no_service_is_taken_for_down_and_all_register_when_there_are_some() {
    let lab = Lab::new().await;
    let zk = block_in_place(Zk::standalone);
    let client = zk.client().await;
    let origin = lab.origin("A").await;
    let checks = json!({
        "host": origin.addr().ip().to_string(), "port": origin.addr().port(), "check_interval": 0.2,
        "checks": [{"type": "tcp", "timeout": 0.5, "rise": 1, "fall": 1}]
    });
    let (mut services, places) = one_of_each(&zk.connect_string());
    services["web"] = up(&zk.connect_string(), "web", 1, checks).0;
    let nerve = registered(&lab, services, 2, &client).await;
    let witness = watch(&zk, places.clone());
    limit(nerve.pid(), "--nofile=3:1024");
    // Connections that are open stay: nothing happens as yet, however many checks cannot be made meanwhile.
    zk.outlast_a_session(Duration::from_secs(2)).await;
    assert_eq!(nodes(&client, &path("web")).await.len(), 1, "{}", nerve.log());
    witness.looks(50).await;
    witness.end().assert_never_absent(50);
    // Now they are needed, for longer than the session lasts.
    let before = (cpu_seconds(nerve.pid()), Instant::now());
    zk.cut_sockets();
    let client = zk.client().await;
    for kind in ["sequential", "fixed", "encoded", "web"] {
        until_nodes(&client, &path(kind), 0).await;
    }
    // What is measured.
    sleep(Duration::from_secs(2)).await;
    let busy = (cpu_seconds(nerve.pid()) - before.0) / before.1.elapsed().as_secs_f64();
    limit(nerve.pid(), "--nofile=1024:1024");
    let healed = Instant::now();
    for place in &places {
        until_nodes(&client, &place.path, 1).await;
    }
    until_nodes(&client, &path("web"), 1).await;
    println!("no descriptors: {:.2} % CPU, back after {:?}", busy * 100.0, healed.elapsed());
    assert!(healed.elapsed() < SOON, "{:?}", healed.elapsed());
    assert!(busy < 0.10, "{busy}");
    let shown = nerve.service("web").await;
    assert_eq!((&shown["state"], &shown["transitions"]), (&json!("UP"), &json!(1)), "{shown}");
    assert!(nerve.log().contains("open files"), "{}", nerve.log());
}
