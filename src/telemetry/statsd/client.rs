//! From an event to a line in the queue.

use std::borrow::Cow;
use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use cadence::{
    Counted as _, Gauged as _, Metric as Line, MetricBuilder, QueuingMetricSink, StatsdClient,
    Timed as _,
};
use tokio::sync::watch;

use super::names::{Kind, Metric};
use super::wire::{Wire, resolver};
use super::{Program, StatsdSettings};
use crate::telemetry::cold;

/// Events that may wait for the sending thread. It needs some 10 µs each, so this is a tenth of a second of work and a
/// MiB at most; it only fills up while a name server is silent.
const QUEUE: usize = 8_192;

/// How long the end of the process waits for what is queued.
const FLUSH: Duration = Duration::from_millis(500);

/// The client of the process.
static INSTALLED: LazyLock<ArcSwapOption<Statsd>> = LazyLock::new(ArcSwapOption::empty);

/// Sends to `settings` from now on, or (`None`) nowhere. What is queued for a former agent still goes there. The same
/// settings again change nothing.
pub fn configure(program: Program, settings: Option<&StatsdSettings>) {
    let current = INSTALLED.load();
    if current.as_ref().map(|statsd| &statsd.settings) != settings {
        INSTALLED.store(settings.map(|settings| Arc::new(Statsd::new(program, settings))));
    }
}

/// True when events go somewhere: for callers that would have to find out first what to say.
pub fn is_configured() -> bool {
    current().is_some()
}

/// Waits until what was sent so far has left, half a second at most. For the end of the process.
pub async fn flush() {
    let Some(statsd) = current() else {
        return;
    };
    if tokio::time::timeout(FLUSH, statsd.drained()).await.is_err() {
        tracing::warn!("the last statsd events are lost");
    }
}

/// Sends an event. `values` belong to the metric's tags, in order; tags without a value are left out.
pub(super) fn emit(metric: &Metric, value: u64, values: &[&str]) {
    if let Some(statsd) = current() {
        statsd.emit(metric, value, values);
    }
}

/// Sends a time in ms, rounded as the originals do.
pub(super) fn emit_time(metric: &Metric, took: Duration, values: &[&str]) {
    let rounded = took.saturating_add(Duration::from_micros(500)).as_millis();
    emit(metric, u64::try_from(rounded).unwrap_or(u64::MAX), values);
}

fn current() -> Option<Arc<Statsd>> {
    #[cfg(test)]
    if let Some(statsd) = super::testing::current() {
        return Some(statsd);
    }
    INSTALLED.load_full()
}

/// A client with its queue. The queue's thread ends with it, after the last line.
#[derive(Debug)]
pub(super) struct Statsd {
    settings: StatsdSettings,
    /// Below 1 only.
    rates: HashMap<String, f64>,
    client: StatsdClient,
    program: Program,
    /// Lines that were queued.
    queued: AtomicU64,
    /// How many of them were sent or lost.
    done: watch::Receiver<u64>,
}

impl Statsd {
    pub(super) fn new(program: Program, settings: &StatsdSettings) -> Self {
        let (wire, done) = Wire::new(program, resolver(&settings.host, settings.port));
        let queue = QueuingMetricSink::builder().with_capacity(QUEUE).build(wire);
        let rates = settings.sample_rates.iter().filter(|(_, rate)| *rate < 1.0).cloned();
        Self {
            settings: settings.clone(),
            rates: rates.collect(),
            client: StatsdClient::from_sink("", queue),
            program,
            queued: AtomicU64::new(0),
            done,
        }
    }

    pub(super) fn emit(&self, metric: &Metric, value: u64, values: &[&str]) {
        let rate = self.rates.get(metric.name).copied();
        if rate.is_some_and(|rate| fastrand::f64() >= rate) {
            return;
        }
        let values: Vec<_> = values.iter().map(|value| clean(value)).collect();
        let tags = Tags { keys: metric.tags, values: &values, rate };
        let (client, name) = (&self.client, metric.name);
        let queued = match metric.kind {
            Kind::Counter => tags.send(client.count_with_tags(name, value)),
            Kind::Timing => tags.send(client.time_with_tags(name, value)),
            Kind::Gauge => tags.send(client.gauge_with_tags(name, value)),
        };
        match queued {
            Ok(()) => drop(self.queued.fetch_add(1, Ordering::AcqRel)),
            Err(_full) => cold::statsd_lost(self.program, "queue"),
        }
    }

    async fn drained(&self) {
        let queued = self.queued.load(Ordering::Acquire);
        let mut done = self.done.clone();
        // An error means that the thread is gone, and nothing will leave any more.
        drop(done.wait_for(|done| *done >= queued).await);
    }
}

