//! Lines beside haproxy's: the same scenarios, the same fields.
//!
//! Each scenario has a service of its own, called like it, on either proxy; all are played at once, and lines are told
//! apart by the service's name. Times may differ by [`TOLERANCE`]; bytes are compared with what the client really got,
//! because haproxy counts its inner form of a message.

mod lines;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use self::lines::{Receiver, differences, fields};
use super::origin::{self, Origin};
use super::scenarios;
use crate::support::lab::Lab;
use crate::support::oracle::Oracle;
use crate::support::synapse::{config, fixed};

/// Milliseconds by which a time may differ: the two run on a busy machine.
const TOLERANCE: i64 = 180;

/// Times that a scenario is played before a difference counts.
const ROUNDS: usize = 3;

/// Longer than any scenario.
const PATIENCE: Duration = Duration::from_secs(9);

const LINES: &[&str] = &[
    "timeout connect 500ms",
    "timeout client 1200ms",
    "timeout server 1s",
    "timeout http-request 700ms",
    "timeout http-keep-alive 600ms",
];

/// What a client does.
#[derive(Clone, Copy, Debug)]
pub(super) enum Step {
    /// Sends.
    Say(&'static str),
    /// Waits so many ms, and reads what comes.
    Pause(u64),
    /// Waits for something to come, and reads it.
    Heed,
    /// Waits so many ms without reading.
    Stall(u64),
    /// Says that no more comes.
    Fin,
    /// Closes with a reset.
    Reset,
    /// Reads until the end.
    Hear,
}

/// Who may answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Servers {
    Origin,
    /// Refuses.
    Refused,
    TwoRefused,
    RefusedAndOrigin,
    /// Never takes a connection.
    Mute,
    None,
}

/// One scenario.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scenario {
    pub(super) name: &'static str,
    pub(super) steps: &'static [Step],
    pub(super) servers: Servers,
    pub(super) lines: &'static [&'static str],
    /// `(field, ours, haproxy's)`: the table in `docs/operations.md`.
    pub(super) differs: &'static [(&'static str, &'static str, &'static str)],
}

/// Bytes that a client heard.
async fn play(front: SocketAddr, steps: &[Step]) -> usize {
    let mut stream = TcpStream::connect(front).await.expect("connect");
    let mut heard = 0;
    let mut chunk = [0; 4096];
    for step in steps {
        match step {
            // It may have been refused before all is sent.
            Step::Say(bytes) => drop(stream.write_all(bytes.as_bytes()).await),
            Step::Pause(ms) => heard += hear(&mut stream, Duration::from_millis(*ms)).await,
            Step::Heed => {
                let reading = stream.read(&mut chunk);
                heard += timeout(PATIENCE, reading).await.map_or(0, Result::unwrap_or_default);
            }
            Step::Stall(ms) => sleep(Duration::from_millis(*ms)).await,
            Step::Fin => drop(stream.shutdown().await),
            Step::Reset => {
                stream.set_zero_linger().expect("linger");
                return heard;
            }
            Step::Hear => heard += hear(&mut stream, PATIENCE).await,
        }
    }
    heard
}

/// Reads for so long, or until the end. Waits out the time even then: the next step has its moment.
async fn hear(stream: &mut TcpStream, time: Duration) -> usize {
    let mut heard = 0;
    let mut chunk = vec![0; 1 << 16];
    let reading = async {
        while let Ok(n @ 1..) = stream.read(&mut chunk).await {
            heard += n;
        }
        if time < PATIENCE {
            std::future::pending::<()>().await;
        }
    };
    // Elapsed is the usual end of a pause.
    drop(timeout(time, reading).await);
    heard
}

/// Both proxies, with a service per scenario.
struct Pair {
    lab: Lab,
    http: bool,
    scenarios: Vec<Scenario>,
    origin: Origin,
    mute: (SocketAddr, TcpListener, Vec<TcpStream>),
}

impl Pair {
    async fn new(scenarios: &'static [Scenario], http: bool) -> Self {
        let lab = Lab::alone().await;
        let origin = if http { Origin::http(&lab).await } else { Origin::tcp(&lab).await };
        let mute = origin::mute(&lab).await;
        Self { lab, http, scenarios: scenarios.to_vec(), origin, mute }
    }

    fn servers(&self, servers: Servers) -> Vec<(&'static str, SocketAddr, &'static str)> {
        let nobody = || self.lab.free_addr();
        match servers {
            Servers::Origin => vec![("a", self.origin.addr, "")],
            Servers::Refused => vec![("a", nobody(), "")],
            Servers::TwoRefused => vec![("a", nobody(), ""), ("b", nobody(), "")],
            Servers::RefusedAndOrigin => {
                vec![("a", nobody(), ""), ("b", self.origin.addr, "")]
            }
            Servers::Mute => vec![("a", self.mute.0, "")],
            Servers::None => Vec::new(),
        }
    }

    fn lines(&self, scenario: &Scenario, log: SocketAddr) -> Vec<String> {
        let kind = if self.http { "option httplog" } else { "option tcplog" };
        let mut lines = vec![format!("log {log} local0"), kind.to_owned()];
        lines.extend(LINES.iter().chain(scenario.lines).map(|line| (*line).to_owned()));
        lines
    }

