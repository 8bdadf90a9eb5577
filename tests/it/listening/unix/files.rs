//! The files of unix sockets: whose they are, and who may use them.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use serde_json::{Value, json};

use super::super::echo;
use super::{ask, names, sockets};
use crate::support::lab::Lab;
use crate::support::synapse::{config, fixed};

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).expect("a file").permissions().mode() & 0o777
}

/// A service of one unix socket.
fn alone(lab: &Lab, path: &Path, words: &str, origin: std::net::SocketAddr) -> Value {
    let mut service = fixed(lab.free_addr(), "tcp", &[], &[("a", origin, "")]);
    service["haproxy"]["port"] = Value::Null;
    service["haproxy"]["bind_address"] = json!(path);
    service["haproxy"]["bind_options"] = json!(words);
    service
}

#[tokio::test]
async fn a_second_start_that_fails_leaves_the_sockets_of_the_first() {
    let lab = Lab::alone().await;
    let origin = echo(&lab).await;
    let path = sockets(&lab).join("a.sock");
    let running = lab.synapse(config(json!({"web": alone(&lab, &path, "", origin)}))).await;
    let ino = || std::fs::metadata(&path).expect("a file").ino();
    let bound = ino();
    // With a state directory of its own it asks nobody, and finds the admin address taken.
    let mut second = config(json!({"web": alone(&lab, &path, "", origin)}));
    second["admin"] = json!({"listen": running.admin().to_string()});
    second["state_dir"] = json!(lab.dir().join("another"));
    let file = lab.write("second.conf.json", &format!("{second:#}"));
    let mut second = running.successor(Some(&file));
    assert!(!second.ended().await.success());
    second.until_logged("nothing was started").await;
    assert_eq!(ino(), bound);
    assert!(ask(&path, b"").await.starts_with("HTTP/1.1 200"));
    // And what somebody has removed comes back with the next reload.
    std::fs::remove_file(&path).expect("remove");
    assert!(running.reload().await, "{}", running.log());
    assert!(ask(&path, b"").await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn a_refused_reload_changes_no_permissions_and_one_that_says_less_takes_them_back() {
    let lab = Lab::alone().await;
    let origin = echo(&lab).await;
    let dir = sockets(&lab);
    let (path, probe) = (dir.join("a.sock"), dir.join("probe"));
    drop(std::os::unix::net::UnixListener::bind(&probe).expect("a socket"));
    let usual = mode(&probe);
    std::fs::remove_file(&probe).expect("remove");
    let web = |words: &str| alone(&lab, &path, words, origin);
    let said = |octal: u32| format!("mode {octal:o}");
    let running = lab.synapse(config(json!({"web": web(&said(usual ^ 0o066))}))).await;
    let before = (mode(&path), std::fs::metadata(&path).expect("a file").ino());
    let lost = alone(&lab, &dir.join("none/b.sock"), "", origin);
    running.rewrite(&lab, config(json!({"web": web(&said(0o600)), "other": lost})));
    assert!(!running.reload().await);
    assert_eq!((mode(&path), std::fs::metadata(&path).expect("a file").ino()), before);
    running.rewrite(&lab, config(json!({"web": web("")})));
    assert!(running.reload().await, "{}", running.log());
    assert_eq!(mode(&path), usual);
    assert_eq!(names(&dir), ["a.sock"], "no draft is left");
    assert!(ask(&path, b"").await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn a_successor_makes_anew_what_clients_cannot_find_and_removes_what_it_does_not_serve() {
    let lab = Lab::alone().await;
    let origin = echo(&lab).await;
    let dir = sockets(&lab);
    let of = |names: &[&str]| {
        let service = |name: &&str| ((*name).to_owned(), alone(&lab, &dir.join(name), "", origin));
        config(Value::Object(names.iter().map(service).collect()))
    };
    let mut first = lab.synapse(of(&["lost", "taken", "kept", "dropped"])).await;
    let kept = std::fs::metadata(dir.join("kept")).expect("a file").ino();
    std::fs::remove_file(dir.join("lost")).expect("remove");
    std::fs::remove_file(dir.join("taken")).expect("remove");
    let _stranger = std::os::unix::net::UnixListener::bind(dir.join("taken")).expect("bind");
    first.rewrite(&lab, of(&["lost", "taken", "kept"]));
    let second = first.successor(None);
    assert!(first.ended().await.success(), "{}", first.log());
    second.until_ready().await;
    for name in ["lost", "taken", "kept"] {
        assert!(ask(&dir.join(name), b"").await.starts_with("HTTP/1.1 200"), "{name}");
    }
    assert_eq!(names(&dir), ["kept", "lost", "taken"]);
    assert_eq!(std::fs::metadata(dir.join("kept")).expect("a file").ino(), kept);
    assert!(second.stop().await.success());
    assert_eq!(names(&dir), [""; 0]);
}

#[tokio::test]
async fn what_somebody_else_has_put_in_place_outlives_the_synapse_that_was_there() {
    let lab = Lab::alone().await;
    let origin = echo(&lab).await;
    let dir = sockets(&lab);
    let path = dir.join("a.sock");
    let mut first = lab.synapse(config(json!({"web": alone(&lab, &path, "", origin)}))).await;
    let second = first.successor(None);
    assert!(first.ended().await.success(), "{}", first.log());
    second.until_ready().await;
    std::fs::remove_file(&path).expect("remove");
    let _stranger = std::os::unix::net::UnixListener::bind(&path).expect("bind");
    assert!(second.stop().await.success());
    assert_eq!(names(&dir), ["a.sock"]);
}

#[tokio::test]
async fn permissions_that_cannot_be_given_any_more_refuse_the_reload() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("not root: privileges cannot be dropped");
        return;
    }
    let lab = Lab::alone().await;
    let origin = echo(&lab).await;
    let dir = sockets(&lab);
    let path = dir.join("a.sock");
    let with = |words: &str| {
        let mut config = config(json!({"web": alone(&lab, &path, words, origin)}));
        config["haproxy"]["global"] = json!(["maxconn 4096", "user nobody"]);
        config
    };
    // Root's directory: the file is made before privileges are dropped.
    let running = lab.synapse(with("mode 666")).await;
    running.until_logged("privileges dropped").await;
    assert!(ask(&path, b"").await.starts_with("HTTP/1.1 200"));
    assert_eq!(names(&dir), ["a.sock"]);
    running.rewrite(&lab, with("mode 600"));
    assert!(!running.reload().await, "{}", running.log());
    assert!(running.log().contains("permission denied"), "{}", running.log());
    assert_eq!((mode(&path), names(&dir)), (0o666, vec!["a.sock".to_owned()]));
    assert!(ask(&path, b"").await.starts_with("HTTP/1.1 200"));
}
