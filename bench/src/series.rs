//! What the rounds of a case amount to: medians, ratios of each round, and whether promises were kept.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::Verdict;
use crate::case::Case;
use crate::measure::{Measure, round};
use crate::proxies::Kind;
use crate::report::Table;

/// A proxy below this share of its core was not what limited the run: its rate and its latency say little.
const SATURATED: f64 = 0.9;

/// One measurement of each proxy, shortly after each other.
pub(crate) type Round = BTreeMap<Kind, Measure>;

/// All rounds of one case.
#[derive(Debug)]
pub(crate) struct Series {
    /// What was measured.
    pub(crate) case: &'static Case,
    /// synapse, then its peers.
    pub(crate) kinds: Vec<Kind>,
    /// In the order of time.
    pub(crate) rounds: Vec<Round>,
    /// What went wrong first.
    pub(crate) first_error: Option<String>,
}

/// synapse's figure as a multiple of a peer's, over the rounds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ratio {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

impl Series {
    /// Median of a figure over the rounds.
    pub(crate) fn median(&self, kind: Kind, value: impl Fn(&Measure) -> f64) -> f64 {
        median(self.rounds.iter().filter_map(|round| round.get(&kind)).map(value).collect())
    }

    /// Ratios of the rounds, not of medians.
    pub(crate) fn ratio(&self, peer: Kind, value: impl Fn(&Measure) -> f64) -> Ratio {
        let ratios = self
            .rounds
            .iter()
            .filter_map(|round| Some(value(round.get(&Kind::Synapse)?) / value(round.get(&peer)?)));
        let ratios: Vec<f64> = ratios.collect();
        Ratio {
            min: ratios.iter().copied().fold(f64::INFINITY, f64::min),
            max: ratios.iter().copied().fold(0.0, f64::max),
            median: median(ratios),
        }
    }

    /// What synapse is compared with.
    pub(crate) fn peers(&self) -> impl Iterator<Item = Kind> {
        self.kinds.iter().copied().filter(|kind| *kind != Kind::Synapse)
    }

    fn errors(&self, kind: Option<Kind>) -> u64 {
        let all = self.rounds.iter().flatten();
        all.filter(|(k, _)| kind.is_none_or(|kind| kind == **k)).map(|(_, m)| m.errors).sum()
    }

    /// Errors, promises, and what a reader should know.
    pub(crate) fn judge(&self, verdict: &mut Verdict) {
        let name = self.case.name;
        let errors = self.errors(None);
        if errors > 0 {
            let first = self.first_error.as_deref().unwrap_or("unknown");
            verdict.broken.push(format!("{name}: {errors} errors, the first: {first}"));
        }
        for peer in self.peers() {
            if let Some(goal) = self.case.goals.cost_beside(peer) {
                let ratio = self.ratio(peer, |m| m.cost).median;
                let text =
                    format!("{name}: CPU x{ratio:.2} of {peer}'s, promised at most x{goal:.2}");
                verdict.promise(ratio <= goal, text);
            }
        }
        if let Some(goal) = self.case.goals.rate
            && self.kinds.contains(&Kind::Haproxy)
        {
            let ratio = self.ratio(Kind::Haproxy, |m| m.rate).median;
            let text =
                format!("{name}: rate x{ratio:.2} of haproxy's, promised at least x{goal:.2}");
            verdict.promise(ratio >= goal, text);
        }
        let lazy: Vec<String> = self
            .kinds
            .iter()
            .map(|kind| (kind, self.median(*kind, |m| m.share)))
            .filter(|(_, share)| *share < SATURATED)
            .map(|(kind, share)| format!("{kind} {:.0} %", share * 100.0))
            .collect();
        if !lazy.is_empty() {
            let lazy = lazy.join(", ");
            verdict.notes.push(format!(
                "{name}: core not fully used ({lazy}): compare CPU, not rate or latency"
            ));
        }
    }

