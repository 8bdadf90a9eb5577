//! `bench timeline`: how long a change takes until traffic follows it.
//!
//! A host is a process of its own, as with SmartStack: it serves, holds the ZooKeeper session of its registration
//! (nerve's part), and can be killed with all of that at once.

mod host;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::load::{Load, Summary};
use crate::machine::{self, Cores};
use crate::measure::round;
use crate::proxies::{self, Kind, Proxy, SITE, Setup};
use crate::registry::{self, WATCHED, Writer};
use crate::report::{self, Table};
use crate::series::median;
use crate::{Outcome, Verdict};
use host::{Host, Shown};

pub(crate) use host::host;

/// Requests per second, half of them on new connections: a backend of five is asked each 5 ms.
const REQUESTS: u32 = 1_000;

/// Backends that stay.
const STABLE: usize = 4;

/// ZooKeeper drops the registration of a dead host that long after its last word.
const SESSION: Duration = Duration::from_secs(2);

/// A backend not asked for that long is not asked any more.
const QUIET: Duration = Duration::from_millis(200);

/// Nothing here takes longer, or it is broken.
const PATIENCE: Duration = Duration::from_secs(20);

/// How often a state is looked at.
const LOOK: Duration = Duration::from_millis(2);

/// Runs all rounds, prints the table, writes the results.
pub(crate) fn run(rounds: usize, synapse: &Path, dir: &Path, results: &Path) -> Outcome<Verdict> {
    let cores = Cores::choose()?;
    machine::check_port_range(10_000)?;
    let about = json!({
        "machine": machine::describe(cores),
        "synapse": proxies::version(synapse, "--version")?,
        "requests_per_second": REQUESTS, "rounds": rounds, "session_s": SESSION.as_secs_f64(),
    });
    let zk = registry::start()?;
    let load = Load::start((0..=STABLE).map(addr).collect(), cores.load)?;
    let lines = ["option httpchk GET /ping"];
    let haproxy = proxies::listener(SITE, "http", &lines, "check inter 1s rise 1 fall 2");
    let hosts = zk.connect_string();
    let service = json!({
        "discovery": {"method": "zookeeper", "hosts": [hosts], "path": WATCHED}, "haproxy": haproxy
    });
    machine::pin(&[cores.load])?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let findings = runtime.block_on(async {
        let writer = Writer::connect(&hosts, Duration::from_secs(10)).await?;
        for number in 0..STABLE {
            writer.register(WATCHED, &format!("stable{number}"), addr(number)).await?;
        }
        let setup = Setup::of(Kind::Synapse);
        let _proxy = Proxy::synapse(setup, SITE, (dir, synapse, &service), cores)?;
        machine::step_back()?;
        let mut findings = Findings::default();
        load.begin(SITE.front(), REQUESTS)?;
        for round in 1..=rounds {
            eprintln!("round {round} of {rounds}");
            arrival_and_leave(&writer, &load, &mut findings).await?;
            death(&hosts, &mut findings).await?;
        }
        findings.load = Some(load.end()?);
        Outcome::Ok(findings)
    })?;
    report::write(results, "timeline", [about, findings.json()])?;
    print!("{}", findings.table());
    Ok(findings.verdict())
}

/// Each event's time from its cause, in ms, round by round.
#[derive(Debug, Default)]
struct Findings {
    events: Vec<(&'static str, Vec<f64>)>,
    load: Option<Summary>,
}

impl Findings {
    fn add(&mut self, event: &'static str, took: Duration) {
        let ms = took.as_secs_f64() * 1e3;
        match self.events.iter_mut().find(|(name, _)| *name == event) {
            Some((_, all)) => all.push(ms),
            None => self.events.push((event, vec![ms])),
        }
    }

    fn verdict(&self) -> Verdict {
        let mut verdict = Verdict::default();
        if let Some(load) = &self.load {
            if load.failed > 0 {
                let first = load.first_error.as_deref().unwrap_or_default();
                verdict.broken.push(format!("{} requests failed, the first: {first}", load.failed));
            } else {
                verdict.promise(true, format!("0 of {} requests failed", load.done));
            }
        }
        verdict
    }

