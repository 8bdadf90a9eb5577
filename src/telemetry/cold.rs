//! Rare events of the control plane, counted through the `metrics` facade.
//!
//! Nothing here may be called per request of the proxy: hot numbers live in [`cells`](super::cells). The recorder is the
//! exporter's; it has no listener of its own, its text is appended to the answer of `/metrics`. A counter appears with
//! its first event. Labels come from fixed lists, because the recorder never forgets a series.
#![expect(clippy::disallowed_macros, reason = "the one file that registers cold counters")]

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};

use serde::{Deserialize, Serialize};

use super::names::{self, Metric};
use super::statsd::Program;

/// The installed recorder, for rendering. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct ColdMetrics {
    handle: Option<PrometheusHandle>,
}

/// The process has a recorder already.
#[derive(Debug, thiserror::Error)]
#[error("a metrics recorder is installed already")]
pub struct RecorderError(#[source] metrics_exporter_prometheus::BuildError);

impl ColdMetrics {
    /// Installs the recorder of the process and describes the cold families. Call once, at the start.
    ///
    /// # Errors
    /// [`RecorderError`] when the process has one already.
    pub fn install() -> Result<Self, RecorderError> {
        let handle = PrometheusBuilder::new().install_recorder().map_err(RecorderError)?;
        for metric in COLD {
            metrics::describe_counter!(metric.name, metric.help);
        }
        Ok(Self { handle: Some(handle) })
    }

    /// Without a recorder: events are not counted (tests, tools).
    pub fn disconnected() -> Self {
        Self::default()
    }

    /// The cold families in the text format; empty before the first event.
    pub fn render(&self) -> String {
        self.handle.as_ref().map_or_else(String::new, |handle| {
            // Only histograms need upkeep and there is none here yet; it is cheap and keeps memory bounded if one comes.
            handle.run_upkeep();
            handle.render()
        })
    }
}

impl ColdMetrics {
    /// As [`Self::render`] for nerve: what both programs count is named after the one that counts.
    pub fn render_for_nerve(&self) -> String {
        let named = |line: &str| {
            let parts = line.split_once("synapse_");
            let parts = parts.filter(|(head, _)| ["", "# HELP ", "# TYPE "].contains(head));
            parts
                .map_or_else(|| format!("{line}\n"), |(head, rest)| format!("{head}nerve_{rest}\n"))
        };
        self.render().lines().map(named).collect()
    }
}

/// One series of a cold family.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ColdCount {
    /// The family.
    pub name: String,
    /// Label names and values.
    pub labels: Vec<(String, String)>,
    /// How often.
    pub count: u64,
}

impl ColdMetrics {
    /// Every series now.
    pub fn counts(&self) -> Vec<ColdCount> {
        self.render().lines().filter_map(parse_sample).collect()
    }
}

/// `name{label="value",…} 12`, as the exporter writes it. Our label values need no escapes.
fn parse_sample(line: &str) -> Option<ColdCount> {
    let (series, count) = line.rsplit_once(' ')?;
    let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
    let labels = labels.strip_suffix('}')?.split(',');
    let labels = labels.filter(|pair| !pair.is_empty()).map(|pair| {
        let (name, value) = pair.split_once('=')?;
        let value = value.strip_prefix('"')?.strip_suffix('"')?;
        Some((name.to_owned(), value.to_owned()))
    });
    Some(ColdCount {
        name: name.to_owned(),
        labels: labels.collect::<Option<_>>()?,
        count: count.parse().ok()?,
    })
}

/// Adds what a former process counted. Families that are not known here are dropped, and series beyond
/// `MAX_INHERITED_LABELS` labels.
pub fn inherit(inherited: &ColdCount) {
    let Some(metric) = COLD.iter().find(|metric| metric.name == inherited.name) else {
        return;
    };
    if inherited.labels.len() <= MAX_INHERITED_LABELS {
        metrics::counter!(metric.name, &inherited.labels).increment(inherited.count);
    }
}

/// Our families have one label at most.
const MAX_INHERITED_LABELS: usize = 2;