    fn mode(&self) -> &'static str {
        if self.http { "http" } else { "tcp" }
    }

    /// Plays all at once: lines by frontend, and what each client heard.
    async fn play(&self, fronts: &[SocketAddr]) -> Vec<usize> {
        let mut playing = JoinSet::new();
        for (index, (scenario, front)) in self.scenarios.iter().zip(fronts).enumerate() {
            let (steps, front) = (scenario.steps, *front);
            playing.spawn(async move { (index, play(front, steps).await) });
        }
        let mut heard = playing.join_all().await;
        heard.sort_unstable();
        heard.into_iter().map(|(_, bytes)| bytes).collect()
    }

    async fn ours(&self) -> (BTreeMap<String, Vec<String>>, Vec<usize>) {
        let log = Receiver::new(&self.lab).await;
        let mut services = serde_json::Map::new();
        let mut fronts = Vec::new();
        for scenario in &self.scenarios {
            let front = self.lab.free_addr();
            let lines = self.lines(scenario, log.addr);
            let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
            let servers = self.servers(scenario.servers);
            services.insert(scenario.name.into(), fixed(front, self.mode(), &lines, &servers));
            fronts.push(front);
        }
        let mut config = config(Value::Object(services));
        config["workers"] = json!(1);
        let _synapse = self.lab.synapse(config).await;
        let heard = self.play(&fronts).await;
        (log.lines().await, heard)
    }

    async fn haproxys(&self) -> BTreeMap<String, Vec<String>> {
        let log = Receiver::new(&self.lab).await;
        let mut text = String::from(
            "global\n nbthread 1\n maxconn 1000\ndefaults\n retries 3\n option redispatch\n balance roundrobin\n",
        );
        let mut fronts = Vec::new();
        for scenario in &self.scenarios {
            let front = self.lab.free_addr();
            text += &format!("listen {}\n bind {front}\n mode {}\n", scenario.name, self.mode());
            for line in self.lines(scenario, log.addr) {
                text += &format!(" {line}\n");
            }
            for (name, at, options) in self.servers(scenario.servers) {
                text += &format!(" server {name} {at} {options}\n");
            }
            fronts.push(front);
        }
        let ready = self.lab.free_addr();
        text += &format!(
            "listen ready\n bind {ready}\n mode tcp\n timeout client 1s\n timeout server 1s\n timeout connect 1s\n"
        );
        let _haproxy = Oracle::start_text(&self.lab, &text, ready).await;
        self.play(&fronts).await;
        log.lines().await
    }

    /// Plays up to [`ROUNDS`] times, again what differed: a busy machine makes times differ now and then, a mistake
    /// makes them differ always. What still does.
    async fn compare(mut self) -> Vec<String> {
        let mut failures = Vec::new();
        for _ in 0..ROUNDS {
            let found = self.round().await;
            self.scenarios.retain(|scenario| found.contains_key(scenario.name));
            failures = found.into_values().flatten().collect();
            if failures.is_empty() {
                break;
            }
        }
        failures
    }

    /// Every difference, and every count of bytes that is not what the client heard; by scenario.
    async fn round(&self) -> BTreeMap<&'static str, Vec<String>> {
        let (ours, heard) = self.ours().await;
        let theirs = self.haproxys().await;
        let mut failures = BTreeMap::new();
        for (scenario, heard) in self.scenarios.iter().zip(heard) {
            let none = Vec::new();
            let mine = ours.get(scenario.name).unwrap_or(&none);
            let other = theirs.get(scenario.name).unwrap_or(&none);
            let counts = (mine.len().to_string(), other.len().to_string());
            let known = scenario.differs.iter().find(|(field, ..)| *field == "lines");
            let expected = known.map_or(counts.0 == counts.1, |(_, us, them)| {
                counts == ((*us).to_owned(), (*them).to_owned())
            });
            let mut found = Vec::new();
            if !expected {
                found.push(format!("{}: {} lines, haproxy {}", scenario.name, counts.0, counts.1));
            }
            let mine: Vec<_> = mine.iter().map(|line| fields(line, self.http)).collect();
            let other_fields = other.iter().map(|line| fields(line, self.http));
            for (mine, other) in mine.iter().zip(other_fields) {
                found.extend(differences(scenario, mine, &other));
            }
            let said: usize =
                mine.iter().map(|f| f["bytes"].parse::<usize>().expect("bytes")).sum();
            let hears_all = matches!(scenario.steps.last(), Some(Step::Hear));
            if hears_all && !mine.is_empty() && said != heard {
                found.push(format!("{}: {said} bytes, the client heard {heard}", scenario.name));
            }
            if !found.is_empty() {
                let lines = ours.get(scenario.name).unwrap_or(&none).iter();
                let lines = lines.map(|line| format!("  ours    {line}"));
                found.extend(lines.chain(other.iter().map(|line| format!("  haproxy {line}"))));
                failures.insert(scenario.name, found);
            }
        }
        failures
    }
}

#[tokio::test]
async fn requests_are_logged_as_haproxy_logs_them() {
    let failures = Pair::new(scenarios::HTTP, true).await.compare().await;
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[tokio::test]
async fn sessions_are_logged_as_haproxy_logs_them() {
    let failures = Pair::new(scenarios::TCP, false).await.compare().await;
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
