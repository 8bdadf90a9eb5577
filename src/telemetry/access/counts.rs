//! What became of lines: counted for the process, read by whoever shows it.

use std::sync::atomic::{AtomicU64, Ordering};

/// Why a line was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Loss {
    /// The writer did not keep up: the worker's batches were all on their way.
    Queue,
    /// A syslog server or socket that refuses, does not read, or is not there.
    Receiver,
    /// A file that cannot be opened or written.
    File,
}

impl Loss {
    /// All of them, in the order of [`Loss::label`]s in `/metrics`.
    pub const ALL: [Self; 3] = [Self::Queue, Self::Receiver, Self::File];

    /// Value of the label `reason`.
    pub fn label(self) -> &'static str {
        match self {
            Self::Queue => "queue",
            Self::Receiver => "receiver",
            Self::File => "file",
        }
    }

    fn count(self) -> &'static AtomicU64 {
        static QUEUE: AtomicU64 = AtomicU64::new(0);
        static RECEIVER: AtomicU64 = AtomicU64::new(0);
        static FILE: AtomicU64 = AtomicU64::new(0);
        match self {
            Self::Queue => &QUEUE,
            Self::Receiver => &RECEIVER,
            Self::File => &FILE,
        }
    }

    /// Lines lost for this reason since the process started. A line with two targets can be lost twice.
    pub fn total(self) -> u64 {
        self.count().load(Ordering::Relaxed)
    }

    pub(super) fn add(self, lines: usize) {
        self.count().fetch_add(lines as u64, Ordering::Relaxed);
    }
}

static WRITTEN: AtomicU64 = AtomicU64::new(0);

/// Lines written to files and sockets since the process started, each once per target.
pub fn written() -> u64 {
    WRITTEN.load(Ordering::Relaxed)
}

/// Lines written, and lost for each reason of [`Loss::ALL`].
pub fn totals() -> [u64; 4] {
    let [queue, receiver, file] = Loss::ALL.map(Loss::total);
    [written(), queue, receiver, file]
}

/// Adds what another process has counted.
pub fn inherit([lines, lost @ ..]: [u64; 4]) {
    WRITTEN.fetch_add(lines, Ordering::Relaxed);
    for (loss, lost) in Loss::ALL.into_iter().zip(lost) {
        loss.count().fetch_add(lost, Ordering::Relaxed);
    }
}

pub(super) fn add_written(lines: usize) {
    WRITTEN.fetch_add(lines as u64, Ordering::Relaxed);
}
