//! Buffers that connections of a thread lend each other, so that a request allocates nothing and an idle connection
//! holds none.

/// Buffers kept; more are freed. As many requests may begin before the first ends without allocating.
const KEPT: usize = 64;

/// A buffer that has grown beyond is freed: 64 of them would pin memory after a burst of large bodies.
const KEPT_BYTES: usize = 64 * 1024;

/// Room of a new one: most heads.
const NEW_BYTES: usize = 2048;

/// The buffers of one thread.
#[derive(Debug, Default)]
pub(crate) struct Spares(Vec<Vec<u8>>);

impl Spares {
    /// An empty buffer with room.
    pub(crate) fn take(&mut self) -> Vec<u8> {
        self.0.pop().unwrap_or_else(|| Vec::with_capacity(NEW_BYTES))
    }

    /// Gives one back.
    pub(crate) fn give(&mut self, mut buffer: Vec<u8>) {
        if (1..=KEPT_BYTES).contains(&buffer.capacity()) && self.0.len() < KEPT {
            buffer.clear();
            self.0.push(buffer);
        }
    }
}
