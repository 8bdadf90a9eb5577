//! `bench run`: synapse and haproxy in interleaved pairs.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use crate::case::{CASES, Case, Measure, SATURATED, Spans, measure, round};
use crate::machine::{self, Cores};
use crate::proxies::{self, Kind, Proxy};
use crate::report::{self, Table};
use crate::{Outcome, Verdict};

/// How much is measured.
#[derive(Debug)]
pub(crate) struct Plan {
    /// Pairs per case.
    pub(crate) pairs: usize,
    /// Length of each measurement.
    pub(crate) spans: Spans,
    /// Only cases whose name contains this.
    pub(crate) only: Option<String>,
    /// The synapse to be measured.
    pub(crate) synapse: PathBuf,
}

impl Plan {
    /// What the promises are checked with.
    pub(crate) fn full(synapse: PathBuf) -> Self {
        Self { pairs: 5, spans: spans(500, 3_000), only: None, synapse }
    }

    /// A first look, in half a minute.
    pub(crate) fn quick(synapse: PathBuf) -> Self {
        Self { pairs: 3, spans: spans(200, 700), ..Self::full(synapse) }
    }

    /// Whether the tool works at all.
    pub(crate) fn smoke(synapse: PathBuf) -> Self {
        Self { pairs: 1, spans: spans(50, 150), ..Self::full(synapse) }
    }
}

fn spans(warm_up: u64, window: u64) -> Spans {
    Spans { warm_up: Duration::from_millis(warm_up), window: Duration::from_millis(window) }
}

/// Runs all cases, prints the table, writes the results.
pub(crate) fn run(plan: &Plan, dir: &Path, results: &Path) -> Outcome<Verdict> {
    let cores = Cores::choose()?;
    machine::check_port_range(10_000)?;
    let about = json!({
        "machine": machine::describe(cores),
        "haproxy": Kind::Haproxy.version(&plan.synapse)?,
        "synapse": Kind::Synapse.version(&plan.synapse)?,
        "pairs": plan.pairs,
        "window_s": plan.spans.window.as_secs_f64(),
    });
    machine::pin(cores.load)?;
    machine::precise_timers()?;
    let mut cases = Vec::new();
    for case in CASES {
        if plan.only.as_ref().is_none_or(|only| case.name.contains(only)) {
            eprintln!("{}: {} pairs", case.name, plan.pairs);
            cases.push(Series::measure(case, plan, dir, cores)?);
        }
    }
    let all: Vec<Value> = cases.iter().map(Series::json).collect();
    report::write(results, "run", [about, json!({"cases": all})])?;
    print!("{}", table(&cases));
    let mut verdict = Verdict::default();
    for series in &cases {
        series.judge(&mut verdict);
    }
    Ok(verdict)
}

/// All pairs of one case.
#[derive(Debug)]
struct Series {
    case: &'static Case,
    /// haproxy's and synapse's, pair by pair.
    pairs: Vec<(Measure, Measure)>,
    first_error: Option<String>,
}

impl Series {
    fn measure(case: &'static Case, plan: &Plan, dir: &Path, cores: Cores) -> Outcome<Self> {
        let mut world = case.world()?;
        let origins = Case::origins();
        let haproxy = Proxy::haproxy(dir, case.mode, &origins, cores.proxy)?;
        let service = proxies::fixed(case.mode, &origins);
        let synapse = Proxy::synapse(&plan.synapse, dir, &service, cores.proxy)?;
        let mut pairs = Vec::new();
        for number in 0..plan.pairs {
            let mut one = |kind, proxy| measure(case, &mut world, kind, proxy, plan.spans);
            // A B, B A, A B, …: a drift of the machine hits both.
            let pair = if number % 2 == 0 {
                let h = one(Kind::Haproxy, &haproxy)?;
                (h, one(Kind::Synapse, &synapse)?)
            } else {
                let s = one(Kind::Synapse, &synapse)?;
                (one(Kind::Haproxy, &haproxy)?, s)
            };
            pairs.push(pair);
        }
        Ok(Self { case, pairs, first_error: world.shared.tally.first_error.take() })
    }

    /// Median over the pairs of haproxy's value, synapse's, and their ratio (of pairs, not of medians).
    fn medians(&self, value: impl Fn(&Measure) -> f64) -> [f64; 3] {
        let of =
            |f: &dyn Fn(&(Measure, Measure)) -> f64| median(self.pairs.iter().map(f).collect());
        [of(&|(h, _)| value(h)), of(&|(_, s)| value(s)), of(&|(h, s)| value(s) / value(h))]
    }

    fn errors(&self) -> u64 {
        self.pairs.iter().map(|(h, s)| h.errors + s.errors).sum()
    }

