//! What the rounds of a case amount to: medians, ratios of each round, and whether promises were kept.

use serde_json::{Map, Value, json};

use crate::Verdict;
use crate::case::{Case, Entrant};
use crate::measure::{Measure, round};
use crate::proxies::{Kind, Logs};
use crate::report::Table;

/// A proxy below this share of its core was not what limited the run: its rate and its latency say little.
const SATURATED: f64 = 0.9;

/// With fewer log lines than this per request, the cost is not that of logging all.
const LOGGED: f64 = 0.99;

/// With fewer, it does not log.
const SILENT: f64 = 0.5;

/// All rounds of one case.
#[derive(Debug)]
pub(crate) struct Series {
    /// What was measured.
    pub(crate) case: Case,
    /// In the order of time; in each, a measurement of every entrant.
    pub(crate) rounds: Vec<Vec<Measure>>,
    /// What went wrong first.
    pub(crate) first_error: Option<String>,
}

/// synapse's figure as a multiple of another's, over the rounds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ratio {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

impl Series {
    fn measures(&self, entrant: usize) -> impl Iterator<Item = &Measure> {
        self.rounds.iter().filter_map(move |round| round.get(entrant))
    }

    /// Median of a figure over the rounds.
    pub(crate) fn median(&self, entrant: usize, value: impl Fn(&Measure) -> f64) -> f64 {
        median(self.measures(entrant).map(value).collect())
    }

    /// Ratios of the rounds, not of medians. The first entrant is synapse.
    pub(crate) fn ratio(&self, entrant: usize, value: impl Fn(&Measure) -> f64) -> Ratio {
        let pairs = self.measures(0).zip(self.measures(entrant));
        let ratios: Vec<f64> = pairs.map(|(ours, its)| value(ours) / value(its)).collect();
        Ratio {
            min: ratios.iter().copied().fold(f64::INFINITY, f64::min),
            max: ratios.iter().copied().fold(0.0, f64::max),
            median: median(ratios),
        }
    }

    /// The others, by number.
    pub(crate) fn peers(&self) -> impl Iterator<Item = (usize, &Entrant)> {
        self.case.entrants.iter().enumerate().skip(1)
    }

    fn errors(&self) -> u64 {
        self.rounds.iter().flatten().map(|m| m.errors).sum()
    }

    /// Errors, promises, and what a reader should know.
    pub(crate) fn judge(&self, verdict: &mut Verdict) {
        let name = &self.case.name;
        let errors = self.errors();
        if errors > 0 {
            let first = self.first_error.as_deref().unwrap_or("unknown");
            verdict.broken.push(format!("{name}: {errors} errors, the first: {first}"));
        }
        self.judge_cost(verdict);
        let haproxy = self.peers().find(|(_, e)| e.setup.kind == Kind::Haproxy);
        if let Some((haproxy, _)) = haproxy {
            let goals = &self.case.goals;
            if let Some(goal) = goals.rate {
                let ratio = self.ratio(haproxy, |m| m.rate).median;
                let text =
                    format!("{name}: rate x{ratio:.2} of haproxy's, promised at least x{goal:.2}");
                verdict.promise(ratio >= goal, text);
            }
            let mut latency = |what: &str, goal: Option<f64>, value: fn(&Measure) -> f64| {
                if let Some(goal) = goal {
                    let ratio = self.ratio(haproxy, value).median;
                    let text = format!(
                        "{name}: {what} x{ratio:.2} of haproxy's, promised at most x{goal:.2}"
                    );
                    verdict.promise(ratio <= goal, text);
                }
            };
            latency("p50", goals.p50, |m| m.p50);
            latency("p99", goals.p99, |m| m.p99);
        }
        self.note(verdict);
    }

    fn judge_cost(&self, verdict: &mut Verdict) {
        let Case { name, entrants, .. } = &self.case;
        let (what, unit) = (self.case.cost_name(), self.case.cost_unit());
        if let Some(goal) = entrants.first().and_then(|e| e.goal) {
            let cost = self.median(0, |m| m.cost);
            let text = format!("{name}: {cost:.2} {unit}, promised at most {goal:.2}");
            verdict.promise(cost <= goal, text);
        }
        for (number, peer) in self.peers() {
            if let Some(goal) = peer.goal {
                let ratio = self.ratio(number, |m| m.cost).median;
                let peer = peer.setup.name();
                let text =
                    format!("{name}: {what} x{ratio:.2} of {peer}'s, promised at most x{goal:.2}");
                verdict.promise(ratio <= goal, text);
            }
        }
    }

    fn note(&self, verdict: &mut Verdict) {
        let Case { name, entrants, .. } = &self.case;
        let with = |value: fn(&Measure) -> f64| {
            let medians = entrants.iter().enumerate();
            medians.map(move |(n, e)| (e.setup, self.median(n, value)))
        };
        if self.case.is_saturating() {
            let lazy: Vec<String> = with(|m| m.share)
                .filter(|(setup, share)| setup.is_pinned && *share < SATURATED)
                .map(|(setup, share)| format!("{} {:.0} %", setup.name(), share * 100.0))
                .collect();
            if !lazy.is_empty() {
                let lazy = lazy.join(", ");
                verdict.notes.push(format!(
                    "{name}: core not fully used ({lazy}): compare CPU, not rate or latency"
                ));
            }
        }
        for (setup, logged) in with(|m| m.logged) {
            if setup.logs != Logs::Off && logged < LOGGED {
                let text = format!("{name}: {} logged {logged:.3} of its requests", setup.name());
                let is_silent = logged < SILENT;
                if is_silent { &mut verdict.broken } else { &mut verdict.notes }.push(text);
            }
        }
    }

