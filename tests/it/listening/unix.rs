//! Unix sockets.

mod files;

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tokio::net::UnixStream;

use super::{Lines, PATIENCE, REQUEST, echo, forwarded, heard};
use crate::support::lab::Lab;
use crate::support::oracle::Oracle;
use crate::support::synapse::{config, fixed};
use crate::support::wait::eventually;

/// Asks over a unix socket, behind what is said `first`.
pub(crate) async fn ask(path: &Path, first: &[u8]) -> String {
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
