//! `bench run`: synapse and its peers in interleaved rounds.

use std::path::Path;
use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::case::{self, Case, Spans};
use crate::chart;
use crate::machine::{self, Cores};
use crate::measure::measure;
use crate::proxies::{Kind, Logs, Programs, Proxy, Setup, Site};
use crate::receiver::Receiver;
use crate::series::{self, Series};
use crate::{Outcome, Verdict};
use crate::{report, rows};

/// How much is measured.
#[derive(Debug)]
pub(crate) struct Plan {
    /// Rounds per case: each measures every proxy once.
    pub(crate) rounds: usize,
    /// Length of each measurement.
    pub(crate) spans: Spans,
    /// Only cases whose name contains one of these; empty: all.
    pub(crate) only: Vec<String>,
    /// What synapse is compared with.
    pub(crate) peers: Vec<Kind>,
    /// HTTP rows once more with these.
    pub(crate) logs: Vec<Logs>,
    /// What is started.
    pub(crate) programs: Programs,
}

impl Plan {
    /// What the promises are checked with.
    pub(crate) fn full(programs: Programs) -> Self {
        Self {
            rounds: 5,
            spans: spans(500, 3_000),
            only: Vec::new(),
            peers: vec![Kind::Haproxy, Kind::Nginx],
            logs: Vec::new(),
            programs,
        }
    }

    /// A first look, in half a minute.
    pub(crate) fn quick(programs: Programs) -> Self {
        Self { rounds: 3, spans: spans(200, 700), ..Self::full(programs) }
    }

    /// Whether the tool works at all.
    pub(crate) fn smoke(programs: Programs) -> Self {
        Self { rounds: 1, spans: spans(50, 150), ..Self::full(programs) }
    }

    fn wants(&self, case: &Case) -> bool {
        self.only.is_empty() || self.only.iter().any(|part| case.name.contains(part.as_str()))
    }
}

fn spans(warm_up: u64, window: u64) -> Spans {
    Spans { warm_up: Duration::from_millis(warm_up), window: Duration::from_millis(window) }
}

/// Runs all cases, prints the table, writes the results.
pub(crate) fn run(plan: &Plan, dir: &Path, results: &Path) -> Outcome<Verdict> {
    let cores = Cores::choose()?;
    machine::check_port_range(10_000)?;
    let mut versions = Map::new();
    for kind in [Kind::Synapse].iter().chain(&plan.peers) {
        versions.insert(kind.name().to_owned(), plan.programs.version(*kind)?.into());
    }
    let about = json!({
        "machine": machine::describe(cores),
        "versions": versions,
        "rounds": plan.rounds,
        "window_s": plan.spans.window.as_secs_f64(),
    });
    machine::pin(&[cores.load])?;
    machine::precise_timers()?;
    machine::all_descriptors()?;
    let mut cases = rows::cases(&plan.peers, &plan.logs);
    cases.retain(|case| plan.wants(case));
    if cases.is_empty() {
        return Err(format!("no case is called {}", plan.only.join(" or ")).into());
    }
    let mut all = Vec::new();
    for case in cases {
        all.push(play(case, plan, dir, cores)?);
    }
    let findings: Vec<Value> = all.iter().map(Series::json).collect();
    let file = report::write(results, "run", [about, json!({"cases": findings})])?;
    std::fs::write(file.with_extension("svg"), chart::svg(&all))?;
    print!("{}", series::table(&all));
    let mut verdict = Verdict::default();
    for series in &all {
        series.judge(&mut verdict);
    }
    Ok(verdict)
}

/// All rounds of one case.
fn play(case: Case, plan: &Plan, dir: &Path, cores: Cores) -> Outcome<Series> {
    let (count, spans) = case.rounds(plan.rounds, plan.spans);
    eprintln!("{}: {count} rounds of {}", case.name, case.entrants.len());
    let mut world = case.world()?;
    let sites = (0..).take(case.entrants.len()).map(Site);
    let receiver = Receiver::start(sites.map(|site| site.log()))?;
    let start = |number: usize, setup: Setup| {
        let site = Site(u16::try_from(number)?);
        let what = (dir, case.mode(), &*case.servers(&setup));
        Proxy::start(setup, site, &plan.programs, what, cores)
    };
    let addrs = case.is_http2().then(case::http2_origins);
    let origin = addrs.map(|addrs| Proxy::http2_origin(dir, &addrs, cores)).transpose()?;
    let mut proxies = Vec::new();
    let mut rounds = Vec::new();
    for number in 0..count {
        // Memory that a proxy has had once it may keep: each time another process.
        if proxies.is_empty() || case.is_memory() {
            proxies.clear();
            for (number, entrant) in case.entrants.iter().enumerate() {
                proxies.push(start(number, entrant.setup)?);
            }
        }
        // A B C, C B A, A B C, …: a drift of the machine hits all.
        let mut round = Vec::new();
        let mut measure = |proxy| measure(&case, &mut world, proxy, &receiver, spans);
        if number % 2 == 0 {
            for proxy in &proxies {
                round.push(measure(proxy)?);
            }
        } else {
            for proxy in proxies.iter().rev() {
                round.push(measure(proxy)?);
            }
            round.reverse();
        }
        rounds.push(round);
    }
    drop(proxies);
    drop(origin);
    let first_error = world.shared.tally.first_error.take();
    Ok(Series { case, rounds, first_error })
}