    fn table(&self) -> String {
        let mut table = Table::new(&["from cause to effect", "rounds", "median ms", "largest ms"]);
        for (event, all) in &self.events {
            table.row(vec![
                (*event).to_owned(),
                all.len().to_string(),
                format!("{:.1}", median(all.clone())),
                format!("{:.1}", largest(all)),
            ]);
        }
        table.to_string()
    }

    fn json(&self) -> Value {
        let events: Vec<Value> = self
            .events
            .iter()
            .map(|(event, all)| {
                let rounds: Vec<f64> = all.iter().map(|ms| round(*ms)).collect();
                json!({
                    "event": event, "median_ms": round(median(all.clone())),
                    "largest_ms": round(largest(all)), "rounds_ms": rounds
                })
            })
            .collect();
        json!({"events": events, "load": self.load.as_ref().map(Summary::json)})
    }
}

fn largest(all: &[f64]) -> f64 {
    all.iter().copied().fold(0.0, f64::max)
}

/// A backend is registered, gets its share, and is deregistered as nerve does when it stops.
async fn arrival_and_leave(writer: &Writer, load: &Load, findings: &mut Findings) -> Outcome<()> {
    let seen = &load.seen;
    seen.mark(STABLE);
    let sent = Instant::now();
    let node = writer.register(WATCHED, "passing", addr(STABLE)).await?;
    let first = wait(|| Ok(seen.first(STABLE))).await.map_err(|e| format!("first request: {e}"))?;
    findings.add("registration -> first request", first.saturating_duration_since(sent));
    // A backend like the others for a while: otherwise the two changes would be one.
    let asked = seen.count(STABLE);
    wait(|| Ok((seen.count(STABLE) >= asked + 20).then_some(()))).await?;
    let sent = Instant::now();
    writer.deregister(&node).await?;
    let last = wait(|| {
        let last = seen.last(STABLE).unwrap_or(sent).max(sent);
        Ok((last.elapsed() > QUIET).then_some(last))
    });
    let last = last.await.map_err(|e| format!("last request: {e}"))?;
    findings.add("deregistration -> last request", last.saturating_duration_since(sent));
    Ok(())
}

/// A host dies with its service and its session. Clients must not notice; synapse finds the backend dead by its own
/// checks and its failed attempts, and ZooKeeper forgets it when the session is over.
async fn death(hosts: &str, findings: &mut Findings) -> Outcome<()> {
    let mut host = Host::start(hosts)?;
    wait(|| Ok(Shown::now()?.filter(|s| s.is_checked && s.requests >= 20)))
        .await
        .map_err(|e| format!("host used: {e}"))?;
    let killed = Instant::now();
    host.kill()?;
    // Refused and reset attempts are all that is left of its traffic.
    let (mut attempts, mut last, mut down) = (None, killed, None);
    let gone = wait(|| {
        let Some(shown) = Shown::now()? else {
            return Ok(Some(Instant::now()));
        };
        if attempts != Some(shown.failures) {
            if attempts.is_some() {
                last = Instant::now();
            }
            attempts = Some(shown.failures);
        }
        if down.is_none() && !shown.is_eligible {
            down = Some(Instant::now());
        }
        Ok(None)
    });
    let gone = gone.await.map_err(|e| format!("registration gone: {e}"))?;
    findings.add("host dead -> last attempt to use it", last - killed);
    let out = down.unwrap_or(gone);
    findings.add("host dead -> out of the rotation", out - killed);
    findings.add("host dead -> registration gone", gone - killed);
    Ok(())
}

async fn wait<T>(mut look: impl FnMut() -> Outcome<Option<T>>) -> Outcome<T> {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = look()? {
            return Ok(value);
        }
        if Instant::now() > end {
            return Err(format!("not within {PATIENCE:?}").into());
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// The stable ones first, then the one that comes and goes, then the host.
fn addr(number: usize) -> SocketAddr {
    let last = 1 + u8::try_from(number).unwrap_or(u8::MAX - 1);
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 83, 3, last)), 7300)
}