/// Families that are counted here; the others are written by the admin server from cells and views.
pub const COLD: [Metric; 11] = [
    names::ADMIN_REQUESTS,
    names::NERVE_ADMIN_REQUESTS,
    names::CONFIG_RELOADS,
    names::CONFIG_REJECTED,
    names::LAST_KNOWN_SAVES,
    names::LAST_KNOWN_SAVE_ERRORS,
    names::LAST_KNOWN_REFUSED,
    names::TASK_RESTARTS,
    names::TASKS_LOST,
    names::STATSD_LOST,
    names::NERVE_STATSD_LOST,
];

/// Counts a request to the admin server. `route` is the pattern that matched, not the path that was asked.
pub fn admin_request(route: &'static str) {
    metrics::counter!(names::ADMIN_REQUESTS.name, names::ROUTE => route).increment(1);
}

/// Counts a request to nerve's pages, as [`admin_request`].
pub fn nerve_admin_request(route: &'static str) {
    metrics::counter!(names::NERVE_ADMIN_REQUESTS.name, names::ROUTE => route).increment(1);
}

/// Counts a configuration taken into use.
pub fn config_reloaded() {
    metrics::counter!(names::CONFIG_RELOADS.name).increment(1);
}

/// Counts a changed configuration that was refused.
pub fn config_rejected() {
    metrics::counter!(names::CONFIG_REJECTED.name).increment(1);
}

/// Counts a file of last known backends that was written.
pub fn last_known_saved() {
    metrics::counter!(names::LAST_KNOWN_SAVES.name).increment(1);
}

/// Counts a file of last known backends that could not be written.
pub fn last_known_save_failed() {
    metrics::counter!(names::LAST_KNOWN_SAVE_ERRORS.name).increment(1);
}

/// Counts a file of last known backends that was not used. `reason`: `corrupt`, `foreign`, `version`, `unreadable`, or
/// `state_file` for the original's.
pub fn last_known_refused(reason: &'static str) {
    metrics::counter!(names::LAST_KNOWN_REFUSED.name, names::REASON => reason).increment(1);
}

/// The counter of restarted tasks of a `kind` (`discovery`, `pool`, …).
#[must_use = "the counter has to be incremented"]
pub fn task_restarts(kind: &'static str) -> metrics::Counter {
    metrics::counter!(names::TASK_RESTARTS.name, names::TASK => kind)
}

/// Counts a task that ended when it should not have and cannot be started again.
pub fn task_lost() {
    metrics::counter!(names::TASKS_LOST.name).increment(1);
}

/// Counts a statsd event that was not sent. `reason`: `queue`, `name` or `send`.
pub fn statsd_lost(program: Program, reason: &'static str) {
    let metric = match program {
        Program::Synapse => names::STATSD_LOST,
        Program::Nerve => names::NERVE_STATSD_LOST,
    };
    metrics::counter!(metric.name, names::REASON => reason).increment(1);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_appear_with_type_and_help_once_the_recorder_is_installed() {
        let cold = ColdMetrics::install().unwrap();
        admin_request("/metrics");
        nerve_admin_request("/metrics");
        config_reloaded();
        config_rejected();
        task_lost();
        last_known_saved();
        last_known_save_failed();
        last_known_refused("corrupt");
        task_restarts("pool").increment(1);
        statsd_lost(Program::Synapse, "queue");
        statsd_lost(Program::Nerve, "name");
        let text = cold.render();
        for metric in COLD {
            let Metric { name, help, .. } = metric;
            assert!(text.contains(&format!("# HELP {name} {help}\n")), "{text}");
            assert!(text.contains(&format!("# TYPE {name} counter\n")), "{text}");
        }
        assert!(text.contains("synapse_admin_requests_total{route=\"/metrics\"} "));
        let of_nerve = cold.render_for_nerve();
        assert!(of_nerve.contains("# TYPE nerve_task_restarts_total counter\n"), "{of_nerve}");
        assert!(of_nerve.contains("\nnerve_task_restarts_total{task=\"pool\"} 1\n"), "{of_nerve}");
        assert!(!of_nerve.contains("synapse_"), "{of_nerve}");
        assert!(ColdMetrics::install().is_err(), "one recorder a process");
        assert_eq!(ColdMetrics::disconnected().render(), "");
    }
}
