//! Buffers that connections of a thread lend each other, so that a request allocates nothing and an idle connection
//! holds none.

use super::logged::Notes;

/// Buffers kept; more are freed. As many requests may begin before the first ends without allocating.
const KEPT: usize = 64;

/// A buffer that has grown beyond is freed: 64 of them would pin memory after a burst of large bodies.
const KEPT_BYTES: usize = 64 * 1024;

/// Room of a new one: most heads.
const NEW_BYTES: usize = 2048;

/// The buffers of one thread, and notes for its access log.
#[derive(Debug, Default)]
pub(crate) struct Spares {
    buffers: Vec<Vec<u8>>,
    #[expect(clippy::vec_box, reason = "lent: a pointer moves, not the notes")]
    notes: Vec<Box<Notes>>,
}

impl Spares {
    /// An empty buffer with room.
    pub(crate) fn take(&mut self) -> Vec<u8> {
        self.buffers.pop().unwrap_or_else(|| Vec::with_capacity(NEW_BYTES))
    }

    /// Gives one back.
    pub(crate) fn give(&mut self, mut buffer: Vec<u8>) {
        if (1..=KEPT_BYTES).contains(&buffer.capacity()) && self.buffers.len() < KEPT {
            buffer.clear();
            self.buffers.push(buffer);
        }
    }

    /// Empty notes.
    pub(crate) fn take_notes(&mut self) -> Box<Notes> {
        self.notes.pop().unwrap_or_default()
    }

    /// Gives them back.
    pub(crate) fn give_notes(&mut self, mut notes: Box<Notes>) {
        if self.notes.len() < KEPT {
            notes.clear();
            self.notes.push(notes);
        }
    }
}
