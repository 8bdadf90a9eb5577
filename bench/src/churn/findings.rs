//! What came out, for people, for machines, and against the promises.

use serde_json::{Value, json};

use super::{CHANGES, FLAT, P99_RATIO, RSS_GROWTH, Segment};
use crate::Verdict;
use crate::load::Summary;
use crate::measure::round;
use crate::report::Table;
use crate::series::median;

/// All pairs.
pub(super) struct Findings {
    /// The load before the first change.
    pub(super) warm_up: Summary,
    /// Resident memory before the first change, in MB.
    pub(super) before: f64,
    /// The unwatched segment and the watched.
    pub(super) pairs: Vec<(Segment, Segment)>,
}

impl Findings {
    fn p99_ratio(&self) -> f64 {
        let ratios = self.pairs.iter().map(|(u, w)| w.load.p99 / u.load.p99);
        median(ratios.collect())
    }

    pub(super) fn verdict(&self) -> Verdict {
        let mut verdict = Verdict::default();
        let segments = self.pairs.iter().flat_map(|(u, w)| [u, w]);
        let loads = segments.map(|s| &s.load).chain([&self.warm_up]);
        let failed: u64 = loads.clone().map(|l| l.failed).sum();
        if failed > 0 {
            let first = loads.clone().find_map(|l| l.first_error.clone()).unwrap_or_default();
            verdict.broken.push(format!("{failed} requests failed, the first: {first}"));
        } else {
            let done: u64 = loads.map(|l| l.done).sum();
            verdict.promise(true, format!("0 of {done} requests failed"));
        }
        let ratio = self.p99_ratio();
        let text = format!("p99 x{ratio:.2} of that under unwatched churn, promised x{P99_RATIO}");
        verdict.promise(ratio <= P99_RATIO, text);
        if let Some(rss) = self.pairs.iter().map(|(_, w)| w.rss).next_back() {
            let text = format!(
                "RSS {:.1} MB before, {rss:.1} MB at the end, promised +{RSS_GROWTH}",
                self.before
            );
            verdict.promise(rss <= self.before + RSS_GROWTH, text);
        }
        if let [(_, first), (_, second), ..] = self.pairs.as_slice() {
            let text = format!(
                "RSS {:.1} MB after one round of changes, {:.1} MB after two (flat: +{FLAT})",
                first.rss, second.rss
            );
            verdict.promise(second.rss <= first.rss + FLAT, text);
        }
        let slow = self.pairs.iter().map(|(_, w)| w.rate).fold(f64::INFINITY, f64::min);
        if slow < 0.95 * f64::from(CHANGES) {
            verdict.notes.push(format!(
                "the writer managed only {slow:.0} changes per second: a busy machine"
            ));
        }
        verdict
    }

    pub(super) fn table(&self) -> String {
        let mut table = Table::new(&[
            "churn",
            "changes/s",
            "snapshots",
            "requests",
            "failed",
            "p50 us",
            "p99 us",
            "p99.9 us",
            "answered by passing",
            "RSS MB",
            "fds",
        ]);
        for (unwatched, watched) in &self.pairs {
            for (name, s) in [("unwatched", unwatched), ("watched", watched)] {
                table.row(vec![
                    name.to_owned(),
                    format!("{:.0}", s.rate),
                    s.revisions.to_string(),
                    s.load.done.to_string(),
                    s.load.failed.to_string(),
                    format!("{:.0}", s.load.p50),
                    format!("{:.0}", s.load.p99),
                    format!("{:.0}", s.load.p999),
                    format!("{:.0} %", s.passing_share * 100.0),
                    format!("{:.1}", s.rss),
                    s.descriptors.to_string(),
                ]);
            }
        }
        table.to_string()
    }

    pub(super) fn json(&self) -> Value {
        let segment = |s: &Segment| {
            json!({
                "changes_per_second": round(s.rate), "snapshots": s.revisions, "load": s.load.json(),
                "answered_by_passing": round(s.passing_share), "rss_mb": round(s.rss),
                "descriptors": s.descriptors
            })
        };
        let pairs: Vec<Value> = self
            .pairs
            .iter()
            .map(|(u, w)| json!({"unwatched": segment(u), "watched": segment(w)}))
            .collect();
        json!({
            "rss_mb_before": round(self.before), "p99_ratio": round(self.p99_ratio()),
            "warm_up": self.warm_up.json(), "pairs": pairs
        })
    }
}
