//! The downtime that somebody announced, as it is now.

use std::time::SystemTime;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::registration::decide::Downtime;
use crate::registration::view::DownMark;

/// The mark that counts. Its end is put on the monotonic clock when the mark arrives: a clock that is set back does not
/// prolong a downtime.
#[derive(Debug)]
pub(super) struct Announced {
    marks: watch::Receiver<Option<DownMark>>,
    current: Option<(DownMark, Downtime)>,
    /// Nobody can announce anything any more.
    is_closed: bool,
}

impl Announced {
    pub(super) fn new(marks: watch::Receiver<Option<DownMark>>) -> Self {
        let mut announced = Self { marks, current: None, is_closed: false };
        announced.take();
        announced
    }

    /// Returns when another mark counts.
    pub(super) async fn changed(&mut self) {
        if !self.is_closed && self.marks.changed().await.is_ok() {
            self.take();
            return;
        }
        self.is_closed = true;
        std::future::pending().await
    }

    /// For the judge.
    pub(super) fn downtime(&self) -> Option<Downtime> {
        self.current.as_ref().map(|(_, downtime)| *downtime)
    }

    /// For people: the mark, while it holds.
    pub(super) fn mark(&self, now: Instant) -> Option<&DownMark> {
        let (mark, downtime) = self.current.as_ref()?;
        downtime.holds(now).then_some(mark)
    }

    fn take(&mut self) {
        let mark = self.marks.borrow_and_update().clone();
        self.current = mark.map(|mark| {
            let downtime = on_our_clock(&mark);
            (mark, downtime)
        });
    }
}

fn on_our_clock(mark: &DownMark) -> Downtime {
    let now = Instant::now();
    let ends = mark.until.map(|until| {
        let left = until.duration_since(SystemTime::now()).unwrap_or_default();
        // Too far for the clock is for ever.
        now.checked_add(left)
    });
    Downtime { ends: ends.flatten() }
}
