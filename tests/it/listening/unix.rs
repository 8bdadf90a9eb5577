//! Unix sockets.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tokio::net::UnixStream;

use super::{Lines, PATIENCE, REQUEST, echo, forwarded, heard};
use crate::support::lab::Lab;
use crate::support::oracle::Oracle;
use crate::support::synapse::{config, fixed};
use crate::support::wait::eventually;

async fn ask(path: &Path, first: &[u8]) -> String {
    let stream = UnixStream::connect(path).await.expect("connect");
    heard(stream, &[first, REQUEST].concat()).await
}

/// What Yelp's tools write: a port, a socket, and one for those who come through another proxy.
fn yelps(lab: &Lab, dir: &Path, origin: std::net::SocketAddr, more: &[&str]) -> Value {
    let dir = dir.display();
    let mut service = fixed(lab.free_addr(), "http", more, &[("a", origin, "")]);
    service["haproxy"]["frontend"] =
        json!([format!("bind {dir}/web.sock"), format!("bind {dir}/web.prxy accept-proxy"),]);
    service
}

fn with_mode(services: Value) -> Value {
    let mut config = config(services);
    config["haproxy"]["global"] = json!(["maxconn 4096", "unix-bind mode 666"]);
    config
}

fn names(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).expect("a directory");
    let mut names: Vec<String> = entries
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

fn sockets(lab: &Lab) -> PathBuf {
    let dir = lab.dir().join("sockets");
    std::fs::create_dir_all(&dir).expect("a directory");
    dir
}

#[tokio::test]
async fn unix_sockets_are_served_and_logged_as_by_haproxy() {
    let lab = Lab::alone().await;
    let origin = echo(&lab).await;
    let (dir, theirs) = (sockets(&lab), lab.dir().join("haproxys"));
    std::fs::create_dir_all(&theirs).expect("a directory");
    let (our_log, our_addr) = Lines::new().await;
    let (their_log, their_addr) = Lines::new().await;
    let lines = ["option forwardfor", "option httplog", &format!("log {our_addr} local0")];
    let mut service = yelps(&lab, &dir, origin, &lines);
    // Numbers of sockets count.
    service["haproxy"]["port"] = json!(lab.free_addr().port());
    let synapse = lab.synapse(with_mode(json!({"web": service}))).await;
    let ready = lab.free_addr();
    let shown = theirs.display();
    let text = format!(
        "global\n nbthread 1\n unix-bind mode 666\ndefaults\n timeout connect 1s\n timeout client 30s\n\
         timeout server 30s\nlisten web\n bind {shown}/web.sock\n bind {shown}/web.prxy accept-proxy\n\
         mode http\n option forwardfor\n option httplog\n log {their_addr} local0\n server a {origin}\n\
         listen ready\n bind {ready}\n mode tcp\n timeout client 1s\n"
    );
    let _haproxy = Oracle::start_text(&lab, &text, ready).await;
    for (name, first) in [
        ("web.sock", &b""[..]),
        ("web.prxy", b"PROXY TCP4 192.0.2.7 192.0.2.8 4711 80\r\n"),
        ("web.prxy", b"PROXY UNKNOWN\r\n"),
        ("web.prxy", b""),
    ] {
        let (ours, haproxys) =
            (ask(&dir.join(name), first).await, ask(&theirs.join(name), first).await);
        assert_eq!(forwarded(&ours), forwarded(&haproxys), "{name} {}", first.escape_ascii());
        assert_eq!(ours.is_empty(), haproxys.is_empty(), "{name} {}", first.escape_ascii());
        let (our_line, their_line) = (our_log.next().await, their_log.next().await);
        let client = |line: &str| line.split(' ').next().unwrap_or_default().to_owned();
        assert_eq!(client(&our_line), client(&their_line), "{our_line} / {their_line}");
        if ours.is_empty() {
            assert_eq!(our_line, their_line);
        }
        let mode =
            |dir: &Path| std::fs::metadata(dir.join(name)).expect("a file").permissions().mode();
        assert_eq!(mode(&dir), mode(&theirs), "{name}");
    }
    let listen = synapse.service("web").await["listen"].to_string();
    assert!(listen.contains("/web.sock") && listen.contains("/web.prxy"), "{listen}");
    assert!(synapse.stop().await.success());
    assert_eq!(names(&dir), [""; 0], "haproxy leaves them");
}