    /// For the results.
    pub(crate) fn json(&self) -> Value {
        let entrants = &self.case.entrants;
        let each = |value: fn(&Measure) -> f64| -> Value {
            let medians = entrants.iter().enumerate();
            let medians =
                medians.map(|(n, e)| (e.setup.name(), round(self.median(n, value)).into()));
            medians.collect::<Map<_, _>>().into()
        };
        let ratios: Map<_, _> = self
            .peers()
            .map(|(number, peer)| {
                let cost = self.ratio(number, |m| m.cost);
                let median = |value: fn(&Measure) -> f64| round(self.ratio(number, value).median);
                let ratios = json!({
                    "cost": round(cost.median), "cost_min": round(cost.min),
                    "cost_max": round(cost.max), "cost_goal": peer.goal,
                    "user": median(|m| m.user), "kernel": median(Measure::kernel),
                    "rate": median(|m| m.rate), "p50": median(|m| m.p50), "p99": median(|m| m.p99)
                });
                (peer.setup.name(), ratios)
            })
            .collect();
        let goals = &self.case.goals;
        let rounds = self.rounds.iter().map(|round| {
            let names = entrants.iter().map(|e| e.setup.name());
            names.zip(round.iter().map(Measure::json)).collect::<Map<_, _>>()
        });
        json!({
            "name": self.case.name,
            "cost_unit": self.case.cost_unit(),
            "rate_unit": self.case.rate_unit(),
            "goals": {
                "cost": entrants.first().and_then(|e| e.goal),
                "rate": goals.rate, "p50": goals.p50, "p99": goals.p99
            },
            "cost": each(|m| m.cost),
            "user": each(|m| m.user),
            "kernel": each(Measure::kernel),
            "rate": each(|m| m.rate),
            "p50_us": each(|m| m.p50),
            "p99_us": each(|m| m.p99),
            "rss_mb": each(|m| m.rss),
            "proxy_core_share": each(|m| m.share),
            "load_core_share": each(|m| m.load_share),
            "log_lines_per_request": each(|m| m.logged),
            "ratios": ratios,
            "errors": self.errors(),
            "first_error": self.first_error,
            "rounds": rounds.collect::<Vec<_>>(),
        })
    }

    fn row(&self, number: usize, entrant: &Entrant) -> Vec<String> {
        let case = &self.case;
        let figure = |value: fn(&Measure) -> f64| self.median(number, value);
        let digits = if case.is_bulk() { 1 } else { 0 };
        let none = || "-".to_owned();
        let ratio = |value: fn(&Measure) -> f64| {
            if number == 0 {
                String::new()
            } else {
                format!("{:.2}", self.ratio(number, value).median)
            }
        };
        let mut row = vec![
            if number == 0 { case.name.clone() } else { String::new() },
            entrant.setup.name(),
            format!("{:.1} {}", figure(|m| m.cost), case.cost_unit()),
        ];
        row.push(if case.is_idle() {
            none()
        } else {
            format!("{:.1} + {:.1}", figure(|m| m.user), figure(Measure::kernel))
        });
        row.push(if number == 0 {
            String::new()
        } else {
            let Ratio { median, min, max } = self.ratio(number, |m| m.cost);
            format!("{median:.2} ({min:.2}-{max:.2})")
        });
        row.push(entrant.goal.map_or_else(none, |goal| format!("{goal:.2}")));
        if case.is_idle() {
            row.extend((0..6).map(|_| none()));
        } else {
            row.push(format!("{:.digits$} {}", figure(|m| m.rate), case.rate_unit()));
            row.push(ratio(|m| m.rate));
            for value in [|m: &Measure| m.p50, |m: &Measure| m.p99] {
                let both = [format!("{:.0}", figure(value)), ratio(value)].join(" ");
                row.push(if case.is_bulk() { none() } else { both.trim().to_owned() });
            }
            row.push(format!("{:.0}", figure(|m| m.share) * 100.0));
            row.push(format!("{:.0}", figure(|m| m.load_share) * 100.0));
        }
        row.push(format!("{:.1}", figure(|m| m.rss)));
        row.push(self.measures(number).map(|m| m.errors).sum::<u64>().to_string());
        row
    }
}

/// A line per case and proxy; the ratios in a line are synapse's figure divided by that proxy's.
pub(crate) fn table(cases: &[Series]) -> String {
    let mut table = Table::new(&[
        "case",
        "proxy",
        "cost",
        "user + kernel",
        "synapse / it (min-max)",
        "goal",
        "rate",
        "ratio",
        "p50 us, ratio",
        "p99 us, ratio",
        "core %",
        "load %",
        "RSS MB",
        "errors",
    ]);
    for series in cases {
        for (number, entrant) in series.case.entrants.iter().enumerate() {
            table.row(series.row(number, entrant));
        }
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
