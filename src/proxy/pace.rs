//! Whether the bytes of a direction are copied or go through a pipe: bulk through pipes, messages by copies.

/// A read of so many bytes is large: from about here on the two copies cost more than a pipe (spec/performance: copies
/// through 16 kB 880 ms/GB, pipes of 64 kB 310).
const LARGE: usize = 16 * 1024;

/// Large reads in a row that make a direction one of bulk. One large message and its like stay with copies.
const LARGE_READS: u8 = 4;

/// Less than this through the pipe at once is a message.
const SMALL: usize = 4 * 1024;

/// Messages in a row that make a direction of bulk one of messages again. Not one: who keeps up with a stream finds a few
/// kB of it now and then, and copied all that came next until it was known as bulk again (a fifth of the stream).
const SMALL_FILLS: u8 = 8;

/// How a direction moves its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pace {
    /// By copies; so many large reads in a row.
    Copies(u8),
    /// Through pipes; so many messages in a row.
    Bulk(u8),
    /// By copies for ever: these sockets cannot be spliced.
    CopiesOnly,
}

impl Default for Pace {
    fn default() -> Self {
        Self::Copies(0)
    }
}

impl Pace {
    /// A read that was copied.
    pub(super) fn note_read(&mut self, bytes: usize) {
        if let Self::Copies(large) = *self {
            *self = match large + 1 {
                _ if bytes < LARGE => Self::Copies(0),
                LARGE_READS.. => Self::Bulk(0),
                more => Self::Copies(more),
            };
        }
    }

    /// A fill of the pipe.
    pub(super) fn note_fill(&mut self, bytes: usize) {
        if let Self::Bulk(small) = *self {
            *self = match small + 1 {
                _ if bytes >= SMALL => Self::Bulk(0),
                SMALL_FILLS.. => Self::Copies(0),
                more => Self::Bulk(more),
            };
        }
    }
}
