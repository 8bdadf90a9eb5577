//! Lines on their way from a worker to the writer.

use std::sync::Arc;
use std::sync::mpsc::SyncSender;

use super::{Level, Targets};

/// A batch leaves when it holds this much: some 140 usual lines, so that handing over costs a line little, and a writer that
/// is woken has something to do. Not more: a syslog server's socket holds some 170 to 200 datagrams of a usual line by
/// default (212,992 bytes with what the kernel counts for each; measured on Linux 6.18), and a batch comes at once.
pub(super) const BATCH_BYTES: usize = 32 * 1024;

/// Lines of a batch at most; short ones (TCP) reach this before [`BATCH_BYTES`].
pub(super) const BATCH_LINES: usize = 512;

/// Lists of targets that one batch serves at most: services that log the same way share one.
const BATCH_TARGETS: usize = 16;

/// A buffer that one long line has blown up beyond this is not kept.
const KEPT_BYTES: usize = 2 * BATCH_BYTES;

/// One line of a batch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Line {
    /// Where it ends in the bytes, its line end included.
    pub(super) end: usize,
    /// Its targets' place in the batch's list.
    pub(super) targets: usize,
    pub(super) level: Level,
    /// Unix time in ms when the request ended.
    pub(super) at: u64,
}

/// Lines in the order in which they were written, each with a line end.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) bytes: Vec<u8>,
    pub(super) lines: Vec<Line>,
    pub(super) targets: Vec<Arc<Targets>>,
    /// Its way back to the pen that owns it.
    home: SyncSender<Box<Self>>,
}

impl Batch {
    pub(super) fn new(home: SyncSender<Box<Self>>) -> Box<Self> {
        Box::new(Self {
            bytes: Vec::with_capacity(BATCH_BYTES + BATCH_BYTES / 8),
            lines: Vec::with_capacity(BATCH_LINES),
            targets: Vec::with_capacity(1),
            home,
        })
    }

    /// The place of `targets` in the list; `None`: no room for another list.
    pub(super) fn place_of(&mut self, targets: &Arc<Targets>) -> Option<usize> {
        let found = self.targets.iter().position(|known| Arc::ptr_eq(known, targets));
        found.or_else(|| {
            let next = self.targets.len();
            (next < BATCH_TARGETS).then(|| {
                self.targets.push(Arc::clone(targets));
                next
            })
        })
    }

    pub(super) fn is_full(&self) -> bool {
        self.bytes.len() >= BATCH_BYTES || self.lines.len() >= BATCH_LINES
    }

    /// Each line with its line end, and what is known about it.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&Line, &[u8])> {
        let mut begin = 0;
        self.lines.iter().map(move |line| {
            let text = self.bytes.get(begin..line.end).unwrap_or_default();
            begin = line.end;
            (line, text)
        })
    }

    /// Emptied, to the pen it came from; one that is gone needs it no more.
    pub(super) fn go_home(mut self: Box<Self>) {
        self.bytes.clear();
        self.bytes.shrink_to(KEPT_BYTES);
        self.lines.clear();
        self.targets.clear();
        let home = self.home.clone();
        drop(home.try_send(self));
    }
}
