//! Messages about the states of servers: beside haproxy's, and where they go.

use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Mutex;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::net::TcpStream;

use crate::support::client::get;
use crate::support::lab::Lab;
use crate::support::oracle::Oracle;
use crate::support::origin::Origin;
use crate::support::synapse::{Synapse, config, fixed};
use crate::support::wait::eventually;

const LONG: Duration = Duration::from_secs(10);

/// Where haproxy shows its statistics.
const STATS: &str = "/stats";

const CHECK: &str = "check inter 100ms rise 2 fall 2";

/// A syslog server.
struct Syslog {
    addr: SocketAddr,
    socket: UdpSocket,
    messages: Mutex<Vec<String>>,
}

impl Syslog {
    fn new(lab: &Lab) -> Self {
        let addr = lab.free_addr();
        let socket = UdpSocket::bind(addr).expect("bind");
        socket.set_nonblocking(true).expect("nonblocking");
        Self { addr, socket, messages: Mutex::default() }
    }

    /// What has come: `<129>hap[]: Server …`, without what differs from run to run.
    fn messages(&self) -> Vec<String> {
        let mut messages = self.messages.lock().expect("no panic");
        let mut datagram = [0; 4096];
        loop {
            match self.socket.recv(&mut datagram) {
                Ok(n) => messages.push(normal(std::str::from_utf8(&datagram[..n]).expect("text"))),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return messages.clone(),
                Err(error) => panic!("{error}"),
            }
        }
    }

    async fn until(&self, count: usize) {
        eventually("messages come", LONG, || async {
            let messages = self.messages();
            if messages.len() >= count { Ok(()) } else { Err(messages) }
        })
        .await;
    }
}

/// Without time, process id and how long a check took.
fn normal(message: &str) -> String {
    let (priority, rest) = message.split_once('>').expect("a priority");
    // `Nov 25 21:00:00 hap[1]: `.
    let (head, text) = rest.split_once("]: ").expect("a head");
    let tag = head.get(16..).and_then(|tag| tag.split('[').next()).expect("a tag");
    let text = match text.split_once(", check duration: ") {
        Some((before, after)) => {
            let (_, after) = after.split_once("ms. ").expect("a duration");
            format!("{before}. {after}")
        }
        None => text.to_owned(),
    };
    format!("{priority}>{tag}: {text}")
}

/// The server as Synapse calls it.
fn name(server: &Origin) -> String {
    format!("{}_{}", server.name(), server.addr())
}

/// Until a first check of each server has passed in both: before that one failure is enough for a server to be down, and
/// that may be the reset of a check which its end has interrupted.
async fn until_checked(servers: usize, synapse: &Synapse, haproxy: SocketAddr) {
    eventually("all servers are checked", LONG, || async {
        let ours = synapse.service("web").await;
        let ours = ours["servers"].as_array().expect("servers");
        let ours = ours.iter().filter(|it| it["last_check"]["code"] == "L7OK").count();
        let theirs = get(haproxy, &format!("{STATS};csv")).await?;
        let theirs = theirs.text().matches("L7OK").count();
        if (ours, theirs) == (servers, servers) { Ok(()) } else { Err(format!("{ours}, {theirs}")) }
    })
    .await;
}

/// Kills and starts servers; what is said is waited for, so that both proxies see each step.
async fn play([a, b, c]: [&Origin; 3], logs: [&Syslog; 2]) {
    let mut count = 0;
    for step in 0..8 {
        match step {
            0 | 5 => a.die().await,
            1 | 7 => a.revive().await,
            2 => a.set_check_status(503),
            3 => a.set_check_status(200),
            4 => b.die().await,
            _ => c.die().await,
        }
        // That nobody is left is a message of its own.
        count += if step == 6 { 2 } else { 1 };
        for log in logs {
            log.until(count).await;
        }
    }
}