    /// For the results.
    pub(crate) fn json(&self) -> Value {
        let each = |value: fn(&Measure) -> f64| -> Value {
            let pairs = self
                .kinds
                .iter()
                .map(|kind| (kind.name().to_owned(), round(self.median(*kind, value)).into()));
            pairs.collect::<Map<_, _>>().into()
        };
        let ratios: Map<_, _> = self
            .peers()
            .map(|peer| {
                let cost = self.ratio(peer, |m| m.cost);
                let median = |value: fn(&Measure) -> f64| round(self.ratio(peer, value).median);
                let ratios = json!({
                    "cost": round(cost.median), "cost_min": round(cost.min),
                    "cost_max": round(cost.max), "cost_goal": self.case.goals.cost_beside(peer),
                    "user": median(|m| m.user), "kernel": median(Measure::kernel),
                    "rate": median(|m| m.rate), "p50": median(|m| m.p50), "p99": median(|m| m.p99)
                });
                (peer.name().to_owned(), ratios)
            })
            .collect();
        let rounds = self.rounds.iter().map(|round| {
            round.iter().map(|(kind, m)| (kind.name().to_owned(), m.json())).collect::<Map<_, _>>()
        });
        json!({
            "name": self.case.name,
            "cost_unit": self.case.cost_unit(),
            "rate_unit": self.case.rate_unit(),
            "rate_goal": self.case.goals.rate,
            "cost": each(|m| m.cost),
            "user": each(|m| m.user),
            "kernel": each(Measure::kernel),
            "rate": each(|m| m.rate),
            "p50_us": each(|m| m.p50),
            "p99_us": each(|m| m.p99),
            "rss_mb": each(|m| m.rss),
            "proxy_core_share": each(|m| m.share),
            "load_core_share": each(|m| m.load_share),
            "ratios": ratios,
            "errors": self.errors(None),
            "first_error": self.first_error,
            "rounds": rounds.collect::<Vec<_>>(),
        })
    }

    fn row(&self, kind: Kind) -> Vec<String> {
        let case = self.case;
        let figure = |value: fn(&Measure) -> f64| self.median(kind, value);
        let digits = if case.is_bulk() { 1 } else { 0 };
        let mut row = vec![
            if kind == Kind::Synapse { case.name.to_owned() } else { String::new() },
            kind.name().to_owned(),
            format!("{:.1} {}", figure(|m| m.cost), case.cost_unit()),
            format!("{:.1} + {:.1}", figure(|m| m.user), figure(Measure::kernel)),
        ];
        if kind == Kind::Synapse {
            row.extend([String::new(), String::new()]);
        } else {
            let Ratio { median, min, max } = self.ratio(kind, |m| m.cost);
            row.push(format!("{median:.2} ({min:.2}-{max:.2})"));
            let goal = case.goals.cost_beside(kind);
            row.push(goal.map_or_else(|| "-".to_owned(), |goal| format!("{goal:.2}")));
        }
        row.push(format!("{:.digits$} {}", figure(|m| m.rate), case.rate_unit()));
        row.push(match kind {
            Kind::Synapse => String::new(),
            Kind::Haproxy | Kind::Nginx => {
                format!("{:.2}", self.ratio(kind, |m| m.rate).median)
            }
        });
        for value in [|m: &Measure| m.p50, |m: &Measure| m.p99] {
            row.push(if case.is_bulk() { "-".to_owned() } else { format!("{:.0}", figure(value)) });
        }
        row.push(format!("{:.1}", figure(|m| m.rss)));
        row.push(format!("{:.0}", figure(|m| m.share) * 100.0));
        row.push(self.errors(Some(kind)).to_string());
        row
    }
}

/// A line per case and proxy; the ratios in a peer's line are synapse's figure divided by the peer's.
pub(crate) fn table(cases: &[Series]) -> String {
    let mut table = Table::new(&[
        "case",
        "proxy",
        "CPU",
        "user + kernel",
        "synapse / it (min-max)",
        "goal",
        "rate",
        "synapse / it",
        "p50 us",
        "p99 us",
        "RSS MB",
        "core %",
        "errors",
    ]);
    for series in cases {
        for kind in &series.kinds {
            table.row(series.row(*kind));
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
