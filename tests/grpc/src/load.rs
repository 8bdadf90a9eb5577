//! Many calls at a time, counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::calls::{Client, Kind, Shape, call};

/// Streams at a time.
pub const STREAMS: usize = 32;

/// A call that takes longer hangs.
const LONGEST: Duration = Duration::from_secs(60);

/// What came of many calls.
#[derive(Debug, Default)]
pub struct Tally {
    pub took: Vec<Duration>,
    pub errors: Vec<String>,
    pub time: Duration,
}

impl Tally {
    /// Milliseconds that a share of the calls stays below.
    pub fn percentile(&self, percent: usize) -> f64 {
        let mut sorted = self.took.clone();
        sorted.sort_unstable();
        let at = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
        sorted.get(at).map_or(0.0, |took| took.as_secs_f64() * 1e3)
    }

    pub fn rate(&self) -> f64 {
        self.took.len() as f64 / self.time.as_secs_f64().max(1e-9)
    }
}

/// When a load ends.
#[derive(Debug)]
pub struct Until {
    /// Calls to be begun.
    left: AtomicUsize,
    stopped: AtomicBool,
    /// Calls that have ended, of each stream.
    ended: [AtomicUsize; STREAMS],
}

impl Until {
    /// After so many calls, or when it is stopped.
    pub fn calls(most: usize) -> Arc<Self> {
        Arc::new(Self {
            left: AtomicUsize::new(most),
            stopped: AtomicBool::new(false),
            ended: Default::default(),
        })
    }

    pub fn stop(&self) {
        self.stopped.store(true, Ordering::SeqCst);
    }

    /// Returns when all calls have ended that are under way now, while there are others.
    pub async fn under_way_end(&self) {
        for (stream, ended) in self.ended.iter().enumerate() {
            let before = ended.load(Ordering::SeqCst);
            let begun = Instant::now();
            while ended.load(Ordering::SeqCst) == before {
                assert!(begun.elapsed() < LONGEST, "a call of stream {stream} does not end");
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
    }

    fn take(&self) -> Option<usize> {
        if self.stopped.load(Ordering::SeqCst) {
            return None;
        }
        self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).ok()
    }
}

/// Calls of these kinds in turn, [`STREAMS`] at a time, over all clients.
pub async fn load(clients: &[Client], kinds: &'static [Kind], until: &Arc<Until>) -> Tally {
    let begun = Instant::now();
    let mut streams = JoinSet::new();
    for index in 0..STREAMS {
        let mut client = clients[index % clients.len()].clone();
        let until = Arc::clone(until);
        streams.spawn(async move {
            let mut tally = Tally::default();
            while let Some(number) = until.take() {
                let kind = kinds[number % kinds.len()];
                let begun = Instant::now();
                match call(&mut client, kind, Shape::SMALL).await {
                    Ok(()) => tally.took.push(begun.elapsed()),
                    Err(status) => tally.errors.push(format!("{}: {status}", kind.name())),
                }
                until.ended[index].fetch_add(1, Ordering::SeqCst);
            }
            tally
        });
    }
    let mut all = Tally::default();
    for tally in streams.join_all().await {
        all.took.extend(tally.took);
        all.errors.extend(tally.errors);
    }
    all.time = begun.elapsed();
    all
}
