//! Buffers that connections of a thread lend each other, so that a request allocates nothing and an idle connection
//! holds none.

use super::logged::Notes;

/// Buffers, and notes, kept; more are freed. A request holds notes and one or two buffers, so some 500 may be under way at a
/// time without allocating.
const KEPT: usize = 1024;

/// Room in all buffers kept, in bytes: [`KEPT`] of the usual size and as much again. Without it a burst of large bodies
/// would pin memory.
const KEPT_BYTES: usize = 2 * KEPT * NEW_BYTES;

/// Large buffers are kept up to this, in bytes: what is left is for small ones.
const LARGE_BYTES: usize = KEPT_BYTES / 2;

/// A buffer with more room than this, in bytes, is large.
const LARGE: usize = 2 * NEW_BYTES;

/// A buffer that has grown beyond is freed, in bytes.
const LONGEST_KEPT: usize = 64 * 1024;

/// Room of a new one, in bytes: most heads.
const NEW_BYTES: usize = 2048;

/// The buffers of one thread, and notes for its access log.
#[derive(Debug, Default)]
pub(crate) struct Spares {
    buffers: Vec<Vec<u8>>,
    /// Room in `buffers`, in bytes.
    room: usize,
    #[expect(clippy::vec_box, reason = "lent: a pointer moves, not the notes")]
    notes: Vec<Box<Notes>>,
}

impl Spares {
    /// An empty buffer with room.
    pub(crate) fn take(&mut self) -> Vec<u8> {
        let Some(buffer) = self.buffers.pop() else {
            return Vec::with_capacity(NEW_BYTES);
        };
        self.room -= buffer.capacity();
        buffer
    }

    /// Gives one back.
    pub(crate) fn give(&mut self, mut buffer: Vec<u8>) {
        let room = buffer.capacity();
        let most = if room > LARGE { LARGE_BYTES } else { KEPT_BYTES };
        let has_place = self.buffers.len() < KEPT && self.room + room <= most;
        if (1..=LONGEST_KEPT).contains(&room) && has_place {
            buffer.clear();
            self.room += room;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_lent_again_and_what_is_kept_is_bounded() {
        let mut spares = Spares::default();
        spares.give(Vec::new());
        spares.give(Vec::with_capacity(LONGEST_KEPT + 1));
        assert_eq!((spares.buffers.len(), spares.room), (0, 0));
        for _ in 0..2 * KEPT {
            spares.give(Vec::with_capacity(NEW_BYTES));
        }
        assert_eq!((spares.buffers.len(), spares.room), (KEPT, KEPT * NEW_BYTES));
        for _ in 0..KEPT {
            assert_eq!(spares.take().capacity(), NEW_BYTES);
        }
        assert_eq!(spares.room, 0);
    }

    #[test]
    fn a_burst_of_large_buffers_leaves_room_for_small_ones() {
        let mut spares = Spares::default();
        for _ in 0..KEPT {
            spares.give(Vec::with_capacity(LONGEST_KEPT));
        }
        let large = spares.buffers.len();
        assert_eq!(spares.room, LARGE_BYTES);
        for _ in 0..KEPT {
            spares.give(Vec::with_capacity(NEW_BYTES));
        }
        assert_eq!(spares.buffers.len(), KEPT);
        assert!(large < KEPT / 16, "{large}");
        assert!(spares.room <= KEPT_BYTES);
    }
}
