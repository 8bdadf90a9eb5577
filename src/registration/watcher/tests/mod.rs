//! The watcher with a paused clock and scripted checks.

mod counted;
mod downtimes;
mod flaps;
mod verdicts;

use std::collections::VecDeque;
use std::time::SystemTime;

use tokio::task::JoinHandle;

use super::*;
use crate::health::local::CheckResult;
use crate::health::{ProbeError, ProbePass};

const INTERVAL: Duration = Duration::from_millis(500);

/// Verdicts of the passes in order; `None` hangs for ever. After the last one: its repetition.
#[derive(Debug)]
struct Script {
    steps: VecDeque<Option<bool>>,
    last: bool,
}

impl Script {
    fn new(steps: impl IntoIterator<Item = Option<bool>>) -> Box<Self> {
        Box::new(Self { steps: steps.into_iter().collect(), last: false })
    }

    fn always(is_up: bool) -> Box<Self> {
        Self::new([Some(is_up)])
    }
}

impl Checks for Script {
    fn names(&self) -> Vec<Arc<str>> {
        vec!["first".into(), "second".into()]
    }

    fn pass(&mut self) -> BoxFuture<'_, Pass> {
        Box::pin(async {
            match self.steps.pop_front() {
                Some(Some(is_up)) => self.last = is_up,
                Some(None) => std::future::pending().await,
                None => {}
            }
            let passed = CheckResult {
                name: "first".into(),
                is_up: Some(true),
                result: Ok(ProbePass { code: "L4OK", status: None }),
                took: Duration::from_millis(1),
                at: SystemTime::now(),
            };
            let mut second = CheckResult { name: "second".into(), ..passed.clone() };
            if !self.last {
                second.is_up = Some(false);
                second.result = Err(ProbeError {
                    code: "L4CON",
                    status: None,
                    detail: "refused\nhard".into(),
                    info: String::new(),
                });
            }
            Pass { is_up: Some(self.last), results: vec![passed, second] }
        })
    }
}

struct Running {
    marks: watch::Sender<Option<DownMark>>,
    wanted: watch::Receiver<Wanted>,
    view: watch::Receiver<WatchView>,
    stop: CancellationToken,
    task: JoinHandle<()>,
    start: Instant,
}

impl Running {
    fn start(checks: Box<Script>, limits: LimitSettings) -> Self {
        Self::start_marked(checks, limits, None)
    }

    fn start_marked(checks: Box<Script>, limits: LimitSettings, mark: Option<DownMark>) -> Self {
        let (marks, marks_seen) = watch::channel(mark);
        let (out, wanted) = watch::channel(Wanted::Undecided);
        let (page, view) = watch::channel(WatchView::default());
        let stop = CancellationToken::new();
        let watcher = Watcher::with_checks(checks, INTERVAL, limits, ServiceName::new("web"));
        let task = tokio::spawn(watcher.run(marks_seen, out, page, stop.clone()));
        Self { marks, wanted, view, stop, task, start: Instant::now() }
    }

    /// Waits for the wish and says how long after the start it came.
    async fn until(&mut self, wanted: Wanted) -> Duration {
        self.wanted.wait_for(|w| *w == wanted).await.unwrap();
        self.start.elapsed()
    }

    /// Every change of the wish within `time`, and when.
    async fn changes(&mut self, time: Duration) -> Vec<(Duration, Wanted)> {
        let mut changes = Vec::new();
        let end = Instant::now() + time;
        while let Ok(changed) = tokio::time::timeout_at(end, self.wanted.changed()).await {
            changed.unwrap();
            changes.push((self.start.elapsed(), *self.wanted.borrow_and_update()));
        }
        changes
    }

    fn reason(&self) -> String {
        self.view.borrow().reason.to_string()
    }
}
