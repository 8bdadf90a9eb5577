//! What a worker writes lines with.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use tokio::sync::Notify;

use super::batch::{Batch, Line};
use super::clock::Clock;
use super::counts::Loss;
use super::target::MAX_RAW_LEN;
use super::writer::Writer;
use super::{AccessLog, Cause, Failure, Format, Level, Record, Targets, format};

/// Longest time that a line waits for others before it goes to the writer. Who watches a log does not notice it, and an
/// idle worker wakes the writer ten times a second at most.
pub const MAX_WAIT: Duration = Duration::from_millis(100);

/// Batches that a worker owns: with 32 kB each, half a megabyte is on its way at most, some 3,000 lines. What the
/// writer cannot take by then is lost.
const BATCHES: usize = 16;

/// Batches that the writer may have before further ones wait to be full: one that is held up would else cost lines as
/// soon as it has sixteen batches of a line each.
const BEHIND: usize = 2;

/// A worker's way to the writer. One per worker thread, owned by it; one more is the control plane's (`states`).
///
/// What is written waits in a batch until that is full or [`Pen::post`] is called: see [`post_in_time`]. Dropping the
/// pen posts what is left.
#[derive(Debug, Default)]
pub struct Pen {
    open: Option<Box<Batch>>,
    way: Option<Way>,
    clock: Clock,
    /// Told when a batch begins while nobody waits to post it.
    begun: Arc<Notify>,
    is_awake: bool,
}

/// Between a pen and the writer. Batches go in a circle; there is nothing to allocate once they are all made.
#[derive(Debug)]
struct Way {
    writer: Writer,
    home: SyncSender<Box<Batch>>,
    back: Receiver<Box<Batch>>,
    /// Empty batches that have come back.
    #[expect(clippy::vec_box, reason = "handed on: a pointer moves, not the batch")]
    spare: Vec<Box<Batch>>,
    made: usize,
}

impl Pen {
    /// A pen whose lines go to `writer` instead of the writer of the process.
    #[cfg(test)]
    pub(super) fn to(writer: Writer) -> Self {
        let mut pen = Self::default();
        pen.way = Some(Way::to(writer));
        pen
    }

    /// Writes one line. Never blocks, does not allocate on the steady path; a line for which there is no room is counted.
    pub fn write(&mut self, log: &Arc<AccessLog>, record: &Record<'_>) {
        if let Some(level) = level(log, record) {
            let at = record.begun.saturating_add(u64::from(record.timers.total));
            self.append(&log.targets, (level, at), |out, clock| {
                format::render(out, log, record, clock)
            });
        }
    }

    /// Writes one line about a connection that was no session.
    pub fn write_failure(&mut self, log: &Arc<AccessLog>, it: &Failure<'_>) {
        if let Some(level) = level_of_failure(log, it) {
            let at = it.begun.saturating_add(u64::from(it.took));
            self.append(&log.targets, (level, at), |out, clock| {
                format::failure(out, log, it, clock)
            });
        }
    }

    /// Writes one line of the caller's making.
    pub(super) fn write_text(&mut self, targets: &Arc<Targets>, at: (Level, u64), text: &str) {
        self.append(targets, at, |out, _clock| out.extend_from_slice(text.as_bytes()));
    }

    fn append(
        &mut self,
        targets: &Arc<Targets>,
        (level, at): (Level, u64),
        render: impl FnOnce(&mut Vec<u8>, &mut Clock),
    ) {
        let placed = self.open.as_mut().and_then(|batch| batch.place_of(targets));
        let placed = placed.or_else(|| self.begin(targets));
        let (Some(place), Some(batch)) = (placed, &mut self.open) else {
            Loss::Queue.add(1);
            return;
        };
        let start = batch.bytes.len();
        render(&mut batch.bytes, &mut self.clock);
        if batch.bytes.len() - start > MAX_RAW_LEN {
            format::cut(&mut batch.bytes, start, MAX_RAW_LEN);
        }
        batch.bytes.push(b'\n');
        batch.lines.push(Line { end: batch.bytes.len(), targets: place, level, at });
        if batch.is_full() {
            self.post();
        } else if !self.is_awake {
            self.is_awake = true;
            self.begun.notify_one();
        }
    }

