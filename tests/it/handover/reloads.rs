//! SIGHUP to the old process while a new one is about to take over, or has: whoever serves in the end obeys.

use std::net::SocketAddr;

use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;

use super::scene::{caught, raw, web};
use super::{PATIENCE, TAKEN_OVER};
use crate::support::client::get;
use crate::support::lab::Lab;
use crate::support::origin::Origin;
use crate::support::synapse::{Synapse, config, fixed, listener};
use crate::support::wait::eventually;

const WAITS: &str = "a hand-over is under way: the file is read again when it is over";
const BEGUN: &str = "reloading the configuration";
const TOLD: &str = "a reload that the former process was asked for comes now";

/// The services `web` and `more`.
fn both(front: SocketAddr, more: SocketAddr, a: &Origin) -> Value {
    let service = |bind| fixed(bind, "http", &[], &[("A", a.addr(), "")]);
    config(json!({"web": service(front), "more": service(more)}))
}

/// Both are served, and what runs is what the file says.
async fn obeyed(synapse: &Synapse, addrs: [SocketAddr; 2]) {
    synapse.until_logged("configuration reloaded").await;
    for addr in addrs {
        assert_eq!(get(addr, "/").await.expect("served").text(), "A");
    }
    assert!(synapse.metric("synapse_config_on_disk_differs").await < 0.5);
}

/// A successor that stands still after the offer, and an old process that was told to reload then.
async fn asked_meanwhile(lab: &Lab) -> (Synapse, Synapse, [SocketAddr; 2], Origin) {
    let (old, front, a) = web(lab).await;
    let (old, new) = caught(old).await;
    let more = lab.free_addr();
    old.rewrite(lab, both(front, more, &a));
    old.signal(Signal::HUP);
    old.until_logged(WAITS).await;
    assert!(!old.log().contains(BEGUN), "{}", old.log());
    get(more, "/").await.expect_err("nobody listens yet");
    (old, new, [front, more], a)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_during_a_hand_over_is_carried_out_by_the_new_process() {
    let lab = Lab::new().await;
    let (mut old, new, addrs, _a) = asked_meanwhile(&lab).await;
    new.signal(Signal::CONT);
    new.until_logged(TOLD).await;
    obeyed(&new, addrs).await;
    assert_eq!(old.ended().await.code(), Some(0));
    assert!(old.log().contains(TAKEN_OVER), "{}", old.log());
    assert!(!old.log().contains(BEGUN), "{}", old.log());
    obeyed(&new, addrs).await;
    assert_eq!(new.log().matches(BEGUN).count(), 1, "{}", new.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_during_a_hand_over_that_comes_to_nothing_is_carried_out_by_the_old_process() {
    let lab = Lab::new().await;
    let (old, mut new, addrs, _a) = asked_meanwhile(&lab).await;
    new.signal(Signal::KILL);
    new.ended().await;
    old.until_logged("hand-over came to nothing").await;
    obeyed(&old, addrs).await;
    // And it changes things again, and hands over again.
    assert!(old.reload().await);
    let next = old.successor(None);
    old.until_logged(TAKEN_OVER).await;
    next.until_logged("serving").await;
    assert_eq!(get(addrs[1], "/").await.expect("served").text(), "A");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_that_dies_with_the_old_process_is_carried_out_by_the_new_one() {
    let lab = Lab::new().await;
    let (mut old, new, addrs, _a) = asked_meanwhile(&lab).await;
    old.signal(Signal::KILL);
    old.ended().await;
    new.signal(Signal::CONT);
    obeyed(&new, addrs).await;
}

/// Its successor has read the file before, and asks while the old one still waits for what is added, or a moment after that.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_just_before_the_offer_is_not_lost_on_a_process_that_has_read_the_former_file() {
    let lab = Lab::new().await;
    let (mut old, front, a) = web(&lab).await;
    let (more, added) = (lab.free_addr(), lab.free_addr());
    let holder = std::net::TcpListener::bind(more).expect("free");
    let file = both(front, more, &a);
    old.rewrite(&lab, file.clone());
    let new = old.successor(None);
    new.until_logged("trying again").await;
    // A source that is silent: the reload lasts a second.
    let path = lab.dir().join("silent.json");
    std::fs::create_dir(&path).expect("made");
    let mut file = file;
    file["services"]["added"] = json!({
        "discovery": {"method": "file", "path": path},
        "haproxy": listener(added, "http", &[])
    });
    old.rewrite(&lab, file);
    drop(holder);
    old.signal(Signal::HUP);
    old.until_logged(TAKEN_OVER).await;
    new.until_logged(TOLD).await;
    obeyed(&new, [front, more]).await;
    assert_eq!(old.ended().await.code(), Some(0));
    assert_eq!(get(added, "/").await.expect("somebody listens").status, 503);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_that_reaches_a_draining_process_is_passed_on() {
    let lab = Lab::new().await;
    let (mut old, front, conn, a) = raw(&lab).await;
    let new = old.successor(None);
    old.until_logged("draining connections").await;
    new.until_logged("serving").await;
    let more = lab.free_addr();
    let service = |bind| fixed(bind, "tcp", &[], &[("A", a.addr(), "")]);
    old.rewrite(&lab, config(json!({"raw": service(front), "more": service(more)})));
    old.signal(Signal::HUP);
    new.until_logged("configuration reloaded").await;
    eventually("it listens", PATIENCE, || std::future::ready(std::net::TcpStream::connect(more)))
        .await;
    drop(conn);
    assert_eq!(old.ended().await.code(), Some(0));
}

/// Half of a change cannot be handed over: the new process is refused, and the old one goes on with it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_that_does_not_end_refuses_a_new_process_and_goes_on() {
    let lab = Lab::new().await;
    let (old, front, a) = web(&lab).await;
    let more = lab.free_addr();
    // The file is read to its end, which does not come.
    let file = lab.dir().join("synapse.conf.json");
    let copy = lab.dir().join("copy.json");
    std::fs::rename(&file, &copy).expect("moved");
    let made = std::process::Command::new("mkfifo").arg(&file).status().expect("run");
    assert!(made.success());
    old.signal(Signal::HUP);
    let mut writer = tokio::fs::OpenOptions::new().write(true).open(&file).await.expect("it reads");
    let mut new = old.successor(Some(&copy));
    assert_eq!(new.ended().await.code(), Some(1));
    let said = new.log();
    assert!(said.contains("a change of configuration is under way"), "{said}");
    assert_eq!(get(front, "/").await.expect("served").text(), "A");
    let mut file = both(front, more, &a);
    file["admin"] = json!({"listen": old.admin().to_string()});
    file["state_dir"] = json!(lab.dir().join("state"));
    writer.write_all(file.to_string().as_bytes()).await.expect("written");
    writer.flush().await.expect("written");
    drop(writer);
    obeyed(&old, [front, more]).await;
}