    fn ratios(&self) -> Vec<f64> {
        let mut ratios: Vec<f64> = self.pairs.iter().map(|(h, s)| s.cost / h.cost).collect();
        ratios.sort_by(f64::total_cmp);
        ratios
    }

    fn judge(&self, verdict: &mut Verdict) {
        let name = self.case.name;
        if self.errors() > 0 {
            let first = self.first_error.as_deref().unwrap_or("unknown");
            verdict.broken.push(format!("{name}: {} errors, the first: {first}", self.errors()));
        }
        let [_, _, ratio] = self.medians(|m| m.cost);
        if let Some(goal) = self.case.goal {
            let text = format!("{name}: CPU x{ratio:.2} of haproxy's, promised x{goal:.2}");
            verdict.promise(ratio <= goal, text);
        }
        let [h, s, _] = self.medians(|m| m.share);
        if h.min(s) < SATURATED {
            let text = format!(
                "{name}: a proxy used only {:.0} % of its core: compare its CPU, not its rate or latency",
                h.min(s) * 100.0
            );
            verdict.notes.push(text);
        }
    }

    fn json(&self) -> Value {
        let triple = |value: fn(&Measure) -> f64| {
            let [h, s, ratio] = self.medians(value);
            json!({"haproxy": round(h), "synapse": round(s), "ratio": round(ratio)})
        };
        let pairs: Vec<Value> = self
            .pairs
            .iter()
            .map(|(h, s)| json!({"haproxy": h.json(), "synapse": s.json()}))
            .collect();
        json!({
            "name": self.case.name,
            "cost_unit": self.case.cost_unit(),
            "rate_unit": self.case.rate_unit(),
            "goal": self.case.goal,
            "cost": triple(|m| m.cost),
            "cost_ratios": self.ratios().iter().map(|r| round(*r)).collect::<Vec<_>>(),
            "rate": triple(|m| m.rate),
            "p50_us": triple(|m| m.p50),
            "p99_us": triple(|m| m.p99),
            "rss_mb": triple(|m| m.rss),
            "proxy_core_share": triple(|m| m.share),
            "load_core_share": triple(|m| m.load_share),
            "errors": self.errors(),
            "first_error": self.first_error,
            "pairs": pairs,
        })
    }
}

/// Both proxies side by side, the ratios after them.
fn table(cases: &[Series]) -> String {
    let mut table = Table::new(&[
        "case",
        "CPU haproxy",
        "synapse",
        "ratio (min-max)",
        "goal",
        "rate haproxy",
        "synapse",
        "ratio",
        "p50 us",
        "p99 us",
        "RSS MB",
        "core %",
        "errors",
    ]);
    for series in cases {
        let case = series.case;
        let [h, s, ratio] = series.medians(|m| m.cost);
        let ratios = series.ratios();
        let edge = |r: Option<&f64>| r.copied().unwrap_or_default();
        let [rate_h, rate_s, rate] = series.medians(|m| m.rate);
        let both = |value: fn(&Measure) -> f64, digits: usize| {
            let [h, s, _] = series.medians(value);
            format!("{h:.digits$} / {s:.digits$}")
        };
        let digits = if case.is_bulk() { 1 } else { 0 };
        table.row(vec![
            case.name.to_owned(),
            format!("{h:.1} {}", case.cost_unit()),
            format!("{s:.1}"),
            format!("{ratio:.2} ({:.2}-{:.2})", edge(ratios.first()), edge(ratios.last())),
            case.goal.map_or_else(|| "-".to_owned(), |g| format!("{g:.1}")),
            format!("{rate_h:.digits$} {}", case.rate_unit()),
            format!("{rate_s:.digits$}"),
            format!("{rate:.2}"),
            if case.is_bulk() { "-".to_owned() } else { both(|m| m.p50, 0) },
            if case.is_bulk() { "-".to_owned() } else { both(|m| m.p99, 0) },
            both(|m| m.rss, 1),
            both(|m| m.share * 100.0, 0),
            series.errors().to_string(),
        ]);
    }
    table.to_string()
}

/// The middle one, or the mean of the two in the middle; NaN of none.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let at = |i: usize| values.get(i).copied().unwrap_or(f64::NAN);
    let half = values.len() / 2;
    if values.len() % 2 == 1 { at(half) } else { f64::midpoint(at(half.wrapping_sub(1)), at(half)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians() {
        assert!((median(vec![3.0, 1.0, 2.0]) - 2.0).abs() < 1e-9);
        assert!((median(vec![4.0, 1.0, 2.0, 3.0]) - 2.5).abs() < 1e-9);
        assert!(median(Vec::new()).is_nan());
    }
}
