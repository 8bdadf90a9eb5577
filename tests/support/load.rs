//! An open-loop load: requests start on schedule, whatever became of the ones before.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::client::{Conn, Failure, get};

/// One request of a [`Load`].
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    /// When it was due.
    pub(crate) at: Instant,
    /// From then to the whole answer.
    pub(crate) latency: Duration,
    /// Whether it went over a kept connection.
    pub(crate) kept: bool,
    /// Who answered, or why nobody did.
    pub(crate) outcome: Result<String, Failure>,
}

/// A load that runs until it is stopped: half of the requests on kept connections, half on new ones.
pub(crate) struct Load {
    stop: CancellationToken,
    samples: Arc<Mutex<Vec<Sample>>>,
    driver: JoinHandle<()>,
}

/// What a load saw.
pub(crate) struct Report {
    pub(crate) samples: Vec<Sample>,
    started: Instant,
}

impl Load {
    /// Starts `per_second` GETs of `/` per second.
    pub(crate) fn start(addr: SocketAddr, per_second: u32) -> Self {
        let stop = CancellationToken::new();
        let samples = Arc::new(Mutex::new(Vec::new()));
        let driver = tokio::spawn(drive(addr, per_second, Arc::clone(&samples), stop.clone()));
        Self { stop, samples, driver }
    }

    /// How many requests have ended.
    pub(crate) fn ended(&self) -> usize {
        self.samples.lock().expect("no panic").len()
    }

    /// Stops, waits for what is under way, reports.
    pub(crate) async fn stop(self) -> Report {
        self.stop.cancel();
        self.driver.await.expect("the load does not panic");
        let samples = std::mem::take(&mut *self.samples.lock().expect("no panic"));
        let started = samples.iter().map(|s| s.at).min().unwrap_or_else(Instant::now);
        Report { samples, started }
    }
}

impl Report {
    /// Asserts that no request failed; otherwise says which, when and how.
    pub(crate) fn assert_no_failure(&self) {
        let failed: Vec<String> = self
            .samples
            .iter()
            .filter_map(|s| {
                let why = s.outcome.as_ref().err()?;
                let at = s.at - self.started;
                let how = if s.kept { "kept" } else { "new" };
                Some(format!("{at:?} ({how} connection, {:?}): {why}", s.latency))
            })
            .collect();
        let shown = failed.iter().take(20).cloned().collect::<Vec<_>>().join("\n");
        assert!(
            failed.is_empty(),
            "{} of {} requests failed:\n{shown}",
            failed.len(),
            self.samples.len()
        );
    }

    /// Answers per origin.
    pub(crate) fn per_origin(&self) -> BTreeMap<&str, usize> {
        let mut counts = BTreeMap::new();
        for name in self.samples.iter().filter_map(|s| s.outcome.as_ref().ok()) {
            *counts.entry(name.as_str()).or_insert(0) += 1;
        }
        counts
    }

    /// The latency that `percent` of the requests do not exceed.
    pub(crate) fn latency(&self, percent: usize) -> Duration {
        percentile(self.samples.iter().map(|s| s.latency).collect(), percent)
    }
}

/// The value that `percent` of the values do not exceed (nearest rank).
pub(crate) fn percentile(mut values: Vec<Duration>, percent: usize) -> Duration {
    values.sort_unstable();
    let rank = (values.len() * percent).div_ceil(100).max(1);
    values.get(rank - 1).copied().expect("at least one value")
}

async fn drive(
    addr: SocketAddr,
    per_second: u32,
    samples: Arc<Mutex<Vec<Sample>>>,
    stop: CancellationToken,
) {
    let idle = Arc::new(Mutex::new(Vec::<Conn>::new()));
    let mut running = JoinSet::new();
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / per_second);
    let mut kept = false;
    loop {
        let at = tokio::select! {
            at = ticks.tick() => at,
            () = stop.cancelled() => break,
        };
        kept = !kept;
        let (idle, samples) = (Arc::clone(&idle), Arc::clone(&samples));
        running.spawn(async move {
            let outcome = if kept { over_kept(addr, &idle).await } else { over_new(addr).await };
            let sample = Sample { at, latency: at.elapsed(), kept, outcome };
            samples.lock().expect("no panic").push(sample);
        });
        while let Some(ended) = running.try_join_next() {
            ended.expect("a request does not panic");
        }
    }
    while let Some(ended) = running.join_next().await {
        ended.expect("a request does not panic");
    }
}

async fn over_new(addr: SocketAddr) -> Result<String, Failure> {
    let answer = get(addr, "/").await?;
    judge(answer.status, answer.text())
}

async fn over_kept(addr: SocketAddr, idle: &Mutex<Vec<Conn>>) -> Result<String, Failure> {
    let found = {
        let mut idle = idle.lock().expect("no panic");
        idle.retain(Conn::is_reusable);
        idle.pop()
    };
    let mut conn = match found {
        Some(conn) => conn,
        None => Conn::open(addr).await?,
    };
    let answer = conn.get("/").await?;
    idle.lock().expect("no panic").push(conn);
    judge(answer.status, answer.text())
}

fn judge(status: u16, body: String) -> Result<String, Failure> {
    if status == 200 { Ok(body) } else { Err(format!("status {status}")) }
}
