//! A body under way: how much of what was read belongs to it, and what goes on.

use super::message::chunked::{Decoder, Fed, Keep, Malformed, Ranges};
use super::message::framing::Body;

/// What is still to come of a body.
#[derive(Debug)]
pub(crate) enum Inbound {
    /// Nothing.
    Done,
    /// So many bytes.
    Length(u64),
    /// Chunks.
    Chunked(Decoder),
    /// Whatever comes until the end of the connection.
    UntilClose,
}

impl Inbound {
    /// At its start.
    pub(crate) fn new(body: Body, keep: Keep) -> Self {
        match body {
            Body::Empty => Self::Done,
            Body::Length(left) => Self::Length(left),
            Body::Chunked => Self::Chunked(Decoder::new(keep)),
            Body::UntilClose => Self::UntilClose,
        }
    }

    /// True when all of it has come.
    pub(crate) fn is_done(&self) -> bool {
        match self {
            Self::Done => true,
            Self::Chunked(decoder) => decoder.is_done(),
            Self::Length(_) | Self::UntilClose => false,
        }
    }

    /// Takes what belongs to the body from the start of `input`. When chunks end, [`Inbound::tail`] goes behind.
    pub(crate) fn take(&mut self, input: &[u8], ranges: &mut Ranges) -> Result<Fed, Malformed> {
        let all = input.len();
        match self {
            Self::Done => Ok(Fed { consumed: 0, data: 0, done: true }),
            Self::UntilClose => {
                ranges.push(0..all);
                Ok(Fed { consumed: all, data: all, done: false })
            }
            Self::Length(left) => {
                let n = usize::try_from(*left).unwrap_or(usize::MAX).min(all);
                *left -= u64::try_from(n).unwrap_or(*left);
                let done = *left == 0;
                if done {
                    *self = Self::Done;
                }
                ranges.push(0..n);
                Ok(Fed { consumed: n, data: n, done })
            }
            Self::Chunked(decoder) => decoder.feed(input, ranges),
        }
    }

    /// What goes behind the last range.
    pub(crate) fn tail(&self) -> &[u8] {
        match self {
            Self::Chunked(decoder) if decoder.is_done() => decoder.tail(),
            Self::Chunked(_) | Self::Done | Self::Length(_) | Self::UntilClose => b"",
        }
    }

    /// Most bytes to read for it at once, of `room`: never beyond its end where that is known.
    pub(crate) fn wants(&self, room: usize) -> usize {
        match self {
            Self::Length(left) => usize::try_from(*left).unwrap_or(usize::MAX).min(room),
            Self::Done | Self::Chunked(_) | Self::UntilClose => room,
        }
    }
}