#[tokio::test]
async fn servers_are_told_of_as_haproxy_does() {
    let lab = Lab::alone().await;
    let (a, b, c) = (lab.origin("a").await, lab.origin("b").await, lab.origin("c").await);
    let (ours, theirs) = (Syslog::new(&lab), Syslog::new(&lab));
    let backup = format!("{CHECK} backup");
    let servers = [("a", a.addr(), CHECK), ("b", b.addr(), CHECK), ("c", c.addr(), &backup)];
    let log = |to: &Syslog| [format!("log {} local3", to.addr), "log-tag hap".to_owned()];
    let mut settings = config(
        json!({"web": fixed(lab.free_addr(), "http", &["log global", "option httpchk GET /ping"], &servers)}),
    );
    let global = settings["haproxy"]["global"].as_array_mut().expect("global");
    global.extend(log(&ours).map(Value::from));
    let (front, ready) = (lab.free_addr(), lab.free_addr());
    let mut text = format!(
        "global\n nbthread 1\n {}\ndefaults\n mode http\n log global\n timeout connect 1s\n timeout client 30s\n \
         timeout server 30s\n timeout check 1s\nlisten ready\n bind {ready}\n no log\n stats enable\n stats uri {STATS}\n\
         frontend web\n bind {front}\n default_backend web\nbackend web\n option httpchk GET /ping\n",
        log(&theirs).join("\n ")
    );
    for (server, options) in [(&a, CHECK), (&b, CHECK), (&c, &backup)] {
        text += &format!(" server {} {} {options}\n", name(server), server.addr());
    }
    let synapse = lab.synapse(settings).await;
    let _haproxy = Oracle::start_text(&lab, &text, ready).await;
    until_checked(3, &synapse, ready).await;
    play([&a, &b, &c], [&ours, &theirs]).await;
    let (ours, theirs) = (ours.messages(), theirs.messages());
    assert_eq!(ours, theirs);
    assert!(ours[0].starts_with("<153>hap: Server web/a_"), "local3.alert: {}", ours[0]);
    assert!(ours[2].contains(", code: 503, info: \"Scripted\". 1 active"), "{ours:#?}");
    assert!(ours.contains(&"<152>hap: backend web has no server available!\n".to_owned()));
}

/// `log … notice` takes what is about servers, the native key what is about requests.
#[tokio::test]
async fn messages_follow_the_lines_and_their_levels_and_a_reload() {
    let lab = Lab::new().await;
    let a = lab.origin("a").await;
    let front = lab.free_addr();
    let path = lab.dir().join("access.log");
    let [all, severe, later] = [(); 3].map(|()| Syslog::new(&lab));
    let settings = |lines: &[String]| {
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        let mut service = fixed(front, "http", &lines, &[("a", a.addr(), CHECK)]);
        service["proxy"] = json!({"access_log": {"to": path.to_str(), "format": "json"}});
        config(json!({"web": service}))
    };
    let (all_at, severe_at) = (all.addr, severe.addr);
    let first = [format!("log {all_at} daemon notice"), format!("log {severe_at} daemon crit err")];
    let synapse = lab.synapse(settings(&first)).await;
    assert_eq!(get(front, "/").await.expect("answer").status, 200);
    a.die().await;
    all.until(2).await;
    a.revive().await;
    all.until(3).await;
    let heads = |log: &Syslog| -> Vec<String> {
        log.messages().iter().filter_map(|it| Some(it.split_once(':')?.0.to_owned())).collect()
    };
    assert_eq!(heads(&all), ["<25>synapse", "<24>synapse", "<29>synapse"]);
    assert_eq!(heads(&severe), ["<27>synapse", "<27>synapse"]);
    synapse.rewrite(&lab, settings(&[format!("log {} daemon", later.addr)]));
    assert!(synapse.reload().await);
    a.die().await;
    later.until(2).await;
    assert_eq!(heads(&later), ["<25>synapse", "<24>synapse"]);
    assert_eq!(synapse.stop().await.code(), Some(0));
    assert_eq!((all.messages().len(), severe.messages().len()), (3, 2));
    let text = std::fs::read_to_string(&path).expect("the log of requests");
    assert_eq!((text.lines().count(), text.contains("DOWN")), (1, false), "{text}");
}

/// As haproxy, which does not check while it stops; after a hand-over another process tells.
#[tokio::test]
async fn a_process_that_drains_tells_nothing() {
    let lab = Lab::new().await;
    let (held, other) = (lab.tcp_origin("a").await, lab.tcp_origin("b").await);
    let front = lab.free_addr();
    let log = Syslog::new(&lab);
    let lines = [format!("log {} daemon notice", log.addr)];
    let servers = [("a", held.addr(), ""), ("b", other.addr(), CHECK)];
    let service = fixed(front, "tcp", &[&lines[0]], &servers);
    let mut synapse = lab.synapse(config(json!({"web": service}))).await;
    let session = TcpStream::connect(front).await.expect("connect");
    eventually("the session is open", LONG, || async {
        if held.open_connections() == 1 { Ok(()) } else { Err("not yet") }
    })
    .await;
    other.die().await;
    log.until(1).await;
    synapse.signal(Signal::TERM);
    synapse.until_logged("draining connections").await;
    other.revive().await;
    synapse.until_logged("backend up").await;
    drop(session);
    assert_eq!(synapse.ended().await.code(), Some(0));
    assert_eq!(log.messages().len(), 1, "{:?}", log.messages());
}
