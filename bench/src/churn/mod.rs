//! `bench churn`: what 100 membership changes per second do to 500 requests per second.
//!
//! In pairs: the same changes in a path that nobody watches, then in the service's own. Each change of the second kind
//! costs synapse a watch event, a read of the children and of the new node, a new snapshot and checks.

mod findings;

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::time::{MissedTickBehavior, interval};

use crate::load::{Load, Summary};
use crate::machine::{self, Cores};
use crate::measure::float;
use crate::proxies::{self, Kind, Proxy, SITE, Setup};
use crate::registry::{self, UNWATCHED, WATCHED, Writer};
use crate::report;
use crate::{Outcome, Verdict};
use findings::Findings;

/// Changes per second.
const CHANGES: u32 = 100;

/// Requests per second, half of them on new connections.
const REQUESTS: u32 = 500;

/// Backends that stay.
const STABLE: usize = 4;

/// Backends that come and go, each at an address of its own, so that nothing of the last one can be used again soon.
const PASSING: usize = 240;

/// How many of them are registered at a time.
const PRESENT: usize = 10;

/// Load without changes before the first segment.
const WARM_UP: Duration = Duration::from_secs(2);

/// Promises of issue 3.
const P99_RATIO: f64 = 1.3;
const RSS_GROWTH: f64 = 20.0;
/// "Flat over a second round": what the allocator may still move, in MB.
const FLAT: f64 = 2.0;

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    /// Pairs; at least two, for the second round.
    pub(crate) pairs: usize,
    /// Changes per segment.
    pub(crate) changes: usize,
}

/// One segment.
struct Segment {
    load: Summary,
    /// Changes per second that the writer managed.
    rate: f64,
    /// Snapshots published meanwhile, by synapse's own count.
    revisions: u64,
    /// Share of the requests that backends answered which came and went.
    passing_share: f64,
    /// After it, in MB.
    rss: f64,
    descriptors: usize,
}

/// Runs all pairs, prints the table, writes the results.
pub(crate) fn run(plan: Plan, synapse: &Path, dir: &Path, results: &Path) -> Outcome<Verdict> {
    let cores = Cores::choose()?;
    machine::check_port_range(10_000)?;
    let about = json!({
        "machine": machine::describe(cores),
        "synapse": proxies::version(synapse, "--version")?,
        "changes_per_second": CHANGES, "requests_per_second": REQUESTS, "changes": plan.changes,
    });
    let zk = registry::start()?;
    let load = Load::start(origins(), cores.load)?;
    let lines = ["option httpchk GET /ping"];
    let haproxy = proxies::listener(SITE, "http", &lines, "check inter 2s rise 3 fall 2");
    let service = json!({
        "discovery": {"method": "zookeeper", "hosts": [zk.connect_string()], "path": WATCHED},
        "haproxy": haproxy
    });
    machine::pin(&[cores.load])?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let writer = Writer::connect(&zk.connect_string(), Duration::from_secs(10)).await?;
        for (number, addr) in origins().into_iter().take(STABLE).enumerate() {
            writer.register(WATCHED, &format!("stable{number}"), addr).await?;
        }
        let proxy =
            Proxy::synapse(Setup::of(Kind::Synapse), SITE, (dir, synapse, &service), cores)?;
        machine::step_back()?;
        let bench = Bench { proxy, load, writer };
        bench.measure(plan, about, results).await
    })
}

struct Bench {
    proxy: Proxy,
    load: Load,
    writer: Writer,
}

impl Bench {
    async fn measure(&self, plan: Plan, about: Value, results: &Path) -> Outcome<Verdict> {
        self.load.begin(SITE.front(), REQUESTS)?;
        tokio::time::sleep(WARM_UP).await;
        let warm_up = self.load.end()?;
        let before = self.rss()?;
        let mut pairs = Vec::new();
        for number in 1..=plan.pairs {
            eprintln!("pair {number} of {}: {} changes each", plan.pairs, plan.changes);
            let unwatched = self.segment(UNWATCHED, plan.changes).await?;
            let watched = self.segment(WATCHED, plan.changes).await?;
            pairs.push((unwatched, watched));
        }
        let outcome = Findings { warm_up, before, pairs };
        report::write(results, "churn", [about, outcome.json()])?;
        print!("{}", outcome.table());
        Ok(outcome.verdict())
    }

    async fn segment(&self, path: &str, changes: usize) -> Outcome<Segment> {
        let revision = revision()?;
        let passing = self.passing_requests();
        self.load.begin(SITE.front(), REQUESTS)?;
        let begun = Instant::now();
        let churned = churn(&self.writer, path, changes).await;
        let took = begun.elapsed().as_secs_f64();
        let load = self.load.end()?;
        churned?;
        let passing = float(self.passing_requests() - passing);
        Ok(Segment {
            rate: float(u64::try_from(changes)?) / took,
            revisions: revision_since(revision)?,
            passing_share: passing / float(load.done.max(1)),
            rss: self.rss()?,
            descriptors: machine::descriptors(self.proxy.pid())?,
            load,
        })
    }

    fn passing_requests(&self) -> u64 {
        (STABLE..STABLE + PASSING).map(|n| self.load.seen.count(n)).sum()
    }

    fn rss(&self) -> Outcome<f64> {
        Ok(float(machine::rss(self.proxy.pid())?) / 1e6)
    }
}

/// Registers and deregisters in turns, always the oldest; in the end all that was registered is gone.
async fn churn(writer: &Writer, path: &str, changes: usize) -> Outcome<()> {
    let mut ticks = interval(Duration::from_secs(1) / CHANGES);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut passing = origins().into_iter().enumerate().skip(STABLE).cycle();
    let mut present = VecDeque::new();
    for change in 0..changes {
        ticks.tick().await;
        let is_last = changes - change <= present.len();
        let is_full = present.len() >= PRESENT && change % 2 == 0;
        let oldest = (is_last || is_full).then(|| present.pop_front());
        if let Some(node) = oldest.flatten() {
            let node: String = node;
            writer.deregister(&node).await?;
        } else if let Some((number, addr)) = passing.next() {
            present.push_back(writer.register(path, &format!("b{number}"), addr).await?);
        }
    }
    for node in present {
        writer.deregister(&node).await?;
    }
    Ok(())
}

/// All origins: the stable ones first.
fn origins() -> Vec<SocketAddr> {
    (0..STABLE + PASSING)
        .map(|number| {
            let last = u8::try_from(number).unwrap_or(u8::MAX);
            SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 83, 2, last)), 7200)
        })
        .collect()
}

fn revision() -> Outcome<u64> {
    let detail: Value = serde_json::from_str(&SITE.ask_admin("/services/it")?)?;
    Ok(detail.get("revision").and_then(Value::as_u64).ok_or("no revision")?)
}

fn revision_since(before: u64) -> Outcome<u64> {
    Ok(revision()?.saturating_sub(before))
}