#[tokio::test]
async fn a_service_may_listen_on_nothing_but_a_unix_socket() {
    let lab = Lab::alone().await;
    let origin = echo(&lab).await;
    let dir = sockets(&lab);
    let path = dir.join("only.sock");
    let mut service = fixed(lab.free_addr(), "tcp", &[], &[("a", origin, "")]);
    service["haproxy"]["port"] = Value::Null;
    service["haproxy"]["bind_address"] = json!(path);
    service["haproxy"]["bind_options"] = json!("mode 600");
    let synapse = lab.synapse(with_mode(json!({"web": service}))).await;
    let answer = ask(&path, b"").await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let file = std::fs::metadata(&path).expect("a file");
    assert_eq!(file.permissions().mode() & 0o777, 0o600, "a line's own mode");
    // Killed, it leaves the file; the next one is not troubled by it.
    synapse.signal(rustix::process::Signal::KILL);
    drop(synapse);
    assert_eq!(names(&dir), ["only.sock"]);
    let mut service = fixed(lab.free_addr(), "tcp", &[], &[("a", origin, "")]);
    service["haproxy"]["frontend"] = json!([format!("bind unix@{}", path.display())]);
    let synapse = lab.synapse(config(json!({"web": service}))).await;
    assert!(ask(&path, b"").await.starts_with("HTTP/1.1 200"));
    assert_ne!(std::fs::metadata(&path).expect("a file").ino(), file.ino());
    drop(synapse);
}

#[tokio::test]
async fn a_reload_adds_keeps_and_removes_unix_sockets() {
    let lab = Lab::alone().await;
    let origin = echo(&lab).await;
    let dir = sockets(&lab);
    let binds = |names: &[&str]| {
        let mut service = fixed(lab.free_addr(), "tcp", &[], &[("a", origin, "")]);
        service["haproxy"]["port"] = Value::Null;
        service["haproxy"]["bind_address"] = json!(dir.join("kept.sock"));
        let lines = names.iter().map(|name| format!("bind {}", dir.join(name).display()));
        service["haproxy"]["frontend"] = json!(lines.collect::<Vec<_>>());
        with_mode(json!({"web": service}))
    };
    let synapse = lab.synapse(binds(&["one.sock"])).await;
    assert_eq!(names(&dir), ["kept.sock", "one.sock"]);
    let ino = |name: &str| std::fs::metadata(dir.join(name)).expect("a file").ino();
    let kept = ino("kept.sock");
    let under_way = UnixStream::connect(dir.join("one.sock")).await.expect("connect");
    synapse.rewrite(&lab, binds(&["two.sock"]));
    assert!(synapse.reload().await, "{}", synapse.log());
    assert_eq!(names(&dir), ["kept.sock", "two.sock"]);
    assert_eq!(ino("kept.sock"), kept, "the same file");
    assert!(heard(under_way, REQUEST).await.starts_with("HTTP/1.1 200"), "not interrupted");
    for name in ["kept.sock", "two.sock"] {
        assert!(ask(&dir.join(name), b"").await.starts_with("HTTP/1.1 200"), "{name}");
    }
    // What cannot be had changes nothing.
    synapse.rewrite(&lab, binds(&["none/three.sock"]));
    assert!(!synapse.reload().await);
    assert!(synapse.log().contains("its directory does not exist"), "{}", synapse.log());
    assert_eq!(names(&dir), ["kept.sock", "two.sock"]);
    assert!(ask(&dir.join("two.sock"), b"").await.starts_with("HTTP/1.1 200"));
    // The same socket, said to carry headers from now on.
    let mut proxied = binds(&[]);
    proxied["services"]["web"]["haproxy"]["bind_options"] = json!("accept-proxy");
    synapse.rewrite(&lab, proxied);
    assert!(synapse.reload().await, "{}", synapse.log());
    assert_eq!((names(&dir), ino("kept.sock")), (vec!["kept.sock".to_owned()], kept));
    assert_eq!(ask(&dir.join("kept.sock"), b"").await, "", "no header");
    let answer = ask(&dir.join("kept.sock"), b"PROXY UNKNOWN\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[tokio::test]
async fn a_successor_has_the_unix_sockets_and_their_files() {
    let lab = Lab::alone().await;
    let origin = echo(&lab).await;
    let dir = sockets(&lab);
    let services = json!({"web": yelps(&lab, &dir, origin, &["option forwardfor"])});
    let mut first = lab.synapse(with_mode(services)).await;
    let ino = || std::fs::metadata(dir.join("web.sock")).expect("a file").ino();
    let bound = ino();
    for round in 0..3 {
        let under_way = UnixStream::connect(dir.join("web.sock")).await.expect("connect");
        let second = first.successor(None);
        first.until_logged("another process has taken over").await;
        assert_eq!(ino(), bound, "round {round}: the same socket");
        let answer = ask(&dir.join("web.prxy"), b"PROXY TCP4 192.0.2.7 192.0.2.8 1 2\r\n").await;
        assert_eq!(forwarded(&answer), ["x-forwarded-for: 192.0.2.7"], "round {round}: {answer}");
        assert!(heard(under_way, REQUEST).await.starts_with("HTTP/1.1 200"), "round {round}");
        let mut former = std::mem::replace(&mut first, second);
        assert!(former.ended().await.success(), "{}", former.log());
        assert_eq!(names(&dir), ["web.prxy", "web.sock"], "round {round}");
        first.until_ready().await;
    }
    assert!(ask(&dir.join("web.sock"), b"").await.starts_with("HTTP/1.1 200"));
    assert!(first.stop().await.success());
    eventually("removed", PATIENCE, || async {
        let left = names(&dir);
        if left.is_empty() { Ok(()) } else { Err(left) }
    })
    .await;
}

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