/// What comes after the value.
struct Tags<'a> {
    keys: &'static [&'static str],
    values: &'a [Cow<'a, str>],
    rate: Option<f64>,
}

impl Tags<'_> {
    /// An error means a full queue.
    fn send<T: Line + From<String>>(self, line: MetricBuilder<'_, '_, T>) -> io::Result<()> {
        let tags = self.keys.iter().zip(self.values);
        let line = tags.fold(line, |line, (key, value)| line.with_tag(key, value));
        let line = match self.rate {
            Some(rate) => line.with_sampling_rate(rate),
            None => line,
        };
        line.try_send().map(drop).map_err(io::Error::other)
    }
}

/// A tag's value as the original's client makes it, without `|` and `,`. Control characters go too: a line break would
/// begin another event, and names come from outside.
pub(super) fn clean(value: &str) -> Cow<'_, str> {
    let is_bad = |c: char| matches!(c, '|' | ',') || c.is_control();
    if value.contains(is_bad) {
        Cow::Owned(value.replace(is_bad, ""))
    } else {
        Cow::Borrowed(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::statsd::names::{
        SYNAPSE_START, SYNAPSE_WATCHER_PING, SYNAPSE_WATCHERS_START,
    };
    use crate::telemetry::statsd::testing::Agent;

    const PING: &str = "synapse.watcher.ping.count";

    #[test]
    fn an_event_is_one_datagram_with_the_originals_bytes() {
        let agent = Agent::install(&[]);
        emit(&SYNAPSE_START, 1, &[]);
        emit_time(&SYNAPSE_WATCHERS_START, Duration::from_micros(1_500), &[]);
        emit(&SYNAPSE_WATCHER_PING, 1, &["a:1", "succ|e,ss\n", "0.1"]);
        emit(&SYNAPSE_WATCHER_PING, 1, &["a"]);
        assert_eq!(agent.next(), "synapse.start:1|c");
        assert_eq!(agent.next(), "synapse.watchers.start.time:2|ms");
        assert_eq!(
            agent.next(),
            "synapse.watcher.ping.count:1|c|#watcher_name:a:1,ping_result:success,synapse_version:0.1"
        );
        assert_eq!(agent.next(), "synapse.watcher.ping.count:1|c|#watcher_name:a");
    }

    #[test]
    fn a_sampled_metric_says_its_rate_and_the_others_are_whole() {
        fastrand::seed(7);
        let agent = Agent::install(&[(PING, 0.25), ("synapse.start", 1.0)]);
        for _ in 0..400 {
            emit(&SYNAPSE_WATCHER_PING, 1, &["a"]);
        }
        emit(&SYNAPSE_START, 1, &[]);
        let mut sampled = 0;
        loop {
            let line = agent.next();
            if line == "synapse.start:1|c" {
                break;
            }
            assert_eq!(line, "synapse.watcher.ping.count:1|c|@0.25|#watcher_name:a");
            sampled += 1;
        }
        assert!((70..130).contains(&sampled), "{sampled} of 400, seed 7");
    }

    #[test]
    fn a_rate_of_nothing_sends_nothing() {
        let agent = Agent::install(&[(PING, 0.0)]);
        emit(&SYNAPSE_WATCHER_PING, 1, &["a"]);
        emit(&SYNAPSE_START, 1, &[]);
        assert_eq!(agent.next(), "synapse.start:1|c");
    }

    #[tokio::test]
    async fn a_flush_ends_when_everything_has_left() {
        let agent = Agent::install(&[]);
        for _ in 0..100 {
            emit(&SYNAPSE_START, 1, &[]);
        }
        flush().await;
        // All of them are in the socket by now: none of these has to wait.
        agent.never_wait();
        for _ in 0..100 {
            assert_eq!(agent.next(), "synapse.start:1|c");
        }
    }

    #[test]
    fn a_full_queue_loses_events_and_nobody_waits() {
        let (wire, _done) = Wire::new(
            Program::Nerve,
            Box::new(|| {
                loop {
                    std::thread::park();
                }
            }),
        );
        let queue = QueuingMetricSink::builder().with_capacity(2).build(wire);
        let client = StatsdClient::from_sink("", queue);
        let sent = (0..10).filter(|_| client.count_with_tags("a", 1_u64).try_send().is_ok());
        assert!(sent.count() <= 3, "two in the queue and one at the name server");
    }

    #[test]
    fn without_an_agent_nothing_happens() {
        assert!(!is_configured());
        emit(&SYNAPSE_START, 1, &[]);
    }
}