    /// Opens a batch and gives `targets` a place there; the former leaves. `None` when all batches are on their way.
    #[cold]
    fn begin(&mut self, targets: &Arc<Targets>) -> Option<usize> {
        if self.open.is_some() {
            self.post();
        }
        let way = self.way.get_or_insert_with(|| Way::to(Writer::of_the_process()));
        self.open.insert(way.batch()?).place_of(targets)
    }

    /// Hands over what has been written so far. False when that was nothing.
    pub fn post(&mut self) -> bool {
        let Some(batch) = self.open.take() else {
            self.is_awake = false;
            return false;
        };
        if let Some(way) = &self.way {
            way.writer.take(batch);
        }
        true
    }

    /// The same when it is time, unless the writer is behind: then lines go on gathering. False when there was nothing.
    fn post_when_due(&mut self) -> bool {
        let is_behind = self.way.as_mut().is_some_and(Way::is_behind);
        (self.open.is_some() && is_behind) || self.post()
    }

    /// Ready when the first line after a pause has been written.
    fn begun(&self) -> Arc<Notify> {
        Arc::clone(&self.begun)
    }
}

impl Drop for Pen {
    fn drop(&mut self) {
        self.post();
    }
}

impl Way {
    fn to(writer: Writer) -> Self {
        let (home, back) = sync_channel(BATCHES);
        Self { writer, home, back, spare: Vec::with_capacity(BATCHES), made: 0 }
    }

    /// An empty batch; `None` when all are on their way.
    fn batch(&mut self) -> Option<Box<Batch>> {
        self.spare.extend(self.back.try_iter());
        self.spare.pop().or_else(|| {
            (self.made < BATCHES).then(|| {
                self.made += 1;
                Batch::new(self.home.clone())
            })
        })
    }

    /// True while the writer has several batches, besides the one that is open.
    fn is_behind(&mut self) -> bool {
        self.spare.extend(self.back.try_iter());
        self.made > self.spare.len() + BEHIND
    }
}

/// Posts what a pen has written, [`MAX_WAIT`] later at most; asleep while nothing is written. `with` lends the pen.
/// Never returns.
pub async fn post_in_time(with: impl Fn(&mut dyn FnMut(&mut Pen))) {
    let mut begun = Arc::default();
    with(&mut |pen| begun = pen.begun());
    loop {
        begun.notified().await;
        let mut more = true;
        while more {
            tokio::time::sleep(MAX_WAIT).await;
            with(&mut |pen| more = pen.post_when_due());
        }
    }
}

/// The level of the line about `record`; `None` when it is not wanted.
fn level(log: &AccessLog, record: &Record<'_>) -> Option<Level> {
    let has_request = record.http.is_some_and(|http| http.line.is_some());
    if log.format == Format::Connect {
        // haproxy writes it at the beginning of a request or session, whatever the end will be.
        let is_wanted = (has_request || record.http.is_none()) && log.targets.take(Level::INFO);
        return is_wanted.then_some(Level::INFO);
    }
    if log.skip_null && record.bytes_in == 0 && !has_request {
        return None;
    }
    let went_wrong = went_wrong(record);
    if log.skip_normal && !went_wrong {
        return None;
    }
    let level = if log.separate_errors && went_wrong { Level::ERR } else { Level::INFO };
    log.targets.take(level).then_some(level)
}

/// The level of the line about a connection that was no session; `None` when it is not wanted. haproxy's rules for it are
/// its own: nothing without `option httplog` or `option tcplog`, and `option dontlog-normal` says nothing about it.
fn level_of_failure(log: &AccessLog, it: &Failure<'_>) -> Option<Level> {
    if log.format == Format::Connect || (log.skip_null && it.is_silent) {
        return None;
    }
    let level = if log.separate_errors { Level::ERR } else { Level::INFO };
    log.targets.take(level).then_some(level)
}

/// For tests that look at records: true when a line is written about `record`.
#[cfg(test)]
pub(crate) fn is_wanted(log: &AccessLog, record: &Record<'_>) -> bool {
    level(log, record).is_some()
}

/// haproxy's idea of an error: `option log-separate-errors` and `option dontlog-normal` go by it.
fn went_wrong(record: &Record<'_>) -> bool {
    let ended_well = matches!(record.cause, Cause::None | Cause::Local);
    let status = record.http.and_then(|http| http.status);
    !ended_well
        || record.redispatched
        || record.retries > 0
        || status.is_some_and(|status| status >= 500)
}

#[cfg(test)]
#[path = "pen_tests.rs"]
mod tests;
