//! `bench run`: synapse and its peers in interleaved rounds.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::case::{CASES, Case, Spans};
use crate::machine::{self, Cores};
use crate::measure::measure;
use crate::proxies::{self, Kind, Proxy};
use crate::report;
use crate::series::{self, Round, Series};
use crate::{Outcome, Verdict};

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
    /// The synapse to be measured.
    pub(crate) synapse: PathBuf,
}

impl Plan {
    /// What the promises are checked with.
    pub(crate) fn full(synapse: PathBuf) -> Self {
        let peers = vec![Kind::Haproxy, Kind::Nginx];
        Self { rounds: 5, spans: spans(500, 3_000), only: Vec::new(), peers, synapse }
    }

    /// A first look, in half a minute.
    pub(crate) fn quick(synapse: PathBuf) -> Self {
        Self { rounds: 3, spans: spans(200, 700), ..Self::full(synapse) }
    }

    /// Whether the tool works at all.
    pub(crate) fn smoke(synapse: PathBuf) -> Self {
        Self { rounds: 1, spans: spans(50, 150), ..Self::full(synapse) }
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
    let kinds = || [Kind::Synapse].iter().chain(&plan.peers).copied();
    let mut versions = Map::new();
    for kind in kinds() {
        versions.insert(kind.name().to_owned(), kind.version(&plan.synapse)?.into());
    }
    let about = json!({
        "machine": machine::describe(cores),
        "versions": versions,
        "rounds": plan.rounds,
        "window_s": plan.spans.window.as_secs_f64(),
    });
    machine::pin(cores.load)?;
    machine::precise_timers()?;
    let mut cases = Vec::new();
    for case in CASES.iter().filter(|case| plan.wants(case)) {
        eprintln!("{}: {} rounds", case.name, plan.rounds);
        let kinds: Vec<Kind> = kinds().filter(|kind| kind.can(case.mode())).collect();
        cases.push(rounds(case, &kinds, plan, dir, cores)?);
    }
    if cases.is_empty() {
        return Err(format!("no case is called {}", plan.only.join(" or ")).into());
    }
    let all: Vec<Value> = cases.iter().map(Series::json).collect();
    report::write(results, "run", [about, json!({"cases": all})])?;
    print!("{}", series::table(&cases));
    let mut verdict = Verdict::default();
    for series in &cases {
        series.judge(&mut verdict);
    }
    Ok(verdict)
}

/// All rounds of one case.
fn rounds(
    case: &'static Case,
    kinds: &[Kind],
    plan: &Plan,
    dir: &Path,
    cores: Cores,
) -> Outcome<Series> {
    let mut world = case.world()?;
    let origins = Case::origins();
    let mut proxies = Vec::new();
    for kind in kinds {
        proxies.push(match kind {
            Kind::Haproxy => Proxy::haproxy(dir, case.mode(), &origins, cores.proxy)?,
            Kind::Nginx => Proxy::nginx(dir, &origins, cores.proxy)?,
            Kind::Synapse => {
                let service = proxies::fixed(case.mode(), &origins);
                Proxy::synapse(&plan.synapse, dir, &service, cores.proxy)?
            }
        });
    }
    let mut rounds = Vec::new();
    for _ in 0..plan.rounds {
        let mut round = Round::new();
        for proxy in &proxies {
            round.insert(proxy.kind(), measure(case, &mut world, proxy, plan.spans)?);
        }
        rounds.push(round);
        // A B C, C B A, A B C, …: a drift of the machine hits all.
        proxies.reverse();
    }
    let first_error = world.shared.tally.first_error.take();
    Ok(Series { case, kinds: kinds.to_vec(), rounds, first_error })
}
